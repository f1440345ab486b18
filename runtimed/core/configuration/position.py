"""Defines places: lines and columns of a text, JSON pointers, flags of the command line."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass

from runtimed.core.errors import Problem
from runtimed.core.message_text import nearest, shown

# Keys of objects and indices of lists, from the top to a value.
Pointer = tuple[str | int, ...]
# Line and column, counted from 1.
Place = tuple[int, int]

# Characters; a report may have a thousand pointers.
_POINTER_MOST = 200
# Characters between two offsets whose line is recorded.
_BLOCK = 1024


def render_pointer(pointer: Pointer) -> str:
    """Return ``pointer`` as RFC 6901 writes it: ``("runtimes", "a/b")`` is ``/runtimes/a~1b``.

    A pointer of more than 200 characters is cut and ends in an ellipsis.
    """
    parts = (str(part)[:_POINTER_MOST] for part in pointer)
    text = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)
    return text if len(text) <= _POINTER_MOST else f"{text[:_POINTER_MOST].removesuffix('~')}…"


def both_lines(first: int, second: int) -> str:
    """Return the two lines of a key that appears twice, for a message."""
    return f"both times on line {first}" if first == second else f"on lines {first} and {second}"


def advice(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about the unknown ``name``: the most similar of ``known``, or nothing."""
    near = nearest(name, known)
    return f"; did you mean {shown(near)}?" if near else ""


class Lines:
    """The lines of a text: converts an offset to line and column, counted from 1, columns in characters.

    Records the line of every 1,024th character only, because a text of 16 MiB may have 16 million lines, or one.
    """

    __slots__ = ("_begins", "_counts", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        # For each block: the number of lines that end before it, and the offset of the line in which it begins.
        self._counts = array("I", [0])
        self._begins = array("I", [0])
        for start in range(0, len(text), _BLOCK):
            end = start + _BLOCK
            # Only "\n" ends a line, as in editors and in dockerd.
            self._counts.append(self._counts[-1] + text.count("\n", start, end))
            self._begins.append((text.rfind("\n", start, end) + 1) or self._begins[-1])

    def count(self, begin: int, end: int) -> int:
        """Return the number of lines that end between two offsets."""
        return self._text.count("\n", begin, end)

    def place(self, offset: int) -> Place:
        """Return line and column of ``offset``; beyond the text those of its end."""
        block = min(offset, len(self._text)) // _BLOCK
        begin = (self._text.rfind("\n", block * _BLOCK, offset) + 1) or self._begins[block]
        return self.line(offset), offset - begin + 1

    def line(self, offset: int) -> int:
        """Return the line of ``offset``; for an offset beyond the text, the line of the text's end."""
        block = min(offset, len(self._text)) // _BLOCK
        return self._counts[block] + self._text.count("\n", block * _BLOCK, offset) + 1


@dataclass(frozen=True, slots=True)
class Location:
    """The place of a problem: a place in a file, or a flag of the command line (``file`` is None then)."""

    file: str | None = None
    line: int | None = None
    column: int | None = None
    pointer: str | None = None
    flag: str | None = None

    def problem(self, message: str, found: str | None = None, expected: str | None = None) -> Problem:
        """Return a problem at this place."""
        text = f"{self.flag}: {message}" if self.flag else message
        return Problem(text, self.file, self.line, self.column, self.pointer, found, expected)

    def mismatch(self, value: object, expected: str) -> Problem:
        """Return the problem that ``value`` at this place is not ``expected``."""
        found = shown(value)
        return self.problem(f"found {found}, expected {expected}", found, expected)

    def unknown_key(self, kind: str, key: str, known: Iterable[str]) -> Problem:
        """Return the problem that ``key`` at this place is none of ``known``; ``kind`` is as in "key of a runtime"."""
        message = f"unknown {kind} {shown(key)}{advice(key, known)}"
        return self.problem(message, shown(key), f"one of {', '.join(sorted(known))}")

    def location(self, pointer: Pointer) -> Location:  # noqa: ARG002 - the signature of Document's
        """Return this place: a flag has no places in it."""
        return self

    key_location = location
