"""Renders the retained generations, and the differences between two of them, as lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from runtimed.cli.history import short_trigger
from runtimed.cli.humanize import local_time, moment, quoted, trigger
from runtimed.cli.render import MARKS, render_notes
from runtimed.cli.tables import Document, fits, render_line, render_table
from runtimed.cli.terminal import PLAIN, YELLOW, Terminal
from runtimed.core.message_text import printable

_ORDER = ("added", "removed", "changed")
# As many as git shows of a commit, and a few more.
_DIGEST_SHOWN = 12


def render_generations(document: Document, terminal: Terminal = PLAIN) -> list[str]:
    """Return a line for each retained generation, newest first; an asterisk marks the current one.

    Where they are too wide together, the trigger of a generation has its own line.
    """
    header = ("GENERATION", "CREATED", "DEFAULT", "RUNTIMES", "DIGEST")
    rows = [
        (
            f"{generation['generation']}{'' if index else ' *'}",
            local_time(generation["created"]),
            generation["default_runtime"],
            generation["runtime_count"],
            generation["digest"].partition(":")[2][:_DIGEST_SHOWN],
        )
        for index, generation in enumerate(document["generations"])
    ]
    triggers = [short_trigger(generation["trigger"]) for generation in document["generations"]]
    whole = [(*row, text) for row, text in zip(rows, triggers, strict=True)]
    if fits(render_table((*header, "TRIGGER"), whole), terminal):
        return render_table((*header, "TRIGGER"), whole, terminal)
    first, *rest = render_table(header, rows, terminal)
    below = (render_line(f"    {text}", None, terminal) for text in triggers)
    return [first, *(line for pair in zip(rest, below, strict=True) for line in pair)]


def render_diff(document: Document, terminal: Terminal = PLAIN) -> list[str]:
    """Return the runtimes that differ between two generations: + added, - removed, ~ changed."""
    if not has_changes(document):
        return [f"generations {document['from']} and {document['to']} do not differ"]
    return [f"generation {document['from']} -> {document['to']}", *_changes(document, terminal)]


def render_plan(report: Document, terminal: Terminal = PLAIN, *, verbose: bool = False) -> list[str]:
    """Return the changes that a reload would make, from the ``report`` of a dry run that was not rejected."""
    changes = report["changes"]
    notes = render_notes(report, terminal, verbose=verbose)
    if report["outcome"] == "unchanged":
        return [f"a reload would change nothing; generation {report['generation']} stays in use", *notes]
    lines = [f"a reload would lead from generation {changes['from']} to {changes['to']}", *_changes(changes, terminal)]
    more = {key: len(report[key]) - len(changes[key]) for key in _ORDER}
    lines += [f"{MARKS[key][0]} and {n} more {key}, which --json names" for key, n in more.items() if n]
    if not has_changes(changes):
        lines.append("every runtime resolves as before; only a setting of the daemon changes")
    counts = ", ".join(f"{len(report[key])} {key}" for key in MARKS)
    return [*lines, *notes, f"{counts}; this is a plan, runtimectl reload carries it out"]


def render_last_change(report: Document | None, now_s: float) -> list[str]:
    """Return a line about the reload that ``report`` describes, none unless it applied a change."""
    if report is None or report["outcome"] != "applied" or report["reason"] == "start":
        return []
    new, when = report["generation"], moment(report["time"], now_s)
    text = f"created by {trigger(report['reason'])} at {when}: runtimectl diff {new - 1} {new} shows the changes"
    return [printable(f"generation {new}: {text}")]


def has_changes(document: Document) -> bool:
    """Return whether any runtime, or the default runtime, differs."""
    return any(document[key] for key in (*MARKS, "default_runtime"))


def _changes(document: Document, terminal: Terminal) -> Iterator[str]:
    for key in _ORDER:
        mark, colour = MARKS[key]
        for runtime in document[key]:
            yield render_line(f"{mark} {runtime['name']}", colour, terminal)
            for before, after in _definition(runtime, key):
                lines = [f"    {printable(before)}", *([f"      {printable(after)}"] if after else [])]
                whole = [" ".join((lines[0], *(line.lstrip() for line in lines[1:])))]
                yield from whole if fits(whole, terminal) else lines
    if default := document["default_runtime"]:
        yield render_line(f"default runtime: {default['from']} -> {default['to']}", YELLOW, terminal)


def _definition(runtime: Document, key: str) -> Iterator[tuple[str, str]]:
    """Yield a field and its value before, and its value after if that differs."""
    before, after = dict(_flat(runtime["from"])), dict(_flat(runtime["to"]))
    if key != "changed":
        yield from ((f"{field}: {value}", "") for field, value in (before or after).items())
        return
    if before == after:
        # The options also depend on daemon-wide settings: the cgroup driver, the exec root.
        yield "defined as before; a setting of the daemon changed its options", ""
    for field in dict.fromkeys((*before, *after)):
        if before.get(field) != after.get(field):
            yield f"{field}: {before.get(field, 'was not set')}", f"-> {after.get(field, 'is not set')}"


def _flat(definition: Document | None) -> Iterator[tuple[str, str]]:
    """Yield the fields of a definition as JSON, each option and each carried key separately.

    A runtime that is not configured has none.
    """
    for key, value in (definition or {}).items():
        if key == "options":
            yield from ((f"options.{inner}", quoted(each)) for inner, each in value.items())
        elif key == "engines":
            yield from ((f"engines.{e}.{k}", quoted(each)) for e, keys in value.items() for k, each in keys.items())
        else:
            yield key, quoted(value)
