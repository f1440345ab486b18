"""Tests of AsyncClient: cancellation, concurrent requests, and no leaked connections."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any

import pytest
from harness.clients import answer, fake_server, sends
from harness.daemon import PATIENCE_S, RunningDaemon, short_directory

from runtimed.client import AsyncClient, Client, DaemonUnreachable, TimedOut, UnknownRuntime


@pytest.fixture
def place() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


@pytest.fixture(autouse=True)
async def nothing_is_left_behind() -> AsyncIterator[None]:
    # Descriptors that other tests left are closed when they are collected.
    gc.collect()
    before = os.listdir("/proc/self/fd")
    yield
    # What is forgotten is collected here, where a socket's warning about that is an error.
    gc.collect()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert os.listdir("/proc/self/fd") == before


class Silent:
    """A server's script that answers nothing, and tells when it was asked and when its client is gone."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.gone = threading.Event()

    def __call__(self, connection: socket.socket) -> None:
        self.asked.set()
        assert connection.recv(1) == b""
        self.gone.set()


async def happens(event: threading.Event) -> None:
    """Wait for something that happens in another thread."""
    async with asyncio.timeout(PATIENCE_S):
        while not event.is_set():
            await asyncio.sleep(0.01)


async def until(events: AsyncIterator[Any], type_: str, **fields: object) -> dict[str, Any]:
    """Return the first event of that type with these fields."""
    async with asyncio.timeout(PATIENCE_S):
        async for event in events:
            if event["type"] == type_ and fields.items() <= event.items():
                return dict(event)
    raise AssertionError("it ended")


# Requests


async def test_cancelling_a_request_closes_its_connection(place: Path) -> None:
    silent = Silent()
    with fake_server(place / "s", silent) as server:
        asking = asyncio.create_task(AsyncClient(server.path).status())
        await happens(silent.asked)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await happens(silent.gone)


async def test_a_time_out_of_the_caller_raises_the_callers_error(place: Path) -> None:
    silent = Silent()
    with fake_server(place / "s", silent) as server:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(AsyncClient(server.path).status(), 0.1)
        await happens(silent.gone)


async def test_a_request_that_waits_for_a_full_queue_can_be_cancelled(place: Path) -> None:
    path = str(place / "s")
    with closing(socket.socket(socket.AF_UNIX)) as listener, closing(socket.socket(socket.AF_UNIX)) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        asking = asyncio.create_task(AsyncClient(path).status())
        await asyncio.sleep(0.05)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking


async def test_a_request_that_times_out_does_not_delay_the_others(daemon: RunningDaemon, place: Path) -> None:
    attempts = [Silent() for _ in range(10)]
    client, answers = AsyncClient(str(daemon.socket)), 0
    with fake_server(place / "s", *attempts) as server:
        for silent in attempts:
            asking = asyncio.create_task(AsyncClient(server.path, timeout_s=1).status())
            answers = 0
            while not asking.done():
                answers += (await client.resolve("kata"))["runtime"] == "kata"
            with pytest.raises(TimedOut, match="within 1 s"):
                await asking
            await happens(silent.gone)
            # With one answer, to the request that was sent first, the machine may have stood still for that second.
            if answers > 1:
                break
    assert answers > 1


async def test_concurrent_requests_get_their_responses(daemon: RunningDaemon) -> None:
    client = AsyncClient(str(daemon.socket))
    names = [("plain", "wrapped", "kata", "runc", "wraped")[number % 5] for number in range(200)]
    answers = await asyncio.gather(*map(client.resolve, names), return_exceptions=True)
    for name, found in zip(names, answers, strict=True):
        if name == "wraped":
            assert isinstance(found, UnknownRuntime)
        else:
            assert not isinstance(found, BaseException)
            assert found["runtime"] == name


async def test_a_failing_request_in_a_task_group_closes_the_others(daemon: RunningDaemon, place: Path) -> None:
    silent = Silent()
    with fake_server(place / "s", silent) as server:

        async def ask_both() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(AsyncClient(server.path).status())
                await happens(silent.asked)
                group.create_task(AsyncClient(str(daemon.socket)).resolve("wraped"))

        with pytest.raises(ExceptionGroup) as caught:
            await ask_both()
        assert caught.group_contains(UnknownRuntime)
        await happens(silent.gone)


async def test_waiting_for_a_starting_daemon_does_not_block_the_event_loop(place: Path) -> None:
    path = place / "s"

    def restarts(connection: socket.socket) -> None:
        path.unlink()
        connection.close()

    with fake_server(path, restarts) as server:
        asking = asyncio.create_task(AsyncClient(server.path).resolve())
        async with asyncio.timeout(PATIENCE_S):
            while path.exists():
                await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        assert not asking.done()
        with fake_server(path, sends(answer({"runtime": "new"}))):
            assert dict(await asking) == {"runtime": "new"}


