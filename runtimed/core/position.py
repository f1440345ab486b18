"""Where something stands: in a text, in a document, on the command line."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

from runtimed.core.errors import Problem

# The way to a value: keys of objects and indices of lists.
Pointer = tuple[str | int, ...]
# Line and column, both counted from 1.
Place = tuple[int, int]


def render_pointer(pointer: Pointer) -> str:
    """Return ``pointer`` as RFC 6901 writes it: ``("runtimes", "a/b")`` is ``/runtimes/a~1b``."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in pointer)


def both_lines(first: int, second: int) -> str:
    """Return the words that say on which two lines something stands."""
    return f"both times on line {first}" if first == second else f"on lines {first} and {second}"


class Lines:
    """Line and column, both counted from 1 and columns in characters, of an offset into a text."""

    __slots__ = ("_starts",)

    def __init__(self, text: str) -> None:
        # Only "\n" ends a line, as editors and dockerd count; what follows the last one is a line as well.
        self._starts = list(accumulate((len(line) + 1 for line in text.split("\n")), initial=0))

    def place(self, offset: int) -> Place:
        """Return line and column of ``offset``."""
        line = min(bisect_right(self._starts, offset), len(self._starts) - 1)
        return line, offset - self._starts[line - 1] + 1


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
