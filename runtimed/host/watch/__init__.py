"""One hint, "something may have changed", from whatever can tell: inotify, the table of mounts, the clock.

A hint is a reason to read, nothing more: what has changed, if anything, the reader finds in the bytes. So
where events cannot be had, or not all of them, hints by the clock are as good, only later.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from runtimed.core.configuration.watched_names import WatchedName
from runtimed.host.watch.debounce import Debounce
from runtimed.host.watch.inotify import STOP_S, Inotify, Names
from runtimed.host.watch.mounts import MountWatch

if TYPE_CHECKING:
    from runtimed.core.shapes.daemon import WatcherMode

__all__ = ["Pace", "Watcher"]


@dataclass(frozen=True, slots=True)
class Pace:
    """When hints are given, in milliseconds."""

    # After an event: once it has been quiet for so long, and at the latest after so long.
    debounce: int = 200
    max_wait: int = 2000
    # Without events where they cannot be had, and where they can: nothing is relied upon that cannot be checked.
    poll: int = 1000
    check: int = 30_000
    # How often is looked whether all threads are alive.
    beat: int = 5000


class Watcher:
    """Calls ``on_hint`` on ``loop`` when one of the watched names may have changed.

    ``start``, ``update`` and ``stop`` may be called from any thread, and block: they wait for threads.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, on_hint: Callable[[], None], pace: Pace | None = None) -> None:
        self._loop = loop
        self._on_hint = on_hint
        self._pace = pace or Pace()
        self._debounce = Debounce(loop, on_hint, self._pace.debounce / 1000, self._pace.max_wait / 1000)
        self._lock = threading.Lock()
        self._inotify = Inotify(self._debounce.touch)
        self._mounts = MountWatch(self._debounce.touch)
        self._silent: Mapping[str, str] = MappingProxyType({})
        self._running = False
        self._timer: asyncio.TimerHandle | None = None
        self._since_check_ms = 0

    @property
    def mode(self) -> WatcherMode:
        """How changes are noticed: ``inotify``, ``polling`` where that does not tell all, ``off`` when not at all."""
        if not self._running:
            return "off"
        return "polling" if self.faults else "inotify"

    @property
    def faults(self) -> Mapping[str, str]:
        """Directories of which events do not tell all, so that their files are read by the clock; with the reason."""
        return MappingProxyType({**self._silent, **self._inotify.faults})

    @property
    def alive(self) -> bool:
        """Whether every thread that is needed is running; where inotify cannot be had, none of its is."""
        return self._running and self._mounts.alive and (self._inotify.alive or bool(self._inotify.faults))

    def start(self) -> None:
        """Begin to give hints; what there is to watch `update` says."""
        with self._lock:
            if not self._running:
                self._running = True
                self._start_mounts()
                self._on_loop(self._rest)

    def stop(self) -> None:
        """End all watches and threads, waiting for these at most STOP_S; no hint comes after this."""
        self._debounce.stop()
        self._running = False
        self._on_loop(self._cancel)
        # An update may hang on a dead file system. All threads here are daemons: they end with the process.
        if self._lock.acquire(timeout=STOP_S):
            try:
                self._mounts.stop()
                self._inotify.stop()
            finally:
                self._lock.release()

    def update(self, watched_names: frozenset[WatchedName]) -> None:
        """Watch ``watched_names`` and nothing else, renewing whatever has ended since.

        Where a directory does not exist, its nearest existing ancestor is watched for the missing name. A hint
        follows whenever something about this is new. Does nothing unless started.
        """
        with self._lock:
            if not self._running:
                return
            names = _by_directory(watched_names)
            polled = self.mode == "polling"
            self._start_mounts()
            self._silent = MappingProxyType(dict(self._mounts.update(names)))
            self._inotify.update(names)
            if self.mode == "polling" and not polled:
                self._on_loop(self._beat)

    def _start_mounts(self) -> None:
        # Without descriptors there is no telling; the next update tries again, and `alive` says so until then.
        with contextlib.suppress(OSError, RuntimeError):
            self._mounts.start()

    def _beat(self) -> None:
        """Give the hint that is due by the clock, if one is, and come back."""
        if not self._running:
            return
        if self.mode == "polling" or not self.alive or self._since_check_ms >= self._pace.check:
            self._since_check_ms = 0
            self._on_hint()
        self._rest()

    def _rest(self) -> None:
        self._cancel()
        pace_ms = self._pace.poll if self.mode == "polling" else self._pace.beat
        self._since_check_ms += pace_ms
        self._timer = self._loop.call_later(pace_ms / 1000, self._beat)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_loop(self, function: Callable[[], None]) -> None:
        # RuntimeError: the loop is closed, so nobody waits for hints any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)


def _by_directory(watched_names: frozenset[WatchedName]) -> Names:
    names: dict[str, set[str | None]] = {}
    for place in watched_names:
        directory, name = place.directory, place.name
        while not os.path.isdir(directory) and directory != "/":
            directory, name = os.path.split(directory)
        names.setdefault(directory, set()).add(name)
    return MappingProxyType({directory: frozenset(found) for directory, found in names.items()})
