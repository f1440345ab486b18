"""Names shell scripts by their content.

A wrapper adds a runtime's arguments, a launcher is executed through a stable path. The file of either is named by its
text, so a path that a client has received never changes its meaning.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_DIGEST_DIGITS = 32
_FILE = re.compile(rf"[^/]+-[0-9a-f]{{{_DIGEST_DIGITS}}}")


@dataclass(frozen=True, slots=True)
class Script:
    """A script: the name of the stable path, the content-addressed file name, the text.

    Large tables have many launchers, which share the ``tail`` of their text in memory.
    """

    link: str
    file: str
    head: bytes
    tail: bytes = b""

    @property
    def text(self) -> bytes:
        """The content of the file."""
        return self.head + self.tail


def make_script(link: str, head: bytes, tail: bytes = b"") -> Script:
    """Return the script ``head + tail`` of the stable path ``link``, with the file name that its content requires."""
    return Script(link, f"{link}-{_digest(head + tail)}", head, tail)


def is_script_file(file: str) -> bool:
    """Return whether ``file`` has the form of a script's file name."""
    return _FILE.fullmatch(file) is not None


def is_intact(file: str, text: bytes) -> bool:
    """Return whether ``text`` is the content that the script file name ``file`` requires."""
    return file.rpartition("-")[2] == _digest(text)


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:_DIGEST_DIGITS]
