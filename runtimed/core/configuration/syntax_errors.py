"""Describes what is found in JSON text where its syntax is broken, with advice for frequent mistakes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

_TOKEN = re.compile(r'"[^"\n]{0,30}"?|[^\s,:\[\]{}"]{1,30}|.', re.DOTALL)
_PUNCTUATION = frozenset(",:{}[]")

_QUOTES = "write strings and keys in plain double quotes"
# First character of an unexpected token -> advice.
_HINTS: Mapping[str, str] = MappingProxyType(
    {
        "'": _QUOTES,
        "\u201c": f"these are typographic quotes; {_QUOTES}",
        "\u201d": f"these are typographic quotes; {_QUOTES}",
        "/": "JSON has no comments",
        "#": "JSON has no comments",
        "T": "write true in lower case",
        "F": "write false in lower case",
        "N": "write null for no value",
        "\0": "is the file UTF-16 without a byte-order mark?",
    }
)


def describe_token(text: str, pos: int) -> tuple[str, str]:
    """Return the token at ``pos`` as a message shows it, and advice, "" for none."""
    token = _TOKEN.match(text, pos)
    if token is None:
        return "the end of the file", "the text is cut off"
    return _printable(token[0]), _HINTS.get(token[0][0], "")


def describe_broken_string(text: str, pos: int) -> tuple[str, str, str]:
    """Describe the character at ``pos``, which no string may have: return its name, the expected text, and advice.

    Name and advice are "" where those of :func:`describe_token` are right.
    """
    odd = text[pos]
    if odd == "\\":
        found = text[pos : pos + (6 if text[pos + 1] == "u" else 2)]
        return _printable(found), r"one of the escapes \" \\ \/ \b \f \n \r \t \uXXXX", ""
    if odd in "\r\n":
        return "", "a double quote at the end of the string", "is a double quote missing at the end of the line?"
    if odd == "\t":
        return "a tab inside a string", r"\t in its place", ""
    expected = "no NUL" if odd == "\0" else rf"\u{ord(odd):04x} in its place"
    return f"the control character U+{ord(odd):04X} inside a string", expected, ""


def _printable(token: str) -> str:
    if not token.isprintable():
        return f"U+{ord(token[0]):04X}"
    return f'"{token}"' if token in _PUNCTUATION else token
