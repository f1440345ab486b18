"""What stdout can show: how wide it is, and colours where a person looks at it who did not say no to them."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # as in runtimed.client
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

# As SGR (ECMA-48) numbers them: colours that every terminal has, in the tone that its owner chose for them.
RED = 31
GREEN = 32
YELLOW = 33


class Tinted:
    """A value to be shown in a colour."""

    __slots__ = ("colour", "value")

    def __init__(self, value: object, colour: int) -> None:
        self.value = value
        self.colour = colour


class Terminal:
    """Where output goes: ``columns`` is how many it has, None where lines may be as long as they are."""

    __slots__ = ("_colours", "columns")

    def __init__(self, columns: int | None = None, *, colours: bool = False) -> None:
        self.columns = columns
        self._colours = colours

    def paint(self, text: str, colour: int | None) -> str:
        """Return ``text``, which has nothing in it that a terminal obeys, in ``colour`` where there are colours."""
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours and colour is not None and text else text


PLAIN = Terminal()


def look_at(stream: TextIO | None, environ: Mapping[str, str]) -> Terminal:
    """Return what ``stream`` can show.

    NO_COLOR (no-color.org) means no colours if it is there and not empty; so does a TERM that has none.
    """
    if stream is None or not stream.isatty():
        return PLAIN
    try:
        # 0 is what a terminal says that was never told how wide it is.
        columns = os.get_terminal_size(stream.fileno()).columns or None
    except OSError:
        columns = None
    return Terminal(columns, colours=not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb")
