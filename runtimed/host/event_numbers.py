"""Keeps event numbers growing across restarts, whatever the clock does."""

from __future__ import annotations

import contextlib
import os
import stat

_FILE = "event-number"
# More events than a process has between two looks of an administrator: one a second for eleven days. Not many more:
# after a boot, which empties the directory, the clock in milliseconds must be above all numbers that were used.
_RESERVED = 10**6
# What `since` may have, too.
_NUMBER_BYTES = 15


def reserve_event_numbers(directory: str, least: int) -> int:
    """Return a number that is at least ``least`` and above all that earlier processes on ``directory`` used.

    The file there holds the number above which none was used. It is written once for each process, so that no event
    waits for a disk. Where it cannot be read or written the clock, from which ``least`` comes, decides alone. Blocks.
    """
    path = f"{directory}/{_FILE}"
    with contextlib.suppress(OSError, ValueError):
        least = max(least, _read(path))
    with contextlib.suppress(OSError):
        _write(path, least + _RESERVED)
    return least


def _read(path: str) -> int:
    # Not a FIFO, which would wait for its writer, nor a link.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("not a regular file")
        text = os.read(fd, _NUMBER_BYTES + 2).strip()
    finally:
        os.close(fd)
    if not text.isdigit() or len(text) > _NUMBER_BYTES:
        raise ValueError("not a number")
    return int(text)


def _write(path: str, number: int) -> None:
    temporary = f"{path}~"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, b"%d\n" % number)
    finally:
        os.close(fd)
    os.replace(temporary, path)
