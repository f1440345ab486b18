"""Text for terminals: columns that stand below each other, and nothing that a terminal would obey but our colours."""

from __future__ import annotations

from runtimed.cli.terminal import PLAIN, Terminal, Tinted
from runtimed.core.message_text import printable

__all__ = ["fits", "printable", "render_fields", "render_line", "render_table"]

TYPE_CHECKING = False  # as in runtimed.client
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Cell = tuple[str, int | None]

_GAP = "  "
_CUT = "..."
# What is narrower than this once it is cut tells nobody anything.
_NARROWEST = 12


def render_table(
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    terminal: Terminal = PLAIN,
    *,
    places: frozenset[int] = frozenset(),
) -> list[str]:
    """Return the lines of a table, its columns aligned to the left, and cut where the terminal has no room for all.

    The first column, which says what a line is about, is never cut. The columns in ``places``, counted from 0, hold a
    file and a line: they are cut at their beginning.
    """
    cells = [[_cell(cell) for cell in row] for row in (header, *rows)]
    widths = [max(_width(text) for text, _ in column) for column in zip(*cells, strict=True)]
    if terminal.columns is not None:
        widths = _fit(widths, terminal.columns)
    return [_row(row, widths, terminal, places) for row in cells]


def fits(lines: Iterable[str], terminal: Terminal) -> bool:
    """Return whether ``terminal`` is wide enough for ``lines``, which have no colours."""
    return terminal.columns is None or all(_width(line) <= terminal.columns for line in lines)


def render_fields(fields: Iterable[tuple[str, object]], terminal: Terminal = PLAIN) -> list[str]:
    """Return a line for each field: its name, which blanks may indent, and its value, the values aligned."""
    shown = [(printable(name), _cell(value)) for name, value in fields]
    width = max((_width(name) for name, _ in shown), default=0)
    return [f"{_pad(name, width)}{_GAP}{terminal.paint(*value)}".rstrip() for name, value in shown]


def render_line(value: object, terminal: Terminal = PLAIN) -> str:
    """Return ``value``, tinted perhaps, as a line."""
    return terminal.paint(*_cell(value))


def _cell(value: object) -> Cell:
    if isinstance(value, Tinted):
        return printable(value.value), value.colour
    return printable(value), None


def _row(row: Sequence[Cell], widths: Sequence[int], terminal: Terminal, places: frozenset[int]) -> str:
    shown = []
    for column, ((text, colour), width) in enumerate(zip(row, widths, strict=True)):
        cut = text if _width(text) <= width else _cut(text, width, 0 if column in places else None)
        shown.append(terminal.paint(cut, colour) + " " * (width - _width(cut)))
    return _GAP.join(shown).rstrip()


def _fit(widths: Sequence[int], columns: int) -> list[int]:
    """Return ``widths`` that fit into ``columns`` as far as that makes sense: the widest ones give way."""
    fitting = list(widths)
    for _ in range(sum(fitting) + len(_GAP) * (len(fitting) - 1) - columns):
        widest = max(range(1, len(fitting)), key=fitting.__getitem__)
        if fitting[widest] <= _NARROWEST:
            # Too narrow by far: whole values that wrap are better than rows of dots.
            return list(widths)
        fitting[widest] -= 1
    return fitting


def _cut(text: str, width: int, head_width: int | None = None) -> str:
    """Return the beginning and the end of ``text``, half of it each unless ``head_width`` says otherwise."""
    room = width - len(_CUT)
    if head_width is None:
        head_width = room // 2
    head, tail = _first(text, head_width), _first(text[::-1], room - head_width)
    return f"{head}{_CUT}{tail[::-1]}"


def _first(text: str, width: int) -> str:
    """Return as many of the first characters of ``text`` as ``width`` columns hold."""
    length = width
    while _width(text[:length]) > width:
        length -= 1
    return text[:length]


def _pad(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _width(text: str) -> int:
    """Return how many columns of a terminal ``text`` takes."""
    if text.isascii():
        return len(text)
    import unicodedata  # noqa: PLC0415 - rarely needed

    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(bool(unicodedata.combining(c)) for c in text)
