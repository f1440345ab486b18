"""watchdog's events turned into one hint: "something may have changed".

Directories are watched, never files: an atomic replace or a ConfigMap's swapped link leaves a watch on a
file behind. Events only say when to look; what has changed, if anything, the reader finds in the bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from watchdog import events
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch
from watchdog.utils import BaseThread

from runtimed.core.places import Place, is_dropin_name, printable

# watchdog 6 leaks three descriptors whenever a watch cannot be added, so it is not tried at every update.
RETRY_S = 30.0
STOP_S = 5.0

# Not among them: opened and closed_no_write, which our own reading would cause.
_EVENTS: list[type[FileSystemEvent]] = [
    events.FileCreatedEvent,
    events.FileModifiedEvent,
    events.FileClosedEvent,
    events.FileMovedEvent,
    events.FileDeletedEvent,
    events.DirCreatedEvent,
    events.DirMovedEvent,
    events.DirDeletedEvent,
    # A chmod or chown of a directory. watchdog 6 reports it as a modification, 7 as an event of its own.
    getattr(events, "DirAttribEvent", events.DirModifiedEvent),
    getattr(events, "FileAttribEvent", events.FileModifiedEvent),
]

# None among the names stands for every name that can be a drop-in's.
_Names = frozenset[str | None]


class Watcher:
    """Calls ``on_hint`` on ``loop`` when one of the places may have changed.

    A hint comes after ``debounce_ms`` without further events, after ``max_wait_ms`` at the latest. ``start``,
    ``update`` and ``stop`` may be called from any thread, and block: they wait for watchdog's threads,
    which under version 6 can take half a second.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_hint: Callable[[], None],
        debounce_ms: int = 200,
        max_wait_ms: int = 2000,
    ) -> None:
        self._debounce = _Debounce(loop, on_hint, debounce_ms / 1000, max_wait_ms / 1000)
        self._lock = threading.Lock()
        self._observer: BaseObserver | None = None
        self._watched: dict[str, tuple[ObservedWatch, tuple[int, int]]] = {}
        self._faults: dict[str, tuple[str, float]] = {}
        self._interest = _Interest(self._debounce.touch)

    @property
    def mode(self) -> str:
        """How changes are noticed: ``inotify``, or ``off`` when there is no observer."""
        return "off" if self._observer is None else "inotify"

    @property
    def faults(self) -> Mapping[str, str]:
        """Directories that should be watched and are not, each with the reason."""
        return MappingProxyType({directory: reason for directory, (reason, _) in self._faults.copy().items()})

    @property
    def alive(self) -> bool:
        """Whether every thread that a watch needs is running. Not whether all is watched: see ``faults``."""
        observer = self._observer
        if observer is None or not observer.is_alive():
            return False
        emitters = {emitter.watch: emitter for emitter in observer.emitters.copy()}
        threads: list[object] = [getattr(observer, "_inotify_fd", None)]  # the reader of watchdog 7
        for directory, (watch, _) in self._watched.copy().items():
            if directory not in self._interest.lost:
                # watchdog 6 has a reader for each directory.
                threads += [emitter := emitters.get(watch), getattr(emitter, "_inotify", None)]
                if emitter is None:
                    return False
        return all(thread.is_alive() for thread in threads if isinstance(thread, BaseThread))

    def start(self) -> None:
        """Begin to watch. A system that is out of inotify instances makes a fault, not an error."""
        with self._lock:
            if self._observer is not None:
                return
            try:
                observer = Observer()
                observer.start()
            except (OSError, RuntimeError) as exc:
                self._faults["/"] = (f"nothing can be watched: {exc}", time.monotonic())
                return
            self._faults.clear()
            self._observer = observer

    def stop(self) -> None:
        """End all watches and threads, waiting for these at most STOP_S; no hint comes after this."""
        self._debounce.stop()
        # An update may hang on a dead file system. All threads here are daemons: they end with the process.
        if not self._lock.acquire(timeout=STOP_S):
            return
        try:
            observer, self._observer = self._observer, None
            self._watched.clear()
        finally:
            self._lock.release()
        if observer is not None:
            # On a thread of its own, because watchdog joins its threads without a limit.
            stopper = threading.Thread(target=observer.stop, name="watch-stop", daemon=True)
            stopper.start()
            stopper.join(STOP_S)
            observer.join(STOP_S)

    def update(self, places: frozenset[Place]) -> None:
        """Watch the directories of ``places`` and no others; never raises for one that cannot be watched.

        Where a directory does not exist, its nearest existing ancestor is watched for the missing name. A watch whose
        directory was replaced is renewed. Whenever one is added a hint follows, since what happened
        between the reading that found the places and this call went unseen. Does nothing unless started.
        """
        with self._lock:
            wanted = _by_directory(places)
            self._interest.names = wanted
            observer = self._observer
            if observer is None:
                return
            self._drop(observer, wanted)
            for directory in self._faults.keys() - wanted.keys():
                del self._faults[directory]
            added = [
                directory
                for directory in sorted(wanted.keys() - self._watched.keys())
                if self._add(observer, directory)
            ]
        if added:
            self._debounce.touch()

    def _drop(self, observer: BaseObserver, wanted: Mapping[str, _Names]) -> None:
        """End the watches that are no longer wanted, or whose directory is not the one at that path any more."""
        lost = self._interest.take_lost()
        alive = {emitter.watch for emitter in observer.emitters.copy() if emitter.is_alive()}
        for directory, (watch, identity) in list(self._watched.items()):
            if directory not in wanted or directory in lost or watch not in alive or _identity(directory) != identity:
                del self._watched[directory]
                # AttributeError: watchdog 6, when the emitter of a deleted directory is just stopping itself.
                with contextlib.suppress(KeyError, OSError, RuntimeError, AttributeError):
                    observer.unschedule(watch)

    def _add(self, observer: BaseObserver, directory: str) -> bool:
        """Watch one directory; return whether that worked. If not, ``faults`` says why."""
        if directory in self._faults and time.monotonic() - self._faults[directory][1] < RETRY_S:
            return False
        # Before the watch begins: a directory that is replaced in between then differs at the next update.
        identity = _identity(directory)
        try:
            # watchdog ignores EACCES and then watches nothing.
            if not os.access(directory, os.R_OK, effective_ids=True):
                raise PermissionError(errno.EACCES, "permission denied: the directory may not be read")
            watch = observer.schedule(_Handler(directory, self._interest), directory, event_filter=_EVENTS)
        except (OSError, RuntimeError) as exc:
            self._faults[directory] = (_reason(exc, directory), time.monotonic())
            return False
        self._faults.pop(directory, None)
        self._watched[directory] = watch, identity
        return True


