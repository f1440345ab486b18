"""Tests that the pieces in which bytes arrive do not change the requests, and that memory stays bounded."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence

import pytest
from e2e.harness.requests import CASES
from harness.search_settings import searched
from harness.wire import PEER, Output, WithoutMemory, exchange, new_connections
from hypothesis import example, given, target
from hypothesis import strategies as st

from runtimed.api.messages import KEEP_ALIVE
from runtimed.api.reader import RequestReader

WHOLE = (
    b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /fail HTTP/1.1\r\nHost: x\r\n\r\n",
    b"HEAD /a?b=%20 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"\r\n",
)
FRAGMENTS = (
    *(
        b"GET ",
        b"HEAD ",
        b"POST ",
        b"OPTIONS * ",
        b"CONNECT a:1",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"/",
        b"/%2F?a=b&c",
    ),
    *(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/0.9\r\n", b"Host: x\r\n", b"Connection: ", b"close", b"keep-alive"),
    *(
        b"Content-Length: ",
        b"0",
        b"5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Upgrade: h2c\r\n",
        b"Expect: 100-continue",
    ),
    *(
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b"\0",
        b"\xff",
        b"A: b\r\n" * 70,
        b"x" * 9000,
        b" " * 3000,
    ),
)
DATA = st.lists(
    st.sampled_from(WHOLE)
    | st.sampled_from(FRAGMENTS)
    | st.sampled_from(sorted(CASES.values()))
    | st.binary(max_size=9),
    max_size=10,
).map(lambda parts: b"".join(parts)[:20_000])
SIZES = st.lists(st.integers(1, 50) | st.integers(1, 5000), min_size=1, max_size=8)


def cut(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """Yield ``data`` in pieces of these sizes, over and over."""
    position = 0
    for size in itertools.cycle(sizes):
        if position >= len(data):
            return
        yield data[position : position + size]
        position += size


def read(pieces: Sequence[bytes] | Iterator[bytes]) -> tuple[list[tuple[str, bytes, bytes]], bool, bool]:
    """Return the requests in ``pieces``, whether the rest is refused, and whether that is all that is read.

    If a request has two errors (too long, and no target), it depends on the pieces which of them is reported.
    """
    reader = RequestReader(new_connections(), PEER)
    found: list[tuple[str, bytes, bytes]] = []
    for piece in pieces:
        reader.add(piece)
        while reader.backlog:
            reader.read_slice()
            found += [(request.method, request.target, connection) for request, connection in reader.requests]
            reader.requests.clear()
    refused, ended = reader.refusal is not None, reader.ended
    reader.close()
    return found, refused, ended


def before_refusal(output: Output) -> tuple[bytes, bool]:
    """Return the answers to all that could be read, and whether the connection ended."""
    *answered, last = output.responses.split(b"HTTP/1.1 ")
    refused = b"Connection: close" in last and last[:3] in (b"400", b"413", b"414", b"417", b"431", b"505")
    return b"HTTP/1.1 ".join(answered if refused else [*answered, last]), output.ended


@searched(400)
@given(DATA, SIZES)
@example(b"GET " + b"x" * 9000 + b"<", [1])  # too long, and no target either
def test_the_pieces_of_the_input_do_not_change_the_requests(data: bytes, sizes: list[int]) -> None:
    requests, refused, ended = found = read([data])
    target(float(len(requests)), label="requests")
    target(float(len({request[:2] for request in requests})), label="different requests")
    assert read(cut(data, sizes)) == found
    assert ended or not refused


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
def test_unusual_requests_are_parsed_the_same_in_small_pieces(size: int) -> None:
    for name, data in CASES.items():
        if len(data) < 30_000:
            assert read(cut(data, [size])) == read([data]), name


@searched(400)
@given(st.lists(st.binary(max_size=30) | st.sampled_from(FRAGMENTS), max_size=20))
def test_any_input_is_parsed_or_refused(parts: list[bytes]) -> None:
    requests, refused, _ = read(parts)
    target(float(len(requests)) - 5 * refused, label="read")
    for method, _, connection in requests:
        assert method.isupper()
        assert connection in (b"", KEEP_ALIVE, b"Connection: close\r\n")


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("line", [b"HEAD GET /a HTTP/1.1", b"HEAD /a\0 HTTP/1.1", b"HEAD * HTTP/1.1 x"])
async def test_the_refusal_of_a_head_request_has_no_body(line: bytes, size: int) -> None:
    output = await exchange(new_connections(), cut(line + b"\r\nHost: x\r\n\r\n", [size]))
    assert output.responses.startswith(b"HTTP/1.1 400 ")
    assert output.responses.endswith(b"\r\n\r\n")


@searched(200)
@given(DATA, SIZES)
def test_neither_pieces_nor_known_requests_change_the_responses(data: bytes, sizes: list[int]) -> None:
    async def compare() -> None:
        once = await exchange(new_connections(WithoutMemory), [data])
        target(float(once.responses.count(b"HTTP/1.1 ")), label="answers")
        remembering = new_connections()
        # The second and the third time a piece that is a whole request is answered from memory.
        for _ in range(3):
            output = await exchange(remembering, cut(data, sizes))
            assert before_refusal(output) == before_refusal(once)
        assert once.held_bytes <= max(len(data), 8192 + 4096)
        assert once.asked <= 4096 // 16

    asyncio.run(compare())


@searched(200)
@given(st.lists(st.sampled_from(WHOLE) | st.sampled_from(sorted(CASES.values())), max_size=12))
def test_known_requests_are_answered_like_parsed_ones(parts: list[bytes]) -> None:
    async def compare() -> None:
        remembering = new_connections()
        read_anew = await exchange(new_connections(WithoutMemory), parts)
        for _ in range(2):
            assert await exchange(remembering, parts) == read_anew
        target(float(len(remembering.known)), label="remembered")

    asyncio.run(compare())


@pytest.mark.parametrize("unit", [b"a", b"a: b\r\n", b" ", b"GET / HTTP/1.1\r\n", b"\xff", b"a:\r\n"])
@pytest.mark.parametrize("head", [b"", b"GET ", b"GET /", b"GET / HTTP/1.1\r\nHost: x\r\n", b"GET / HTTP/1.1\r\nA: "])
def test_an_endless_request_is_refused_early(head: bytes, unit: bytes) -> None:
    reader = RequestReader(new_connections(), PEER)
    reader.add(head)
    fed = len(head)
    while not reader.ended:
        reader.add(unit * (4096 // len(unit)))
        fed += len(reader.backlog)
        while reader.backlog:
            reader.read_slice()
        assert fed < 64 * 1024
        reader.requests.clear()
    reader.close()
