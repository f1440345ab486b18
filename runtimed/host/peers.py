"""Reads the command lines of processes that send requests."""

from __future__ import annotations

import os
import shlex

from runtimed.core.message_text import printable

# Characters of a command line that are kept, of up to 2 MiB (execve(2)).
COMMAND_MAX = 250


def read_command(pid: int) -> str | None:
    """Return the command line of process ``pid`` in shell syntax, printable and cut after `COMMAND_MAX` characters.

    None: the process has ended, is in another PID namespace (pid 0), or must not be seen. Blocks while the kernel waits
    for the memory of the process, for example for a page on a dead network file system.
    """
    try:
        with open(f"/proc/{pid}/cmdline", "rb", buffering=0) as file:
            data = file.read(4 * COMMAND_MAX)
    except OSError:
        return None
    if not data:
        return None  # it is a zombie
    arguments = (os.fsdecode(argument) for argument in data.rstrip(b"\0").split(b"\0"))
    text = printable(" ".join(map(shlex.quote, arguments)))
    return text if len(text) <= COMMAND_MAX else f"{text[: COMMAND_MAX - 1]}…"
