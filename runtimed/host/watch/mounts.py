"""Watches the kernel's table of mounts for changes that make no inotify event.

Neither a mount over a directory or a file nor its removal makes an inotify event. The kernel reports both to a poll(2)
of ``/proc/self/mountinfo`` for POLLPRI (proc(5)).
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import BinaryIO

from runtimed.core.message_text import printable
from runtimed.core.mounts import Mount, covering_mount, is_remote, parse_mounts

MOUNTINFO = "/proc/self/mountinfo"
# A starting container makes mounts by the hundred: the table is read at most this often.
PAUSE_S = 0.5
_STOP_S = 1.0


class MountWatch:
    """Calls ``on_change``, in a separate thread, when a mount at or above a watched path changes."""

    def __init__(self, on_change: Callable[[], None], pause_s: float = PAUSE_S) -> None:
        self._on_change = on_change
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._names: Mapping[str, frozenset[str | None]] = {}
        # The watched directories and all directories above them.
        self._points: frozenset[str] = frozenset()
        self._seen: tuple[object, ...] = ()
        self._thread: threading.Thread | None = None
        self._wake = -1
        self._descriptors = contextlib.ExitStack()

    @property
    def alive(self) -> bool:
        """Whether the thread is running."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Start the thread unless it is running. Raises: OSError, RuntimeError."""
        if self.alive:
            return
        self.stop()
        with contextlib.ExitStack() as stack:
            # Opened here and not in the thread, so that the caller gets the error.
            mountinfo = stack.enter_context(open(MOUNTINFO, "rb"))
            wake = os.eventfd(0, os.EFD_CLOEXEC)
            stack.callback(os.close, wake)
            thread = threading.Thread(target=self._work, args=(mountinfo, wake), name="mounts", daemon=True)
            thread.start()
            self._thread, self._wake, self._descriptors = thread, wake, stack.pop_all()

    def stop(self) -> None:
        """End the thread, waiting at most a second for it."""
        if self._thread is None:
            return
        os.eventfd_write(self._wake, 1)
        self._thread.join(_STOP_S)
        # A thread that is still alive needs the descriptors; it ends with the process.
        if not self._thread.is_alive():
            self._thread = None
            self._descriptors.close()

    def update(self, names: Mapping[str, frozenset[str | None]]) -> Mapping[str, str]:
        """Set the watched names by directory; return the directories that must be polled, each with the reason.

        Calls ``on_change`` if the names or their mounts differ from those of the last comparison.
        """
        mounts = _read_mounts()
        with self._lock:
            self._names = names
            self._points = frozenset(
                point for directory in names for point in (directory, *map(str, PurePosixPath(directory).parents))
            )
        self._compare(mounts)
        faults = {}
        for directory in names:
            mount = covering_mount(mounts, os.fsencode(directory))
            if mount is not None and is_remote(mount.kind):
                faults[directory] = f"on {mount.kind}, where not every change makes an inotify event"
        for mount in mounts:
            point = os.fsdecode(mount.point)
            if point not in self._points and self._is_of_interest(point):
                faults.setdefault(
                    os.path.dirname(point),
                    f"{printable(point)} is a bind mount, so a change of its source makes no inotify event here",
                )
        # Of several mounts at one point the last is visible.
        for mount in {mount.point: mount for mount in mounts}.values():
            point = os.fsdecode(mount.point)
            if mount.is_outdated and self._is_of_interest(point):
                directory = point if point in names else os.path.dirname(point)
                faults[directory] = (
                    f"{printable(point)} is a bind mount whose source was replaced or removed, so it shows the "
                    "old content; mount it again (in a container: restart the container)"
                )
        return faults

    def _is_of_interest(self, point: str) -> bool:
        directory, name = os.path.split(point)
        names = self._names.get(directory, frozenset())
        return point in self._points or name in names or None in names

    def _work(self, mountinfo: BinaryIO, wake: int) -> None:
        changed, stopped = select.poll(), select.poll()
        # Not POLLIN, because there is always something to read.
        changed.register(mountinfo, select.POLLPRI)
        for poll in (changed, stopped):
            poll.register(wake, select.POLLIN)
        while not any(fd == wake for fd, _ in changed.poll()) and not stopped.poll(self._pause_s * 1000):
            self._compare(_read_mounts())

    def _compare(self, mounts: Iterable[Mount]) -> None:
        """Call ``on_change`` if the names of interest or their mounts differ from those of the last call."""
        with self._lock:
            seen = (self._points, *(mount.line for mount in mounts if self._is_of_interest(os.fsdecode(mount.point))))
            is_new = seen != self._seen
            self._seen = seen
        if is_new:
            self._on_change()


def _read_mounts() -> tuple[Mount, ...]:
    try:
        with open(MOUNTINFO, "rb") as file:
            return tuple(parse_mounts(file.read()))
    except OSError:  # no /proc, or no descriptor is left
        return ()
