"""Formats values, names and suggestions for messages, safe for a terminal and for a line of a log."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable

_VALUE_MAX = 60
_NAME_MAX = 200
# A shorter word is part of too many names to suggest one.
_PART_MIN = 4
# Comparing with one candidate takes up to 0.1 ms.
_CANDIDATES_MAX = 1000


def shown(value: object) -> str:
    """Return ``value`` for a message: as JSON if it is short, otherwise its beginning or its type."""
    if isinstance(value, dict):
        return "an object" if value else "an empty object"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, str):
        # A string may have megabytes and appear in a thousand problems.
        value = value[: _VALUE_MAX + 1]
    text = json.dumps(value, ensure_ascii=isinstance(value, str) and not value.isprintable())
    return text if len(text) <= _VALUE_MAX else f"{text[:_VALUE_MAX]}…"


def called(name: str) -> str:
    """Return ``name`` for a message, quoted and cut if it is long or not printable."""
    return name if len(name) <= _NAME_MAX and name.isprintable() else shown(name)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the name in ``known`` that is similar to ``name`` or contains it, ignoring case, or None."""
    import difflib  # noqa: PLC0415 - only error messages need it

    # The comparison takes quadratic time, and a longer name is no misspelling.
    if len(name) > _VALUE_MAX:
        return None
    short = (candidate for candidate in sorted(known) if len(candidate) <= _VALUE_MAX)
    folded = {candidate.casefold(): candidate for candidate in itertools.islice(short, _CANDIDATES_MAX)}
    wanted = name.casefold()
    matches = difflib.get_close_matches(wanted, folded, n=1)
    if not matches and len(wanted) >= _PART_MIN:
        matches = [candidate for candidate in folded if wanted in candidate]
    return folded[matches[0]] if matches else None


def kept_text(runtime: str, containers: int, generation: int | None, binary: str) -> str:
    """Return the line about ``containers`` that keep the ``binary`` of a generation, None for one that is unknown."""
    subject = "1 container keeps" if containers == 1 else f"{containers} containers keep"
    owner = "an earlier generation's" if generation is None else f"generation {generation}'s"
    return f"{runtime}: {subject} {owner} {binary}"


def printable(text: object) -> str:
    r"""Return ``text`` as one line in which each character that is not printable is escaped: ``\n``, ``\x1b``.

    Text from configuration files and requests may contain line breaks, escape sequences for the terminal (ESC, BEL, the
    C1 controls), and marks that change the direction of writing.
    """
    line = str(text)
    return line if line.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in line)


def _escaped(character: str) -> str:
    code = ord(character)
    # os.fsdecode() turns an undecodable byte 0xNN into the lone surrogate U+DCNN (PEP 383).
    if 0xDC80 <= code <= 0xDCFF:  # noqa: PLR2004
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
