"""JSON text -> values and the offset of every value and key, in linear time and without recursion.

The standard library's parser is not used because it knows no places, keeps the last of two equal keys,
lets NaN through, and holds the interpreter's lock for the whole text in one call.
"""

from __future__ import annotations

import json
import math
import re
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NoReturn

from runtimed.core.configuration.position import Lines, both_lines, render_pointer
from runtimed.core.configuration.problems import Problems
from runtimed.core.errors import Problem

MAX_DEPTH = 100
MAX_DIGITS = 100

# Characters of a key or value that a message shows.
_SHOWN = 60

# Offset of a container that is not empty -> the offsets of its members: for each key, that of the key and of the value
# in one number (see `members`), or those of the items.
Tables = dict[int, "dict[str, int] | array[int]"]
_OFFSET_BITS = 32

# No possessive quantifiers and no atomic groups: re of Python 3.11.2 (Debian 12) matches some of them wrongly. These
# patterns are linear without them, because the character after each repetition is never one that it repeats.
_SPACE = r"[ \t\n\r]*"
_PLAIN = r'"([^"\\\x00-\x1f]*)"'
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_SKIP = re.compile(_SPACE)
_FIRST_KEY = re.compile(rf"{_SPACE}{_PLAIN}{_SPACE}:")
_NEXT_KEY = re.compile(rf"{_SPACE},{_SPACE}{_PLAIN}{_SPACE}:")
_COMMA = re.compile(rf"{_SPACE},")
# Groups, told apart by lastindex: 1 a string without escapes, 2 a literal, 3 a number, 4 an opening bracket.
_VALUE = re.compile(rf"{_SPACE}(?:{_PLAIN}|(true|false|null)(?![\w$-])|({_NUMBER})(?![\w.+-])|([{{\[]))")
# At most 1,000 repetitions a match, because re remembers every one of them until the match ends.
_PIECE = re.compile(r'(?:[^"\\\x00-\x1f]+|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})){1,1000}')
_CUT_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_CUT_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)?(?:\.[0-9]*)?(?:[eE][+-]?[0-9]*)?\Z")
_NO_NUMBER = re.compile(r"(?:NaN|-?Infinity)(?![\w$-])")
_TOKEN = re.compile(r'"[^"\n]{0,30}"?|[^\s,:\[\]{}"]{1,30}|.', re.DOTALL)
_PUNCTUATION = frozenset(",:{}[]")
_BEGINNINGS = frozenset('"{[-0123456789tfn')
_SURROGATE = re.compile("[\ud800-\udfff]")

_LITERALS: Mapping[str, object] = MappingProxyType({"true": True, "false": False, "null": None})
_HINTS: Mapping[str, str] = MappingProxyType(
    {
        "'": "strings and keys stand in double quotes",
        "\u201c": "typographic quotes do not count, strings and keys stand in plain double quotes",
        "\u201d": "typographic quotes do not count, strings and keys stand in plain double quotes",
        "/": "JSON has no comments",
        "#": "JSON has no comments",
        "T": "true is written in lower case",
        "F": "false is written in lower case",
        "N": "nothing is written null",
        "\0": "is the file UTF-16 without a byte-order mark?",
    }
)


@dataclass(slots=True)
class _Object:
    value: dict[str, object] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    # Its own offset.
    offset: int = 0
    # The member that is being read, for the pointers of problems.
    key: str | None = None


@dataclass(slots=True)
class _Array:
    value: list[object] = field(default_factory=list)
    places: array[int] = field(default_factory=lambda: array("I"))
    offset: int = 0
    key: int | None = None


def split_offsets(packed: int) -> tuple[int, int]:
    """Return the offset of a key and of its value, which a table has in one number to save memory."""
    return packed >> _OFFSET_BITS, packed & ((1 << _OFFSET_BITS) - 1)


