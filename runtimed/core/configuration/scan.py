"""Parses JSON text into values and records the offset of each key and value, in linear time.

The standard library's parser reports no offsets, keeps the last of two equal keys, accepts NaN, and holds the
interpreter's lock for the whole text.
"""

from __future__ import annotations

import json
import math
import re
from array import array
from collections.abc import Mapping
from types import MappingProxyType
from typing import NoReturn

from runtimed.core.configuration.position import Lines, both_lines, render_pointer
from runtimed.core.configuration.problems import Problems
from runtimed.core.configuration.syntax_errors import describe_broken_string, describe_token
from runtimed.core.errors import Problem
from runtimed.core.message_text import shown

# Levels of objects and lists. The parser calls itself twice for each, far below the interpreter's limit of 1,000 calls.
MAX_DEPTH = 100
MAX_DIGITS = 100

# Offset of an object or list that is not empty -> the offsets of its members: for each key, the offsets of the key and
# of its value in one number (see `split_offsets`); for a list, the offsets of the items.
Tables = dict[int, "dict[str, int] | array[int]"]
_OFFSET_BITS = 32

# No possessive quantifiers and no atomic groups: re of Python 3.11.2 (Debian 12) matches some of them wrongly. These
# patterns are linear without them, because the character after each repetition is never one that it repeats.
_SPACE = r"[ \t\n\r]*"
_PLAIN = r'[^"\\\x00-\x1f]*'
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_SKIP = re.compile(_SPACE)
_FIRST_KEY = re.compile(rf'{_SPACE}"({_PLAIN})"{_SPACE}:{_SPACE}')
_NEXT_KEY = re.compile(rf'{_SPACE},{_SPACE}"({_PLAIN})"{_SPACE}:{_SPACE}')
# Most items of lists: strings without escapes.
_FIRST_STRING = re.compile(rf'{_SPACE}"({_PLAIN})"')
_NEXT_STRING = re.compile(rf'{_SPACE},{_SPACE}"({_PLAIN})"')
_VALUE = re.compile(
    rf'"(?P<string>{_PLAIN})"|(?P<literal>true|false|null)(?![\w$-])|(?P<number>{_NUMBER})(?![\w.+-])|(?P<bracket>[{{\[])'
)
# At most 1,000 repetitions a match, because re remembers every one of them until the match ends.
_PIECE = re.compile(r'(?:[^"\\\x00-\x1f]+|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})){1,1000}')
# The beginning of an escape, of a number or of a literal, at the end of the text.
_CUT_ESCAPE = re.compile(r"(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z")
_CUT_VALUE = re.compile(r"(?:-?(?:0|[1-9][0-9]*)?(?:\.[0-9]*)?(?:[eE][+-]?[0-9]*)?|tr?u?|fa?l?s?|nu?l?)\Z")
_NO_NUMBER = re.compile(r"(?:NaN|-?Infinity)(?![\w$-])")
_BEGINNINGS = frozenset('"{[-0123456789tfn')
_SURROGATE = re.compile("[\ud800-\udfff]")

_LITERALS: Mapping[str, object] = MappingProxyType({"true": True, "false": False, "null": None})


def split_offsets(packed: int) -> tuple[int, int]:
    """Return the offset of a key and of its value, which a table holds in one number to save memory."""
    return packed >> _OFFSET_BITS, packed & ((1 << _OFFSET_BITS) - 1)


