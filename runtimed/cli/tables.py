"""Aligns values in columns for a terminal, and escapes everything in them that a terminal would obey."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from runtimed.cli.terminal import PLAIN, Terminal, Tinted
from runtimed.core.message_text import printable

TYPE_CHECKING = False  # as in runtimed.client
if TYPE_CHECKING:
    from typing import Any

# A JSON object of the daemon, as ``runtimed.core.shapes`` describes them.
Document = Mapping[str, "Any"]
# A name, which blanks may indent, and a value, perhaps Tinted.
Field = tuple[str, object]
# A printable text and its colour.
_Cell = tuple[str, int | None]

_GAP = "  "
_CUT = "..."
# A column that is cut to less than this is useless.
_NARROWEST = 12


def render_table(
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    terminal: Terminal = PLAIN,
    *,
    cut_at_start: int | None = None,
) -> list[str]:
    """Return the lines of a table, its columns aligned to the left and cut to the width of ``terminal``.

    The first column, which names the subject of a row, is never cut. Values are cut in the middle; those of the column
    ``cut_at_start``, counted from 0, lose their beginning.
    """
    cells = [[_cell(cell) for cell in row] for row in (header, *rows)]
    widths = [max(_width(text) for text, _ in column) for column in zip(*cells, strict=True)]
    if terminal.columns is not None:
        widths = _fit(widths, terminal.columns)
    lines = []
    for row in cells:
        shown = []
        for column, ((text, colour), width) in enumerate(zip(row, widths, strict=True)):
            cut = text if _width(text) <= width else _cut(text, width, at_start=column == cut_at_start)
            shown.append(terminal.paint(cut, colour) + " " * (width - _width(cut)))
        lines.append(_GAP.join(shown).rstrip())
    return lines


def fits(lines: Iterable[str], terminal: Terminal) -> bool:
    """Return whether ``terminal`` is wide enough for ``lines``, which have no colours."""
    return terminal.columns is None or all(_width(line) <= terminal.columns for line in lines)


def render_fields(fields: Iterable[Field], terminal: Terminal = PLAIN) -> list[str]:
    """Return the lines of fields: each name, then its value, the values aligned and wrapped at blanks."""
    shown = [(printable(name), value) for name, value in fields]
    width = max((_width(name) for name, _ in shown), default=0)
    lines = []
    for name, value in shown:
        text, colour = _cell(value)
        wraps = terminal.columns is not None and not (isinstance(value, Tinted) and not value.wraps)
        parts = _wrap(text, (terminal.columns or 0) - width - len(_GAP)) if wraps else [text]
        for index, part in enumerate(parts):
            head = "" if index else name
            lines.append(f"{head}{' ' * (width - _width(head))}{_GAP}{terminal.paint(part, colour)}".rstrip())
    return lines


def list_fields(name: str, values: Iterable[object]) -> list[Field]:
    """Return a field for each value, the first with ``name``, the others without."""
    return [("" if index else name, value) for index, value in enumerate(values)]


def render_line(value: object, colour: int | None = None, terminal: Terminal = PLAIN) -> str:
    """Return ``value`` as a printable line in ``colour``."""
    return terminal.paint(printable(value), colour)


def _cell(value: object) -> _Cell:
    return (printable(value.value), value.colour) if isinstance(value, Tinted) else (printable(value), None)


def _wrap(text: str, width: int) -> list[str]:
    """Return ``text`` in lines of at most ``width`` columns, broken at blanks only."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and _width(lines[-1]) + 1 + _width(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _fit(widths: Sequence[int], columns: int) -> list[int]:
    """Return ``widths``, the widest of them reduced until all fit into ``columns``."""
    fitting = list(widths)
    for _ in range(sum(fitting) + len(_GAP) * (len(fitting) - 1) - columns):
        widest = max(range(1, len(fitting)), key=fitting.__getitem__)
        if fitting[widest] <= _NARROWEST:
            # Whole values that wrap are easier to read than columns that are mostly dots.
            return list(widths)
        fitting[widest] -= 1
    return fitting


def _cut(text: str, width: int, *, at_start: bool) -> str:
    """Return the beginning and the end of ``text``, or only its end if it is cut ``at_start``."""
    room = width - len(_CUT)
    head_width = 0 if at_start else room // 2
    head, tail = _first(text, head_width), _first(text[::-1], room - head_width)
    return f"{head}{_CUT}{tail[::-1]}"


def _first(text: str, width: int) -> str:
    """Return as many of the first characters of ``text`` as ``width`` columns hold."""
    length = width
    while _width(text[:length]) > width:
        length -= 1
    return text[:length]


def _width(text: str) -> int:
    """Return how many columns of a terminal ``text`` takes."""
    if text.isascii():
        return len(text)
    import unicodedata  # noqa: PLC0415 - rarely needed

    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(bool(unicodedata.combining(c)) for c in text)
