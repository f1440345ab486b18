"""Writes the events that matter to the data root in batches, without making a reload or a response wait."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from runtimed.core.errors import StoreFailed
from runtimed.core.history.event_lines import render_event

log = structlog.get_logger()

# Events that wait for a disk that does not accept them; of more, the oldest are dropped.
_WAITING_MAX = 200


class EventLog:
    """Keeps events until a task has written them, which it does once `open` was called."""

    def __init__(self) -> None:
        self._append: Callable[[Sequence[bytes]], Awaitable[None]] | None = None
        self._waiting: deque[bytes] = deque(maxlen=_WAITING_MAX)
        self._writing: asyncio.Task[None] | None = None
        self._failed = False

    def open(self, append: Callable[[Sequence[bytes]], Awaitable[None]]) -> None:
        """Write the lines of events from now on by ``append``, which uses the thread of the disk."""
        self._append = append

    def record(self, kind: str, fields: Mapping[str, object]) -> None:
        """Keep an event. Called on the event loop; does not block."""
        line = render_event(kind, time.time(), fields)
        if line is None:
            log.warning("history.too_long", type=kind)
            return
        self._waiting.append(line)
        if self._append is not None and self._writing is None:
            self._writing = asyncio.create_task(self._write(self._append))

    async def close(self, timeout_s: float = 1.0) -> None:
        """Wait up to ``timeout_s`` for the events that are being written."""
        if self._writing is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._writing, timeout_s)

    async def _write(self, append: Callable[[Sequence[bytes]], Awaitable[None]]) -> None:
        try:
            while self._waiting:
                lines = tuple(self._waiting)
                await append(lines)
                # Meanwhile the queue may have dropped some of them.
                for line in lines:
                    if self._waiting and self._waiting[0] is line:
                        self._waiting.popleft()
                self._failed = False
        except StoreFailed as error:
            # Written with the next event; logged once, because a full disk stays full for a while.
            if not self._failed:
                log.warning("history.not_written", reason=str(error))
            self._failed = True
        finally:
            self._writing = None
