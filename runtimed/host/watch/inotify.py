"""Watches directories through inotify and reports events on the names of interest.

It watches directories and not files: an atomic replacement, or a swap of a ConfigMap's link, would leave a watch on a
file behind.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

from watchdog import events
from watchdog.events import FileSystemEvent
from watchdog.observers.api import ObservedWatch

from runtimed.core.configuration.watched_names import is_dropin_name
from runtimed.core.message_text import printable
from runtimed.host.watch.watchdog_internals import DirectoryObserver

# watchdog 6 leaks three descriptors whenever it cannot add a watch, so a failed directory is not retried earlier.
RETRY_S = 30.0
STOP_S = 5.0

# Directory -> the names of interest in it; None means every name that can be a drop-in's.
Names = Mapping[str, frozenset[str | None]]


class _Fault(NamedTuple):
    reason: str
    retry_at_s: float


class Inotify:
    """Calls ``on_change``, in watchdog's threads, when a name of interest may have changed.

    ``update`` and ``stop`` block: they wait for watchdog's threads, with version 6 up to half a second. Two threads
    must not call them at the same time. ``clock`` returns the time in seconds.
    """

    def __init__(self, on_change: Callable[[], None], clock: Callable[[], float]) -> None:
        self._on_change = on_change
        self._clock = clock
        self._observer: DirectoryObserver | None = None
        self._names: Names = {}
        # Directory -> its watch, and its device and inode before the watch began.
        self._watched: dict[str, tuple[ObservedWatch, tuple[int, int] | None]] = {}
        # Directories that were deleted or moved away since their watch began.
        self._lost: set[str] = set()
        self._faults: dict[str, _Fault] = {}

    @property
    def faults(self) -> Mapping[str, str]:
        """The directories that cannot be watched, each with the reason."""
        return {directory: fault.reason for directory, fault in self._faults.items()}

    @property
    def alive(self) -> bool:
        """Whether every thread that a watch needs is running; ``faults`` has the directories without a watch."""
        observer = self._observer
        if observer is None:
            return not self._names
        live = observer.live_watches()
        watched = self._watched.copy().items()
        return observer.alive and all(watch in live or directory in self._lost for directory, (watch, _) in watched)

    def stop(self) -> None:
        """End all watches and threads, waiting at most STOP_S for each."""
        observer, self._observer = self._observer, None
        self._watched.clear()
        if observer is not None:
            observer.stop(STOP_S)

    def update(self, names: Names) -> None:
        """Watch exactly the directories of ``names``; a directory that cannot be watched becomes a fault.

        Renews a watch whose directory was replaced or whose thread has died. Calls ``on_change`` for a new watch, a new
        name and a new fault: a change between the reading that found the names and this call has made no event.
        """
        before, self._names = self._names, names
        if self._observer is not None:
            if self._observer.alive:
                self._remove_outdated(self._observer)
            else:
                self.stop()
        now_s = self._clock()
        faults = {each: fault for each, fault in self._faults.items() if each in names and now_s < fault.retry_at_s}
        missing = sorted(names.keys() - self._watched.keys() - faults.keys())
        for directory in missing:
            try:
                self._add(directory)
            except (OSError, RuntimeError) as exc:
                faults[directory] = _Fault(_reason(exc, directory), now_s + RETRY_S)
        is_new = any(directory in self._watched or directory not in self._faults for directory in missing)
        has_new_name = any(found - before.get(directory, frozenset()) for directory, found in names.items())
        self._faults = faults
        if is_new or has_new_name:
            self._on_change()

    def _remove_outdated(self, observer: DirectoryObserver) -> None:
        """End the watches that are no longer needed, that have ended, or whose directory was replaced."""
        live = observer.live_watches()
        for directory, (watch, identity) in list(self._watched.items()):
            is_current = watch in live and directory not in self._lost and _identity(directory) == identity
            if directory not in self._names or not is_current:
                del self._watched[directory]
                self._lost.discard(directory)
                observer.remove(watch)

    def _add(self, directory: str) -> None:
        if self._observer is None:
            self._observer = DirectoryObserver(self._on_event, self._on_change)
        # Read before the watch begins, so that the next update sees a directory that is replaced in between.
        identity = _identity(directory)
        self._watched[directory] = self._observer.add(directory), identity

    def _on_event(self, directory: str, event: FileSystemEvent) -> None:
        source, destination = os.fsdecode(event.src_path), os.fsdecode(event.dest_path)
        if event.event_type in {events.EVENT_TYPE_DELETED, events.EVENT_TYPE_MOVED} and source in self._names:
            self._lost.add(source)
            self._on_change()
        elif self._is_of_interest(directory, source) or self._is_of_interest(directory, destination):
            self._on_change()

    def _is_of_interest(self, watched: str, path: str) -> bool:
        directory, name = os.path.split(path)
        # watchdog 6 reports the watched directory as modified whenever a name in it is. A change of its mode or owner
        # is reported by the watch of its parent.
        if directory != watched:
            return False
        names = self._names.get(directory, frozenset())
        return name in names or (None in names and is_dropin_name(name))


def _identity(directory: str) -> tuple[int, int] | None:
    try:
        status = os.stat(directory)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _reason(exc: Exception, directory: str) -> str:
    if isinstance(exc, OSError) and exc.errno == errno.ENOSPC:
        return "no inotify watches are left; raise the sysctl fs.inotify.max_user_watches"
    if isinstance(exc, OSError) and exc.errno == errno.EMFILE:
        return "no inotify instances or descriptors are left; raise the sysctl fs.inotify.max_user_instances"
    reason = (exc.strerror if isinstance(exc, OSError) else None) or str(exc)
    return f"{printable(directory)}: {reason}"
