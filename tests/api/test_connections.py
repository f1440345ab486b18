"""Tests connections over real sockets: time-outs, limits, fairness and the end of all of them."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from contextlib import suppress
from time import monotonic
from typing import cast

import pytest
from harness.daemon import PATIENCE_S
from harness.server import HOST, QUICK_WRITE, Time, hang_up, read_reply, replies, running, until

from runtimed.api.connections import Connections, HttpLimits
from runtimed.api.http import Connection
from runtimed.api.sockets import Peer
from runtimed.core.config import Limits

# Time


async def test_a_head_that_does_not_end_is_answered_with_408(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)
    async with running(HttpLimits(head_s=1000)) as run:
        reader, writer = await run.connect()
        writer.write(b"GET / HTTP/1.1\r\n%b\r\nGET / HTTP/1.1\r\nA: " % HOST)
        assert (await read_reply(reader)).status == 200
        for _ in range(5):  # more bytes do not buy more time
            writer.write(b"x")
            await asyncio.sleep(0.02)
            time.add(300, run.connections)
        reply = await read_reply(reader)
        assert (reply.status, reply.code, await reader.read()) == (408, "request-timeout", b"")
        await hang_up(writer)


async def test_a_refused_client_that_stays_is_disconnected() -> None:
    async with running(HttpLimits(linger_s=0.2, sweep_s=0.02)) as run:
        reader, writer = await run.connect()
        writer.write(b"GET / HTTP/1.1\r\n")
        await asyncio.sleep(0.02)
        writer.write(b"nonsense\r\n")
        assert (await read_reply(reader)).status == 400
        await until(lambda: not run.connections._members)
        await hang_up(writer)


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_an_idle_connection_is_closed(data: bytes) -> None:
    async with running(HttpLimits(idle_s=0.3, sweep_s=0.02)) as run:
        while True:
            started = monotonic()
            received = await run.exchange(data)
            assert 0.25 < monotonic() - started < PATIENCE_S
            # A client that stands still before it has sent its request is idle, too.
            if received or not data:
                break
        assert received.startswith(b"HTTP/1.1 200") or not data


async def test_a_connection_in_use_is_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)
    async with running() as run:
        reader, writer = await run.connect()
        for _ in range(5):
            writer.write(b"GET / HTTP/1.1\r\n%b\r\n" % HOST)
            await read_reply(reader)
            time.add(50, run.connections)
        time.add(30, run.connections)
        assert await reader.read() == b""
        await hang_up(writer)


async def test_a_slow_response_may_take_longer_than_all_time_outs(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)
    async with running() as run:
        reader, writer = await run.connect()
        writer.write(b"GET /slow HTTP/1.1\r\n%b\r\nGET /next HTTP/1.1\r\nHo" % HOST)
        await until(lambda: len(run.asked) == 1)
        for _ in range(3):
            time.add(3600, run.connections)
        run.gate.set()
        assert (await read_reply(reader)).body == b"/slow"
        writer.write(b"st: x\r\n\r\n")
        assert (await read_reply(reader)).status == 200
        await hang_up(writer)


async def test_a_client_that_never_reads_is_reset_and_causes_no_more_work() -> None:
    async with running(QUICK_WRITE) as run:
        _, writer = await run.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET /big?bytes=1000000 HTTP/1.1\r\n%b\r\n" % HOST * 1000)
        await until(lambda: len(run.asked) > 0)
        await until(lambda: len(run.connections) == 0)
        assert len(run.asked) < 4
        await hang_up(writer)


async def test_a_client_that_never_reads_a_last_small_response_is_reset() -> None:
    async with running(QUICK_WRITE) as run:
        _, writer = await run.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET /big?bytes=60000 HTTP/1.1\r\n%b\r\n" % HOST * 8)
        await until(lambda: len(run.asked) > 1)
        writer.write_eof()
        await until(lambda: len(run.connections) == 0)
        await hang_up(writer)


async def test_a_client_that_reads_no_response_to_a_known_request_is_reset_as_soon() -> None:
    async with running(QUICK_WRITE) as run:
        _, writer = await run.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        # One at a time: only a request that arrives alone is answered without the parser.
        for _ in range(4):
            writer.write(b"GET /big?bytes=60000 HTTP/1.1\r\n%b\r\n" % HOST)
            await asyncio.sleep(0.03)
        assert 1 < len(run.asked) < 4
        await until(lambda: len(run.connections) == 0)
        await hang_up(writer)


async def test_a_client_that_reads_slowly_gets_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    # It takes longer in all than a peer may take that reads nothing, and less from one read to the next.
    time = Time(monkeypatch)
    async with running() as run:
        client = socket.socket(socket.AF_UNIX)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(run.path)
        client.setblocking(False)
        client.send(b"GET /big?bytes=600000 HTTP/1.0\r\n\r\n")
        received = 0
        loop = asyncio.get_running_loop()
        while part := await loop.sock_recv(client, 8_000):
            received += len(part)
            await asyncio.sleep(0.005)
            time.add(run.connections.limits.write_s / 15, run.connections)
        assert received > 600_000
        client.close()


async def test_requests_wait_while_the_client_does_not_read() -> None:
    async with running() as run:
        reader, writer = await run.connect()
        writer.write(b"GET /big?bytes=200000 HTTP/1.1\r\n%b\r\n" % HOST * 300)
        await asyncio.sleep(0.1)
        assert len(run.asked) < 10
        for _ in range(300):
            assert len((await read_reply(reader)).body) == 200_000
        await hang_up(writer)


async def test_one_busy_client_does_not_delay_the_others() -> None:
    async with running() as run:
        _, flood = await run.connect()
        data = b"GET /a HTTP/1.1\r\n%b\r\n" % HOST * 10_000
        flood.write(data)
        reader, writer = await run.connect()
        writer.write(b"GET /me HTTP/1.1\r\n%b\r\n" % HOST)
        await read_reply(reader)
        assert len(run.asked) < 2000
        flood.transport.abort()
        await hang_up(writer)


class Busy:
    """A member of a user that notes when it is its turn, so and so many times."""

    def __init__(self, connections: Connections, seen: list[int], uid: int, turns: int = 1) -> None:
        self.peer = Peer(1, uid, uid)
        self.deadline = 0.0
        self._connections = connections
        self._seen = seen
        self._turns = turns

    def process_queued(self) -> None:
        self._seen.append(self.peer.uid)
        self._turns -= 1
        if self._turns:
            self._connections.enqueue(cast("Connection", self))


async def test_queued_connections_alternate_between_users_in_batches() -> None:
    async with running() as run:
        seen: list[int] = []
        for _ in range(20):
            run.connections.enqueue(cast("Connection", Busy(run.connections, seen, uid=1)))
        run.connections.enqueue(cast("Connection", Busy(run.connections, seen, uid=2, turns=3)))
        assert run.connections.has_queued
        await asyncio.sleep(0)
        assert seen == [1, 2, 1, 2, 1, 2, 1, 1]
        await asyncio.sleep(0)
        assert len(seen) == 16
        await asyncio.sleep(0)
        assert seen[8:] == [1] * 15
        assert not run.connections.has_queued


async def test_many_pipelined_requests_are_answered_with_a_bounded_backlog() -> None:
    async with running() as run:
        clients = [await run.connect() for _ in range(20)]
        data = b"".join(b"GET /%d HTTP/1.1\r\n%b\r\n" % (n, HOST) for n in range(1000))
        for _, writer in clients:
            writer.write(data)
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                held = [len(member._reader.backlog) for member in run.connections._members]
                most = max(most, *held)
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch())
        for reader, writer in clients:
            for n in range(1000):
                assert json.loads((await read_reply(reader)).body)[1] == f"/{n}"
            await hang_up(writer)
        watching.cancel()
        # One read of the socket, and the rest of a slice before it.
        assert 0 < most <= 16 * 1024 + 4096


# How many


async def test_connections_above_the_limit_of_a_user_are_refused_with_503() -> None:
    async with running(admission=Limits(connections=10, connections_per_user=2)) as run:
        first, second = await run.connect(), await run.connect()
        await until(lambda: len(run.connections) == 2)
        (reply,) = await replies(await run.exchange(b"GET / HTTP/1.1\r\n%b\r\n" % HOST))
        assert (reply.status, reply.code, reply.headers["Connection"]) == (503, "too-many-connections", "close")
        assert b"connections" in await run.exchange(b"")
        await hang_up(first[1])
        await until(lambda: len(run.connections) == 1)
        (reply,) = await replies(await run.exchange(b"GET / HTTP/1.0\r\n\r\n"))
        assert reply.status == 200
        await hang_up(second[1])
        assert len(run.asked) == 1


async def test_the_limit_of_all_connections_applies_and_may_be_changed() -> None:
    async with running(admission=Limits(connections=0)) as run:
        assert (await run.exchange(b"")).startswith(b"HTTP/1.1 503 ")
        run.connections.admission = Limits(connections=1)
        assert (await run.exchange(b"GET / HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(("linger_s", "lingering"), [(30.0, 3), (0.1, 0)])
async def test_refused_connections_do_not_pile_up(linger_s: float, lingering: int) -> None:
    limits = HttpLimits(refused=3, linger_s=linger_s, sweep_s=0.02)
    async with running(limits, Limits(connections=0)) as run:
        clients = [await run.connect() for _ in range(50)]
        # While three connections linger, further ones are closed without a response.
        responses = [line for reader, _ in clients if (line := await reader.readline())]
        assert len(responses) == 3 or not lingering
        await until(lambda: len(run.connections._members) == lingering)
        assert len(run.connections._refused) == lingering
        for _, writer in clients:
            await hang_up(writer)


# The end


async def test_draining_closes_idle_connections_and_finishes_requests() -> None:
    async with running() as run:
        idle_reader, idle_writer = await run.connect()
        idle_writer.write(b"GET /a HTTP/1.1\r\n%b\r\n" % HOST)
        await read_reply(idle_reader)
        slow_reader, slow_writer = await run.connect()
        slow_writer.write(b"GET /slow HTTP/1.1\r\n%b\r\nGET /b HTTP/1.1\r\n%b\r\n" % (HOST, HOST))
        begun_reader, begun_writer = await run.connect()
        begun_writer.write(b"GET /begun HTTP/1.1\r\nHo")
        fresh_reader, fresh_writer = await run.connect()
        await until(lambda: len(run.asked) == 2 and len(run.connections) == 4)
        fresh_writer.write(b"GET /a HTTP/1.1\r\n%b\r\n" % HOST)  # lies in the kernel when the drain begins
        run.server.close()
        drain = asyncio.create_task(run.connections.drain(PATIENCE_S))
        assert await idle_reader.read() == b""
        assert (await read_reply(fresh_reader)).headers["Connection"] == "close"
        begun_writer.write(b"st: x\r\n\r\n")
        assert (await read_reply(begun_reader)).headers["Connection"] == "close"
        assert not drain.done()
        run.gate.set()
        assert "Connection" not in (await read_reply(slow_reader)).headers
        assert (await read_reply(slow_reader)).headers["Connection"] == "close"
        assert await slow_reader.read() == b""
        assert await drain == 0
        for writer in (idle_writer, slow_writer, begun_writer, fresh_writer):
            await hang_up(writer)


async def test_draining_aborts_connections_after_its_time_out() -> None:
    async with running() as run:
        _, begun = await run.connect()
        begun.write(b"GET /")
        _, slow = await run.connect()
        slow.write(b"GET /slow HTTP/1.1\r\n%b\r\n" % HOST)
        await until(lambda: len(run.asked) == 1)
        run.server.close()
        started = monotonic()
        assert await run.connections.drain(0.1) == 2
        assert monotonic() - started < run.connections.limits.head_s
        for writer in (begun, slow):
            await hang_up(writer)


async def test_there_is_no_timer_without_connections_and_a_late_one_with_idle_ones() -> None:
    async with running() as run:
        begun_s = asyncio.get_running_loop().time()
        reader, writer = await run.connect()
        writer.write(b"GET /a HTTP/1.1\r\n%b\r\n" % HOST)
        await read_reply(reader)
        timer = run.connections._timer
        assert timer is not None
        assert timer.when() > begun_s + 70
        await hang_up(writer)
        await until(lambda: run.connections._timer is None)


async def test_running_out_of_descriptors_is_reported_once_and_passes() -> None:
    import resource  # noqa: PLC0415 - Linux, and only here

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with running() as run:
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        held = [os.open("/dev/null", os.O_RDONLY)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (held[0] + 8, hard))
        try:
            with suppress(OSError):
                while True:
                    held.append(os.open("/dev/null", os.O_RDONLY))
            client.connect(run.path)
            await until(lambda: run.server.exhausted is not None)
            await asyncio.sleep(1.2)  # one retry, which fails as well
            assert len(run.exhausted) == 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for fd in held:
                os.close(fd)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, b"GET / HTTP/1.0\r\n\r\n")
        assert (await loop.sock_recv(client, 100)).startswith(b"HTTP/1.1 200")
        assert run.server.exhausted is None
        client.close()


async def test_the_last_descriptors_are_not_for_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as run:
        monkeypatch.setattr(run.connections, "_owners", frozenset({os.geteuid()}))
        monkeypatch.setattr(run.server, "_room", 2)
        first, second = await run.connect(), await run.connect()
        await until(lambda: run.connections.held == 2)
        await asyncio.sleep(0.05)
        assert run.server.exhausted is None  # no client waits
        reader, writer = await run.connect()
        await until(lambda: run.server.exhausted is not None)
        assert "kept for reloads" in str(run.server.exhausted)
        writer.write(b"GET / HTTP/1.1\r\n%b\r\n" % HOST)
        await hang_up(first[1])
        assert (await read_reply(reader)).status == 200
        assert len(run.exhausted) == 1
        await hang_up(second[1])
        await hang_up(writer)
        await until(lambda: run.server.exhausted is None)


async def test_the_descriptors_before_the_last_are_for_root_and_the_daemons_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as run:
        monkeypatch.setattr(run.server, "_room", 20)
        writers = [(await run.connect())[1] for _ in range(10)]
        await until(lambda: run.connections.held == 10)
        for _ in range(30):
            reader, writer = await run.connect()
            reply = await read_reply(reader)
            assert (reply.status, reply.code, reply.headers["Connection"]) == (503, "too-many-connections", "close")
            await hang_up(writer)
        assert "kept for root" in str(run.server.exhausted)
        assert len(run.exhausted) == 1
        monkeypatch.setattr(run.connections, "_owners", frozenset({os.geteuid()}))
        for _ in range(10):
            reader, writer = await run.connect()
            writers.append(writer)
            writer.write(b"GET / HTTP/1.1\r\n%b\r\n" % HOST)
            assert (await read_reply(reader)).status == 200
        assert run.server.exhausted is not None  # for all others nothing has changed
        for writer in writers:
            await hang_up(writer)
        await until(lambda: run.server.exhausted is None)


async def test_root_and_the_daemons_user_may_connect_when_all_others_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(admission=Limits(connections=4)) as run:
        writers = [(await run.connect())[1] for _ in range(4)]
        await until(lambda: run.connections.held == 4)
        assert (await replies(await run.exchange(b"GET / HTTP/1.1\r\n%b\r\n" % HOST)))[0].status == 503
        monkeypatch.setattr(run.connections, "_owners", frozenset({os.geteuid()}))
        assert (await replies(await run.exchange(b"GET / HTTP/1.0\r\n%b\r\n" % HOST)))[0].status == 200
        for writer in writers:
            await hang_up(writer)


async def test_exhaustion_ends_when_the_waiting_client_has_left() -> None:
    async with running() as run:
        run.server._pause(OSError(24, "Too many open files"))
        await until(lambda: run.server.exhausted is None)


async def test_a_server_that_waits_for_descriptors_can_be_closed() -> None:
    async with running() as run:
        run.server._pause(OSError(24, "Too many open files"))
        assert run.server.exhausted == "Too many open files"
        run.server.close()
        assert run.server._retry is None
