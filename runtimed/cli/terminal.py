"""Finds out how wide stdout is, and whether it shows colours."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # as in runtimed.client
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

# SGR codes (ECMA-48) of colours that every terminal has.
RED = 31
GREEN = 32
YELLOW = 33


# The width of output that is not read in a terminal.
_USUAL_COLUMNS = 80


class Tinted:
    """A value and the colour in which to show it; None is the terminal's default colour.

    ``wraps`` is false for text that means something else when it is broken into lines, such as a script.
    """

    __slots__ = ("colour", "value", "wraps")

    def __init__(self, value: object, colour: int | None, *, wraps: bool = True) -> None:
        self.value = value
        self.colour = colour
        self.wraps = wraps


class Terminal:
    """The width of the output in ``columns``, None where lines may have any length, and its colours."""

    __slots__ = ("_colours", "columns")

    def __init__(self, columns: int | None = None, *, colours: bool = False) -> None:
        self.columns = columns
        self._colours = colours

    def paint(self, text: str, colour: int | None) -> str:
        """Return ``text``, which must be printable, in ``colour`` if the terminal shows colours."""
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours and colour is not None and text else text


PLAIN = Terminal()


def inspect_terminal(stream: TextIO, environ: Mapping[str, str]) -> Terminal:
    """Return the width and the colours of ``stream``.

    COLUMNS overrides the width; 0 stands for lines of any length, as for ls(1). A NO_COLOR that is not empty
    (no-color.org), or a TERM without colours, turns colours off.
    """
    columns = environ.get("COLUMNS", "")
    width = int(columns) or None if columns.isascii() and columns.isdigit() else _measured_width(stream)
    colours = stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"
    return Terminal(width, colours=colours)


def _measured_width(stream: TextIO) -> int:
    try:
        # A terminal whose width was never set reports 0.
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_COLUMNS
    except OSError:
        return _USUAL_COLUMNS
