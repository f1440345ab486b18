"""The retained generations as lines for people."""

from __future__ import annotations

from runtimed.cli.humanize import moment
from runtimed.cli.tables import render_line, render_table
from runtimed.cli.terminal import PLAIN, RED, Terminal, Tinted

TYPE_CHECKING = False  # as in runtimed.client
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Document = Mapping[str, Any]

# As many as git shows of a commit, and a few more.
_DIGEST_SHOWN = 12


def render_generations(document: Document, now_s: float, terminal: Terminal = PLAIN) -> list[str]:
    """Return a line for each retained generation, the current one, which is the newest, marked.

    ``now_s`` is the time in seconds since the epoch.
    """
    found = document["generations"]
    rows = [_row(generation, index == 0, now_s) for index, generation in enumerate(found)]
    lines = render_table(("GENERATION", "CURRENT", "CREATED", "DEFAULT", "RUNTIMES", "DIGEST"), rows, terminal)
    damaged = (each for each in found if "problem" in each)
    return lines + [render_line(Tinted(f"{each['generation']}: {each['problem']}", RED), terminal) for each in damaged]


def _row(generation: Document, current: bool, now_s: float) -> tuple[object, ...]:  # noqa: FBT001 - a column
    mark = "*" if current else ""
    if "problem" in generation:
        return generation["generation"], mark, "cannot be read, see below", "", "", ""
    digest = generation["digest"].partition(":")[2][:_DIGEST_SHOWN]
    created = moment(generation["created"], now_s)
    default, count = generation["default_runtime"], generation["runtime_count"]
    return generation["generation"], mark, created, default, count, digest
