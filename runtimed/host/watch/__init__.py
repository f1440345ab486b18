"""Watches names in directories and gives a hint when a file may have changed.

Events come from inotify and from the kernel's table of mounts. Directories for which these do not report every change
are polled. A hint is only a reason to read: the reader compares the content of the files.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtimed.core.configuration.watched_names import WatchedName
from runtimed.host.watch.debounce import Debounce, call_on_loop
from runtimed.host.watch.inotify import STOP_S, Inotify, Names
from runtimed.host.watch.mounts import MountWatch

if TYPE_CHECKING:
    from runtimed.core.shapes.daemon import WatcherMode

__all__ = ["Intervals", "Watcher"]


@dataclass(frozen=True, slots=True)
class Intervals:
    """When the watcher gives hints."""

    # An event gives a hint after debounce_s without a further event, and after max_delay_s at the latest.
    debounce_s: float = 0.2
    max_delay_s: float = 2.0
    # Without an event the watcher gives a hint every poll_s where it must poll, every check_s elsewhere: inotify does
    # not report writes through a memory mapping or through a hard link in another directory, and a thread that has
    # died is replaced by the next update.
    poll_s: float = 1.0
    check_s: float = 30.0


_DEFAULTS = Intervals()


class Watcher:
    """Calls ``on_hint`` on ``loop`` when one of the watched names may have changed.

    ``start``, ``update`` and ``stop`` may be called from any thread. They block, because they wait for threads.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_hint: Callable[[], None], intervals: Intervals = _DEFAULTS
    ) -> None:
        self._loop = loop
        self._on_hint = on_hint
        self._intervals = intervals
        self._debounce = Debounce(loop, on_hint, intervals.debounce_s, intervals.max_delay_s)
        self._lock = threading.Lock()
        self._inotify = Inotify(self._debounce.notify, loop.time)
        self._mounts = MountWatch(self._debounce.notify)
        self._mount_faults: Mapping[str, str] = {}
        self._running = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def mode(self) -> WatcherMode:
        """``inotify``, ``polling`` where inotify does not report every change, ``off`` before start and after stop."""
        if not self._running:
            return "off"
        return "polling" if self.faults else "inotify"

    @property
    def faults(self) -> Mapping[str, str]:
        """The directories that must be polled, each with the reason."""
        return {**self._mount_faults, **self._inotify.faults}

    @property
    def alive(self) -> bool:
        """Whether every needed thread is running; where inotify is not available, its threads are not needed."""
        return self._running and self._mounts.alive and (self._inotify.alive or bool(self._inotify.faults))

    def start(self) -> None:
        """Start to give hints. `update` sets the names to watch."""
        with self._lock:
            if not self._running:
                self._running = True
                self._start_mounts()
                call_on_loop(self._loop, self._schedule_tick)

    def stop(self) -> None:
        """End all watches and threads, waiting at most STOP_S for them; no hint comes after this."""
        self._debounce.stop()
        self._running = False
        call_on_loop(self._loop, self._cancel_tick)
        # `update` may hang on a file system that does not respond. All threads are daemon threads: they end with the
        # process.
        if self._lock.acquire(timeout=STOP_S):
            try:
                self._mounts.stop()
                self._inotify.stop()
            finally:
                self._lock.release()

    def update(self, watched_names: frozenset[WatchedName]) -> None:
        """Watch exactly ``watched_names`` and renew the watches that have ended.

        For a directory that does not exist, the nearest existing ancestor is watched for the missing name. A hint
        follows when the set of watches or their state has changed. Does nothing unless started.
        """
        with self._lock:
            if not self._running:
                return
            names = _names_by_directory(watched_names)
            was_polling = self.mode == "polling"
            self._start_mounts()
            self._mount_faults = self._mounts.update(names)
            self._inotify.update(names)
            if self.mode == "polling" and not was_polling:
                call_on_loop(self._loop, self._tick)

    def _start_mounts(self) -> None:
        # If no descriptor or thread is left, `alive` is False until a later update succeeds.
        with contextlib.suppress(OSError, RuntimeError):
            self._mounts.start()

    def _tick(self) -> None:
        """Give a hint and schedule the next one."""
        if self._running:
            self._on_hint()
            self._schedule_tick()

    def _schedule_tick(self) -> None:
        self._cancel_tick()
        delay_s = self._intervals.poll_s if self.mode == "polling" else self._intervals.check_s
        self._timer = self._loop.call_later(delay_s, self._tick)

    def _cancel_tick(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _names_by_directory(watched_names: frozenset[WatchedName]) -> Names:
    names: dict[str, set[str | None]] = {}
    for watched in watched_names:
        directory, name = watched.directory, watched.name
        while not os.path.isdir(directory) and directory != "/":
            directory, name = os.path.split(directory)
        names.setdefault(directory, set()).add(name)
    return {directory: frozenset(found) for directory, found in names.items()}
