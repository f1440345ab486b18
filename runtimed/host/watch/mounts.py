"""What is mounted where: changes that inotify says nothing of, and file systems of which it does not say all.

A mount over a directory or a file, or its end, makes no inotify event. The kernel tells whoever polls
``/proc/self/mountinfo`` for POLLPRI (proc(5)).
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from runtimed.core.message_text import printable
from runtimed.core.mounts import is_remote, unescape

MOUNTINFO = "/proc/self/mountinfo"
# Mounts come and go by the hundred while containers start: the table is read at most this often.
PAUSE_S = 0.5
_STOP_S = 1.0


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo: where, what kind of file system, the line itself, and what of the file system it shows."""

    point: str
    kind: str
    line: bytes
    root: bytes = b"/"

    @property
    def outdated(self) -> bool:
        """Whether the file or directory that a bind mount shows has been removed or replaced where it came from."""
        return self.root.endswith(b"//deleted")

    @property
    def tells(self) -> bool:
        """Whether inotify tells of every change there."""
        return not is_remote(self.kind)


def parse_mountinfo(data: bytes) -> Iterable[Mount]:
    """Yield the mounts in the content of ``/proc/PID/mountinfo``, in the order in which they were made."""
    for line in data.splitlines():
        head, _, tail = line.partition(b" - ")
        fields = head.split(b" ", 5)
        if len(fields) > 4:  # noqa: PLR2004 - the fifth is the mount point
            kind = tail.partition(b" ")[0].decode(errors="replace")
            yield Mount(os.fsdecode(unescape(fields[4])), kind, line, fields[3])


def covering_mount(mounts: Iterable[Mount], directory: str) -> Mount | None:
    """Return the mount that ``directory``, a real path, lies on; of several at one point the last."""
    found = None
    for mount in mounts:
        inside = directory == mount.point or directory.startswith(mount.point.rstrip("/") + "/")
        if inside and (found is None or len(mount.point) >= len(found.point)):
            found = mount
    return found


class MountWatch:
    """Calls ``touch``, in a thread of its own, when what is mounted at the paths of interest, or above, changes."""

    def __init__(self, touch: Callable[[], None], path: str = MOUNTINFO) -> None:
        self._touch = touch
        self._path = path
        self._lock = threading.Lock()
        self._names: Mapping[str, frozenset[str | None]] = MappingProxyType({})
        self._points: frozenset[str] = frozenset()
        self._seen: tuple[object, ...] = ()
        self._thread: threading.Thread | None = None
        self._wake_r = self._wake_w = -1

    @property
    def alive(self) -> bool:
        """Whether the thread is running."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begin; does nothing while it runs. Raises: OSError, RuntimeError."""
        if self.alive:
            return
        self.stop()
        self._wake_r, self._wake_w = os.pipe2(os.O_CLOEXEC)
        # Opened here, so that a failure is the caller's and not a thread's.
        mountinfo = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        thread = threading.Thread(target=self._work, args=(mountinfo,), name="mounts", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            os.close(mountinfo)
            raise
        self._thread = thread

    def stop(self) -> None:
        """End the thread."""
        if self._thread is not None:
            os.write(self._wake_w, b"x")
            self._thread.join(_STOP_S)
            if self._thread.is_alive():
                # It holds the descriptors; both end with the process.
                return
            self._thread = None
        for fd in (self._wake_r, self._wake_w):
            if fd >= 0:
                os.close(fd)
        self._wake_r = self._wake_w = -1

    def update(self, names: Mapping[str, frozenset[str | None]]) -> Mapping[str, str]:
        """Take over the names of interest by directory; return directories of which inotify tells not all, and why.

        When anything about them is new, a touch follows: what happened since they were found went unseen.
        """
        mounts = self._mounts()
        with self._lock:
            self._names = names
            self._points = frozenset(point for directory in names for point in _with_parents(directory))
        self._compare(mounts)
        found = {}
        for directory in names:
            mount = covering_mount(mounts, directory)
            if mount is not None and not mount.tells:
                found[directory] = f"on {mount.kind}, where a change need not make an event"
        # A file that is mounted by itself: who writes to it makes an event in the directory where it is at home.
        for mount in mounts:
            directory = os.path.dirname(mount.point)
            if mount.point not in self._points and self._concerns(mount.point):
                found.setdefault(
                    directory, f"{printable(mount.point)} is a mount of its own, whose events are elsewhere"
                )
        # Of several mounts at one point the last is the one that is seen.
        for mount in {mount.point: mount for mount in mounts}.values():
            if mount.outdated and self._concerns(mount.point):
                directory = mount.point if mount.point in names else os.path.dirname(mount.point)
                found[directory] = (
                    f"{printable(mount.point)} is a mount of something that was replaced or removed where it came from "
                    "and shows the old content; mount it anew (for a container: start it again)"
                )
        return found

    def _mounts(self) -> tuple[Mount, ...]:
        try:
            with open(self._path, "rb") as file:
                return tuple(parse_mountinfo(file.read()))
        except OSError:  # no /proc, no descriptors: then nobody tells
            return ()

    def _relevant(self, mounts: Iterable[Mount]) -> tuple[object, ...]:
        return (self._points, *(mount.line for mount in mounts if self._concerns(mount.point)))

    def _concerns(self, point: str) -> bool:
        directory, name = os.path.split(point)
        names = self._names.get(directory, frozenset())
        return point in self._points or name in names or None in names

    def _work(self, mountinfo: int) -> None:
        changed, stopped = select.poll(), select.poll()
        # Not POLLIN: there is always something to read.
        changed.register(mountinfo, select.POLLPRI)
        for poll in (changed, stopped):
            poll.register(self._wake_r, select.POLLIN)
        try:
            while not any(fd == self._wake_r for fd, _ in changed.poll()) and not stopped.poll(PAUSE_S * 1000):
                self._compare(self._mounts())
        finally:
            os.close(mountinfo)

    def _compare(self, mounts: tuple[Mount, ...]) -> None:
        """Note what is mounted, and give a touch if that is new."""
        with self._lock:
            seen = self._relevant(mounts)
            new = seen != self._seen
            self._seen = seen
        if new:
            self._touch()


def _with_parents(directory: str) -> Iterable[str]:
    yield directory
    while directory != "/":
        directory = os.path.dirname(directory)
        yield directory
