"""Many touches from any thread, one call on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable


class Debounce:
    """Calls ``call`` on ``loop`` after ``quiet_s`` without a touch, ``max_s`` after the first one at the latest."""

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

    @property
    def pending(self) -> bool:
        """Whether a call is still to come."""
        return self._waking or self._timer is not None

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
