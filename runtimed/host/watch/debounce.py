"""Turns many notifications, from any thread, into one call on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable


def call_on_loop(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    """Have ``loop`` call ``function``; do nothing if the loop is closed. Safe to call from any thread."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function)


class Debounce:
    """Calls ``call`` on ``loop`` ``quiet_s`` after the last notification, at the latest ``max_s`` after the first."""

    def __init__(self, loop: asyncio.AbstractEventLoop, call: Callable[[], None], quiet_s: float, max_s: float) -> None:
        self._loop = loop
        self._call = call
        self._quiet_s = quiet_s
        self._max_s = max_s
        self._first_s = 0.0
        self._last_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        # The loop is about to run _record: a thousand notifications wake it once.
        self._waking = False
        self._stopped = False

    def notify(self) -> None:
        """Record that something may have changed. Safe to call from any thread."""
        if not self._waking and not self._stopped:
            self._waking = True
            call_on_loop(self._loop, self._record)

    def stop(self) -> None:
        """Make no further call. Safe to call from any thread."""
        self._stopped = True
        call_on_loop(self._loop, self._cancel)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _record(self) -> None:
        self._waking = False
        self._last_s = self._loop.time()
        if self._timer is None and not self._stopped:
            self._first_s = self._last_s
            self._timer = self._loop.call_at(self._last_s + self._quiet_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._stopped:
            return
        # A notification does not move the timer, so the timer may run before the call is due.
        due_s = min(self._last_s + self._quiet_s, self._first_s + self._max_s)
        if self._loop.time() < due_s:
            self._timer = self._loop.call_at(due_s, self._on_timer)
        else:
            self._call()
