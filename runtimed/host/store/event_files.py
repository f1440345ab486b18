"""Keeps the events of generations in files beside their manifests."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence

from runtimed.core.errors import StoreFailed
from runtimed.core.history.event_lines import BYTES_MAX, add_lines, lack_of_room
from runtimed.host.store.disk import FILE_MODE, failing_as, read_file, replace_file, require_regular
from runtimed.host.store.paths import Paths


class EventFiles:
    """The files of events of a data root.

    ``current`` returns the number of the current generation, 0 if none is known to be whole; ``refusal`` why the daemon
    must not write to the data root.
    """

    def __init__(
        self,
        paths: Paths,
        current: Callable[[], int],
        refusal: Callable[[], str | None],
        at_step: Callable[[str], None],
    ) -> None:
        self._paths = paths
        self._current = current
        self._refusal = refusal
        self._at_step = at_step

    def append(self, lines: Sequence[bytes]) -> None:
        """Add the ``lines`` of events to the current generation.

        They are not synced: they survive the end of the process, and a power loss may take the last ones.

        Raises:
            StoreFailed: none of the lines is kept.
        """
        number = self._current()
        path = self._paths.events(number)
        with failing_as("writing", path):
            if (refusal := "no generation is current" if not number else self._refusal()) is not None:
                raise StoreFailed("writing", path, refusal)
            self._at_step("events")
            room = os.statvfs(self._paths.generation(number))
            free = room.f_bavail * room.f_frsize if room.f_blocks else None, room.f_favail if room.f_files else None
            if (lack := lack_of_room(*free)) is not None:
                raise StoreFailed("writing", path, lack)
            data, appends = add_lines(self.read(number), lines)
            _append(path, data) if appends else replace_file(path, data, FILE_MODE)

    def read(self, number: int) -> bytes:
        """Return the lines of events of a generation; a thread may call this beside `append`. Raises: StoreFailed."""
        path = self._paths.events(number)
        with failing_as("reading", path):
            try:
                return read_file(path, BYTES_MAX)
            except FileNotFoundError:
                return b""


def _append(path: str, data: bytes) -> None:
    """Append ``data`` to the file, all or nothing. Raises: OSError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    fd = os.open(path, flags, FILE_MODE)
    try:
        require_regular(fd, path)
        size = os.fstat(fd).st_size
        if os.write(fd, data) < len(data):
            # A disk that is nearly full takes the beginning.
            with contextlib.suppress(OSError):
                os.ftruncate(fd, size)
            raise StoreFailed("writing", path, "the disk is full")
    finally:
        os.close(fd)
