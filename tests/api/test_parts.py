"""Tests responses that are sent in parts, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from harness.daemon import PATIENCE_S
from harness.parts import run_in_place, whole
from harness.server import HOST, Running, Time, hang_up, read_reply, running, until
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimed.api.large import respond_in_parts
from runtimed.api.messages import Answer, Request, Response
from runtimed.api.parts import PART_BYTES, PartedResponse, take_part
from runtimed.core.errors import TooManyWaiting

PART = b"y" * PART_BYTES
LONG = b"GET /long HTTP/1.1\r\n%b\r\n" % HOST
NEXT = b"GET /next HTTP/1.1\r\n%b\r\n" % HOST
# The parts that sockets and buffers take before a client reads, of which each has at least PART_BYTES.
BUFFERED = 16


@dataclass
class Parts:
    """Makes a response in so many parts, and counts them; the one with the number ``fails_at`` fails."""

    number: int
    fails_at: int = -1
    made: int = 1
    waits: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception = field(default_factory=lambda: RuntimeError("as asked"))

    def serve(self, run: Running) -> None:
        """Answer GET /long with the parts."""
        run.connections.handler = lambda request: self._begin() if request.path == "/long" else _other(request)
        self.gate.set()

    async def _begin(self) -> PartedResponse:
        self.made = 1
        return PartedResponse(PART, self._more)

    async def _more(self) -> bytes:
        self.waits.set()
        await self.gate.wait()
        if self.made == self.fails_at:
            raise self.error
        self.made += 1
        return PART if self.made <= self.number else b""

    @property
    def body(self) -> bytes:
        return PART * self.number


def _other(request: Request) -> Answer:
    return Response(200, request.path.encode())


async def test_parts_are_chunks_and_the_connection_stays_open() -> None:
    parts = Parts(50)
    async with running() as run:
        parts.serve(run)
        reader, writer = await run.connect()
        writer.write(NEXT + LONG + NEXT + LONG + NEXT)
        for expected in (b"/next", parts.body, b"/next", parts.body, b"/next"):
            reply = await read_reply(reader)
            assert (reply.status, reply.body) == (200, expected)
            assert ("Content-Length" in reply.headers) != ("Transfer-Encoding" in reply.headers)
            assert "Connection" not in reply.headers
        await hang_up(writer)


async def test_a_response_that_closes_the_connection_has_chunks_and_says_so() -> None:
    parts = Parts(50)
    async with running() as run:
        parts.serve(run)
        reader, writer = await run.connect()
        writer.write(LONG.removesuffix(b"\r\n") + b"Connection: close\r\n\r\n")
        reply = await read_reply(reader)
        assert (reply.headers["Connection"], reply.body) == ("close", parts.body)
        assert await reader.read() == b""
        await hang_up(writer)


@pytest.mark.parametrize("field_line", [b"", b"Connection: keep-alive\r\n"])
async def test_http_1_0_gets_no_chunks_and_the_end_of_the_connection(field_line: bytes) -> None:
    parts = Parts(50)
    async with running() as run:
        parts.serve(run)
        received = await run.exchange(b"GET /long HTTP/1.0\r\n%b\r\nGET /next HTTP/1.0\r\n\r\n" % field_line)
        head, _, body = received.partition(b"\r\n\r\n")
        assert b"Connection: close" in head.split(b"\r\n")
        assert b"Transfer-Encoding" not in head
        assert b"Content-Length" not in head
        assert body == parts.body


async def test_head_has_the_head_of_get_and_the_connection_stays_open() -> None:
    parts = Parts(3)
    async with running() as run:
        parts.serve(run)
        reader, writer = await run.connect()
        writer.write(LONG + b"HEAD" + LONG[3:] + NEXT)
        get, head = await read_reply(reader), await read_reply(reader, body=False)
        assert head.headers == get.headers
        assert (await read_reply(reader)).body == b"/next"
        await hang_up(writer)
        assert b"\r\n\r\n" not in (await run.exchange(b"HEAD /long HTTP/1.0\r\n\r\n")).removesuffix(b"\r\n\r\n")


async def test_a_response_that_fails_has_no_end_and_closes_the_connection() -> None:
    async with running() as run:
        Parts(50, fails_at=20).serve(run)
        received = await run.exchange(LONG + NEXT)
        assert PART in received
        assert not received.endswith(b"0\r\n\r\n")
        assert b"/next" not in received
        assert [str(error) for error in run.errors] == ["as asked"]


async def test_a_client_that_does_not_read_stops_the_work_and_is_disconnected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    time = Time(monkeypatch)
    parts = Parts(1000)
    async with running() as run:
        parts.serve(run)
        reader, writer = await run.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(LONG)
        await until(lambda: run.connections.unread.total_bytes > 0)
        made = parts.made
        assert made < BUFFERED
        assert run.connections.unread.total_bytes < 4 * PART_BYTES + 64 * 1024
        time.add(run.connections.limits.write_s + 1, run.connections)
        await until(lambda: len(run.connections) == 0)
        assert parts.made == made
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        with pytest.raises(asyncio.IncompleteReadError):
            await read_reply(reader)
        await hang_up(writer)


async def test_a_client_that_reads_slowly_gets_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    # It takes longer in all than a peer may take that reads nothing, and less from one read to the next.
    time = Time(monkeypatch)
    parts = Parts(100)
    async with running() as run:
        parts.serve(run)
        reader, writer = await run.connect()
        writer.write(LONG)
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(100):
            await reader.readexactly(len(b"8000\r\n" + PART + b"\r\n"))
            await asyncio.sleep(0.005)
            time.add(run.connections.limits.write_s / 10, run.connections)
        assert await reader.readexactly(5) == b"0\r\n\r\n"
        await until(lambda: run.connections.unread.total_bytes == 0)
        writer.write(NEXT)
        assert (await read_reply(reader)).body == b"/next"
        await hang_up(writer)


async def test_a_client_that_disconnects_stops_the_work(caplog: pytest.LogCaptureFixture) -> None:
    parts = Parts(1000)
    async with running() as run:
        parts.serve(run)
        reader, writer = await run.connect()
        writer.write(LONG)
        await reader.readexactly(2 * PART_BYTES)
        await hang_up(writer)
        await until(lambda: len(run.connections) == 0)
        await until(lambda: not run.connections._tasks)
        assert parts.made < 2 + BUFFERED
        assert run.connections.unread.total_bytes == 0
    assert not caplog.records
    assert not run.errors


async def test_a_client_that_has_left_does_not_count_as_one_that_does_not_read() -> None:
    begin = asyncio.Event()
    parts = Parts(3)

    async def late() -> PartedResponse:
        await begin.wait()
        return await parts._begin()

    async with running() as run:
        parts.serve(run)
        run.connections.handler = lambda _request: late()
        _, writer = await run.connect()
        writer.write(LONG)
        await until(lambda: bool(run.connections._tasks))
        (connection,) = run.connections._members
        connection.pause_writing()
        connection.abort()
        await until(lambda: len(run.connections) == 0)
        begin.set()
        await until(lambda: not run.connections._tasks)
        assert run.connections.unread.total_bytes == 0
        await hang_up(writer)


@pytest.mark.parametrize("error", [TimeoutError(), TooManyWaiting(0, 1)])
async def test_a_disk_that_hangs_in_the_middle_is_no_error_of_the_daemon(error: Exception) -> None:
    parts = Parts(10, fails_at=3, error=error)
    async with running() as run:
        parts.serve(run)
        reader, writer = await run.connect()
        writer.write(LONG)
        with pytest.raises(asyncio.IncompleteReadError):
            await read_reply(reader)
        await hang_up(writer)
        assert not run.errors


@pytest.mark.parametrize("later", [0, 3])
async def test_a_response_that_has_begun_is_finished_when_the_daemon_stops(later: int) -> None:
    parts = Parts(50)
    async with running() as run:
        parts.serve(run)
        parts.gate.clear()
        reader, writer = await run.connect()
        writer.write(LONG + NEXT * later)
        await parts.waits.wait()
        drained = asyncio.create_task(run.connections.drain(PATIENCE_S))
        await asyncio.sleep(0.05)
        parts.gate.set()
        assert (await read_reply(reader)).body == parts.body
        for _ in range(later):
            assert (await read_reply(reader)).body == b"/next"
        assert await reader.read() == b""
        assert await drained == 0
        await hang_up(writer)


async def test_a_client_that_shuts_down_writing_gets_all_parts() -> None:
    parts = Parts(100)
    async with running() as run:
        parts.serve(run)
        reader, writer = await run.connect()
        writer.write(LONG)
        writer.write_eof()
        assert (await read_reply(reader)).body == parts.body
        assert await reader.read() == b""
        await hang_up(writer)


async def test_a_client_that_leaves_while_a_part_is_made_is_not_counted() -> None:
    parts = Parts(10)
    async with running() as run:
        parts.serve(run)
        parts.gate.clear()
        _, writer = await run.connect()
        writer.write(LONG)
        await parts.waits.wait()
        writer.transport.abort()
        await until(lambda: not run.connections._members)
        parts.gate.set()
        await asyncio.sleep(0.01)
        assert run.connections.unread.total_bytes == 0


async def test_others_are_answered_while_parts_are_sent() -> None:
    parts = Parts(10**9)
    async with running() as run:
        parts.serve(run)
        endless_reader, endless_writer = await run.connect()
        endless_writer.write(LONG)
        reader, writer = await run.connect()
        for _ in range(20):
            await endless_reader.readexactly(2 * PART_BYTES)
            writer.write(NEXT)
            assert (await read_reply(reader)).body == b"/next"
        await hang_up(writer)
        await hang_up(endless_writer)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 3 * PART_BYTES), max_size=12))
async def test_the_parts_join_to_the_pieces_and_only_the_last_is_small(sizes: list[int]) -> None:
    pieces = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    response = await respond_in_parts(run_in_place, lambda: iter(pieces))
    assert (await whole(response)).body == b"".join(pieces)
    assert isinstance(response, PartedResponse) == (sum(sizes) >= PART_BYTES)
    left = iter(pieces)
    parts = list(iter(lambda: take_part(left), b""))
    assert all(len(part) >= PART_BYTES for part in parts[:-1])


async def test_an_error_before_the_first_part_is_complete_is_raised() -> None:
    def begin() -> Iterator[bytes]:
        yield b"some"
        raise RuntimeError("as asked")

    with pytest.raises(RuntimeError, match="as asked"):
        await respond_in_parts(run_in_place, begin)
