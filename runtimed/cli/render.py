"""Renders the daemon's JSON documents as lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from runtimed.cli.engine_state import render_engine
from runtimed.cli.humanize import counted, duration, moment, place, shown, since, trigger, with_detail
from runtimed.cli.proof_state import proof_state, status_fields
from runtimed.cli.tables import Document, Field, fits, list_fields, render_fields, render_line, render_table
from runtimed.cli.terminal import GREEN, PLAIN, RED, YELLOW, Terminal, Tinted
from runtimed.core.message_text import kept_text, printable

# How changed runtimes are marked, by their key in a report.
MARKS = {"added": ("+", GREEN), "changed": ("~", YELLOW), "removed": ("-", RED)}
# Lists of a report and their titles.
_NOTED = {
    "restart_required": "takes a restart to take effect",
    "ignored": "ignored, of no use to runtimed",
    "overridden": "overridden by flags",
    "repaired": "published files repaired",
}
# The most names, remarks, ignored keys and unavailable runtimes that are shown without --verbose.
_LISTED = 20
_IGNORED_NAMED = 8
_UNAVAILABLE_NAMED = 5
_REASON_MAX = 72
_LOOK_UP_FAILED = "error while looking up the specified runtime path: "


def render_resolution(resolution: Document, terminal: Terminal = PLAIN) -> list[str]:
    """Return the lines of one resolution."""
    options = resolution["options"]
    fields: list[Field] = [(key, resolution[key]) for key in ("runtime", "source", "shim")]
    if options is None:
        fields.append(("options", "none"))
    else:
        fields.append(("options", options["type_url"]))
        fields += [(f"  {key}", shown(value)) for key, value in options["fields"].items()]
    fields += [(key, resolution[key]) for key in ("generation", "digest")]
    return render_fields(fields, terminal)


def render_runtimes(table: Document, terminal: Terminal = PLAIN) -> list[str]:
    """Return the table of runtimes, a line for each; an asterisk marks the default runtime.

    Where they are too wide together, the note on the availability of a runtime has its own line.
    """
    runtimes: Sequence[Document] = table["runtimes"]
    # Most nodes test no runtime.
    shows_proofs = any(runtime["proof"]["outcome"] for runtime in runtimes)
    header = ("NAME", "SHIM OR PATH", "AVAILABLE", *(("PROOF",) if shows_proofs else ()), "ORIGIN")
    states = [_availability(runtime) for runtime in runtimes]
    whole = [f"{text} ({note})" if note and text == "yes" else with_detail(text, note) for text, note, _ in states]

    def render(cells: Iterable[str], terminal: Terminal) -> list[str]:
        rows = [
            (
                f"{runtime['name']}{' *' if runtime['default'] else ''}",
                what_runs(runtime),
                Tinted(cell, colour),
                *((proof_state(runtime["proof"]),) if shows_proofs else ()),
                _origin(runtime),
            )
            for runtime, cell, (_, _, colour) in zip(runtimes, cells, states, strict=True)
        ]
        return render_table(header, rows, terminal, cut_at_start=header.index("ORIGIN"))

    if fits(render(whole, PLAIN), terminal):
        return render(whole, terminal)
    first, *rest = render((text for text, _, _ in states), terminal)
    lines = [first]
    for line, (_, note, colour) in zip(rest, states, strict=True):
        lines += [line, render_line(f"    {note}", colour, terminal)] if note else [line]
    return lines


def render_status(status: Document, terminal: Terminal = PLAIN, *, now_s: float) -> list[str]:
    """Return the status of the daemon, health first. ``now_s`` is the time in seconds since the epoch."""
    health, watcher, report = status["health"], status["watcher"], status["last_reload"]
    default = printable(status["default_runtime"])
    unavailable = _unavailable(status, status["runtimes"])
    fields = [
        ("health", Tinted(health["status"], health_colour(health["status"]))),
        *((f"  {subject}", reason) for subject, reason in health["reasons"].items()),
        ("generation", f"{status['generation']}: {counted(status['runtimes'], 'runtime')}, default {default}"),
        *([("runtimes", Tinted("; ".join(unavailable), YELLOW))] if unavailable else []),
        *([("last reload", "none")] if report is None else _last_reload(report, now_s)),
        ("configuration", status["configuration"]),
        *list_fields("sources", status["sources"] or ["none"]),
        ("watcher", _watcher(watcher)),
        *((f"  {directory}", fault) for directory, fault in watcher["faults"].items()),
        *_drifts(status["drift"], status["drift_count"]),
        *_containers(status["containers"]),
        *list_fields("engines", (render_engine(each, now_s) for each in status["engines"])),
        *status_fields(status["proofs"], default),
        *list_fields("sockets", status["hosts"]),
        ("data root", status["data_root"]),
        ("uptime", duration(status["uptime_s"])),
        ("version", f"{status['version']}, process {status['pid']}"),
    ]
    return render_fields(fields, terminal)


def health_colour(health: str) -> int:
    """Return the colour of a health: ``ok``, or anything else."""
    return GREEN if health == "ok" else RED


def render_report(
    report: Document,
    terminal: Terminal = PLAIN,
    *,
    verbose: bool = False,
    before: Document | None = None,
    now_s: float = 0.0,
) -> list[str]:
    """Return the outcome of a reload or of a dry run, without its problems.

    ``before`` is the report of the reload before, ``now_s`` the time in seconds since the epoch.
    """
    generation = f"generation {report['generation']}"
    took = f"in {report['duration_ms']:g} ms"
    if report["dry_run"]:
        does = {"applied": "would be applied", "unchanged": "would change nothing", "rejected": "would be rejected"}
        first = f"dry run: {does.get(report['outcome'], report['outcome'])}; {generation} stays in use ({took})"
    elif report["outcome"] == "rejected":
        subject = "generation not stored" if report["cause"] == "store" else "configuration rejected"
        first = f"{subject}; {generation} stays in use"
    elif report["outcome"] == "unchanged":
        first = f"already live: {generation}{_live_since(before, report['generation'], now_s)}"
    else:
        first = f"{report['outcome']}: {generation} ({took})"
    lines = [printable(first)]
    for key, (mark, colour) in MARKS.items():
        names = report[key]
        lines += [render_line(f"  {mark} {name}", colour, terminal) for name in names[:_LISTED]]
        if len(names) > _LISTED:
            lines.append(f"  {mark} and {len(names) - _LISTED} more {key}")
    if default := report["default_runtime"]:
        lines.append(printable(f"default runtime: {default['from']} -> {default['to']}"))
    return lines + render_notes(report, terminal, verbose=verbose)


def render_notes(report: Document, terminal: Terminal = PLAIN, *, verbose: bool = False) -> list[str]:
    """Return the settings of a report that have no effect, its remarks, and the unavailable runtimes.

    More than a few ignored keys are only counted unless ``verbose``: a daemon.json of dockerd may have hundreds.
    """
    lines = []
    for key, title in _NOTED.items():
        values = report[key]
        counted_only = key == "ignored" and len(values) > _IGNORED_NAMED and not verbose
        text = f"{len(values)} keys, which --verbose names" if counted_only else ", ".join(values)
        if values:
            colour = YELLOW if key == "restart_required" else None
            lines.append(render_line(f"{title}: {text}", colour, terminal))
    remarks = report["remarks"] if verbose else report["remarks"][:_LISTED]
    lines += [render_line(f"note: {render_problem(remark)}", YELLOW, terminal) for remark in remarks]
    if more := len(report["remarks"]) - len(remarks):
        lines.append(f"note: and {more} more remarks, which --verbose shows")
    lines += [render_line(text, None, terminal) for text in _kept(report["kept"])]
    if unavailable := _unavailable(report, report["runtime_count"]):
        warning = [f"warning: {'; '.join(unavailable)}"]
        if not fits(warning, terminal):
            warning = [f"warning: {unavailable[0]}", *(f"  {each}" for each in unavailable[1:])]
        lines += [render_line(line, YELLOW, terminal) for line in warning]
    return lines


def render_problem(problem: Document) -> str:
    """Return one problem of a configuration as one line: ``file:line:column: /pointer: message``."""
    where = place(problem["file"], problem["line"], problem["column"])
    return printable(": ".join(part for part in (where, problem["pointer"], problem["message"]) if part))


def render_collection(collection: Document, terminal: Terminal = PLAIN) -> list[str]:
    """Return the verdict on every wrapper, and how many were or can be collected."""
    wrappers = collection["wrappers"]
    if not wrappers:
        return ["there are no wrappers"]
    rows = [(wrapper["verdict"], wrapper["file"], wrapper["reason"]) for wrapper in wrappers]
    lines = render_table(("VERDICT", "WRAPPER", "REASON"), rows, terminal)
    total = counted(len(wrappers), "wrapper")
    free = sum(wrapper["verdict"] == "collect" for wrapper in wrappers)
    if collection["dry_run"]:
        return [*lines, f"dry run: {free} of {total} can be removed"]
    left = f"; {free} could not be removed" if free else ""
    return [*lines, f"{collection['collected']} of {total} collected, {collection['kept']} kept{left}"]


def what_runs(runtime: Document) -> str:
    """Return the path that was configured, or the shim."""
    return str((runtime["definition"] or {}).get("path") or runtime["shim"])


def lacks_shim(runtime: Document) -> bool:
    """Return whether containerd's shim for an OCI runtime is not found; podman and CRI-O need none."""
    return runtime["shim_binary"]["path"] is None and runtime["binary"] is not None


