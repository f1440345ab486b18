"""Whose turn it is: one piece of work at a time, and what is asked for by several is done once for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True)
class _Batch(Generic[T]):
    """Those who wait for one piece of work that has not begun."""

    task: asyncio.Task[T]
    reasons: dict[str, None] = field(default_factory=dict)


class Coalescer(Generic[T]):
    """Lets work have its turn; whoever asks may go away, the work goes on. ``lock`` is held by whose turn it is."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self._waiting: dict[Callable[[str], Awaitable[T]], _Batch[T]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def share(self, work: Callable[[str], Awaitable[T]], reason: str) -> T:
        """Return what ``work``, which is given the reasons of all who share it, returned; it began after this call."""
        batch = self._waiting.get(work)
        if batch is None:
            batch = self._waiting[work] = _Batch(self._kept(self._run_shared(work)))
        batch.reasons[reason] = None
        # Shielded: one client that goes away must not take the answer from the others.
        return await asyncio.shield(batch.task)

    async def take(self, work: Callable[[], Awaitable[R]]) -> R:
        """Return what ``work`` returned, which nobody shares."""
        return await asyncio.shield(self._kept(self._run(work)))

    async def stop(self, timeout_s: float) -> None:
        """Wait for what is under way or waits, but not longer than ``timeout_s``; then cancel what still goes on."""
        tasks = tuple(self._tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)
        for task in tasks:
            task.cancel()

    def _kept(self, work: Coroutine[None, None, R]) -> asyncio.Task[R]:
        """Return a task that goes on when whoever waits for it is cancelled, and that ``stop`` waits for."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run_shared(self, work: Callable[[str], Awaitable[T]]) -> T:
        async with self.lock:
            # Whoever comes from here on shares the next one: this one may already have read the files.
            batch = self._waiting.pop(work)
            return await work(", ".join(batch.reasons))

    async def _run(self, work: Callable[[], Awaitable[R]]) -> R:
        async with self.lock:
            return await work()
