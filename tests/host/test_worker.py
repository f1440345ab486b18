"""Blocking calls in a worker's thread, one at a time."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from runtimed.core.errors import TooManyWaiting
from runtimed.host.worker import WAITING_MAX, Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker("test")
    yield worker
    worker.close()


async def test_a_call_returns_what_the_function_returns_from_another_thread(worker: Worker) -> None:
    assert await worker.run(lambda a, b: (a + b, threading.current_thread().name), 1, b=2) == (3, "test")


async def test_the_caller_gets_an_exception(worker: Worker) -> None:
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 / 0)
    assert await worker.run(lambda: 1) == 1


async def test_the_caller_gets_a_stop_iteration_as_another_exception(worker: Worker) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        await worker.run(next, iter(()))


async def test_calls_run_one_at_a_time_in_order(worker: Worker) -> None:
    seen: list[int] = []
    await asyncio.gather(*(worker.run(seen.append, number) for number in range(100)))
    assert seen == list(range(100))


async def test_the_thread_holds_no_argument_when_the_caller_has_the_result(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Argument:
        pass

    loop, checked = asyncio.get_running_loop(), threading.Event()
    call_soon = loop.call_soon_threadsafe

    def call_soon_and_wait(*call: Any) -> None:
        call_soon(*call)
        # The caller goes on, and the thread does not.
        checked.wait(60)

    monkeypatch.setattr(loop, "call_soon_threadsafe", call_soon_and_wait)
    argument = Argument()
    seen = weakref.ref(argument)
    assert await worker.run(lambda *_, **__: 1, argument, key=argument) == 1
    del argument
    assert seen() is None
    checked.set()


async def test_a_cancelled_call_that_still_waits_never_runs(worker: Worker) -> None:
    release, held = await hold(worker)
    ran: list[str] = []
    dropped = asyncio.create_task(worker.run(ran.append, "dropped"))
    await asyncio.sleep(0)
    for task in (held, dropped):
        task.cancel()
    await asyncio.wait([held, dropped])
    release.set()
    await worker.run(ran.append, "after")
    assert ran == ["after"]


def test_closing_does_not_wait_for_a_call_that_hangs() -> None:
    worker = Worker("hanging")

    async def give_up() -> threading.Event:
        release, held = await hold(worker)
        held.cancel()
        await asyncio.wait([held])
        return release

    release = asyncio.run(give_up())
    assert not worker.close(timeout_s=0)
    # The loop is closed, so the late result is dropped.
    release.set()
    assert worker.close(timeout_s=30)


# Several users


async def hold(worker: Worker) -> tuple[threading.Event, asyncio.Task[bool]]:
    """Return an event, and a call that keeps the worker busy until the event is set."""
    begun, release = threading.Event(), threading.Event()

    def wait() -> bool:
        begun.set()
        return release.wait(30)

    task = asyncio.create_task(worker.run(wait))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    return release, task


async def test_the_waiting_calls_of_one_user_do_not_delay_other_users(worker: Worker) -> None:
    release, held = await hold(worker)
    seen: list[tuple[int, int]] = []
    calls = [worker.run_for(1, seen.append, (1, number)) for number in range(50)]
    calls += [worker.run_for(user, seen.append, (user, number)) for number in range(2) for user in (2, 3)]
    waiting = asyncio.gather(*calls)
    await asyncio.sleep(0)
    release.set()
    await waiting
    await held
    assert seen[:7] == [(1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (3, 1), (1, 2)]
    assert seen[7:] == [(1, number) for number in range(3, 50)]


async def test_the_number_of_waiting_calls_of_a_user_is_bounded(worker: Worker) -> None:
    release, held = await hold(worker)
    waiting = asyncio.gather(*(worker.run_for(1, int) for _ in range(WAITING_MAX)))
    await asyncio.sleep(0)
    with pytest.raises(TooManyWaiting, match=f"{WAITING_MAX} requests of user 1 wait"):
        await worker.run_for(1, int)
    other = asyncio.create_task(worker.run_for(2, int))
    release.set()
    assert await other == 0
    assert await waiting == [0] * WAITING_MAX
    assert await held
    assert await worker.run_for(1, int) == 0


async def test_a_cancelled_call_does_not_count_as_waiting(worker: Worker) -> None:
    release, held = await hold(worker)
    for _ in range(3):
        given_up = [asyncio.create_task(worker.run_for(1, int)) for _ in range(WAITING_MAX)]
        await asyncio.sleep(0)
        for task in given_up:
            task.cancel()
        await asyncio.wait(given_up)
    assert not worker._jobs
    release.set()
    await held


def test_closing_ends_the_thread_after_all_waiting_calls() -> None:
    worker = Worker("closing")
    seen: list[int] = []

    async def fill() -> None:
        release, held = await hold(worker)
        waiting = asyncio.gather(*(worker.run_for(user, seen.append, user) for user in range(5)))
        await asyncio.sleep(0)
        assert not worker.close(timeout_s=0)
        release.set()
        await waiting
        await held

    asyncio.run(fill())
    assert seen == list(range(5))
    assert worker.close(timeout_s=30)
