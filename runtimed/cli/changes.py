"""What differs between two generations, or would after a reload, as lines for people."""

from __future__ import annotations

from runtimed.cli.humanize import moment, quoted
from runtimed.cli.render import render_notes, render_report
from runtimed.cli.tables import printable, render_line
from runtimed.cli.terminal import GREEN, PLAIN, RED, YELLOW, Terminal, Tinted

TYPE_CHECKING = False  # as in runtimed.client
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    Document = Mapping[str, Any]

_MARKS = {"added": ("+", GREEN), "removed": ("-", RED), "changed": ("~", YELLOW)}


def render_diff(document: Document, terminal: Terminal = PLAIN) -> list[str]:
    """Return what one generation answers otherwise than another: + added, - removed, ~ changed."""
    if not has_changes(document):
        return [f"generations {document['from']} and {document['to']} give the same answers"]
    return [f"generation {document['from']} -> {document['to']}", *_lines(document, terminal)]


def render_plan(report: Document, terminal: Terminal = PLAIN, *, verbose: bool = False) -> list[str]:
    """Return what a reload would change by the ``report`` of a dry run that was not rejected."""
    changes = report.get("changes")
    if changes is None:
        # A daemon of an earlier version tells names only.
        return render_report(report, terminal, verbose=verbose)
    notes = render_notes(report, terminal, verbose=verbose)
    if report["outcome"] == "unchanged":
        return [f"a reload would change nothing: generation {report['generation']} stays", *notes]
    lines = [f"a reload would lead from generation {changes['from']} to {changes['to']}", *_lines(changes, terminal)]
    for key, (mark, _) in _MARKS.items():
        if untold := len(report[key]) - len(changes[key]):
            lines.append(f"{mark} and {untold} more {key}, which --json names")
    if not has_changes(changes):
        lines.append("every runtime is answered as before; what changes is a setting of the daemon")
    counts = ", ".join(f"{len(report[key])} {key}" for key in ("added", "changed", "removed"))
    return [*lines, *notes, f"{counts}; nothing was done, runtimectl reload does it"]


def render_last_change(report: Document | None, now_s: float) -> list[str]:
    """Return when the files were taken over by the ``report`` of the last reload; nothing if that changed nothing."""
    if report is None or report["outcome"] != "applied" or report["reason"] == "start":
        return []
    new, when = report["generation"], moment(report["time"], now_s)
    said = f"it came of {report['reason']} at {when}: runtimectl diff {new - 1} {new} shows what that changed"
    return [printable(f"generation {new}: {said}")]


def has_changes(document: Document) -> bool:
    """Return whether anybody is answered otherwise."""
    return any(document[key] for key in (*_MARKS, "default_runtime"))


def _lines(document: Document, terminal: Terminal) -> Iterator[str]:
    for key, (mark, colour) in _MARKS.items():
        for runtime in document[key]:
            yield render_line(Tinted(f"{mark} {runtime['name']}", colour), terminal)
            yield from (f"    {printable(line)}" for line in _definition(runtime, key))
    if default := document["default_runtime"]:
        yield render_line(Tinted(f"default runtime: {default['from']} -> {default['to']}", YELLOW), terminal)


def _definition(runtime: Document, key: str) -> Iterator[str]:
    if key == "changed":
        return _changed(runtime)
    return (f"{field}: {quoted(value)}" for field, value in _flat(runtime["to" if key == "added" else "from"]))


def _changed(runtime: Document) -> Iterator[str]:
    before, after = dict(_flat(runtime["from"])), dict(_flat(runtime["to"]))
    if before == after:
        # Its options hang on daemon-wide settings too: the cgroup driver, the exec root.
        yield "defined as before; a setting of the daemon changed its options"
    for field in dict.fromkeys((*before, *after)):
        if field not in before:
            yield f"{field}: was not set -> {quoted(after[field])}"
        elif field not in after:
            yield f"{field}: {quoted(before[field])} -> is not set"
        elif before[field] != after[field]:
            yield f"{field}: {quoted(before[field])} -> {quoted(after[field])}"


def _flat(definition: Document | None) -> Iterator[tuple[str, object]]:
    """Yield the fields of a definition, those of its options each by itself; none where nobody configured it."""
    for key, value in (definition or {}).items():
        if key == "options":
            yield from ((f"options.{inner}", each) for inner, each in value.items())
        else:
            yield key, value
