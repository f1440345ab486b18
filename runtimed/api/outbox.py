"""A connection's answers on their way out: rendered, collected, written at once, and whether the peer reads them."""

from __future__ import annotations

import asyncio
import contextlib

from runtimed.api.connections import Connections
from runtimed.api.messages import Request, Response, problem, render
from runtimed.api.stream import render_head

# Answers are collected up to here and then written at once. While the peer has left more than that unread, no more are
# made: it costs twice as much at most, and one answer.
_BATCH_BYTES = 16 * 1024
# A larger body is written in pieces of this size, each when the peer has read the one before: asyncio copies no more at
# a time, and a body that many connections are sent is held once.
PIECE_BYTES = 64 * 1024
# What is read at a time, where asyncio's own is 256 KiB: what waits unread costs memory for each connection.
_READ_BYTES = 16 * 1024


class Outbox:
    """What one connection has to say, in order; ``transport`` is where it goes, None before and after."""

    __slots__ = ("_answers", "_bytes", "_connections", "_rest", "_unread_bytes", "transport")

    def __init__(self, connections: Connections) -> None:
        self.transport: asyncio.Transport | None = None
        self._connections = connections
        # Answers not written yet; what the peer had left unread when it was last looked at.
        self._answers: list[bytes] = []
        self._bytes = 0
        # What is not written yet of a large body.
        self._rest = memoryview(b"")
        self._unread_bytes = 0

    def open(self, transport: asyncio.Transport) -> None:
        """Write to ``transport`` from now on."""
        self.transport = transport
        transport.set_write_buffer_limits(high=_BATCH_BYTES)
        # Not in asyncio's documentation, but there since its beginning; where it is not, more memory is needed.
        transport.max_size = _READ_BYTES  # type: ignore[attr-defined]

    def put(self, request: Request, connection: bytes, response: Response) -> None:
        """Add the answer to ``request``; ``connection`` is its Connection header line or none."""
        if len(response.body) > PIECE_BYTES and request.method != "HEAD":
            self._put_large(request, connection, response)
            return
        plain = not connection and request.method != "HEAD"
        self._put((response.wire if plain else None) or self.render(request, connection, response))

    def put_head(self, content_type: str, *, keep_alive: bool) -> None:
        """Add the answer to HEAD of a stream."""
        self._put(render_head(content_type, keep_alive=keep_alive))

    def _put(self, wire: bytes) -> None:
        self._answers.append(wire)
        self._bytes += len(wire)
        if self._bytes >= _BATCH_BYTES:
            self.flush()

    def _put_large(self, request: Request, connection: bytes, response: Response) -> None:
        try:
            head = render(response, connection, body=False)
        except Exception as exc:  # noqa: BLE001 - it is the handler's error
            self._put(render(self.failure(request, exc), connection))
            return
        # Before the head is written: within write() the transport may ask to pause, and the body counts then.
        self._rest = memoryview(response.body)
        self._put(head)
        self.flush()
        self.go_on()

    def go_on(self) -> None:
        """Write the next pieces of a large body, until the transport asks to pause or all is written."""
        transport = self.transport
        while self._rest and transport is not None and transport.get_write_buffer_size() <= _BATCH_BYTES:
            if transport.is_closing():
                # The client hung up: asyncio drops each piece and logs a warning.
                self._rest = memoryview(b"")
                return
            # Before it is written: within write() the transport may ask to pause, and is told how much is left.
            piece, self._rest = self._rest[:PIECE_BYTES], self._rest[PIECE_BYTES:]
            transport.write(piece)

    @property
    def is_writing(self) -> bool:
        """Whether some of a large body is still to be written."""
        return bool(self._rest)

    def flush(self) -> None:
        """Write what was put in."""
        if self._answers:
            # Before they are written: within write() the transport may ask to pause, and they count once.
            answers, self._answers, self._bytes = self._answers, [], 0
            if self.transport is not None and not self.transport.is_closing():
                self.transport.write(answers[0] if len(answers) == 1 else b"".join(answers))

    def close(self) -> None:
        """Forget what was not written. Closing twice does nothing."""
        self.transport = None
        self._answers.clear()
        self._bytes = 0
        self._rest = memoryview(b"")

    def render(self, request: Request, connection: bytes, response: Response) -> bytes:
        """Return the bytes of the answer to ``request``; a 500 where the handler made one that cannot be sent."""
        body = request.method != "HEAD"
        try:
            if connection or not body:
                return render(response, connection, body=body)
            if response.wire is None:
                response.wire = render(response)
        except Exception as exc:  # noqa: BLE001 - it is the handler's error
            return render(self.failure(request, exc), connection, body=body)
        return response.wire

    def failure(self, request: Request, exc: Exception) -> Response:
        """Return the answer to a request that the handler failed on, and tell of it."""
        # Who is told must not make it worse.
        with contextlib.suppress(Exception):
            self._connections.on_error(request, exc)
        return problem("internal-error")

    # Whether it is read

    def begin_watch(self) -> None:
        """Note how much is unread now."""
        self._unread_bytes = self.unread_bytes()

    def is_empty(self) -> bool:
        """Return whether the peer, or the kernel for it, has taken all that was written."""
        return not self.unread_bytes()

    def is_read(self) -> bool:
        """Return whether some was taken since `begin_watch`, but not all."""
        return 0 < self.unread_bytes() < self._unread_bytes

    def unread_bytes(self) -> int:
        """Return how many bytes of responses this process still holds."""
        if self.transport is None:
            return 0
        return self.transport.get_write_buffer_size() + self._bytes + len(self._rest)
