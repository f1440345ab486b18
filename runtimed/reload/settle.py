"""Turns watcher hints into reloads and waits for half-written files to settle."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from runtimed.core.configuration.inputs import Documents

# Time for which a half-written file must stay the same before it counts as finished, and the longest time for which
# a file that keeps changing delays its report.
SETTLE_S = 2.0
SETTLE_LIMIT_S = 10.0


async def reload_on_hints(
    hints: asyncio.Event,
    reload_changed: Callable[[Callable[[Documents], bool]], Awaitable[bool]],
    *,
    settle_s: float = SETTLE_S,
    settle_limit_s: float = SETTLE_LIMIT_S,
    clock_s: Callable[[], float] = time.monotonic,
) -> None:
    """Call ``reload_changed`` (`Reloader.reload_changed`) whenever ``hints`` is set, until cancelled.

    Documents that end in mid-syntax are half-written: they are read again until they are complete, have been the same
    for ``settle_s``, or ``settle_limit_s`` have passed. Only then they are rejected.
    """
    while True:
        await hints.wait()
        settling = _Settling(settle_s, settle_limit_s, clock_s)
        hints.clear()
        while not await reload_changed(settling.is_settled):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(settling.left_s()):
                    await hints.wait()
            hints.clear()


class _Settling:
    """The wait for half-written documents. It compares bytes, because a polling watcher hints without a change."""

    def __init__(self, settle_s: float, limit_s: float, clock_s: Callable[[], float]) -> None:
        self._settle_s = settle_s
        self._clock_s = clock_s
        self._end_s = clock_s() + limit_s
        self._documents: Documents | None = None
        self._settled_at_s = 0.0

    def is_settled(self, documents: Documents) -> bool:
        """Return whether ``documents``, read just now, count as finished."""
        now_s = self._clock_s()
        if documents != self._documents:
            self._documents = documents
            self._settled_at_s = now_s + self._settle_s
        return now_s >= min(self._settled_at_s, self._end_s)

    def left_s(self) -> float:
        """Return the time to wait for a hint before the next read."""
        return max(0.0, self._settled_at_s - self._clock_s())
