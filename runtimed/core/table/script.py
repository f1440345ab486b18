"""Names shell scripts by their content.

A wrapper adds a runtime's arguments, a launcher is executed through a stable path. The file of either is named by its
text, so a path that a client has received never changes its meaning.
"""

from __future__ import annotations

import hashlib
import re
from typing import Protocol

_DIGEST_DIGITS = 32
_FILE = re.compile(rf"[^/]+-[0-9a-f]{{{_DIGEST_DIGITS}}}")


class Script(Protocol):
    """A wrapper or launcher.

    Its text is made from its other fields each time. The texts of a large table would take as much memory as the rest
    of the table, and only a new or damaged file needs one.
    """

    @property
    def link(self) -> str:
        """The file name of the stable path."""

    @property
    def file(self) -> str:
        """The content-addressed file name."""

    @property
    def text(self) -> bytes:
        """The content of the file."""


def name_script(link: str, text: bytes) -> str:
    """Return the file name that ``text`` requires, of the stable path ``link``."""
    return f"{link}-{_digest(text)}"


def is_script_file(file: str) -> bool:
    """Return whether ``file`` has the form of a script's file name."""
    return _FILE.fullmatch(file) is not None


def is_intact(file: str, text: bytes) -> bool:
    """Return whether ``text`` is the content that the script file name ``file`` requires."""
    return file.rpartition("-")[2] == _digest(text)


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:_DIGEST_DIGITS]
