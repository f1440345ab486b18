"""Keeps generation and event numbers growing across restarts, rollbacks of the data root, and clock changes.

Each number is in a file of the exec root, which a rollback of the data root does not reach and a boot empties.
"""

from __future__ import annotations

import contextlib
import os

from runtimed.host.store.disk import FILE_MODE, make_exec_root, read_file, replace_file

_GENERATION_DIGITS = 18
# As in the parameter `since` of the event stream.
_EVENT_DIGITS = 15
# Many more events than one process has (one a second for eleven days), yet few enough that the clock in milliseconds
# is above all used numbers after a boot.
_RESERVED = 10**6


def number_file(directory: str, identity: str) -> str:
    """Return the path of the file with the newest generation number of the data root with this ``identity``."""
    return f"{directory}/generation-{identity if identity.isalnum() else 'unknown'}"


def read_generation_number(path: str) -> int:
    """Return the number in the file ``path``; 0 where there is none, as after a boot."""
    return _read_number(path, _GENERATION_DIGITS)


def write_generation_number(path: str, number: int) -> str | None:
    """Write ``number`` to the file ``path``; return the reason of a failure, else None."""
    data = b"%d\n" % number
    try:
        make_exec_root(os.path.dirname(path))
        replace_file(path, data, FILE_MODE)
    except OSError as error:
        return f"number {number} cannot be written to {path}: {error.strerror or error}"
    return None


def reserve_event_numbers(directory: str, least: int) -> int:
    """Return a number that is at least ``least`` and above all event numbers of earlier processes.

    The file ``<directory>/event-number`` holds a bound on the numbers in use. Each process writes it once, so that no
    event waits for a disk. Where it cannot be read or written, ``least``, a clock reading, is the number. Blocks.
    """
    path = f"{directory}/event-number"
    least = max(least, _read_number(path, _EVENT_DIGITS))
    with contextlib.suppress(OSError):
        replace_file(path, b"%d\n" % (least + _RESERVED), FILE_MODE)
    return least


def _read_number(path: str, digits_most: int) -> int:
    """Return the number in the file ``path``; 0 where it has none of at most ``digits_most`` digits."""
    try:
        # One byte more shows that a number is too long; another one is the newline.
        text = read_file(path, digits_most + 2).strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() and len(text) <= digits_most else 0
