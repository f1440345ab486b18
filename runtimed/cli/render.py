"""What the daemon answered, as lines for people. Documents in, lines out."""

from __future__ import annotations

from runtimed.cli.humanize import counted, duration, moment, shown
from runtimed.cli.tables import fits, printable, render_fields, render_line, render_table
from runtimed.cli.terminal import GREEN, PLAIN, RED, YELLOW, Terminal, Tinted

TYPE_CHECKING = False  # as in runtimed.client
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    Document = Mapping[str, Any]

# How many names of one kind a report lists.
_LISTED = 20
_REASON_MAX = 72
# How many ignored keys are named without being asked for.
_IGNORED_NAMED = 8
_UNAVAILABLE_NAMED = 5
_LOOK_UP_FAILED = "error while looking up the specified runtime path: "


def render_resolution(resolution: Document, terminal: Terminal = PLAIN) -> list[str]:
    """Return what a name resolves to."""
    options = resolution["options"]
    fields: list[tuple[str, object]] = [(key, resolution[key]) for key in ("runtime", "source", "shim")]
    if options is None:
        fields.append(("options", "none"))
    else:
        fields.append(("options", options["type_url"]))
        fields += [(f"  {key}", shown(value)) for key, value in options["fields"].items()]
    fields += [(key, resolution[key]) for key in ("generation", "digest")]
    return render_fields(fields, terminal)


def render_runtimes(table: Document, terminal: Terminal = PLAIN) -> list[str]:
    """Return the table of runtimes, a line for each.

    In a terminal that is too narrow the reason why one cannot be used has a line to itself, and is not cut.
    """
    header = ("NAME", "DEFAULT", "SHIM OR PATH", "AVAILABLE", "ORIGIN")
    rows = [
        (runtime["name"], "*" if runtime["default"] else "", what_runs(runtime), _available(runtime), _origin(runtime))
        for runtime in table["runtimes"]
    ]
    if fits(render_table(header, rows), terminal):
        return render_table(header, rows, terminal)
    split = [(str(getattr(row[3], "value", row[3])).partition(": "), row) for row in rows]
    short = [(*row[:3], Tinted(word, RED) if reason else row[3], row[4]) for (word, _, reason), row in split]
    lines = render_table(header, short, terminal, places=frozenset({header.index("ORIGIN")}))
    shown = lines[:1]
    for line, ((_, _, reason), _) in zip(lines[1:], split, strict=True):
        shown.append(line)
        if reason:
            shown.append(render_line(Tinted(f"    {reason}", RED), terminal))
    return shown


def render_status(status: Document, now_s: float, terminal: Terminal = PLAIN) -> list[str]:
    """Return how the daemon is, health first. ``now_s`` is the time in seconds since the epoch."""
    health, watcher = status["health"], status["watcher"]
    reasons = [(f"  {subject}", reason) for subject, reason in health["reasons"].items()]
    default = printable(status["default_runtime"])
    fields: list[tuple[str, object]] = [
        ("health", Tinted(health["status"], health_colour(health["status"]))),
        *reasons,
        ("generation", f"{status['generation']}: {counted(status['runtimes'], 'runtime')}, default {default}"),
        *(("runtimes", Tinted(text, YELLOW)) for text in _unavailable(status, status["runtimes"])),
        *_last_reload(status["last_reload"], now_s),
        ("configuration", status["configuration"]),
        *_several("sources", status["sources"] or ["none"]),
        ("watcher", _watcher(watcher)),
        *((f"  {directory}", fault) for directory, fault in watcher["faults"].items()),
        *_drifts(status.get("drift", ()), status.get("drift_count", 0)),
        *_several("sockets", status["hosts"]),
        ("data root", status["data_root"]),
        ("uptime", duration(status["uptime_s"])),
        ("version", f"{status['version']}, process {status['pid']}"),
    ]
    return render_fields(fields, terminal)


def health_colour(health: str) -> int:
    """Return the colour of ``ok``, and of everything else."""
    return GREEN if health == "ok" else RED


