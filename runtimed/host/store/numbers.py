"""Keeps generation and event numbers growing across restarts, rollbacks of the data root, and clock changes.

Each number is in a file of the exec root, which a rollback of the data root does not reach and a boot empties.
"""

from __future__ import annotations

import contextlib
import os

from runtimed.host.store.disk import FILE_MODE, read_file, replace_file

_GENERATION_DIGITS = 18
# As in the parameter `since` of the event stream.
_EVENT_DIGITS = 15
# Many more events than one process has (one a second for eleven days), yet few enough that the clock in milliseconds
# is above all used numbers after a boot.
_RESERVED = 10**6


class NumberMemory:
    """The file ``<directory>/generation-<identity>`` with the newest generation number of one data root."""

    def __init__(self, directory: str, identity: str) -> None:
        self._directory = directory
        self._name = f"generation-{identity if identity.isalnum() else 'unknown'}"

    def read(self) -> int:
        """Return the number; 0 where there is none, as after a boot."""
        return _read_number(f"{self._directory}/{self._name}", _GENERATION_DIGITS)

    def write(self, number: int) -> str | None:
        """Write ``number``; return the reason of a failure, else None."""
        try:
            try:
                self._replace(number)
            except FileNotFoundError:  # the directory was removed while the daemon runs
                os.mkdir(self._directory, 0o755 if os.geteuid() == 0 else 0o700)
                self._replace(number)
        except OSError as error:
            path = f"{self._directory}/{self._name}"
            return f"number {number} cannot be written to {path}: {error.strerror or error}"
        return None

    def _replace(self, number: int) -> None:
        replace_file(self._directory, self._name, b"%d\n" % number, FILE_MODE)


def reserve_event_numbers(directory: str, least: int) -> int:
    """Return a number that is at least ``least`` and above all event numbers of earlier processes.

    The file ``<directory>/event-number`` holds a bound on the numbers in use. Each process writes it once, so that no
    event waits for a disk. Where it cannot be read or written, ``least``, a clock reading, is the number. Blocks.
    """
    least = max(least, _read_number(f"{directory}/event-number", _EVENT_DIGITS))
    with contextlib.suppress(OSError):
        replace_file(directory, "event-number", b"%d\n" % (least + _RESERVED), FILE_MODE)
    return least


def _read_number(path: str, digits_most: int) -> int:
    """Return the number in the file ``path``; 0 where it has none of at most ``digits_most`` digits."""
    try:
        # One byte more shows that a number is too long; another one is the newline.
        text = read_file(path, digits_most + 2).strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() and len(text) <= digits_most else 0
