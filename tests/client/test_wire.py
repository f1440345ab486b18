"""Tests the parser of responses on bytes that arrive in any pieces."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimed.client.errors import BadAnswer
from runtimed.client.wire import ResponseReader

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunked(chunks: list[bytes], extension: bytes = b"") -> bytes:
    """Return a response with ``chunks``."""
    return HEAD + b"".join(b"%X%b\r\n%b\r\n" % (len(each), extension, each) for each in [*chunks, b""])


def cut(data: bytes, size: int) -> Iterator[bytes]:
    """Yield ``data`` in pieces."""
    return (data[at : at + size] for at in range(0, len(data), size))


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.integers(1, 60), st.sampled_from([b"", b" ;a=b"]))
def test_chunks_join_to_the_body_however_they_arrive(chunks: list[bytes], size: int, extension: bytes) -> None:
    reader = ResponseReader("s")
    pieces = [*cut(chunked(chunks, extension), size)]
    assert [reader.feed(piece) for piece in pieces] == [None] * (len(pieces) - 1) + [(200, b"".join(chunks))]


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\r\n", "has no length"),
        (b"g\r\n", "has no length"),
        (b"-1\r\n", "has no length"),
        (b"0x1\r\n", "has no length"),
        (b"1_0\r\n", "has no length"),
        (b"%b\r\n" % (b"0" * 500), "has no length"),
        (b"1" * 2000, "has no length"),
        (b"2\r\n{}0\r\n\r\n", "has no end"),
        (b"0\r\nA: b\r\n\r\n", "has no end"),
        (b"1\r\n{\r\n%x\r\n" % (64 * 2**20), "larger than 64 MiB"),
    ],
)
def test_invalid_chunks_raise_bad_answer(size: int, body: bytes, reason: str) -> None:
    reader = ResponseReader("s")
    with pytest.raises(BadAnswer, match=reason):
        assert not any(map(reader.feed, cut(HEAD + body, size)))


def test_a_length_and_chunks_contradict_each_other() -> None:
    with pytest.raises(BadAnswer, match="Content-Length"):
        ResponseReader("s").feed(HEAD.replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\n"))
