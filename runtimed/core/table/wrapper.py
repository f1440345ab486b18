"""Generates wrapper scripts, which add a runtime's arguments.

containerd's runc options hold a binary but no arguments. A wrapper's file is named by its content, so a path that a
client has received never changes its meaning.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from runtimed.core.containerd.names import file_name

_DIGEST_DIGITS = 32
_FILE = re.compile(rf"[^/]+-[0-9a-f]{{{_DIGEST_DIGITS}}}")


@dataclass(frozen=True, slots=True)
class Wrapper:
    """A wrapper script: the name of the stable path, the content-addressed file name, the text."""

    link: str
    file: str
    text: bytes


def make_wrapper(name: str, path: str, args: Sequence[str]) -> Wrapper:
    """Return the wrapper of the runtime ``name`` that executes ``path`` with ``args`` and the caller's arguments.

    The shell replaces itself (``exec``), so signals and the exit status are those of the runtime. Each word is quoted,
    so the runtime receives exactly the configured bytes.
    """
    # exec would take a leading "-" for an option. (The configuration refuses one in a bare name.)
    program = f"./{path}" if path.startswith("-") else path
    words = " ".join(shlex.quote(word) for word in (program, *args))
    text = f'#!/bin/sh\n# Written by runtimed. Never changed: a new text gets a new name.\nexec {words} "$@"\n'.encode()
    link = file_name(name)
    return Wrapper(link, f"{link}-{_digest(text)}", text)


def is_wrapper_file(file: str) -> bool:
    """Return whether ``file`` has the form of a wrapper's file name."""
    return _FILE.fullmatch(file) is not None


def is_intact(file: str, text: bytes) -> bool:
    """Return whether ``text`` is the content that the wrapper file name ``file`` requires."""
    return file.rpartition("-")[2] == _digest(text)


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:_DIGEST_DIGITS]
