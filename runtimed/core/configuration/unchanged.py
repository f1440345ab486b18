"""Skips the entries of ``runtimes`` that have the same text as in the previous document of the same file.

An object of JSON ends with its own bracket, so the same text is the same entry at any place. A change of the text only
moves the entries behind it, so one search finds all entries up to the next difference.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from runtimed.core.configuration.scan import Scan

if TYPE_CHECKING:
    from runtimed.core.config import Definition, Origin
    from runtimed.core.configuration.inputs import Source

RUNTIMES = "runtimes"


class WholeTextNeeded(Exception):
    """The document has a problem, and only a pass without a previous document finds its place."""


@dataclass(slots=True, eq=False)
class EntryPlaces:
    """Of each entry: the offset of its name, the number of characters up to its end, and the number of its values."""

    begins: array[int] = field(default_factory=lambda: array("I"))
    lengths: array[int] = field(default_factory=lambda: array("I"))
    sizes: array[int] = field(default_factory=lambda: array("I"))

    def add(self, begin: int, length: int, size: int) -> None:
        """Add an entry."""
        self.begins.append(begin)
        self.lengths.append(length)
        self.sizes.append(size)

    def add_all(self, other: EntryPlaces, run: slice, shift: int) -> int:
        """Add entries of ``other`` with offsets increased by ``shift``; return the number of their values."""
        self.begins.extend([begin + shift for begin in other.begins[run]])
        self.lengths.extend(other.lengths[run])
        self.sizes.extend(sizes := other.sizes[run])
        return sum(sizes)


@dataclass(frozen=True, slots=True, eq=False)
class ParsedEntries:
    """The entries of ``runtimes`` in one document without problems and remarks in them, in the order of its text.

    Refers to the bytes of the document, which the reloader keeps anyway, and to no copy of its text.
    """

    source: Source
    places: EntryPlaces
    definitions: Sequence[Definition]
    origins: Sequence[Origin]

    def sharing(self, others: Mapping[str, Definition]) -> ParsedEntries:
        """Return these entries with the objects of ``others`` (name -> definition) in place of equal definitions."""
        pairs = ((each, others.get(each.name)) for each in self.definitions)
        return replace(self, definitions=[each if other != each else other for each, other in pairs])


class PreviousText:
    """The decoded ``text`` of ``parsed``, while another document is compared with it."""

    def __init__(self, parsed: ParsedEntries, text: str) -> None:
        self.parsed = parsed
        self.names = [definition.name for definition in parsed.definitions]
        self.indices = dict(zip(self.names, range(len(self.names)), strict=True))
        self._text = text

    def find_end(self, text: str, offset: int, first: int) -> int:
        """Compare ``text`` from ``offset`` on with the entries from index ``first`` on.

        Return the index behind the last of the entries that are the same.
        """
        begins, lengths = self.parsed.places.begins, self.parsed.places.lengths
        at, shift = begins[first], offset - begins[first]
        last, step, grows = first, 1, True
        # Twice as many entries each time until they differ, then half as many.
        while step:
            end = min(last + step, len(begins))
            stop = begins[end - 1] + lengths[end - 1]
            if end > last and text.startswith(self._text[at:stop], at + shift):
                last, at = end, stop
            else:
                grows = False
            step = step * 2 if grows else step // 2
        return last


class DocumentScan(Scan):
    """A pass over a configuration file, which records the places of the entries of ``runtimes``.

    Entries that ``previous`` has with the same text have their definition as value, and their origin in ``unchanged``.
    """

    def __init__(self, path: str, text: str, most: int | None = None, previous: PreviousText | None = None) -> None:
        super().__init__(path, text, most)
        self.places = EntryPlaces()
        self.unchanged: dict[str, Origin] = {}
        self._previous = previous

    def _object(self, start: int) -> dict[str, object]:
        if len(self._pointer) != 1 or self._pointer[0] != RUNTIMES:
            return super()._object(start)
        value: dict[str, object] = {}
        offsets: dict[str, int] = {}
        while (member := self._key(first=not value)) is not None:
            if self._skip_unchanged(value, *member):
                continue
            begin, size = member[1], self.size
            self._member(value, offsets, *member)
            self.places.add(begin, self._pos - begin, self.size - size)
        if self.unchanged and len(value) < len(self.places.begins):
            raise WholeTextNeeded  # a key appears twice
        if offsets:
            self.tables[start] = offsets
        return value

    def _skip_unchanged(self, value: dict[str, object], key: str, offset: int) -> bool:
        """Add to ``value`` the unchanged entries from that of ``key`` on, if there are any, and move behind them."""
        previous = self._previous
        if previous is None or (first := previous.indices.get(key)) is None:
            return False
        run = slice(first, previous.find_end(self.text, offset, first))
        if run.start == run.stop:
            return False
        parsed = previous.parsed
        definitions, origins = parsed.definitions[run], parsed.origins[run]
        lines = self.lines.line(offset) - (origins[0].line or 0)
        value.update(zip(previous.names[run], definitions, strict=True))
        self.unchanged.update(zip(previous.names[run], (moved(origins, lines) if lines else origins), strict=True))
        self.size += self.places.add_all(parsed.places, run, offset - parsed.places.begins[first])
        if self._most is not None and self.size > self._most:
            raise WholeTextNeeded  # too many values
        self._pos = self.places.begins[-1] + self.places.lengths[-1]
        return True


def moved(origins: Sequence[Origin], lines: int) -> list[Origin]:
    """Return ``origins`` with the line numbers increased by ``lines``."""
    make = type(origins[0])
    return [make(origin.file, (origin.line or 0) + lines, origin.below) for origin in origins]
