"""watchdog's events, of exactly the directories that matter, turned into touches.

Directories are watched, never files: an atomic replace or a ConfigMap's swapped link leaves a watch on a
file behind. Events only say when to look; what has changed, if anything, the reader finds in the bytes.
"""

from __future__ import annotations

import contextlib
import errno
import logging
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

from runtimed.core.configuration.watched_names import is_dropin_name
from runtimed.core.message_text import printable

# watchdog 6 leaks three descriptors whenever a watch cannot be added, so it is not tried at every update.
RETRY_S = 30.0
STOP_S = 5.0
# The kernel drops events when 16,384 wait, and watchdog 6 says nothing of it. But then many were delivered
# before: each time as many as this have come, of whatever name, it is time to look.
FLOOD = 512

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

# Directory -> the names in it that are of interest; None among them stands for every name that can be a drop-in's.
Names = Mapping[str, frozenset[str | None]]


class Inotify:
    """Calls ``touch``, in watchdog's threads, when something of interest may have changed.

    ``update`` and ``stop`` block: they wait for watchdog's threads, which under version 6 can take half a second.
    Not to be called by two threads at a time.
    """

    def __init__(self, touch: Callable[[], None]) -> None:
        self._observer: BaseObserver | None = None
        self._watched: dict[str, tuple[ObservedWatch, tuple[int, int]]] = {}
        self._faults: dict[str, tuple[str, float]] = {}
        self._interest = _Interest(touch)
        self._complaints = _Complaints(touch)

    @property
    def faults(self) -> Mapping[str, str]:
        """Directories that should be watched and are not, each with the reason."""
        return MappingProxyType({directory: reason for directory, (reason, _) in self._faults.copy().items()})

    @property
    def alive(self) -> bool:
        """Whether every thread that a watch needs is running. Not whether all is watched: see ``faults``."""
        observer = self._observer
        if observer is None:
            return not self._interest.names
        if not _is_running(observer):
            return False
        emitters = {emitter.watch: emitter for emitter in observer.emitters.copy()}
        for directory, (watch, _) in self._watched.copy().items():
            if directory not in self._interest.lost:
                emitter = emitters.get(watch)
                # watchdog 6 has a reader for each directory.
                reader = getattr(emitter, "_inotify", None)
                if emitter is None or not emitter.is_alive() or not (_is_alive(reader)):
                    return False
        return True

    def stop(self) -> None:
        """End all watches and threads, waiting for these at most STOP_S."""
        logging.getLogger("watchdog").removeHandler(self._complaints)
        observer, self._observer = self._observer, None
        self._watched.clear()
        if observer is not None:
            # On a thread of its own, because watchdog joins its threads without a limit.
            stopper = threading.Thread(target=observer.stop, name="watch-stop", daemon=True)
            stopper.start()
            stopper.join(STOP_S)
            observer.join(STOP_S)

    def update(self, wanted: Names) -> None:
        """Watch the directories of ``wanted`` and no others; never raises for one that cannot be watched.

        A watch whose directory was replaced, or whose thread died, is renewed. Whenever one is added, or cannot be,
        a touch follows, since what happened between the reading that found the names and this call went unseen.
        """
        self._interest.names = wanted
        if self._observer is not None and not _is_running(self._observer):
            self.stop()
        faults = set(self._faults)
        for directory in self._faults.keys() - wanted.keys():
            del self._faults[directory]
        observer = self._observer or self._new_observer(wanted)
        if observer is not None:
            self._drop(observer, wanted)
            added = [
                directory
                for directory in sorted(wanted.keys() - self._watched.keys())
                if self._add(observer, directory)
            ]
            if added or self._faults.keys() - faults:
                self._interest.touch()

    def _new_observer(self, wanted: Names) -> BaseObserver | None:
        if waiting := [directory for directory in wanted if self._waits(directory)]:
            self._faults = dict.fromkeys(wanted, self._faults[waiting[0]])
            return None
        try:
            observer = Observer()
            observer.start()
        except (OSError, RuntimeError) as exc:
            self._faults = {directory: (_reason(exc, directory), time.monotonic()) for directory in wanted}
            return None
        self._faults.clear()
        self._observer = observer
        logging.getLogger("watchdog").addHandler(self._complaints)
        return observer

    def _drop(self, observer: BaseObserver, wanted: Names) -> None:
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
        if self._waits(directory):
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

    def _waits(self, directory: str) -> bool:
        """Return whether it is too early to try again."""
        return directory in self._faults and time.monotonic() - self._faults[directory][1] < RETRY_S


class _Interest:
    """What concerns us, shared by the handlers of all directories."""

    def __init__(self, touch: Callable[[], None]) -> None:
        self.touch = touch
        self.names: Names = MappingProxyType({})
        self._uninteresting = 0
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

    def pass_over(self) -> None:
        """Count an event that concerns nobody."""
        self._uninteresting += 1
        if self._uninteresting % FLOOD == 0:
            self.touch()


class _Complaints(logging.Handler):
    """Whatever watchdog has to complain about (version 7: lost events) is a reason to look."""

    def __init__(self, touch: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._touch = touch

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - logging's signature
        """Take one."""
        self._touch()


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
        else:
            self.interest.pass_over()

    def _concerns(self, path: str) -> bool:
        # Not the directory itself, of which watchdog 6 says that it was modified whenever any name in it was;
        # its own mode and owner are the business of its parent's handler.
        directory, name = os.path.split(path)
        names = self.interest.names.get(directory, frozenset()) if directory == self.directory else frozenset()
        return name in names or (None in names and is_dropin_name(name))


def _is_running(observer: BaseObserver) -> bool:
    # watchdog 7 has one reader for all directories.
    return observer.is_alive() and _is_alive(getattr(observer, "_inotify_fd", None))


def _is_alive(thread: object) -> bool:
    """Return False for a thread that has ended, True for anything else."""
    return not isinstance(thread, BaseThread) or thread.is_alive()


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
