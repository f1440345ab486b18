"""The wrapper script: how a runtime with arguments becomes one path that a shim can execute.

containerd's runc options hold a binary but no arguments, so a runtime that has some gets a script.
Its file is named by its content: a path once handed out never means anything else.
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
    """A wrapper script: the link name of its runtime, its own content-addressed file name, its text."""

    link: str
    file: str
    text: bytes


def make_wrapper(name: str, path: str, args: Sequence[str]) -> Wrapper:
    """Return the wrapper that executes ``path`` with ``args`` and then whatever it was called with.

    The shell replaces itself (``exec``), so that signals and the exit status are the runtime's own;
    every word is quoted, so that what arrives is byte for byte what was configured.
    """
    # A leading "-" would be an option of exec. (The configuration refuses one in a bare name.)
    program = f"./{path}" if path.startswith("-") else path
    words = " ".join(shlex.quote(word) for word in (program, *args))
    text = f'#!/bin/sh\n# Written by runtimed. Never changed: a new text gets a new name.\nexec {words} "$@"\n'.encode()
    link = file_name(name)
    return Wrapper(link, f"{link}-{_digest(text)}", text)


def is_wrapper_file(file: str) -> bool:
    """Return whether ``file`` has the form of a wrapper's file name."""
    return _FILE.fullmatch(file) is not None


def is_intact(file: str, text: bytes) -> bool:
    """Return whether ``text`` is what the wrapper file named ``file`` must hold."""
    return file.rpartition("-")[2] == _digest(text)


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:_DIGEST_DIGITS]
