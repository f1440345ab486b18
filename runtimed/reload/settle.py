"""Hints to reloads: what may have changed is looked at, and a file that is just being written is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from runtimed.core.config import Documents

# How long a file that is cut off in the middle must be quiet before it is believed to be finished,
# and how long a file that never is quiet may put off being reported.
SETTLE_S = 2.0
SETTLE_LIMIT_S = 10.0

# As Reloader.reload_changed.
ReloadChanged = Callable[[Callable[[Documents], bool]], Awaitable[bool]]


async def follow(
    hints: asyncio.Event,
    reload_changed: ReloadChanged,
    *,
    settle_s: float = SETTLE_S,
    settle_limit_s: float = SETTLE_LIMIT_S,
) -> None:
    """Call ``reload_changed`` whenever ``hints`` is set, until cancelled.

    Documents that end in mid-syntax are being written: they are read again until they are whole,
    or the same for ``settle_s``, or ``settle_limit_s`` have passed, and only then reported as rejected.
    """
    while True:
        await hints.wait()
        settling = _Settling(settle_s, settle_limit_s)
        hints.clear()
        while not await reload_changed(settling.is_over):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(settling.left_s):
                    await hints.wait()
            hints.clear()


class _Settling:
    """How long documents that look half-written are waited for. Hints may come by the clock, so bytes decide."""

    def __init__(self, settle_s: float, limit_s: float) -> None:
        self._settle_s = settle_s
        self._until_s = time.monotonic() + limit_s
        self._documents: Documents | None = None
        self._quiet_at_s = 0.0

    def is_over(self, documents: Documents) -> bool:
        """Return whether ``documents``, just read, are to be believed as they are."""
        now_s = time.monotonic()
        if documents != self._documents:
            self._documents = documents
            self._quiet_at_s = now_s + self._settle_s
        return now_s >= min(self._quiet_at_s, self._until_s)

    @property
    def left_s(self) -> float:
        """How long to wait for a hint before reading again."""
        return max(0.0, self._quiet_at_s - time.monotonic())
