"""The watch over published files: looks in a thread, repairs on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic

from harness.daemon import PATIENCE_S

from runtimed.inspection.published_files import OVERDUE_S, PublishedWatch


@contextlib.asynccontextmanager
async def watching(
    seems_damaged: Callable[[], bool], repair: Callable[[], Awaitable[bool]], clock_s: Callable[[], float] = monotonic
) -> AsyncIterator[PublishedWatch]:
    watch = PublishedWatch(seems_damaged, repair, every_s=0.01, clock_s=clock_s)
    task = asyncio.create_task(watch.watch())
    try:
        yield watch
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        for thread in threading.enumerate():
            if thread.name == "published":
                await asyncio.to_thread(thread.join)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


async def test_looks_are_made_in_a_thread_and_undamaged_files_are_not_repaired() -> None:
    looks: list[str] = []
    repairs: list[bool] = []

    async def repair() -> bool:
        repairs.append(True)
        return False

    async with watching(lambda: looks.append(threading.current_thread().name) or False, repair):  # type: ignore[func-returns-value]
        await until(lambda: len(looks) > 5)
    assert set(looks) == {"published"}
    assert repairs == []


async def test_a_failed_repair_is_repeated_when_no_look_finds_the_damage() -> None:
    damaged = [True]
    looks: list[bool] = []
    repairs: list[bool] = []

    def seems_damaged() -> bool:
        looks.append(bool(damaged))
        return looks[-1]

    async def repair() -> bool:
        repairs.append(damaged == [])
        return damaged != []

    async def looked(times: int) -> None:
        number = len(looks) + times
        await until(lambda: len(looks) >= number)
        # The event loop may have been late, and a look still wait for its repair.
        for _ in range(10):
            await asyncio.sleep(0)

    async with watching(seems_damaged, repair):
        await until(lambda: len(repairs) > 1)
        damaged.clear()
        await until(lambda: repairs[-1])
        # The look that was running may have seen the damage.
        await looked(2)
        repaired = len(repairs)
        await looked(5)
        assert len(repairs) == repaired


async def test_neither_a_look_nor_a_repair_that_fails_ends_the_watch() -> None:
    repairs: list[bool] = []

    def look() -> bool:
        raise ValueError("look")

    async def repair() -> bool:
        repairs.append(True)
        raise ValueError("repair")

    async with watching(look, repair):
        await until(lambda: len(repairs) > 2)


async def test_a_look_that_hangs_is_a_fault_until_it_ends() -> None:
    now_s = [0.0]
    looking, released = threading.Event(), threading.Event()

    def look() -> bool:
        looking.set()
        return not released.wait(PATIENCE_S)

    async def repair() -> bool:
        return False

    async with watching(look, repair, clock_s=lambda: now_s[0]) as watch:
        await until(looking.is_set)
        assert watch.faults == {}
        now_s[0] = OVERDUE_S
        assert "has not ended" in watch.faults["store"]
        released.set()
        await until(lambda: watch.faults == {})