def render_drift(drift: Document) -> str:
    """Return the kind of a drift and its reason."""
    return with_detail(_drifted(drift), drift["reason"])


def _unavailable(document: Document, total: int) -> list[str]:
    """Return how many of ``total`` runtimes are available and which are not, nothing if all are."""
    unavailable = document["unavailable"]
    if not unavailable:
        return []
    count = document["unavailable_count"]
    # The reason ends with the PATH that was searched; it is long, and runtimectl explain shows it.
    named = [
        f"{each['runtime']}: {each['path']}: {each['reason'].partition(' (')[0]}"
        for each in unavailable[:_UNAVAILABLE_NAMED]
    ]
    more = [f"and {count - len(named)} more"] if count > len(named) else []
    return [f"{total - count} of {total} available", *named, *more]


def _live_since(before: Document | None, generation: int, now_s: float) -> str:
    if before is None or (before["outcome"], before["generation"]) != ("applied", generation):
        return ""
    return f", since {since(before['time'], now_s)} ({trigger(before['reason'])})"


def _last_reload(report: Document, now_s: float) -> Iterable[Field]:
    text = f"{report['outcome']}, {moment(report['time'], now_s)}, reason {report['reason']}"
    yield "last reload", Tinted(text, RED if report["outcome"] == "rejected" else None)
    for problem in report["problems"]:
        yield "  problem", render_problem(problem)
    if (more := report["problem_count"] - len(report["problems"])) > 0:
        yield "", f"and {counted(more, 'more problem')}"
    for remark in report["remarks"][:_LISTED]:
        yield "  note", render_problem(remark)
    if settings := report["restart_required"]:
        yield "  restart required", f"{_NOTED['restart_required']}: {', '.join(settings)}"


