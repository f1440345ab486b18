"""Tests the bound on the memory of unread responses, and which connection is reset."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, cast

import pytest
from harness.daemon import PATIENCE_S
from harness.server import HOST, hang_up, read_reply, running, until
from harness.wire import PEER, Wire, new_connections

from runtimed.api.http import Connection
from runtimed.api.messages import Answer, Request, Response
from runtimed.api.sockets import Peer
from runtimed.api.stream import UNREAD_BYTES, Channel, Stream
from runtimed.api.unread import Unread

MIB = 1 << 20
BIG = b"GET /big?bytes=1000000 HTTP/1.1\r\n%b\r\n" % HOST


class FakeConnection:
    def __init__(self, uid: int) -> None:
        self.peer = Peer(1, uid, 1)
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


def new_connection(uid: int) -> Any:
    return FakeConnection(uid)


def test_the_longest_waiting_connection_of_the_user_with_most_is_reset() -> None:
    unread = Unread(lambda *_: None, 10 * MIB)
    first, second, third = (new_connection(uid) for uid in (1, 2, 2))
    for holder, held in ((first, 3 * MIB), (second, 2 * MIB), (third, 4 * MIB)):
        unread.hold(holder, held)
    assert unread.total_bytes < 10 * MIB
    late = new_connection(3)
    unread.hold(late, 2 * MIB)
    assert [holder.aborted for holder in (first, second, third, late)] == [False, True, False, False]
    assert unread.total_bytes < 10 * MIB


def test_a_connection_that_waits_alone_is_never_reset() -> None:
    unread = Unread(lambda *_: None, 10)
    alone = new_connection(1)
    unread.hold(alone, 100 * MIB)
    assert not alone.aborted


def test_a_response_that_was_read_is_not_counted() -> None:
    unread = Unread(lambda *_: None, MIB)
    holders = [new_connection(uid) for uid in (1, 1, 2)]
    for holder in holders:
        unread.hold(holder, MIB // 2)
        unread.release(holder)
        unread.release(holder)
    assert unread.total_bytes == 0
    assert not unread._by_uid
    assert not any(holder.aborted for holder in holders)


def test_a_connection_whose_count_changes_keeps_its_position() -> None:
    unread = Unread(lambda *_: None, 4 * MIB)
    first, second, late = (new_connection(1) for _ in range(3))
    unread.hold(first, MIB)
    unread.hold(second, MIB)
    unread.hold(first, 2 * MIB)
    assert 3 * MIB < unread.total_bytes < 4 * MIB
    unread.hold(late, MIB)
    assert [holder.aborted for holder in (first, second, late)] == [True, False, False]


def test_a_thousand_resets_are_reported_once() -> None:
    reports: list[tuple[Peer, int]] = []
    unread = Unread(lambda *report: reports.append(report), 2 * MIB)
    for _ in range(1000):
        unread.hold(new_connection(7), MIB)
    assert reports == [(Peer(1, 7, 1), MIB)]


async def test_a_client_that_reads_is_answered_while_others_do_not_read() -> None:
    async with running() as run:
        run.connections.unread._most_bytes = 8 * MIB
        silent = []
        for _ in range(30):
            _, writer = await run.connect()
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(BIG)
            silent.append(writer)
            reader, writer = await run.connect()
            writer.write(BIG)
            assert len((await read_reply(reader)).body) == 1_000_000
            await hang_up(writer)
            assert run.connections.unread.total_bytes <= 8 * MIB
        await until(lambda: 5 <= len(run.connections) <= 8)
        for writer in silent:
            await hang_up(writer)
        await until(lambda: len(run.connections) == 0)
        assert run.connections.unread.total_bytes == 0


class Unreading(Wire):
    """A transport whose peer reads nothing."""

    connection: Connection

    def get_write_buffer_size(self) -> int:
        return len(self.written)

    def write(self, data: bytes) -> None:
        paused = len(self.written) > 16384
        super().write(data)
        if not paused and len(self.written) > 16384:
            self.connection.pause_writing()


async def _large_response() -> Response:
    await asyncio.sleep(0)
    return Response(200, b"x" * MIB)


async def _small_response() -> Response:
    await asyncio.sleep(0)
    return Response(200, b"x" * 10000)


def _unending(_: Channel) -> Callable[[], None]:
    return lambda: None


LARGE, SMALL = Response(200, b"x" * MIB), Response(200, b"x" * 10000)


@pytest.mark.parametrize(
    ("answers", "least_bytes"),
    [
        # A small response pauses the transport while a slow one is made: a large body, and one that fits into a batch.
        ((SMALL, SMALL, _large_response), MIB),
        ((SMALL, SMALL, _small_response), 30000),
        # The head of a large response pauses it: the handler's own, and a slow one.
        ((Response(200, b"x" * 16250), LARGE), MIB),
        ((Response(200, b"x" * 16250), _large_response), MIB),
        # The responses before a stream pause it.
        ((SMALL, SMALL, Stream("text/plain", _unending)), UNREAD_BYTES),
    ],
)
async def test_a_response_that_is_added_after_the_transport_has_paused_is_counted(
    answers: tuple[Answer | Callable[[], Answer], ...], least_bytes: int
) -> None:
    upcoming = iter(answers)

    def answer(_: Request) -> Answer:
        found = next(upcoming)
        return found() if callable(found) else found

    connections = new_connections()
    connections.handler = answer
    wire, connection = Unreading(), Connection(connections, PEER)
    wire.connection = connection
    connections.add(connection)
    connection.connection_made(cast("asyncio.BaseTransport", wire))
    request = b"GET /a HTTP/1.1\r\n%b\r\n" % HOST
    connection.data_received(request)
    connection.data_received(request * (len(answers) - 1))
    while connection._task:
        await asyncio.sleep(0)
    assert next(upcoming, None) is None
    assert least_bytes <= connections.unread.total_bytes - 64 * 1024 < least_bytes + 64 * 1024
    connection.connection_lost(None)
    assert connections.unread.total_bytes == 0


async def test_a_large_body_is_held_once_for_all_connections_that_are_sent_it() -> None:
    body = b"".join(b"%07d\n" % n for n in range(1_000_000))
    async with running() as run:
        run.connections.handler = lambda _: Response(200, body)
        writers = []
        for _ in range(20):
            reader, writer = await run.connect()
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(BIG)
            writers.append((reader, writer))
        await until(lambda: len(run.connections.unread._held) == 6)
        transports = [member._transport for member in run.connections._members]
        assert max(transport.get_write_buffer_size() for transport in transports if transport) <= 80 * 1024
        reader, writer = await run.connect()
        writer.write(BIG)
        assert (await read_reply(reader)).body == body
        await hang_up(writer)
        for _, writer in writers:
            await hang_up(writer)


@pytest.mark.parametrize("head", [HOST, HOST + b"Connection: close\r\n", b"Connection: keep-alive\r\n"])
async def test_a_client_that_shuts_down_writing_gets_all_of_a_large_body(head: bytes) -> None:
    version = b"1.1" if HOST in head else b"1.0"
    async with running() as run:
        data = b"GET /big?bytes=3000000 HTTP/%b\r\n%b\r\n" % (version, head)
        reader, writer = await run.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(data)
        await until(lambda: run.connections.unread.total_bytes > 0)
        writer.write_eof()
        await asyncio.sleep(0.05)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        reply = await read_reply(reader)
        assert (reply.body, await reader.read()) == (b"x" * 3_000_000, b"")
        await hang_up(writer)


async def test_a_large_body_that_has_begun_is_finished_when_the_daemon_stops() -> None:
    async with running() as run:
        reader, writer = await run.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(BIG)
        await until(lambda: run.connections.unread.total_bytes > 0)
        drained = asyncio.create_task(run.connections.drain(PATIENCE_S))
        await asyncio.sleep(0.05)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len((await read_reply(reader)).body) == 1_000_000
        assert await reader.read() == b""
        assert await drained == 0
        await hang_up(writer)


@pytest.mark.parametrize("later", [1, 200])
async def test_requests_behind_a_large_body_are_answered_when_the_daemon_stops(later: int) -> None:
    async with running() as run:
        reader, writer = await run.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(BIG + b"".join(b"GET /%d HTTP/1.1\r\n%b\r\n" % (n, HOST) for n in range(later)))
        await until(lambda: run.connections.unread.total_bytes > 0)
        drained = asyncio.create_task(run.connections.drain(PATIENCE_S))
        await asyncio.sleep(0.05)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        found = [await read_reply(reader) for _ in range(1 + later)]
        assert await reader.read() == b""
        assert [json.loads(reply.body)[1] for reply in found[1:]] == [f"/{n}" for n in range(later)]
        assert [reply.headers.get("Connection") for reply in found] == [None] * later + ["close"]
        assert await drained == 0
        await hang_up(writer)


async def test_a_client_that_disconnects_before_a_large_response_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as run:
        made = asyncio.Event()

        async def answer() -> Response:
            await made.wait()
            return Response(200, b"x" * 1_000_000)

        run.connections.handler = lambda _: answer()
        _, writer = await run.connect()
        writer.write(BIG)
        await until(lambda: bool(run.connections._tasks))
        await hang_up(writer)
        made.set()
        await until(lambda: len(run.connections) == 0)
    assert not caplog.records


async def test_large_and_small_responses_keep_their_order() -> None:
    async with running() as run:
        reader, writer = await run.connect()
        for _ in range(2):  # the second time from memory
            writer.write(BIG)
            assert len((await read_reply(reader)).body) == 1_000_000
        writer.write(b"".join(b"GET /%d HTTP/1.1\r\n%b\r\n" % (n, HOST) + BIG for n in range(5)))
        for n in range(5):
            assert json.loads((await read_reply(reader)).body)[1] == f"/{n}"
            assert len((await read_reply(reader)).body) == 1_000_000
        writer.write(b"HEAD" + BIG[3:])
        assert (await read_reply(reader, body=False)).headers["Content-Length"] == "1000000"
        await hang_up(writer)


async def test_a_large_response_that_cannot_be_sent_is_a_500() -> None:
    async with running() as run:
        run.connections.handler = lambda _: Response(200, b"x" * 100_000, headers=(("X", "a\r\nb"),))
        reader, writer = await run.connect()
        writer.write(BIG)
        assert (await read_reply(reader)).status == 500
        await hang_up(writer)


async def test_a_client_that_reads_late_gets_everything_and_is_not_counted() -> None:
    async with running() as run:
        reader, writer = await run.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(BIG)
        await until(lambda: run.connections.unread.total_bytes > 0)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len((await read_reply(reader)).body) == 1_000_000
        await until(lambda: run.connections.unread.total_bytes == 0)
        await asyncio.sleep(0)
        writer.write(b"GET /next HTTP/1.1\r\n%b\r\n" % HOST)
        assert (await read_reply(reader)).status == 200
        await hang_up(writer)
