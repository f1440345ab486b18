"""Names in directories on which the meaning of a path depends, and how to show a path."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A name in a directory that was looked up on the way to a file.

    Whatever happens to that name may change what the path means. ``directory`` is a real path;
    ``name`` None stands for every name in it that can be a drop-in's.
    """

    directory: str
    name: str | None


def is_dropin_name(name: str) -> bool:
    """Return whether a file of this name in the drop-in directory is a drop-in.

    Names with a leading dot are not: ``..data`` of a ConfigMap, editors' swap files (facts.md section 1).
    """
    return name.endswith(".json") and not name.startswith(".")


def printable(path: str) -> str:
    r"""Return ``path`` fit for a message: one line, no control characters, undecodable bytes as ``\xNN``."""
    return path if path.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in path)


def _escaped(character: str) -> str:
    code = ord(character)
    # os.fsdecode() keeps an undecodable byte 0xNN as the lone surrogate U+DCNN (PEP 383).
    if 0xDC80 <= code <= 0xDCFF:  # noqa: PLR2004
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
