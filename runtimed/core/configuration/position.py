"""Where something stands: in a text, in a document, on the command line."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from runtimed.core.errors import Problem

# The way to a value: keys of objects and indices of lists.
Pointer = tuple[str | int, ...]
# Line and column, both counted from 1.
Place = tuple[int, int]

# A report may have a thousand pointers.
_POINTER_MOST = 200
# Characters between two places of a text whose line is noted.
_BLOCK = 1024


def render_pointer(pointer: Pointer) -> str:
    """Return ``pointer`` as RFC 6901 writes it: ``("runtimes", "a/b")`` is ``/runtimes/a~1b``.

    A pointer of more than 200 characters is cut and ends in an ellipsis.
    """
    parts = (str(part)[:_POINTER_MOST] for part in pointer)
    text = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)
    return text if len(text) <= _POINTER_MOST else f"{text[:_POINTER_MOST].removesuffix('~')}…"


def both_lines(first: int, second: int) -> str:
    """Return the words that say on which two lines something stands."""
    return f"both times on line {first}" if first == second else f"on lines {first} and {second}"


class Lines:
    """Line and column, both counted from 1 and columns in characters, of an offset into a text.

    Notes the line of every 1,024th character only: a text of 16 MiB may have as many lines, or a single one.
    """

    __slots__ = ("_begins", "_counts", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        # For each block: how many lines end before it, and where the line begins that it begins in.
        self._counts = array("I", [0])
        self._begins = array("I", [0])
        for start in range(0, len(text), _BLOCK):
            end = start + _BLOCK
            # Only "\n" ends a line, as editors and dockerd count.
            self._counts.append(self._counts[-1] + text.count("\n", start, end))
            self._begins.append((text.rfind("\n", start, end) + 1) or self._begins[-1])

    def place(self, offset: int) -> Place:
        """Return line and column of ``offset``; one beyond the text is taken as its end."""
        block = min(offset, len(self._text)) // _BLOCK
        start = block * _BLOCK
        line = self._counts[block] + self._text.count("\n", start, offset) + 1
        begin = (self._text.rfind("\n", start, offset) + 1) or self._begins[block]
        return line, offset - begin + 1


@dataclass(frozen=True, slots=True)
class Spot:
    """Where something stands: a place in a file, or a flag of the command line (``file`` is None then)."""

    file: str | None = None
    line: int | None = None
    column: int | None = None
    pointer: str | None = None
    flag: str | None = None

    def problem(self, message: str, found: str | None = None, expected: str | None = None) -> Problem:
        """Return the problem that stands here."""
        text = f"{self.flag}: {message}" if self.flag else message
        return Problem(text, self.file, self.line, self.column, self.pointer, found, expected)