def _drifts(drifts: Sequence[Document], count: int) -> Iterable[Field]:
    for drift in drifts:
        text = f"{drift['binary']} {render_drift(drift)}; runs {', '.join(drift['runtimes'])}"
        if (more := drift["runtime_count"] - len(drift["runtimes"])) > 0:
            text += f" and {more} more"
        yield "drift", Tinted(text, YELLOW)
    if (more := count - len(drifts)) > 0:
        yield "", f"and {more} more"


def _containers(containers: Document) -> Iterable[Field]:
    """Yield the fields about containers, none if no container was started through a stable path."""
    if not any(containers.values()):
        return
    yield "containers", f"{containers['pinned']} with a pin"
    yield from list_fields("  kept", _kept(containers["kept"]))
    if unpinned := containers["unpinned"]:
        text = f"{counted(unpinned, 'container')}: calls execute the current definition"
        yield "  without a pin", Tinted(text, YELLOW)
    yield from list_fields("  unreadable pins", (Tinted(each, RED) for each in containers["unknown"]))


def _kept(kept: Sequence[Document]) -> list[str]:
    """Return a line for each older definition that containers keep, the first twenty of them."""
    lines = [
        kept_text(each["runtime"], each["containers"], each["generation"], each["binary"]) for each in kept[:_LISTED]
    ]
    return [*lines, f"and {len(kept) - _LISTED} more kept definitions"] if len(kept) > _LISTED else lines


def _watcher(watcher: Document) -> Tinted:
    if not watcher["alive"]:
        return Tinted(f"{watcher['mode']}, which has stopped", RED)
    return Tinted(watcher["mode"], YELLOW if watcher["mode"] == "polling" else None)


def _origin(runtime: Document) -> str:
    origin = runtime["origin"]
    return str(runtime["source"]) if origin is None else place(origin["file"], origin["line"])


def _availability(runtime: Document) -> tuple[str, str | None, int | None]:
    """Return "yes" or "no", a note, shortened for a table, and the colour of both."""
    if not runtime["available"]:
        reason: str = runtime["reason"].removeprefix(_LOOK_UP_FAILED).removeprefix(f"{what_runs(runtime)}: ")
        short = reason.partition(" (")[0]
        return "no", short if len(short) <= _REASON_MAX else f"{short[: _REASON_MAX - 3]}...", RED
    if runtime["replaceable"]:
        return "yes", "other users can replace it", YELLOW
    if drift := runtime["drift"]:
        return "yes", _drifted(drift), YELLOW
    if lacks_shim(runtime):
        return "yes", "but its shim is not found", YELLOW
    return "yes", None, None


def _drifted(drift: Document) -> str:
    return f"{drift['kind']} after the configuration was loaded"
