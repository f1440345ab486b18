"""Text for terminals: columns that stand below each other, and nothing that a terminal would obey."""

from __future__ import annotations

TYPE_CHECKING = False  # as in runtimed.client
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_GAP = "  "


def printable(text: object) -> str:
    r"""Return ``text`` with every character that is no printable one escaped as in Python: ``\n``, ``\x1b``.

    Names and messages come from configuration files, where anything may stand: line breaks, escape
    sequences that repaint the terminal, marks that turn the direction of writing.
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)


def render_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return the lines of a table, its columns aligned to the left."""
    cells = [list(header), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    return [_GAP.join(_pad(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def render_fields(fields: Iterable[tuple[str, object]]) -> list[str]:
    """Return a line for each field: its name, which blanks may indent, and its value, the values aligned."""
    shown = [(printable(name), printable(value)) for name, value in fields]
    width = max((_width(name) for name, _ in shown), default=0)
    return [f"{_pad(name, width)}{_GAP}{value}".rstrip() for name, value in shown]


def _pad(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _width(text: str) -> int:
    """Return how many columns of a terminal ``text`` takes."""
    if text.isascii():
        return len(text)
    import unicodedata  # noqa: PLC0415 - rarely needed

    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(bool(unicodedata.combining(c)) for c in text)
