"""Looks at what the daemon published, its files and its sockets' paths, in a thread; has damage repaired."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Mapping

import structlog

log = structlog.get_logger()

# How often the daemon looks; less often where a look takes long, so that it never costs more than this share.
EVERY_S = 7.0
SHARE = 0.02
PAUSE_MOST_S = 300.0
# A look that takes longer than this is a fault: the data root does not answer.
OVERDUE_S = 30.0


class PublishedWatch:
    """Looks, for as long as `watch` runs. An idle look wakes its thread and not the event loop.

    ``seems_damaged`` is called in the thread; when it returns true, ``repair`` is awaited on the event loop, which
    returns whether something is left that it could not repair.
    """

    def __init__(
        self, seems_damaged: Callable[[], bool], repair: Callable[[], Awaitable[bool]], every_s: float = EVERY_S
    ) -> None:
        self._seems_damaged = seems_damaged
        self._repair = repair
        self._every_s = every_s
        self._stopped = threading.Event()
        self._suspicion = asyncio.Event()
        # The last repair left something undone, which may end without a trace for a look.
        self._undone = False
        self._looking_since_s: float | None = None

    @property
    def faults(self) -> Mapping[str, str]:
        """Why the daemon is degraded, by subject, as far as the look itself is concerned."""
        since_s = self._looking_since_s
        if since_s is None or time.monotonic() - since_s < OVERDUE_S:
            return {}
        return {"store": f"the data root has not answered a look at its files for {OVERDUE_S:g} s; is its disk there?"}

    async def watch(self) -> None:
        """Look and repair for as long as this runs."""
        loop = asyncio.get_running_loop()
        # A daemon thread, because a file system that hangs must not keep the process from stopping.
        threading.Thread(target=self._look, args=(loop,), name="published", daemon=True).start()
        try:
            while True:
                await self._suspicion.wait()
                self._suspicion.clear()
                try:
                    self._undone = await self._repair()
                except Exception:
                    log.exception("published.repair_failed")
                    self._undone = True
        finally:
            self._stopped.set()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        pause_s = self._every_s
        while not self._stopped.wait(pause_s):
            begun_s = self._looking_since_s = time.monotonic()
            try:
                suspicious, failure = self._seems_damaged(), None
            except Exception as error:  # noqa: BLE001 - the repair looks again, and reports
                suspicious, failure = True, error
            took_s = time.monotonic() - begun_s
            self._looking_since_s = None
            if failure is not None:
                log.error("published.look_failed", exc_info=failure)
            if suspicious or self._undone:
                # RuntimeError: the loop is closed, the daemon has stopped.
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._suspicion.set)
            pause_s = min(max(self._every_s, took_s / SHARE), PAUSE_MOST_S)
