"""The retained generations, and what differs between two of them, as lines for people."""

from __future__ import annotations

from runtimed.cli.tables import printable, render_table
from runtimed.cli.wording import moment, quoted

TYPE_CHECKING = False  # as in runtimed.client
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    Document = Mapping[str, Any]

# As many as git shows of a commit, and a few more.
_DIGEST_SHOWN = 12


def render_generations(document: Document, now_s: float) -> list[str]:
    """Return a line for each retained generation, the current one, which is the newest, marked.

    ``now_s`` is the time in seconds since the epoch.
    """
    found = document["generations"]
    rows = [_row(generation, index == 0, now_s) for index, generation in enumerate(found)]
    lines = render_table(("GENERATION", "CURRENT", "CREATED", "DEFAULT", "RUNTIMES", "DIGEST"), rows)
    damaged = [generation for generation in found if "problem" in generation]
    return lines + [printable(f"{each['generation']}: {each['problem']}") for each in damaged]


def render_diff(document: Document) -> list[str]:
    """Return what one generation answers otherwise than another: + added, - removed, ~ changed."""
    old, new = document["from"], document["to"]
    added, changed, removed = document["added"], document["changed"], document["removed"]
    default = document["default_runtime"]
    if not (added or changed or removed or default):
        return [f"generations {old} and {new} give the same answers"]
    lines = [f"generation {old} -> {new}"]
    for mark, runtimes, key in (("+", added, "to"), ("-", removed, "from")):
        for runtime in runtimes:
            lines.append(f"{mark} {runtime['name']}")
            lines += [f"    {field}: {quoted(value)}" for field, value in _flat(runtime[key])]
    for runtime in changed:
        lines += [f"~ {runtime['name']}", *(f"    {line}" for line in _changes(runtime))]
    if default:
        lines.append(f"default runtime: {default['from']} -> {default['to']}")
    return [printable(line) for line in lines]


def _row(generation: Document, current: bool, now_s: float) -> tuple[object, ...]:  # noqa: FBT001 - a column
    mark = "*" if current else ""
    if "problem" in generation:
        return generation["generation"], mark, "cannot be read, see below", "", "", ""
    digest = generation["digest"].partition(":")[2][:_DIGEST_SHOWN]
    created = moment(generation["created"], now_s)
    default, count = generation["default_runtime"], generation["runtime_count"]
    return generation["generation"], mark, created, default, count, digest


def _changes(runtime: Document) -> Iterator[str]:
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
