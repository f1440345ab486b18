"""Runs jobs one at a time and coalesces identical requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from runtimed.core.history.trigger import Trigger

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True)
class _Batch(Generic[T]):
    """The requests that share one job that has not started."""

    task: asyncio.Task[T]
    trigger: Trigger


class Coalescer(Generic[T]):
    """Runs jobs one at a time, each to its end even if all callers are cancelled. The running job holds ``lock``."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self._waiting: dict[Callable[[Trigger], Awaitable[T]], _Batch[T]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run_shared(self, job: Callable[[Trigger], Awaitable[T]], trigger: Trigger) -> T:
        """Return the result of ``job``, which starts after this call and receives the triggers of all its callers."""
        batch = self._waiting.get(job)
        if batch is None:
            batch = self._waiting[job] = _Batch(self._start(self._run_batch(job)), trigger)
        else:
            batch.trigger = batch.trigger.joined_with(trigger)
        # Shielded: the cancellation of one caller must not cancel the job of the others.
        return await asyncio.shield(batch.task)

    async def run(self, job: Callable[[], Awaitable[R]]) -> R:
        """Return the result of ``job``, which no other caller shares."""
        return await asyncio.shield(self._start(self._run_locked(job)))

    async def stop(self, timeout_s: float) -> None:
        """Wait up to ``timeout_s`` for the running and waiting jobs, then cancel the rest."""
        tasks = tuple(self._tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)
        for task in tasks:
            task.cancel()

    def _start(self, job: Coroutine[None, None, R]) -> asyncio.Task[R]:
        task = asyncio.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run_batch(self, job: Callable[[Trigger], Awaitable[T]]) -> T:
        async with self.lock:
            # Later callers share the next run: this one may already have read the files.
            batch = self._waiting.pop(job)
            return await job(batch.trigger)

    async def _run_locked(self, job: Callable[[], Awaitable[R]]) -> R:
        async with self.lock:
            return await job()