async def test_a_client_may_be_used_in_several_event_loops(daemon: RunningDaemon) -> None:
    client = AsyncClient(str(daemon.socket))
    here = await client.resolve("kata")
    assert await asyncio.to_thread(lambda: asyncio.run(client.resolve("kata"))) == here


async def test_the_blocking_client_may_be_used_while_an_event_loop_runs(daemon: RunningDaemon) -> None:
    assert Client(str(daemon.socket)).resolve("kata") == await AsyncClient(str(daemon.socket)).resolve("kata")


# Events


async def test_events_continue_after_a_restart_beside_other_requests(own_daemon: RunningDaemon) -> None:
    client = AsyncClient(str(own_daemon.socket))
    seen: list[dict[str, Any]] = []

    async def watch() -> None:
        async with aclosing(client.watch()) as events:
            async for event in events:
                seen.append(dict(event))
                if event["type"] == "generation" and event["generation"] == 3:
                    return

    watching = asyncio.create_task(watch())
    async with asyncio.timeout(PATIENCE_S):
        while not seen:
            await asyncio.sleep(0.01)
    own_daemon.write({"runtimes": {"a": {"path": "/bin/sh"}}})
    await client.reload()
    assert await asyncio.to_thread(own_daemon.stop) == 0
    own_daemon.write({"runtimes": {"b": {"path": "/bin/sh"}}})
    await asyncio.to_thread(own_daemon.start)
    await asyncio.wait_for(watching, PATIENCE_S)
    assert [event["generation"] for event in seen if event["type"] == "generation"] == [2, 3]
    told = [event["seq"] for event in seen if event["type"] in ("reload", "generation", "health")]
    assert told == sorted(set(told))


async def test_cancelling_the_wait_for_an_event_loses_no_event(own_daemon: RunningDaemon) -> None:
    client = AsyncClient(str(own_daemon.socket))
    async with aclosing(client.watch()) as events:
        assert (await anext(events))["type"] == "heartbeat"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(events), 0.05)
        # While nobody listens.
        for path in ("/bin/1", "/bin/2"):
            own_daemon.write({"runtimes": {"plain": {"path": path}}})
            await client.reload()
        assert (await until(events, "generation"))["generation"] == 2
        assert (await until(events, "generation"))["generation"] == 3


async def test_many_cancelled_waits_neither_lose_nor_repeat_an_event(own_daemon: RunningDaemon) -> None:
    client = AsyncClient(str(own_daemon.socket))

    async def reload() -> None:
        for number in range(20):
            own_daemon.write({"runtimes": {"plain": {"path": f"/bin/{number}"}}})
            await client.reload()

    generations: list[int] = []
    async with aclosing(client.watch()) as events, asyncio.timeout(PATIENCE_S):
        await anext(events)
        async with asyncio.TaskGroup() as group:
            group.create_task(reload())
            wait_s = 0.005
            while 21 not in generations:
                try:
                    event = await asyncio.wait_for(anext(events), wait_s)
                except TimeoutError:
                    # On a busy machine nothing arrives so soon after the connection, which is a new one each time.
                    wait_s *= 1.2
                    continue
                wait_s = 0.005
                generations += [event["generation"]] if event["type"] == "generation" else []
    assert generations == list(range(2, 22))


async def test_a_cancelled_closed_or_collected_iterator_has_no_connection(own_daemon: RunningDaemon) -> None:
    client = AsyncClient(str(own_daemon.socket))

    async def listeners(count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while (await client.status())["events"]["subscribers"] != count:
                await asyncio.sleep(0.01)

    events = client.watch()
    assert (await anext(events))["type"] == "heartbeat"
    await listeners(1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(events), 0.01)
    await listeners(0)
    assert (await anext(events))["type"] == "heartbeat"
    await listeners(1)
    await events.aclose()
    await listeners(0)
    with pytest.raises(StopAsyncIteration):
        await anext(events)
    assert [event async for event in events] == []
    async for _ in client.watch():
        await listeners(1)
        break
    await listeners(0)


async def test_only_one_task_may_use_an_iterator(own_daemon: RunningDaemon) -> None:
    async with aclosing(AsyncClient(str(own_daemon.socket)).watch()) as events:
        await anext(events)
        waiting = asyncio.create_task(anext(events))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task waits"):
            await anext(events)
        with pytest.raises(RuntimeError, match="cancel that first"):
            await events.aclose()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_an_iterator_may_be_used_again_after_it_gave_up(own_daemon: RunningDaemon) -> None:
    async with aclosing(AsyncClient(str(own_daemon.socket)).watch(patience_s=0.1)) as events:
        await anext(events)
        await asyncio.to_thread(own_daemon.stop)
        for _ in range(2):
            began_s = time.monotonic()
            with pytest.raises(DaemonUnreachable, match=r"away for 0\.1 s"):
                await until(events, "of the future")
            assert time.monotonic() - began_s >= 0.1
        await asyncio.to_thread(own_daemon.start)
        await until(events, "gap")
