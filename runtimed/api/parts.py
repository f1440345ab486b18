"""Defines responses that are sent in parts, while their bodies are being made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

# A part is complete as soon as it has this size. With descriptions of runtimes it takes 2 ms to make.
PART_BYTES = 32 * 1024
LAST_CHUNK = b"0\r\n\r\n"


@dataclass(slots=True, eq=False)
class PartedResponse:
    """A response with a body of unknown length: the ``first`` part, and those that ``more`` returns until it is empty.

    ``more`` is called when the client has read the part before, and runs in no thread meanwhile. So a client that does
    not read costs the memory of one part. If ``more`` raises, the connection ends without the last chunk.
    ``first`` is emptied when it is sent, because one runtime may have megabytes.
    """

    first: bytes
    more: Callable[[], Awaitable[bytes]]
    content_type: str = "application/json"
    status: ClassVar[int] = 200

    def head(self, connection: bytes, *, chunked: bool) -> bytes:
        """Return the head with the header line ``connection``, which must close the connection if not ``chunked``."""
        framing = b"Transfer-Encoding: chunked\r\n" if chunked else b""
        content_type = self.content_type.encode("ascii")
        return b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n%b%b\r\n" % (content_type, framing, connection)


def chunk(part: bytes) -> bytes:
    """Return ``part``, which is not empty, as one chunk."""
    return b"%x\r\n%b\r\n" % (len(part), part)


def take_part(pieces: Iterator[bytes]) -> bytes:
    """Return the next ``pieces`` as one part. A part below PART_BYTES is the last one."""
    taken: list[bytes] = []
    size = 0
    for piece in pieces:
        taken.append(piece)
        size += len(piece)
        if size >= PART_BYTES:
            break
    return b"".join(taken)