def render_report(report: Document, terminal: Terminal = PLAIN, *, verbose: bool = False) -> list[str]:
    """Return what a reload did, or would do; nothing about problems."""
    generation = f"generation {report['generation']}"
    took = f"in {report['duration_ms']:g} ms"
    if report["dry_run"]:
        does = {"applied": "would be applied", "unchanged": "would change nothing", "rejected": "would be rejected"}
        lines = [f"dry run: {does.get(report['outcome'], report['outcome'])}; {generation} stays ({took})"]
    else:
        stays = " stays" if report["outcome"] == "rejected" else ""
        lines = [f"{report['outcome']}: {generation}{stays} ({took})"]
    lines = [printable(line) for line in lines]
    for mark, key, colour in (("+", "added", GREEN), ("~", "changed", YELLOW), ("-", "removed", RED)):
        names = report[key]
        lines += [render_line(Tinted(f"  {mark} {name}", colour), terminal) for name in names[:_LISTED]]
        if len(names) > _LISTED:
            lines.append(f"  {mark} and {len(names) - _LISTED} more {key}")
    if default := report.get("default_runtime"):
        lines.append(printable(f"default runtime: {default['from']} -> {default['to']}"))
    return lines + render_notes(report, terminal, verbose=verbose)


def render_notes(report: Document, terminal: Terminal = PLAIN, *, verbose: bool = False) -> list[str]:
    """Return which settings of a report do not take effect, and which runtimes cannot be used.

    More than a few ignored keys are counted unless ``verbose``: the daemon.json of a dockerd may have hundreds.
    """
    noted = {key: f"{title}: {', '.join(report[key])}" for key, title in _NOTED if report.get(key)}
    if "ignored" in noted and len(report["ignored"]) > _IGNORED_NAMED and not verbose:
        noted["ignored"] = f"{_NOTED[1][1]}: {len(report['ignored'])} keys, which --verbose names"
    wants = "restart_required"
    lines = [render_line(Tinted(text, YELLOW) if key == wants else text, terminal) for key, text in noted.items()]
    # A daemon of an earlier version has no remarks.
    remarks = report.get("remarks", ())
    shown = remarks if verbose else remarks[:_LISTED]
    lines += [render_line(Tinted(f"note: {render_problem(remark)}", YELLOW), terminal) for remark in shown]
    if more := len(remarks) - len(shown):
        lines.append(f"note: and {more} more remarks, which --verbose shows")
    total = report.get("runtime_count", 0)
    lines += [render_line(Tinted(f"warning: {text}", YELLOW), terminal) for text in _unavailable(report, total)]
    return lines


_NOTED = (
    ("restart_required", "takes a restart to take effect"),
    ("ignored", "ignored, of no use to runtimed"),
    ("overridden", "overridden by flags"),
    ("repaired", "published files repaired"),
)


def _unavailable(document: Document, total: int) -> Iterable[str]:
    """Yield how many of ``total`` runtimes can be used and which cannot; nothing where all can be."""
    # A daemon of an earlier version does not say.
    unavailable = document.get("unavailable", ())
    if unavailable:
        count = document.get("unavailable_count", len(unavailable))
        # The PATH that was searched is long, and runtimectl explain has it.
        named = [
            f"{each['runtime']}: {each['path']}: {each['reason'].partition(' (')[0]}"
            for each in unavailable[:_UNAVAILABLE_NAMED]
        ]
        more = [f"and {count - len(named)} more"] if count > len(named) else []
        yield "; ".join((f"{total - count} of {total} available", *named, *more))


def render_problem(problem: Document) -> str:
    """Return one problem of a configuration as one line: ``file:line:column: /pointer: message``."""
    place = ":".join(str(problem[key]) for key in ("file", "line", "column") if problem.get(key) is not None)
    return printable(": ".join(part for part in (place, problem.get("pointer"), problem["message"]) if part))