class _Interest:
    """What concerns us, shared by the handlers of all directories."""

    def __init__(self, touch: Callable[[], None]) -> None:
        self.touch = touch
        self.names: Mapping[str, _Names] = MappingProxyType({})
        # Watched directories that were deleted or moved away: watchdog's thread appends, the updating one takes.
        self.lost: deque[str] = deque()

    def take_lost(self) -> frozenset[str]:
        """Return the directories lost since the last call."""
        taken = set()
        with contextlib.suppress(IndexError):
            while True:
                taken.add(self.lost.popleft())
        return frozenset(taken)

    def lose(self, directory: str) -> None:
        if directory not in self.lost:
            self.lost.append(directory)
        self.touch()


@dataclass(frozen=True)
class _Handler(FileSystemEventHandler):
    """Called by watchdog's thread with the events of one directory; lets pass what concerns a place.

    Equal ones count as one: watchdog 6 remembers the handler of a watch that could not be added.
    """

    directory: str
    interest: _Interest

    def dispatch(self, event: FileSystemEvent) -> None:
        """Take one event of any kind."""
        source = os.fsdecode(event.src_path)
        gone = event.event_type in {events.EVENT_TYPE_DELETED, events.EVENT_TYPE_MOVED}
        if gone and source in self.interest.names:
            self.interest.lose(source)
        elif self._concerns(source) or (event.dest_path and self._concerns(os.fsdecode(event.dest_path))):
            self.interest.touch()

    def _concerns(self, path: str) -> bool:
        # Not the directory itself, of which watchdog 6 says that it was modified whenever any name in it was;
        # its own mode and owner are the business of its parent's handler.
        directory, name = os.path.split(path)
        names = self.interest.names.get(directory, frozenset()) if directory == self.directory else frozenset()
        return name in names or (None in names and is_dropin_name(name))


class _Debounce:
    """Many touches from any thread, one call on the loop after ``quiet_s`` without one, ``max_s`` at most."""

    def __init__(self, loop: asyncio.AbstractEventLoop, call: Callable[[], None], quiet_s: float, max_s: float) -> None:
        self._loop = loop
        self._call = call
        self._quiet_s = quiet_s
        self._max_s = max_s
        self._first = 0.0
        self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None
        # A touch is on its way to the loop: a thousand events wake it once.
        self._waking = False
        self._stopped = False

    def touch(self) -> None:
        """Note that something may have changed, from any thread."""
        if not self._waking and not self._stopped:
            self._waking = True
            self._on_loop(self._touched)

    def stop(self) -> None:
        """Make no further call, from any thread."""
        self._stopped = True
        self._on_loop(self._cancel)

    def _on_loop(self, function: Callable[[], None]) -> None:
        # RuntimeError: the loop is closed, so nobody waits for hints any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _touched(self) -> None:
        self._waking = False
        self._last = self._loop.time()
        if self._timer is None and not self._stopped:
            self._first = self._last
            self._timer = self._loop.call_at(self._last + self._quiet_s, self._due)

    def _due(self) -> None:
        self._timer = None
        if self._stopped:
            return
        # The timer is not moved at every touch: it finds out here that it rang too early.
        due = min(self._last + self._quiet_s, self._first + self._max_s)
        if self._loop.time() < due:
            self._timer = self._loop.call_at(due, self._due)
        else:
            self._call()


def _by_directory(places: frozenset[Place]) -> Mapping[str, _Names]:
    names: dict[str, set[str | None]] = {}
    for place in places:
        directory, name = place.directory, place.name
        while not os.path.isdir(directory) and directory != "/":
            directory, name = os.path.split(directory)
        names.setdefault(directory, set()).add(name)
    return MappingProxyType({directory: frozenset(found) for directory, found in names.items()})


def _identity(directory: str) -> tuple[int, int]:
    try:
        status = os.stat(directory)
    except OSError:
        return -1, -1
    return status.st_dev, status.st_ino


def _reason(exc: Exception, directory: str) -> str:
    if isinstance(exc, OSError) and exc.errno == errno.ENOSPC:
        return "no inotify watches are left; raise the sysctl fs.inotify.max_user_watches"
    if isinstance(exc, OSError) and exc.errno == errno.EMFILE:
        return "no inotify instances or descriptors are left; raise the sysctl fs.inotify.max_user_instances"
    reason = (exc.strerror if isinstance(exc, OSError) else None) or str(exc)
    return f"{printable(directory)}: {reason}"
