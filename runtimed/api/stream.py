"""An answer without end: what is sent now and then on a connection that stays open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

# What a peer may leave unread before it is given up: it must not cost more than this.
UNREAD_BYTES = 512 * 1024


class Channel:
    """One client's end of a stream; ``close`` closes its connection once everything is sent."""

    __slots__ = ("_chunked", "_close", "_forget", "_stream", "_transport")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None], *, chunked: bool) -> None:
        self._transport = transport
        self._close = close
        self._chunked = chunked
        self._stream: Stream | None = None
        self._forget: Callable[[], None] | None = None

    def begin(self, stream: Stream) -> None:
        """Have ``stream`` sent on this channel from now on."""
        self._stream = stream
        self._forget = stream.begin(self)

    def lost(self) -> None:
        """Tell whoever sends that the connection is lost."""
        if self._forget is not None:
            self._forget()

    @property
    def is_closing(self) -> bool:
        """Whether the connection is being closed, or is gone."""
        return self._transport.is_closing()

    def send(self, data: bytes) -> bool:
        """Send ``data``; return False, and send nothing, where the peer is gone or has left too much unread."""
        if self._transport.is_closing() or self._transport.get_write_buffer_size() + len(data) > UNREAD_BYTES:
            return False
        self._transport.write(self._framed(data))
        return True

    def give_up(self) -> None:
        """Have whoever sends end this: the peer has read nothing for as long as it may."""
        if self._stream is not None:
            self._stream.overdue(self)

    def end(self, data: bytes = b"") -> None:
        """Send last words, whatever is unread, and close. Ending twice does nothing."""
        if not self._transport.is_closing():
            self._transport.write((self._framed(data) if data else b"") + (b"0\r\n\r\n" if self._chunked else b""))
            self._close()

    def _framed(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data


class Stream:
    """An answer that ``begin`` begins to send on the channel it is given.

    ``begin`` returns the function to call when the connection is lost. ``overdue`` is called when the peer has read
    nothing for too long, and ends the channel: it may say why before.
    """

    __slots__ = ("begin", "content_type", "overdue")

    def __init__(
        self,
        content_type: str,
        begin: Callable[[Channel], Callable[[], None]],
        overdue: Callable[[Channel], None] = Channel.end,
    ) -> None:
        self.content_type = content_type
        self.begin = begin
        self.overdue = overdue


def open_channel(
    content_type: str, transport: asyncio.Transport, close: Callable[[], None], *, keep_alive: bool
) -> Channel:
    """Return a channel, the head of the answer sent; ``close`` closes the connection after what was sent."""
    transport.write(render_head(content_type, keep_alive=keep_alive))
    return Channel(transport, close, chunked=keep_alive)


def render_head(content_type: str, *, keep_alive: bool) -> bytes:
    """Return the head of an answer without end. It has no Content-Length, neither for GET nor for HEAD (RFC 9110, 8.6).

    Chunks are for HTTP/1.1 that would be kept alive. All others, HTTP/1.0 and who wants the connection closed, get the
    end of it as the end of the answer.
    """
    framing = b"Transfer-Encoding: chunked\r\n\r\n" if keep_alive else b"Connection: close\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nCache-Control: no-store\r\n" % content_type.encode("ascii")
    return head + framing
