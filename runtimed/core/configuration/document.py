"""Parses the bytes of a configuration file into its value and the line and column of every key and value."""

from __future__ import annotations

import codecs
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from runtimed.core.config import LinesBelow, Origin, shared_lines
from runtimed.core.configuration.inputs import Source
from runtimed.core.configuration.position import Lines, Location, Place, Pointer, render_pointer
from runtimed.core.configuration.scan import Tables, split_offsets
from runtimed.core.configuration.unchanged import DocumentScan, EntryPlaces, ParsedEntries, PreviousText
from runtimed.core.errors import ConfigurationRejected, Problem

_MARKS: Mapping[bytes, str] = MappingProxyType(
    {codecs.BOM_UTF8: "UTF-8", codecs.BOM_UTF16_LE: "UTF-16-LE", codecs.BOM_UTF16_BE: "UTF-16-BE"}
)


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """One configuration file: its value, and the places of all keys and values in it, but not in unchanged entries.

    An unchanged entry of ``runtimes`` has its definition as value, and its origin in ``unchanged``.
    """

    source: Source
    value: dict[str, object]
    _lines: Lines = field(repr=False)
    _tables: Tables = field(repr=False)
    _root: int = field(repr=False)
    # Number of values.
    size: int
    entries: EntryPlaces
    unchanged: Mapping[str, Origin]

    @property
    def path(self) -> str:
        """The path of the file."""
        return self.source.path

    def place(self, pointer: Pointer) -> Place:
        """Return line and column of the value at ``pointer``, or of the nearest value around it if there is none."""
        return self._lines.place(self._offsets(pointer)[1])

    def key_place(self, pointer: Pointer) -> Place:
        """Return line and column of the key at ``pointer``; list items and the document itself are their own key."""
        return self._lines.place(self._offsets(pointer)[0])

    def location(self, pointer: Pointer) -> Location:
        """Return the place of the value at ``pointer``."""
        return Location(self.path, *self.place(pointer), render_pointer(pointer))

    def key_location(self, pointer: Pointer) -> Location:
        """Return the place of the key at ``pointer``."""
        return Location(self.path, *self.key_place(pointer), render_pointer(pointer))

    def key_lines(self, pointer: Pointer, members: Mapping[str, str]) -> tuple[int, LinesBelow]:
        """Return the line of the key at ``pointer``, and the number of lines from there to each of ``members``.

        ``members`` has a name for each key in the object at ``pointer``: name -> key.
        """
        begin, offset = self._offsets(pointer)
        table = self._tables.get(offset)
        offsets, count = table if isinstance(table, dict) else {}, self._lines.count
        below = [(name, count(begin, split_offsets(offsets[key])[0])) for name, key in members.items()]
        return self._lines.line(begin), shared_lines(tuple(below))

    def _offsets(self, pointer: Pointer) -> tuple[int, int]:
        key_offset = offset = self._root
        for part in pointer:
            table = self._tables.get(offset)
            if isinstance(table, dict) and isinstance(part, str) and part in table:
                key_offset, offset = split_offsets(table[part])
            elif isinstance(table, array) and isinstance(part, int) and 0 <= part < len(table):
                key_offset = offset = table[part]
            else:
                break
        return key_offset, offset


def parse_document(source: Source, most: int | None = None, previous: ParsedEntries | None = None) -> Document:
    """Return the document in ``source``: UTF-8 or, with a byte-order mark, UTF-16 text of one JSON object or null.

    ``most`` is the largest number of values. The size in bytes is checked where the file is read, because the merged
    configuration that runtimed writes may be larger than any file. Entries of ``runtimes`` that ``previous`` has with
    the same text are not parsed again.

    Raises:
        ConfigurationRejected: with every problem up to and including the first syntax error; ``incomplete`` is
            set if the text ends too early. With ``previous`` some problems may be missing.
        WholeTextNeeded: there is a problem, and it can only be described without ``previous``.
    """
    text = _decode(source)
    if not text.strip(" \t\n\r"):
        message = "the file is blank: write {} if you mean no settings"
        raise _too_short(source.path, message, "a blank file")
    known = None if previous is None else PreviousText(previous, _decode(previous.source))
    scan = DocumentScan(source.path, text, most, known)
    value = scan.run()
    if value is None:
        value = {}
    if not isinstance(value, dict):
        found = "a list" if isinstance(value, list) else text.strip()[:40]
        message = f"found {found}, expected an object: write the settings between {{ and }}"
        problem = Problem(message, source.path, *scan.lines.place(scan.root), "", found, "an object")
        raise ConfigurationRejected((problem,))
    return Document(source, value, scan.lines, scan.tables, scan.root, scan.size, scan.places, scan.unchanged)


def encoding_of(data: bytes) -> tuple[bytes, str]:
    """Return the byte-order mark of ``data``, which may be empty, and the encoding that follows from it.

    As in dockerd a byte-order mark selects the encoding; without one it is UTF-8.
    """
    mark = next((mark for mark in _MARKS if data.startswith(mark)), b"")
    return mark, _MARKS.get(mark, "UTF-8")


def _decode(source: Source) -> str:
    """Return the text of ``source``."""
    data, path = source.data, source.path
    if len(data) == 1 and any(mark.startswith(data) for mark in _MARKS):
        raise _too_short(path, "the file ends within its byte-order mark", "1 byte")
    mark, encoding = encoding_of(data)
    try:
        return data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as exc:
        offset = len(mark) + exc.start
        head = data[len(mark) : offset].decode(encoding)
        line, column = head.count("\n") + 1, len(head) - head.rfind("\n")
        found = f"byte 0x{data[offset]:02x}"
        message = f"found {found} at offset {offset}, which is not valid {encoding}"
        if not mark:
            message += "; save the file as UTF-8, or as UTF-16 with a byte-order mark"
        cut = offset + (exc.end - exc.start) >= len(data) and exc.reason in ("unexpected end of data", "truncated data")
        problem = Problem(message, path, line, column, None, found, f"{encoding} text", incomplete=cut)
        raise ConfigurationRejected((problem,)) from exc


def _too_short(path: str, message: str, found: str) -> ConfigurationRejected:
    problem = Problem(message, path, found=found, expected="a JSON object", incomplete=True)
    return ConfigurationRejected((problem,))
