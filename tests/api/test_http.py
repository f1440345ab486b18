"""Tests one connection over real sockets: requests, responses and its end."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import suppress
from dataclasses import replace

import pytest
from harness.daemon import PATIENCE_S
from harness.server import HOST, QUICK, hang_up, read_reply, replies, running, until
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimed.api.connections import HttpLimits
from runtimed.api.messages import Response, render


async def test_a_request_names_its_peer() -> None:
    async with running() as run:
        await run.exchange(b"GET /a HTTP/1.0\r\n\r\n")
        assert run.asked[0].peer == (os.getpid(), os.getuid(), os.getgid())
        assert run.asked[0].target == b"/a"


async def test_a_connection_answers_one_request_after_another() -> None:
    async with running() as run:
        reader, writer = await run.connect()
        for n in (1, 2, 3, 1):  # the last from memory
            writer.write(b"GET /v1/%d?a=b HTTP/1.1\r\n%b\r\n" % (n, HOST))
            reply = await read_reply(reader)
            assert (reply.status, json.loads(reply.body)) == (200, ["GET", f"/v1/{n}", {"a": "b"}])
            assert "Connection" not in reply.headers
        await hang_up(writer)


async def test_head_has_the_headers_of_get_and_no_body() -> None:
    async with running() as run:
        reader, writer = await run.connect()
        writer.write(b"HEAD /big?bytes=5 HTTP/1.1\r\n%b\r\nGET /big?bytes=5 HTTP/1.1\r\n%b\r\n" % (HOST, HOST))
        head, get = await read_reply(reader, body=False), await read_reply(reader)
        assert head.headers == get.headers
        assert get.body == b"xxxxx"
        assert (await run.exchange(b"HEAD /%% HTTP/1.1\r\n%b\r\n" % HOST)).endswith(b"\r\n\r\n")
        await hang_up(writer)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_a_request_may_come_in_pieces(size: int) -> None:
    async with running() as run:
        reader, writer = await run.connect()
        data = b"GET /a?runtime=runc HTTP/1.1\r\nHost: x\r\nUser-Agent: curl\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n"
        for start in range(0, len(data), size):
            writer.write(data[start : start + size])
            await asyncio.sleep(0.001)
        assert [json.loads((await read_reply(reader)).body)[1] for _ in "ab"] == ["/a", "/b"]
        await hang_up(writer)


async def test_a_thousand_pipelined_requests_are_answered_in_order() -> None:
    async with running() as run:
        data = b"".join(b"GET /%d HTTP/1.1\r\n%b\r\n" % (n, HOST) for n in range(1000))
        found = await replies(await run.exchange(data, half_close=True))
        assert [json.loads(reply.body)[1] for reply in found] == [f"/{n}" for n in range(1000)]


async def test_requests_behind_a_slow_one_wait_for_it() -> None:
    async with running() as run:
        reader, writer = await run.connect()
        data = b"POST /slow HTTP/1.1\r\n%bContent-Length: 0\r\n\r\n" % HOST
        data += b"".join(b"GET /%d HTTP/1.1\r\n%b\r\n" % (n, HOST) for n in range(20000))
        writer.write(data)
        await until(lambda: len(run.asked) == 1)
        await asyncio.sleep(0.05)
        assert len(run.asked) == 1
        (connection,) = run.connections._members
        held = connection._reader
        # One slice's requests are read, and of the others no more than has been received: reading has stopped.
        assert 0 < len(held.requests) < 4096 // len(HOST)
        assert len(held.backlog) < 600_000
        run.gate.set()
        assert (await read_reply(reader)).body == b"/slow"
        for n in range(20000):
            assert json.loads((await read_reply(reader)).body)[1] == f"/{n}"
        await hang_up(writer)


async def test_a_known_request_behind_a_slow_one_waits_too() -> None:
    async with running() as run:
        reader, writer = await run.connect()
        slow, quick = (b"GET /%b HTTP/1.1\r\n%b\r\n" % (path, HOST) for path in (b"slow", b"quick"))
        run.gate.set()
        for request in (slow, quick, slow, quick):
            writer.write(request)
            await read_reply(reader)
        run.gate.clear()
        for request in (slow, quick, quick):
            writer.write(request)
            await asyncio.sleep(0.01)
        assert len(run.asked) == 5
        run.gate.set()
        assert [(await read_reply(reader)).body[:3] for _ in range(3)] == [b"/sl", b'["G', b'["G']
        await hang_up(writer)


async def test_a_known_request_is_answered_without_the_handler_if_again_has_a_response() -> None:
    at_hand: dict[bytes, Response] = {}
    async with running() as run:
        run.connections.again = lambda target, _begun_s: at_hand.get(target.raw)
        reader, writer = await run.connect()

        async def ask() -> bytes:
            writer.write(b"GET /a HTTP/1.1\r\n%b\r\n" % HOST)
            return (await read_reply(reader)).body

        by_handler = await ask()
        assert await ask() == by_handler
        assert len(run.asked) == 2
        response = Response(200, b"again")
        at_hand[b"/a"] = response
        assert await ask() == by_handler  # not rendered yet: that is the whole way's
        response.wire = render(response)
        assert [await ask(), await ask()] == [b"again"] * 2
        assert len(run.asked) == 3
        at_hand.clear()
        assert await ask() == by_handler
        await hang_up(writer)


async def test_a_known_request_is_answered_like_a_parsed_one() -> None:
    """Memory is an optimisation: with odd neighbours before and behind, the same bytes get the same answers."""
    whole = b"GET /a HTTP/1.1\r\n%b\r\n" % HOST
    async with running() as run:
        reader, writer = await run.connect()
        for part in (
            whole,
            whole,
            whole[:10],
            whole[10:],
            whole + whole[:5],
            whole[5:],
            b"\r\n",
            whole,
            whole + b"\r\n",
            whole,
        ):
            writer.write(part)
            await asyncio.sleep(0.01)
        found = [json.loads((await read_reply(reader)).body)[1] for _ in range(8)]
        assert found == ["/a"] * 8
        assert run.connections.known.keys() == {whole}
        await hang_up(writer)


@pytest.mark.parametrize("path", [b"/fail", b"/broken", b"/slow/fail"])
async def test_a_handler_that_fails_costs_one_500_and_not_the_connection(path: bytes) -> None:
    async with running() as run:
        run.gate.set()
        reader, writer = await run.connect()
        for _ in range(2):  # read, then remembered
            writer.write(b"GET %b HTTP/1.1\r\n%b\r\n" % (path, HOST))
            reply = await read_reply(reader)
            assert (reply.status, reply.code) == (500, "internal-error")
        writer.write(b"GET /a HTTP/1.1\r\n%b\r\n" % HOST)
        assert (await read_reply(reader)).status == 200
        assert len(run.errors) == 2
        await hang_up(writer)


# How long a connection is kept


@pytest.mark.parametrize(
    ("head", "connection"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", "close"),
        (b"GET / HTTP/1.0\r\nConnection: close\r\n\r\n", "close"),
        (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "keep-alive"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", None),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", None),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "close"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: x, Close\r\n\r\n", "close"),
        # Upgrade is ignored.
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", None),
    ],
)
async def test_keep_alive_and_close_follow_http(head: bytes, connection: str | None) -> None:
    async with running() as run:
        found = await replies(await run.exchange(head * 2, half_close=True))
        assert [reply.status for reply in found] == ([200] if connection == "close" else [200, 200])
        assert found[0].headers.get("Connection") == connection


async def test_a_client_that_shuts_down_writing_gets_all_responses() -> None:
    async with running() as run:
        asyncio.get_running_loop().call_later(0.05, run.gate.set)
        data = b"GET /slow HTTP/1.1\r\n%b\r\nGET /b HTTP/1.1\r\n%b\r\nGET /c HT" % (HOST, HOST)
        found = await replies(await run.exchange(data, half_close=True))
        assert [reply.body for reply in found] == [b"/slow", b'["GET", "/b", {}]']


async def test_a_client_that_disconnects_does_not_stop_the_work_for_its_request() -> None:
    async with running() as run:
        _, writer = await run.connect()
        writer.write(b"GET /slow HTTP/1.1\r\n%b\r\n" % HOST)
        await until(lambda: len(run.asked) == 1)
        writer.transport.abort()
        await asyncio.sleep(0.02)
        (task,) = run.connections._tasks
        run.gate.set()
        await task


async def test_a_reset_in_the_middle_of_a_response_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as run:
        for _ in range(20):
            reader, writer = await run.connect()
            writer.write(b"GET /big?bytes=5000000 HTTP/1.1\r\n%b\r\n" % HOST * 3)
            await reader.read(1000)
            writer.transport.abort()
        await until(lambda: len(run.connections) == 0)
    assert run.errors == []
    assert caplog.records == []


# Refusals


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"\x16\x03\x01\x02\x00", 400, "malformed-request"),  # TLS
        (b"hello\r\n\r\n", 400, "malformed-request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "malformed-request"),  # no Host
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "malformed-request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n", 400, "malformed-request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n", 400, "malformed-request"),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400, "malformed-request"),
        (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed-request"),
        (b"GET /% HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed-target"),
        (b"GET /?a=1&a=2 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed-target"),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed-target"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "malformed-request"),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "version-not-supported"),
        (b"GET /\r\n\r\n", 505, "version-not-supported"),  # HTTP/0.9
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 413, "body-not-accepted"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", 413, "body-not-accepted"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413, "body-not-accepted"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: the moon\r\n\r\n", 417, "expectation-failed"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", 400, "malformed-request"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400, "malformed-request"),
        (b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * 8192), 414, "target-too-long"),
        (b"GET /%b" % (b"a" * 100_000), 414, "target-too-long"),
        (b"GET / HTTP/1.1\r\nA: %b\r\n\r\n" % (b"a" * 16384), 431, "headers-too-large"),
        (b"GET / HTTP/1.1\r\nA: %b" % (b"a" * 100_000), 431, "headers-too-large"),
        (b"GET / HTTP/1.1\r\n%b\r\n" % (b"A: b\r\n" * 65), 431, "headers-too-large"),
    ],
)
async def test_an_unacceptable_request_is_refused_and_ends_the_connection(data: bytes, status: int, code: str) -> None:
    good = b"GET /good HTTP/1.1\r\nHost: x\r\n\r\n"
    async with running() as run:
        for before in (b"", good):
            found = await replies(await run.exchange(before + data + good))
            assert [reply.status for reply in found] == [200] * bool(before) + [status]
            assert found[-1].code == code
            assert found[-1].headers["Connection"] == "close"
            assert found[-1].headers["Content-Type"] == "application/problem+json"
            body = json.loads(found[-1].body)
            assert body["message"] == body["detail"], "Docker's clients show nothing else"


@pytest.mark.parametrize(
    "head",
    [
        b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * 8191),
        b"GET / HTTP/1.1\r\nHost: a\r\nA: %b\r\n\r\n" % (b"a" * (16384 - 6)),
        b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n" % (b"A: b\r\n" * 63),
        b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        b"\r\n\r\nGET / HTTP/1.1\r\nhOST:\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
async def test_a_request_just_within_the_limits_is_served(head: bytes) -> None:
    async with running() as run:
        found = await replies(await run.exchange(head * 3, half_close=True))
        assert [reply.status for reply in found] == [200] * 3


async def test_a_client_that_is_still_sending_a_body_reads_the_refusal() -> None:
    async with running(HttpLimits(linger_s=PATIENCE_S)) as run:
        reader, writer = await run.connect()
        writer.write(b"PUT / HTTP/1.1\r\n%bContent-Length: 900000\r\n\r\n" % HOST)
        for _ in range(9):
            writer.write(b"x" * 100_000)
            await writer.drain()
        assert (await read_reply(reader)).status == 413
        await hang_up(writer)


async def test_the_connection_of_an_endless_body_is_reset() -> None:
    async with running() as run:
        _, writer = await run.connect()
        writer.write(b"PUT / HTTP/1.1\r\n%bContent-Length: 1000000000\r\n\r\n" % HOST)
        sent = 0
        with suppress(ConnectionError):
            for sent in range(1000):  # noqa: B007
                writer.write(b"x" * 100_000)
                await writer.drain()
        assert sent < 100
        await hang_up(writer)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=200),
            st.sampled_from(
                [
                    b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
                    b"GET ",
                    b"\r\n",
                    b"\r",
                    b"Content-Length: ",
                    b"HTTP/1.1",
                    b"\0",
                    b"/%",
                ]
            ),
        ),
        max_size=20,
    )
)
def test_arbitrary_bytes_do_not_affect_another_client(parts: list[bytes]) -> None:
    # The good client waits longer than a busy machine may stand still.
    limits = replace(QUICK, idle_s=PATIENCE_S)

    async def attack() -> None:
        async with running(limits) as run:
            good_reader, good_writer = await run.connect()
            reader, writer = await run.connect()
            with suppress(ConnectionError):
                for part in parts:
                    writer.write(part)
                    await asyncio.sleep(0)
                writer.write_eof()
                received = await reader.read()
                assert not received or received.startswith(b"HTTP/1.1 ")
            good_writer.write(b"GET /good HTTP/1.1\r\n%b\r\n" % HOST)
            assert (await read_reply(good_reader)).status == 200
            assert run.errors == []
            await hang_up(writer)
            await hang_up(good_writer)

    asyncio.run(attack())
