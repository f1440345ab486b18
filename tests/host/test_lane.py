"""Lanes: blocking calls off the loop, one at a time, never waited for at the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from runtimed.host.lane import Lane


@pytest.fixture
def lane() -> Iterator[Lane]:
    lane = Lane("test")
    yield lane
    lane.close()


async def test_a_call_returns_what_the_function_returns_from_another_thread(lane: Lane) -> None:
    assert await lane.run(lambda a, b: (a + b, threading.current_thread().name), 1, b=2) == (3, "test")


async def test_an_error_is_the_callers(lane: Lane) -> None:
    with pytest.raises(ZeroDivisionError):
        await lane.run(lambda: 1 / 0)
    assert await lane.run(lambda: 1) == 1


async def test_a_stop_of_an_iteration_is_the_callers_as_well_in_other_words(lane: Lane) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        await lane.run(next, iter(()))


async def test_calls_run_one_at_a_time_in_order(lane: Lane) -> None:
    seen: list[int] = []
    await asyncio.gather(*(lane.run(seen.append, number) for number in range(100)))
    assert seen == list(range(100))


async def test_a_call_that_hangs_is_given_up_and_those_behind_it_that_were_given_up_never_run(lane: Lane) -> None:
    release = threading.Event()
    ran: list[str] = []
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(lane.run(release.wait), 0.05)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(lane.run(ran.append, "dropped"), 0.05)
    release.set()
    await lane.run(ran.append, "after")
    assert ran == ["after"]


def test_closing_does_not_wait_for_a_call_that_hangs() -> None:
    lane = Lane("hanging")
    release = threading.Event()

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lane.run(release.wait), 0.05)

    asyncio.run(give_up())
    lane.close(timeout_s=0.05)
    # The loop is closed by now: the late result goes nowhere, and harms nobody.
    release.set()
    lane.close()
