"""Generates wrapper scripts, which add a runtime's arguments.

containerd's runc options hold a binary but no arguments.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from runtimed.core.containerd.names import file_name
from runtimed.core.table.script import name_script


@dataclass(frozen=True, slots=True)
class Wrapper:
    """The wrapper that executes ``program`` with ``args``."""

    link: str
    file: str
    program: str
    args: tuple[str, ...]

    @property
    def text(self) -> bytes:
        """The content of the file."""
        return _render(self.program, self.args)


def make_wrapper(name: str, path: str, args: Sequence[str]) -> Wrapper:
    """Return the wrapper of the runtime ``name`` that executes ``path`` with ``args`` and the caller's arguments.

    The shell replaces itself (``exec``), so signals and the exit status are those of the runtime. Each word is quoted,
    so the runtime receives exactly the configured bytes.
    """
    link = file_name(name)
    return Wrapper(link, name_script(link, _render(path, args)), path, tuple(args))


def _render(path: str, args: Sequence[str]) -> bytes:
    # exec would take a leading "-" for an option. (The configuration refuses one in a bare name.)
    program = f"./{path}" if path.startswith("-") else path
    words = " ".join(map(shlex.quote, (program, *args)))
    return f'#!/bin/sh\n# Written by runtimed. Never changed: a new text gets a new name.\nexec {words} "$@"\n'.encode()