class Scan:
    """One pass over ``text``. After :meth:`run`, ``tables`` holds the offsets; ``root`` is the document's own.

    ``most`` is the number of values at which the text is refused, because each takes hundreds of bytes of memory.
    """

    def __init__(self, path: str, text: str, most: int | None = None) -> None:
        self.text = text
        self.lines = Lines(text)
        self.tables: Tables = {}
        self.root = 0
        self._path = path
        self._pos = 0
        # Where the value that was read last begins.
        self._offset = 0
        self._stack: list[_Object | _Array] = []
        self._problems = Problems()
        self._most = most
        # How many values there are so far.
        self.size = 0

    def run(self) -> object:
        """Return the document's value.

        Raises:
            ConfigurationRejected: with all that is wrong up to and including the first syntax error.
        """
        value = self._value()
        self.root = self._offset
        while self._stack:
            frame = self._stack[-1]
            if isinstance(frame, _Object):
                self._member(frame)
            else:
                self._item(frame)
        end = self._skip(self._pos)
        if end < len(self.text):
            self._stop(end, "nothing after the end of the document")
        if self._problems:
            raise self._problems.rejection()
        return value

    def _member(self, frame: _Object) -> None:
        match = (_NEXT_KEY if frame.value else _FIRST_KEY).match(self.text, self._pos)
        if match is not None:
            key, key_offset = match[1], match.start(1) - 1
            self._pos = match.end()
        else:
            frame.key = None
            odd = self._odd_member(frame)
            if odd is None:
                return
            key, key_offset = odd
        frame.key = key
        if key in frame.places:
            self._duplicate(key, split_offsets(frame.places[key])[0], key_offset)
        if not frame.places:
            self.tables[frame.offset] = frame.places
        frame.value[key] = self._value()
        frame.places[key] = key_offset << _OFFSET_BITS | self._offset

    def _odd_member(self, frame: _Object) -> tuple[str, int] | None:
        """Return key and offset of a member that the fast path did not take; None closes the object."""
        pos = self._skip(self._pos)
        if self.text.startswith("}", pos):
            self._pos = pos + 1
            self._stack.pop()
            return None
        if frame.value:
            pos = self._after_comma(pos, "}")
        if not self.text.startswith('"', pos):
            self._stop(pos, "a key in double quotes" if frame.value else 'a key in double quotes, or "}"')
        key = self._string(pos)
        colon = self._skip(self._pos)
        if not self.text.startswith(":", colon):
            self._stop(colon, f'":" after the key {_quoted(key)}')
        self._pos = colon + 1
        return key, pos

    def _item(self, frame: _Array) -> None:
        frame.key = None
        pos = self._skip(self._pos)
        if self.text.startswith("]", pos):
            self._pos = pos + 1
            self._stack.pop()
            return
        if frame.value:
            self._pos = self._after_comma(pos, "]")
        if not frame.value:
            self.tables[frame.offset] = frame.places
        frame.key = len(frame.value)
        frame.value.append(self._value())
        frame.places.append(self._offset)

    def _after_comma(self, pos: int, closing: str) -> int:
        """Return where the entry after the comma at ``pos`` begins."""
        if not self.text.startswith(",", pos):
            hint = "is a comma missing before it?" if self.text[pos : pos + 1] in _BEGINNINGS else ""
            self._stop(pos, f'"," or "{closing}"', hint=hint)
        after = self._skip(pos + 1)
        if self.text.startswith(closing, after):
            expected = f'"{closing}", or another entry after the comma'
            self._stop(pos, expected, hint="JSON allows no comma after the last entry")
        return after

    def _value(self) -> object:
        self.size += 1
        if self._most is not None and self.size > self._most:
            expected = f"at most {self._most:,} values in all files"
            self._stop(self._skip(self._pos), expected, found="one more value", hint="is it a configuration file?")
        match = _VALUE.match(self.text, self._pos)
        if match is None:
            return self._odd_value()
        kind = match.lastindex or 0
        self._pos = match.end()
        if kind == 1:
            self._offset = match.start(1) - 1
            return match[1]
        self._offset = match.start(kind)
        if kind == 2:  # noqa: PLR2004 - the groups are named beside the expression
            return _LITERALS[match[2]]
        return self._open(match[4]) if kind == 4 else self._number(match[3])  # noqa: PLR2004 - as above

    def _open(self, bracket: str) -> object:
        if len(self._stack) == MAX_DEPTH:
            self._stop(self._offset, f"at most {MAX_DEPTH} levels of lists and objects", hint="this nests too deep")
        frame = _Object(offset=self._offset) if bracket == "{" else _Array(offset=self._offset)
        self._stack.append(frame)
        return frame.value

    def _number(self, text: str) -> object:
        digits = text.lstrip("-")
        if digits.isdigit():
            if len(digits) <= MAX_DIGITS:
                return int(text)
            expected = f"an integer of at most {MAX_DIGITS} digits"
            self._fault(self._offset, f"{text[:20]}… ({len(digits)} digits)", expected)
            return 0
        number = float(text)
        if math.isinf(number):
            self._fault(self._offset, text[:40], "a number that a 64-bit float can hold")
        return number

    def _odd_value(self) -> object:
        """Return a value that the fast path did not take: a string with escapes, or a fault to go on from."""
        pos = self._offset = self._skip(self._pos)
        if self.text.startswith('"', pos):
            return self._string(pos)
        no_number = _NO_NUMBER.match(self.text, pos)
        if no_number is None:
            expected = "a value: an object, a list, a string, a number, true, false or null"
            self._stop(pos, expected, cut=self._cut_off(pos))
        self._pos = no_number.end()
        self._fault(pos, no_number[0], "a number, a string or null: JSON has no NaN and no Infinity")
        return None

    def _string(self, pos: int) -> str:
        end = pos + 1
        while piece := _PIECE.match(self.text, end):
            end = piece.end()
        if not self.text.startswith('"', end):
            self._broken_string(pos, end)
        self._pos = end + 1
        # One short C call; the text is known to be a valid string by now.
        string = str(json.loads(self.text[pos : end + 1]))
        if "\0" in string:
            self._fault(pos, r"\u0000", "a string without NUL characters: no path and no argument can hold one")
        if _SURROGATE.search(string):
            self._fault(pos, "half of a surrogate pair", r"both halves, as in \ud83d\ude00, or the character itself")
        return string

    def _broken_string(self, start: int, pos: int) -> NoReturn:
        rest = self.text[pos : pos + 6]
        if not rest or (pos + len(rest) == len(self.text) and _CUT_ESCAPE.match(rest)):
            line = self.lines.place(start)[0]
            self._stop(len(self.text), f"the double quote that ends the string begun on line {line}")
        if rest[0] == "\\":
            found = _printable(rest if rest[1] == "u" else rest[:2])
            self._stop(pos, r"one of the escapes \" \\ \/ \b \f \n \r \t \uXXXX", found=found)
        hint = "is a double quote missing at the end of the line?" if rest[0] in "\r\n" else ""
        expected = "no control characters in a string"
        if rest[0] != "\0":
            expected += rf"; written \u{ord(rest[0]):04x} it is allowed"
        self._stop(pos, "a double quote at the end of the string" if hint else expected, hint=hint)

    def _duplicate(self, key: str, first: int, second: int) -> None:
        if self._problems.full:
            self._problems.untold += 1
            return
        where = both_lines(self.lines.place(first)[0], self.lines.place(second)[0])
        message = f"the key {_quoted(key)} stands twice in this object, {where}"
        self._fault(second, _quoted(key), "each key once", message)

    def _skip(self, pos: int) -> int:
        match = _SKIP.match(self.text, pos)
        return match.end() if match else pos

    def _cut_off(self, pos: int) -> bool:
        """Return whether the text ends in the middle of the literal or number that begins at ``pos``."""
        rest = self.text[pos : pos + 6]
        if len(self.text) - pos < len("false") and any(literal.startswith(rest) for literal in _LITERALS):
            return True
        return bool(_CUT_NUMBER.match(self.text, pos))

    def _stop(self, pos: int, expected: str, *, found: str = "", hint: str = "", cut: bool = False) -> NoReturn:
        """Raise the syntax error at ``pos``, after everything that was found before it."""
        token = _TOKEN.match(self.text, pos)
        text = found or _printable(token[0] if token else "the end of the file")
        hint = hint or (_HINTS.get(token[0][0], "") if token else "the text is cut off")
        message = f"found {text}, expected {expected}" + (f" ({hint})" if hint else "")
        self._fault(pos, text, expected, message, incomplete=cut or token is None)
        raise self._problems.rejection()

    def _fault(self, pos: int, found: str, expected: str, message: str = "", *, incomplete: bool = False) -> None:
        if self._problems.full:
            self._problems.untold += 1
            return
        line, column = self.lines.place(pos)
        message = message or f"found {found}, expected {expected}"
        pointer = render_pointer(tuple(frame.key for frame in self._stack if frame.key is not None))
        # A key may hold half a surrogate pair, which no output could encode.
        pointer = pointer.encode(errors="backslashreplace").decode()
        self._problems.append(Problem(message, self._path, line, column, pointer, found, expected, incomplete))


def _printable(token: str) -> str:
    if not token.isprintable():
        return f"U+{ord(token[0]):04X}"
    return f'"{token}"' if token in _PUNCTUATION else token


def _quoted(key: str) -> str:
    # Escapes where needed: a key that holds half a surrogate pair must not break whoever prints the problem.
    return json.dumps(key if len(key) <= _SHOWN else key[:_SHOWN] + "…", ensure_ascii=not key.isprintable())
