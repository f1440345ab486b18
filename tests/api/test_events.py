"""Tests events on real connections: their order, numbers, and limits."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from harness.daemon import PATIENCE_S
from harness.description import check_event
from harness.server import HOST, QUICK_WRITE, Running, Time, hang_up, read_reply, running, until

from runtimed.api import stream as stream_module
from runtimed.api.connections import Connections, HttpLimits
from runtimed.api.events import Events
from runtimed.api.messages import Request, Response
from runtimed.api.stream import Channel, Stream


class Hub:
    """Events behind a server that responds to other paths as `Running` does."""

    def __init__(self, run: Running, heartbeat_s: float) -> None:
        self.run = run
        self.dropped: list[str] = []
        self.events = Events(self.dropped.append, heartbeat_s)
        self._answer = run.answer
        run.connections.handler = self.handle

    def handle(self, request: Request) -> Response | Stream | Awaitable[Response]:
        if request.segments != ("events",):
            return self._answer(request)
        since = request.query.get("since")
        return self.events.stream(None if since is None else int(since), request.peer.uid)

    def publish(self, *values: object) -> None:
        for value in values:
            self.events.publish("test", {"value": value})

    async def subscribe(self, query: str = "", version: str = "1.1") -> Subscriber:
        reader, writer = await self.run.connect()
        writer.write(f"GET /events{query} HTTP/{version}\r\n".encode() + HOST + b"\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        return Subscriber(reader, writer, head)


class Subscriber:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        self.head = head
        self.writer = writer
        self._reader = reader
        self._chunked = "Transfer-Encoding: chunked" in head
        self._lines: list[dict[str, Any]] = []

    async def event(self) -> dict[str, Any] | None:
        """Return the next event, None at the end."""
        while not self._lines:
            if self._chunked:
                size = int(await self._reader.readline(), 16)
                data = await self._reader.readexactly(size)
                assert await self._reader.readexactly(2) == b"\r\n"
            else:
                data = await self._reader.readline()
            if not data:
                return None
            self._lines = [json.loads(line) for line in data.splitlines()]
            for event in self._lines:
                if event["type"] != "test":
                    check_event(event)
        return self._lines.pop(0)

    async def values(self, number: int) -> list[object]:
        """Return the values of the next so many events that have one."""
        found: list[object] = []
        while len(found) < number:
            event = await self.event()
            assert event is not None
            if event["type"] == "test":
                found.append(event["value"])
        return found

    async def rest(self) -> list[dict[str, Any]]:
        found = []
        while (event := await self.event()) is not None:
            found.append(event)
        return found


@asynccontextmanager
async def hub(heartbeat_s: float = 100.0) -> AsyncIterator[Hub]:
    async with running() as run:
        hub = Hub(run, heartbeat_s)
        try:
            yield hub
        finally:
            hub.events.close()
            assert hub.events._timer is None


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_events_come_in_order_to_every_subscriber(version: str) -> None:
    async with hub() as here:
        subscribers = [await here.subscribe(version=version) for _ in range(3)]
        assert ("chunked" in subscribers[0].head) == (version == "1.1")
        assert ("Connection: close" in subscribers[0].head) == (version == "1.0")
        here.publish(*range(100))
        for subscriber in subscribers:
            assert await subscriber.values(100) == list(range(100))
            await hang_up(subscriber.writer)
        await until(lambda: len(here.events) == 0)


async def test_a_subscriber_that_reconnects_with_a_number_gets_the_missed_events() -> None:
    async with hub() as here:
        here.publish(*range(10))
        subscriber = await here.subscribe(f"?since={here.events.last - 3}")
        here.publish("new")
        assert await subscriber.values(4) == [7, 8, 9, "new"]
        await hang_up(subscriber.writer)


@pytest.mark.parametrize("since", ["0", str(10**14)])
async def test_a_number_that_is_too_old_or_of_another_process_causes_a_gap_event(since: str) -> None:
    async with hub() as here:
        here.publish(*range(3000))
        subscriber = await here.subscribe(f"?since={since}")
        gap = await subscriber.event()
        assert gap is not None
        assert gap["type"] == "gap"
        first = await subscriber.event()
        assert first is not None
        assert first["seq"] == gap["seq"] + 1
        assert (await subscriber.values(3))[-1] == first["value"] + 3
        await hang_up(subscriber.writer)


async def test_kept_events_are_bounded_in_number_and_size() -> None:
    async with hub() as here:
        here.publish(*range(5000))
        assert len(here.events._kept) == 1000
        here.publish(*("x" * 10_000 for _ in range(100)))
        assert sum(len(line) for _, line in here.events._kept) <= 256 * 1024
        assert here.events._kept_bytes == sum(len(line) for _, line in here.events._kept)


async def test_heartbeats_are_sent_without_events() -> None:
    async with hub(heartbeat_s=0.01) as here:
        subscriber = await here.subscribe()
        for _ in range(3):
            event = await subscriber.event()
            assert event is not None
            assert (event["type"], event["seq"]) == ("heartbeat", here.events.last)
        await hang_up(subscriber.writer)


async def test_a_subscriber_that_does_not_read_is_dropped_with_a_reason_others_are_not() -> None:
    async with hub() as here:
        silent, good = await here.subscribe(), await here.subscribe()
        big = "x" * 10_000
        sent = 0
        while not here.dropped:
            here.publish(big)
            sent += 1
            assert sent < 1000
            assert await good.values(1) == [big]
        assert len(here.events) == 1
        last = (await silent.rest())[-1]
        assert (last["type"], last["seq"]) == ("dropped", here.events.last)
        assert "since" in last["reason"]
        await hang_up(silent.writer)
        await hang_up(good.writer)


async def test_a_subscriber_that_never_reads_is_disconnected() -> None:
    async with running(QUICK_WRITE) as run:
        here = Hub(run, 100.0)
        silent = await here.subscribe()
        while not here.dropped:
            here.publish("x" * 10_000)
            await asyncio.sleep(0)
        await until(lambda: len(run.connections) == 0)
        await hang_up(silent.writer)


async def test_a_subscriber_that_reads_nothing_for_too_long_is_dropped_with_a_reason() -> None:
    async with running(HttpLimits(write_s=1.5, sweep_s=0.02)) as run:
        here = Hub(run, 100.0)
        silent = await here.subscribe()
        silent.writer.transport.pause_reading()  # type: ignore[attr-defined]
        (connection,) = run.connections._members
        # More than the kernel buffers, less than a subscriber may leave unread.
        while not connection._writer.paused:
            here.publish("x" * 10_000)
        assert here.dropped == []
        await until(lambda: here.dropped != [])
        assert len(here.events) == 0
        silent.writer.transport.resume_reading()  # type: ignore[attr-defined]
        last = (await silent.rest())[-1]
        assert (last["type"], last["seq"]) == ("dropped", here.events.last)
        assert last["reason"] == here.dropped[0] == "nothing was read for too long; subscribe again with since"
        await hang_up(silent.writer)


async def test_a_subscriber_that_reads_slowly_is_not_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    # It takes longer in all than a subscriber may take that reads nothing, and less from one read to the next.
    time, loop = Time(monkeypatch), asyncio.get_running_loop()
    async with running() as run:
        here = Hub(run, 100.0)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(run.path)
            client.setblocking(False)
            client.send(b"GET /events HTTP/1.1\r\n" + HOST + b"\r\n")
            await until(lambda: len(here.events) == 1)
            (connection,) = run.connections._members
            unread_bytes = connection._writer.unread_bytes
            while unread_bytes() < 400_000:
                here.publish("x" * 10_000)
            rounds = 0
            while before := unread_bytes():
                while unread_bytes() == before:
                    await loop.sock_recv(client, 8_000)
                    await asyncio.sleep(0)
                time.add(0.6 * run.connections.limits.write_s, run.connections)
                rounds += 1
            assert rounds > 3
            assert here.dropped == []
            assert len(here.events) == 1


async def test_a_disconnected_subscriber_is_discarded() -> None:
    async with hub() as here:
        subscriber = await here.subscribe()
        subscriber.writer.transport.abort()
        await until(lambda: len(here.events) == 0)
        await until(lambda: len(here.run.connections) == 0)


async def test_a_disconnected_subscriber_is_discarded_even_if_connections_are_queued(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with hub() as here:
        await hang_up((await here.subscribe()).writer)
        # The bytes are known now, and the next subscription begins while it should queue for more input.
        monkeypatch.setattr(Connections, "has_queued", True)
        subscriber = await here.subscribe()
        await hang_up(subscriber.writer)
        await until(lambda: len(here.events) == 0)


async def test_data_that_a_subscriber_sends_is_ignored() -> None:
    async with hub() as here:
        subscriber = await here.subscribe()
        subscriber.writer.write(b"GET /other HTTP/1.1\r\n" + HOST + b"\r\n")
        subscriber.writer.write_eof()
        await asyncio.sleep(0.05)
        here.publish("still")
        assert await subscriber.values(1) == ["still"]
        assert here.run.asked == []
        await hang_up(subscriber.writer)


async def test_requests_before_a_subscription_are_answered_first() -> None:
    async with hub() as here:
        reader, writer = await here.run.connect()
        writer.write(b"GET /one HTTP/1.1\r\n" + HOST + b"\r\nGET /events HTTP/1.1\r\n" + HOST + b"\r\n")
        assert json.loads((await read_reply(reader)).body)[1] == "/one"
        assert b"chunked" in await reader.readuntil(b"\r\n\r\n")
        await hang_up(writer)
        await until(lambda: len(here.run.connections) == 0)


async def test_a_repeated_subscription_is_a_new_stream() -> None:
    # The connection does not parse known bytes again.
    async with hub() as here:
        for _ in range(3):
            subscriber = await here.subscribe()
            here.publish("x")
            assert await subscriber.values(1) == ["x"]
            await hang_up(subscriber.writer)


async def test_events_before_continue_from_are_renumbered() -> None:
    events = Events(lambda _: None)
    events.publish("watcher", {"mode": "polling"})
    events.continue_from(10**14)
    events.publish("health", {"status": "ok"})
    kept = [json.loads(line) for line in events._past(10**14 - 1) if b'"gap"' not in line]
    assert [(event["seq"] - 10**14, event["type"]) for event in kept] == [(1, "watcher"), (2, "health")]
    assert kept[0]["mode"] == "polling"


async def test_head_of_a_stream_names_no_length_and_the_next_request_is_answered() -> None:
    async with hub() as here:
        reader, writer = await here.run.connect()
        writer.write(b"HEAD /events HTTP/1.1\r\n" + HOST + b"\r\nGET /next HTTP/1.1\r\n" + HOST + b"\r\n")
        headers = (await read_reply(reader, body=False)).headers
        assert headers["Content-Type"] == "application/x-ndjson"
        assert headers["Transfer-Encoding"] == "chunked"
        assert "Content-Length" not in headers
        assert json.loads((await read_reply(reader)).body)[1] == "/next"
        await hang_up(writer)


@pytest.mark.parametrize("keep_alive", [b"", b"Connection: keep-alive\r\n"])
async def test_head_of_a_stream_on_http_1_0_ends_the_connection(keep_alive: bytes) -> None:
    async with hub() as here:
        request = b"HEAD /events HTTP/1.0\r\n" + keep_alive + b"\r\n"
        head, _, body = (await here.run.exchange(request + request)).partition(b"\r\n\r\n")
        assert b"\r\nConnection: close" in head
        assert b"Content-Length" not in head
        assert b"Transfer-Encoding" not in head
        assert body == b""


async def test_head_of_a_stream_while_the_daemon_stops_ends_the_connection() -> None:
    async with hub() as here:
        reader, writer = await here.run.connect()
        writer.write(b"GET /slow HTTP/1.1\r\n" + HOST + b"\r\nHEAD /events HTTP/1.1\r\n" + HOST + b"\r\n")
        await until(lambda: len(here.run.asked) == 1)
        drained = asyncio.create_task(here.run.connections.drain(PATIENCE_S))
        await until(lambda: here.run.connections.draining)
        here.run.gate.set()
        await read_reply(reader)
        headers = (await read_reply(reader, body=False)).headers
        assert (headers["Connection"], await reader.read()) == ("close", b"")
        assert await drained == 0
        await hang_up(writer)


async def test_a_stop_sends_a_last_event_and_does_not_wait() -> None:
    async with hub() as here:
        subscriber = await here.subscribe()
        here.events.close()
        assert await here.run.connections.drain(PATIENCE_S) == 0
        assert [event["type"] for event in await subscriber.rest()] == ["heartbeat", "end"]
        await hang_up(subscriber.writer)


async def test_a_stop_ends_a_stream_that_was_not_closed() -> None:
    async with hub() as here:
        subscriber = await here.subscribe()
        assert await here.run.connections.drain(PATIENCE_S) == 0
        assert [event["type"] for event in await subscriber.rest()] == ["heartbeat"]
        await hang_up(subscriber.writer)


async def test_one_user_cannot_reach_the_limit_of_all_subscribers() -> None:
    async with hub() as here:
        me = os.getuid()
        subscriber = await here.subscribe()
        others = [
            Channel(cast("asyncio.Transport", None), lambda _: None, lambda: None, chunked=False) for _ in range(255)
        ]
        for other in others:
            here.events.subscribers.add(other, me)
        assert here.events.subscribers.is_full(me)
        assert not here.events.subscribers.is_full(me + 1)
        for other in others:
            here.events._discard(other)
        await hang_up(subscriber.writer)


async def test_a_subscriber_that_already_left_much_unread_gets_a_gap_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream_module, "UNREAD_BYTES", 100)
    async with hub() as here:
        here.publish(*range(10))
        subscriber = await here.subscribe("?since=1")
        assert [event["type"] for event in await subscriber.rest()] == ["dropped"]
        assert len(here.events) == 0
        await hang_up(subscriber.writer)


async def test_a_client_that_leaves_much_unread_before_it_subscribes_is_disconnected() -> None:
    async with running(QUICK_WRITE) as run:
        here = Hub(run, 100.0)
        silent = socket.socket(socket.AF_UNIX)
        silent.connect(run.path)
        big = b"GET /big?bytes=400000 HTTP/1.1\r\n" + HOST + b"\r\n"
        silent.sendall(big * 3 + b"GET /events HTTP/1.1\r\n" + HOST + b"\r\n")
        await until(lambda: len(run.asked) > 0)
        await until(lambda: len(run.connections) == 0)
        assert len(here.events) == 0
        silent.close()


def test_a_subscriber_may_leave_more_unread_than_all_kept_events() -> None:
    assert stream_module.UNREAD_BYTES >= 2 * 256 * 1024
