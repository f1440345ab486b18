"""Looking at what was published: a thread of its own, the event loop only where something is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from runtimed.inspection import published_files as published_module
from runtimed.inspection.published_files import PublishedWatch


@contextlib.asynccontextmanager
async def watching(
    seems_damaged: Callable[[], bool], repair: Callable[[], Awaitable[bool]]
) -> AsyncIterator[PublishedWatch]:
    watch = PublishedWatch(seems_damaged, repair, every_s=0.01)
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
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_looks_are_made_in_a_thread_and_files_in_order_are_not_repaired() -> None:
    looks: list[str] = []
    repairs: list[bool] = []

    async def repair() -> bool:
        repairs.append(True)
        return False

    async with watching(lambda: looks.append(threading.current_thread().name) or False, repair):  # type: ignore[func-returns-value]
        await until(lambda: len(looks) > 5)
    assert set(looks) == {"published"}
    assert repairs == []


async def test_what_could_not_be_repaired_is_tried_again_when_it_no_longer_shows() -> None:
    damaged = [True]
    repairs: list[bool] = []

    async def repair() -> bool:
        repairs.append(damaged == [])
        return damaged != []

    async with watching(lambda: bool(damaged), repair):
        await until(lambda: len(repairs) > 1)
        damaged.clear()
        await until(lambda: repairs[-1])
        await asyncio.sleep(0.05)
        assert repairs.count(True) <= 2


async def test_neither_a_look_nor_a_repair_that_fails_ends_the_watch() -> None:
    repairs: list[bool] = []

    def look() -> bool:
        raise ValueError("look")

    async def repair() -> bool:
        repairs.append(True)
        raise ValueError("repair")

    async with watching(look, repair):
        await until(lambda: len(repairs) > 2)


async def test_a_look_that_hangs_is_a_fault_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_module, "OVERDUE_S", 0.05)
    gate = threading.Event()

    async def repair() -> bool:
        return False

    async with watching(lambda: not gate.wait(5), repair) as watch:
        assert watch.faults == {}
        await until(lambda: "has not answered" in watch.faults.get("store", ""))
        gate.set()
        await until(lambda: watch.faults == {})