def render_collection(collection: Document, terminal: Terminal = PLAIN) -> list[str]:
    """Return the verdict on every wrapper, and how many went or could go; nothing about unknown sources."""
    wrappers = collection["wrappers"]
    if not wrappers:
        return ["there are no wrappers"]
    rows = [(wrapper["verdict"], wrapper["file"], wrapper["reason"]) for wrapper in wrappers]
    lines = render_table(("VERDICT", "WRAPPER", "REASON"), rows, terminal)
    total = counted(len(wrappers), "wrapper")
    free = sum(wrapper["verdict"] == "collect" for wrapper in wrappers)
    if collection["dry_run"]:
        return [*lines, f"dry run: {free} of {total} could be collected; nothing was"]
    left = f"; {free} could not be removed" if free else ""
    return [*lines, f"{collection['collected']} of {total} collected, {collection['kept']} kept{left}"]


def _last_reload(report: Document | None, now_s: float) -> Iterable[tuple[str, object]]:
    if report is None:
        yield "last reload", "none"
        return
    text = f"{report['outcome']}, {moment(report['time'], now_s)}, reason {report['reason']}"
    yield "last reload", Tinted(text, RED) if report["outcome"] == "rejected" else text
    for problem in report["problems"]:
        yield "  problem", render_problem(problem)
    # A daemon of an earlier version does not count them.
    if (more := report.get("problem_count", 0) - len(report["problems"])) > 0:
        yield "", f"and {counted(more, 'more problem')}"
    for remark in report.get("remarks", ())[:_LISTED]:
        yield "  note", render_problem(remark)
    for key, title in _NOTED[:1]:
        if report[key]:
            yield f"  {key.replace('_', ' ')}", f"{title}: {', '.join(report[key])}"


def _drifts(drifts: Sequence[Document], count: int) -> Iterable[tuple[str, object]]:
    for drift in drifts:
        reason = f": {drift['reason']}" if drift["reason"] else ""
        text = f"{drift['binary']} {drift['kind']} since the load{reason}; runs {', '.join(drift['runtimes'])}"
        if (more := drift.get("runtime_count", 0) - len(drift["runtimes"])) > 0:
            text += f" and {more} more"
        yield "drift", Tinted(text, YELLOW)
    if (more := count - len(drifts)) > 0:
        yield "", f"and {more} more"


def _watcher(watcher: Document) -> object:
    if not watcher["alive"]:
        return Tinted(f"{watcher['mode']}, which has stopped", RED)
    return Tinted(watcher["mode"], YELLOW) if watcher["mode"] == "polling" else watcher["mode"]


def _several(name: str, values: Sequence[object]) -> Iterable[tuple[str, object]]:
    return ((name if index == 0 else "", value) for index, value in enumerate(values))


def _origin(runtime: Document) -> str:
    origin = runtime["origin"]
    if origin is None:
        return str(runtime["source"])
    return origin["file"] if origin["line"] is None else f"{origin['file']}:{origin['line']}"


def what_runs(runtime: Document) -> str:
    """Return the path that was configured, or the shim."""
    return str((runtime["definition"] or {}).get("path") or runtime["shim"])


def lacks_shim(runtime: Document) -> bool:
    """Return whether containerd's shim for an OCI runtime is not found; podman and CRI-O need none."""
    shim = runtime.get("shim_binary")
    return bool(shim and shim["path"] is None and runtime["binary"] is not None)


def _available(runtime: Document) -> object:
    """Return "yes", or "no" and the reason without what a table has no room for (--json has it)."""
    if runtime["available"]:
        # A daemon of an earlier version says nothing of these.
        if runtime.get("replaceable"):
            return Tinted("yes, but others can replace it", YELLOW)
        if drift := runtime.get("drift"):
            return Tinted(f"yes, {drift['kind']} since the load", YELLOW)
        return Tinted("yes, but the shim is not found", YELLOW) if lacks_shim(runtime) else "yes"
    reason: str = runtime["reason"].removeprefix(_LOOK_UP_FAILED).removeprefix(f"{what_runs(runtime)}: ")
    short = reason.partition(" (")[0]
    return Tinted("no: " + (short if len(short) <= _REASON_MAX else f"{short[: _REASON_MAX - 3]}..."), RED)
