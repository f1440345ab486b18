"""Writes values, names and suggestions into messages, safe for a terminal or a line of a log."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable

_SHOWN = 60
_NAME_SHOWN = 200
# A shorter word stands in too many names to be a hint.
_SHORTEST_PART = 4
# Comparing with one takes up to a tenth of a millisecond.
_CANDIDATES = 1000


def shown(value: object) -> str:
    """Return ``value`` in a few words: JSON where it is short, what kind of thing it is where it is not."""
    if isinstance(value, dict):
        return "an object" if value else "an empty object"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, str):
        # A string may have megabytes, and be shown by a thousand problems.
        value = value[: _SHOWN + 1]
    text = json.dumps(value, ensure_ascii=isinstance(value, str) and not value.isprintable())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def called(name: str) -> str:
    """Return ``name`` as messages write it: itself, or quoted where it would break the line."""
    return name if len(name) <= _NAME_SHOWN and name.isprintable() else shown(name)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return what of ``known`` is spelt most like ``name`` or holds it, if anything does; case counts for nothing."""
    import difflib  # noqa: PLC0415 - of use to error messages only

    # It takes quadratic time, and no name of this length is a misspelling.
    if len(name) > _SHOWN:
        return None
    alike = (candidate for candidate in sorted(known) if len(candidate) <= _SHOWN)
    folded = {candidate.casefold(): candidate for candidate in itertools.islice(alike, _CANDIDATES)}
    wanted = name.casefold()
    matches = difflib.get_close_matches(wanted, folded, n=1)
    if not matches and len(wanted) >= _SHORTEST_PART:
        matches = [candidate for candidate in folded if wanted in candidate]
    return folded[matches[0]] if matches else None


def printable(text: object) -> str:
    r"""Return ``text`` as one line in which every character that is not printable is escaped: ``\n``, ``\x1b``.

    Names and messages come from configuration files and requests, where there may be line breaks, escape sequences
    that repaint the terminal (ESC, BEL, the C1 controls), and marks that turn the direction of writing.
    """
    line = str(text)
    return line if line.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in line)


def _escaped(character: str) -> str:
    code = ord(character)
    # os.fsdecode() keeps an undecodable byte 0xNN as the lone surrogate U+DCNN (PEP 383).
    if 0xDC80 <= code <= 0xDCFF:  # noqa: PLR2004
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
