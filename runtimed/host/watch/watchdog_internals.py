"""Confines the code that depends on private attributes and undocumented behaviour of watchdog 6 and 7.

The daemon must know when a thread of watchdog has died and when events may be lost; no public function reports either.
If a new version changes under this module, ``tests/host/test_watchdog_internals.py`` names the attribute or behaviour.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

from watchdog import events
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import ObservedWatch
from watchdog.utils import BaseThread

# The kernel drops events while 16,384 wait, and watchdog before 7.1 does not report this. But then many events were
# delivered before, so ``on_loss`` is called once for each FLOOD events, of any name.
FLOOD = 512
# Without opened and closed_no_write, which the daemon's own reading causes.
_EVENTS: list[type[FileSystemEvent]] = [
    *(events.FileCreatedEvent, events.FileModifiedEvent, events.FileClosedEvent),
    *(events.FileMovedEvent, events.FileDeletedEvent),
    *(events.DirCreatedEvent, events.DirMovedEvent, events.DirDeletedEvent),
    # A chmod or chown: version 6 reports it as a modification, version 7 as a separate event.
    getattr(events, "DirAttribEvent", events.DirModifiedEvent),
    getattr(events, "FileAttribEvent", events.FileModifiedEvent),
]


class DirectoryObserver:
    """A running observer of watchdog, each watch of which covers one directory without its subdirectories.

    watchdog's threads call ``on_event`` with the directory and the event, and ``on_loss`` when events may be lost.
    """

    def __init__(self, on_event: Callable[[str, FileSystemEvent], None], on_loss: Callable[[], None]) -> None:
        self._on_event = on_event
        self._on_loss = on_loss
        self._events = 0
        self.observer = Observer()
        self.observer.start()
        self._log_handler = _WarningHandler(on_loss)
        logging.getLogger("watchdog").addHandler(self._log_handler)

    @property
    def alive(self) -> bool:
        """Whether the threads that all watches share are running."""
        # In version 7 one thread reads from the kernel for all watches.
        return self.observer.is_alive() and not _is_dead_thread(getattr(self.observer, "_inotify_fd", None))

    def live_watches(self) -> set[ObservedWatch]:
        """Return the watches whose threads are running."""
        # In version 6 each emitter has a thread that reads from the kernel; in version 7 _inotify is no thread.
        return {
            emitter.watch
            for emitter in self.observer.emitters.copy()
            if emitter.is_alive() and not _is_dead_thread(getattr(emitter, "_inotify", None))
        }

    def add(self, directory: str) -> ObservedWatch:
        """Watch ``directory``. Raises: OSError, RuntimeError."""
        # watchdog ignores EACCES and then delivers no events.
        if not os.access(directory, os.R_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, "permission denied: the directory may not be read")
        return self.observer.schedule(_Handler(directory, self._dispatch), directory, event_filter=_EVENTS)

    def remove(self, watch: ObservedWatch) -> None:
        """End ``watch``, which may have ended already."""
        # AttributeError: in version 6, while the emitter of a deleted directory stops itself.
        with contextlib.suppress(KeyError, OSError, RuntimeError, AttributeError):
            self.observer.unschedule(watch)

    def stop(self, timeout_s: float) -> None:
        """End all watches and threads; two joins wait at most ``timeout_s`` each."""
        logging.getLogger("watchdog").removeHandler(self._log_handler)
        # In a separate thread, because watchdog joins its threads without a limit.
        stopper = threading.Thread(target=self.observer.stop, name="watch-stop", daemon=True)
        stopper.start()
        stopper.join(timeout_s)
        self.observer.join(timeout_s)

    def _dispatch(self, directory: str, event: FileSystemEvent) -> None:
        self._events += 1
        if self._events % FLOOD == 0:
            self._on_loss()
        self._on_event(directory, event)


@dataclass(frozen=True)
class _Handler(FileSystemEventHandler):
    """Two handlers of one directory are equal, because version 6 keeps the handler of a watch that it cannot add."""

    directory: str
    on_event: Callable[[str, FileSystemEvent], None]

    def dispatch(self, event: FileSystemEvent) -> None:
        self.on_event(self.directory, event)


class _WarningHandler(logging.Handler):
    """Calls ``on_loss`` for each warning that watchdog logs; version 7.1 logs one when the kernel drops events."""

    def __init__(self, on_loss: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._on_loss = on_loss

    def emit(self, _record: logging.LogRecord) -> None:
        self._on_loss()


def _is_dead_thread(value: object) -> bool:
    return isinstance(value, BaseThread) and not value.is_alive()
