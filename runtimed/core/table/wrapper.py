"""Generates wrapper scripts, which add a runtime's arguments.

containerd's runc options hold a binary but no arguments.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from runtimed.core.containerd.names import file_name
from runtimed.core.table.script import Script, make_script


def make_wrapper(name: str, path: str, args: Sequence[str]) -> Script:
    """Return the wrapper of the runtime ``name`` that executes ``path`` with ``args`` and the caller's arguments.

    The shell replaces itself (``exec``), so signals and the exit status are those of the runtime. Each word is quoted,
    so the runtime receives exactly the configured bytes.
    """
    # exec would take a leading "-" for an option. (The configuration refuses one in a bare name.)
    program = f"./{path}" if path.startswith("-") else path
    words = " ".join(shlex.quote(word) for word in (program, *args))
    text = f'#!/bin/sh\n# Written by runtimed. Never changed: a new text gets a new name.\nexec {words} "$@"\n'.encode()
    return make_script(file_name(name), text)
