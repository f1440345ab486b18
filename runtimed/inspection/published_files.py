"""Watches the published files and the sockets' paths in a thread, and has damage repaired."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Mapping

import structlog

log = structlog.get_logger()

# Interval between looks; longer where a look is slow, so that looking never takes more than this share of the time.
EVERY_S = 7.0
SHARE = 0.02
PAUSE_MOST_S = 300.0
# A look that takes longer is a fault: the data root does not respond.
OVERDUE_S = 30.0


class PublishedWatch:
    """Looks for damage and has it repaired, while `watch` runs. A look without damage wakes only its own thread.

    ``seems_damaged`` is called in the thread. When it returns true, ``repair`` is awaited on the event loop; it
    returns whether some damage remains.
    """

    def __init__(
        self,
        seems_damaged: Callable[[], bool],
        repair: Callable[[], Awaitable[bool]],
        every_s: float = EVERY_S,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seems_damaged = seems_damaged
        self._repair = repair
        self._every_s = every_s
        self._clock_s = clock_s
        self._stopped = threading.Event()
        self._suspicion = asyncio.Event()
        # Damage remained after the last repair. It may disappear without a look that finds a difference.
        self._remains = False
        self._looking_since_s: float | None = None

    @property
    def faults(self) -> Mapping[str, str]:
        """The fault of a check that hangs, under the subject `store`."""
        since_s = self._looking_since_s
        if since_s is None or self._clock_s() - since_s < OVERDUE_S:
            return {}
        text = f"a check of the data root's files has not ended for {OVERDUE_S:g} s; see whether its disk responds"
        return {"store": text}

    async def watch(self) -> None:
        """Look and repair until cancelled."""
        loop = asyncio.get_running_loop()
        # A daemon thread, because a file system that hangs must not keep the process from stopping.
        threading.Thread(target=self._look, args=(loop,), name="published", daemon=True).start()
        try:
            while True:
                await self._suspicion.wait()
                self._suspicion.clear()
                try:
                    self._remains = await self._repair()
                except Exception:
                    log.exception("published.repair_failed")
                    self._remains = True
        finally:
            self._stopped.set()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        pause_s = self._every_s
        while not self._stopped.wait(pause_s):
            begun_s = self._looking_since_s = self._clock_s()
            try:
                suspicious, failure = self._seems_damaged(), None
            except Exception as error:  # noqa: BLE001 - the repair looks again, and reports it
                suspicious, failure = True, error
            took_s = self._clock_s() - begun_s
            self._looking_since_s = None
            if failure is not None:
                log.error("published.look_failed", exc_info=failure)
            if suspicious or self._remains:
                # RuntimeError: the loop is closed, the daemon has stopped.
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._suspicion.set)
            pause_s = min(max(self._every_s, took_s / SHARE), PAUSE_MOST_S)
