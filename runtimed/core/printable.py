"""Escapes text from files and requests for a terminal or a line of a log."""

from __future__ import annotations


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