class Scan:
    """One pass over ``text``. After :meth:`run`, ``tables`` holds the offsets and ``root`` that of the document.

    ``most`` is the largest number of values that is accepted, because each takes hundreds of bytes of memory;
    ``size`` counts them.
    """

    def __init__(self, path: str, text: str, most: int | None = None) -> None:
        self.text = text
        self.lines = Lines(text)
        self.tables: Tables = {}
        self.root = self._skip(0)
        self.size = 0
        self._most = most
        self._path = path
        self._pos = self.root
        # Keys and indices that lead to the current value.
        self._pointer: list[str | int] = []
        self._problems = Problems()

    def run(self) -> object:
        """Return the document's value.

        Raises:
            ConfigurationRejected: with all problems up to and including the first syntax error.
        """
        value = self._value()
        end = self._skip(self._pos)
        if end < len(self.text):
            hint = "a bracket too many" if self.text[end] in "}]" else "a second document; a file holds one"
            self._stop(end, "the end of the file", hint=hint)
        if self._problems:
            raise self._problems.rejection()
        return value

    def _value(self) -> object:
        self.size += 1
        start = self._pos
        if self._most is not None and self.size > self._most:
            expected = f"at most {self._most:,} values in all files"
            self._stop(start, expected, found="one more value", hint="is it a configuration file?")
        match = _VALUE.match(self.text, start)
        if match is None:
            return self._odd_value(start)
        self._pos = match.end()
        kind = match.lastgroup or ""
        text = match[kind]
        if kind == "string":
            return text
        if kind == "literal":
            return _LITERALS[text]
        if kind == "number":
            return self._number(start, text)
        if len(self._pointer) == MAX_DEPTH:
            self._stop(start, f"at most {MAX_DEPTH} levels of lists and objects", hint="this nests too deep")
        return self._object(start) if text == "{" else self._list(start)

    def _object(self, start: int) -> dict[str, object]:
        value: dict[str, object] = {}
        offsets: dict[str, int] = {}
        while (member := self._key(first=not value)) is not None:
            self._member(value, offsets, *member)
        if offsets:
            self.tables[start] = offsets
        return value

    def _member(self, value: dict[str, object], offsets: dict[str, int], key: str, key_offset: int) -> None:
        """Add the member ``key`` of an object, at whose value the scan is, to ``value`` and ``offsets``."""
        self._pointer.append(key)
        if key in offsets:
            self._duplicate(key, split_offsets(offsets[key])[0], key_offset)
        offsets[key] = key_offset << _OFFSET_BITS | self._pos
        value[key] = self._value()
        self._pointer.pop()

    def _list(self, start: int) -> list[object]:
        value: list[object] = []
        offsets = array("I")
        while True:
            plain = (_NEXT_STRING if value else _FIRST_STRING).match(self.text, self._pos)
            if plain is not None and self.size != self._most:
                self.size += 1
                offsets.append(plain.start(1) - 1)
                value.append(plain[1])
                self._pos = plain.end()
                continue
            if not self._next_entry("]", first=not value):
                break
            self._pointer.append(len(value))
            offsets.append(self._pos)
            value.append(self._value())
            self._pointer.pop()
        if offsets:
            self.tables[start] = offsets
        return value

    def _key(self, *, first: bool) -> tuple[str, int] | None:
        """Return the next key of an object and its offset, None after the object's end, and move to the value."""
        match = (_FIRST_KEY if first else _NEXT_KEY).match(self.text, self._pos)
        if match is not None:
            self._pos = match.end()
            return match[1], match.start(1) - 1
        if not self._next_entry("}", first=first):
            return None
        start = self._pos
        if not self.text.startswith('"', start):
            self._stop(start, 'a key in double quotes, or "}"' if first else "a key in double quotes")
        key = self._string(start)
        colon = self._skip(self._pos)
        if not self.text.startswith(":", colon):
            self._stop(colon, f'":" after the key {shown(key)}')
        self._pos = self._skip(colon + 1)
        return key, start

    def _next_entry(self, closing: str, *, first: bool) -> bool:
        """Move to the next entry of an object or list and return True, or move behind its end and return False."""
        pos = self._skip(self._pos)
        if self.text.startswith(closing, pos):
            self._pos = pos + 1
            return False
        if first:
            self._pos = pos
            return True
        if not self.text.startswith(",", pos):
            hint = "is a comma missing before it?" if self.text[pos : pos + 1] in _BEGINNINGS else ""
            self._stop(pos, f'"," or "{closing}"', hint=hint)
        self._pos = self._skip(pos + 1)
        if self.text.startswith(closing, self._pos):
            expected = f'"{closing}", or another entry after the comma'
            self._stop(pos, expected, hint="JSON allows no comma after the last entry")
        return True

    def _number(self, start: int, text: str) -> int | float:
        digits = text.lstrip("-")
        if digits.isdigit():
            if len(digits) <= MAX_DIGITS:
                return int(text)
            found = f"{text[:20]}… ({len(digits)} digits)"
            self._add_problem(start, found, f"an integer of at most {MAX_DIGITS} digits")
            return 0
        number = float(text)
        if math.isinf(number):
            self._add_problem(start, text[:40], "a number that a 64-bit float can hold")
        return number

    def _odd_value(self, start: int) -> object:
        """Return a value that _VALUE does not match: a string with escapes, or None after a problem."""
        if self.text.startswith('"', start):
            return self._string(start)
        no_number = _NO_NUMBER.match(self.text, start)
        if no_number is None:
            expected = "a value: an object, a list, a string, a number, true, false or null"
            self._stop(start, expected, cut=_CUT_VALUE.match(self.text, start) is not None)
        self._pos = no_number.end()
        self._add_problem(start, no_number[0], "a number, a string or null: JSON has no NaN and no Infinity")
        return None

    def _string(self, start: int) -> str:
        end = start + 1
        while piece := _PIECE.match(self.text, end):
            end = piece.end()
        if not self.text.startswith('"', end):
            self._broken_string(start, end)
        self._pos = end + 1
        # _PIECE has checked the syntax.
        string = str(json.loads(self.text[start : end + 1]))
        if "\0" in string:
            self._add_problem(start, r"\u0000", "a string without NUL characters: no path and no argument can hold one")
        if _SURROGATE.search(string):
            self._add_problem(
                start, "half of a surrogate pair", r"both halves, as in \ud83d\ude00, or the character itself"
            )
        return string

    def _broken_string(self, start: int, pos: int) -> NoReturn:
        if _CUT_ESCAPE.match(self.text, pos):
            line = self.lines.place(start)[0]
            self._stop(len(self.text), f"the double quote that ends the string begun on line {line}")
        found, expected, hint = describe_broken_string(self.text, pos)
        self._stop(pos, expected, found=found, hint=hint)

    def _duplicate(self, key: str, first: int, second: int) -> None:
        if self._problems.full:
            self._problems.omitted += 1
            return
        where = both_lines(self.lines.place(first)[0], self.lines.place(second)[0])
        message = f"the key {shown(key)} appears twice in this object, {where}"
        self._add_problem(second, shown(key), "each key once", message)

    def _skip(self, pos: int) -> int:
        match = _SKIP.match(self.text, pos)
        return match.end() if match else pos

    def _stop(self, pos: int, expected: str, *, found: str = "", hint: str = "", cut: bool = False) -> NoReturn:
        """Raise the syntax error at ``pos``, after all problems before it."""
        token, advice = describe_token(self.text, pos)
        found, hint = found or token, hint or advice
        message = f"found {found}, expected {expected}" + (f" ({hint})" if hint else "")
        self._add_problem(pos, found, expected, message, incomplete=cut or pos >= len(self.text))
        raise self._problems.rejection()

    def _add_problem(self, pos: int, found: str, expected: str, message: str = "", *, incomplete: bool = False) -> None:
        if self._problems.full:
            self._problems.omitted += 1
            return
        line, column = self.lines.place(pos)
        message = message or f"found {found}, expected {expected}"
        # A key may hold half a surrogate pair, which has no UTF-8 form.
        pointer = render_pointer(tuple(self._pointer)).encode(errors="backslashreplace").decode()
        self._problems.append(Problem(message, self._path, line, column, pointer, found, expected, incomplete))
