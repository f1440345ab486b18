"""Sends endless responses: data that is written now and then on a connection that stays open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

# The most that a client may leave unread before its stream is ended.
UNREAD_BYTES = 512 * 1024


class Channel:
    """One client's stream; ``write`` writes to ``transport``, ``close`` closes it once everything is sent."""

    __slots__ = ("_chunked", "_close", "_forget", "_stream", "_transport", "_write")

    def __init__(
        self,
        transport: asyncio.Transport,
        write: Callable[[bytes], None],
        close: Callable[[], None],
        *,
        chunked: bool,
    ) -> None:
        self._transport = transport
        self._write = write
        self._close = close
        self._chunked = chunked
        self._stream: Stream | None = None
        self._forget: Callable[[], None] | None = None

    def begin(self, stream: Stream) -> None:
        """Start ``stream`` on this channel."""
        self._stream = stream
        self._forget = stream.begin(self)

    def lost(self) -> None:
        """Notify the stream that the connection is lost."""
        if self._forget is not None:
            self._forget()

    @property
    def is_closing(self) -> bool:
        """Whether the connection is closing or lost."""
        return self._transport.is_closing()

    def send(self, data: bytes) -> bool:
        """Send ``data``; return False without sending it if the client has left or left too much unread."""
        if self._transport.is_closing() or self._transport.get_write_buffer_size() + len(data) > UNREAD_BYTES:
            return False
        self._write(self._framed(data))
        return True

    def give_up(self) -> None:
        """Have the stream end this channel, because the client has read nothing for too long."""
        if self._stream is not None:
            self._stream.overdue(self)

    def end(self, data: bytes = b"") -> None:
        """Send ``data`` however much is unread, then close. Ending twice does nothing."""
        if not self._transport.is_closing():
            self._write((self._framed(data) if data else b"") + (b"0\r\n\r\n" if self._chunked else b""))
            self._close()

    def _framed(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data


@dataclass(frozen=True, slots=True)
class Stream:
    """An endless response, which ``begin`` starts to send on the channel that it receives.

    ``begin`` returns the function to call when the connection is lost. ``overdue`` is called when the client has read
    nothing for too long. It must end the channel, and may send the reason before.
    """

    content_type: str
    begin: Callable[[Channel], Callable[[], None]]
    overdue: Callable[[Channel], None] = Channel.end


def render_head(content_type: str, *, keep_alive: bool) -> bytes:
    """Return the head of a stream. It has no Content-Length, neither for GET nor for HEAD (RFC 9110, 8.6).

    Chunks are for HTTP/1.1 on a connection that would be kept alive; otherwise the connection's end ends the response.
    """
    framing = b"Transfer-Encoding: chunked\r\n\r\n" if keep_alive else b"Connection: close\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nCache-Control: no-store\r\n" % content_type.encode("ascii")
    return head + framing
