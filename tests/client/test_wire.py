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
        (b"1\r\n{\r\n%x\r\n" % (64 * 2**20), "larger than 64 MiB"),
    ],
)
def test_invalid_chunks_raise_bad_answer(size: int, body: bytes, reason: str) -> None:
    reader = ResponseReader("s")
    with pytest.raises(BadAnswer, match=reason):
        assert not any(map(reader.feed, cut(HEAD + body, size)))


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    ("trailer", "shown"),
    [(b"Digest: b\r\nA: c\r\n\r\n", "'Digest: b'"), (b"x" * 1024, "'x{80}'"), (b"\n\r\n", r"'\\n'")],
)
def test_a_trailer_is_named(size: int, trailer: bytes, shown: str) -> None:
    reader = ResponseReader("s")
    with pytest.raises(BadAnswer, match=f"trailer follows its last chunk: {shown}$"):
        assert not any(map(reader.feed, cut(HEAD + b"2\r\n{}\r\n0\r\n" + trailer, size)))


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (b"Transfer-Encoding: gzip, chunked", "Transfer-Encoding is 'gzip, chunked', not chunked$"),
        (b"Transfer-Encoding: GZIP", "Transfer-Encoding is 'gzip', not chunked$"),
        (
            b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding is 'gzip, chunked', not chunked$",
        ),
        (b"Transfer-Encoding: \x1b[2J", r"Transfer-Encoding is '\\x1b\[2j', not chunked$"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 2", "both a Content-Length and a Transfer-Encoding$"),
    ],
)
def test_an_unknown_framing_is_named(lines: bytes, reason: str) -> None:
    with pytest.raises(BadAnswer, match=reason):
        ResponseReader("s").feed(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n\r\n")
