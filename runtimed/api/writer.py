"""Writes the responses of one connection in order, and observes whether the client reads them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from runtimed.api.connections import Connections
from runtimed.api.messages import Request, Response, problem, render
from runtimed.api.parts import LAST_CHUNK, PartedResponse, chunk
from runtimed.core.errors import TooManyWaiting

# Responses are collected up to this size and then written at once. No more are made while the client leaves more than
# this unread, so a connection holds at most twice as much and one response.
_BATCH_BYTES = 16 * 1024
# A larger body is written in pieces of this size, each when the client has read the one before: asyncio copies no more
# at a time, and connections that are sent the same body share it.
PIECE_BYTES = 64 * 1024
# The most that one read of the socket returns. asyncio's default of 256 KiB would cost memory for each connection.
_READ_BYTES = 16 * 1024


class ResponseWriter:
    """The responses of one connection.

    ``transport`` is None before `open` and after `close`. ``paused`` means that the client does not read.
    """

    __slots__ = ("_batch", "_batch_bytes", "_connections", "_read", "_rest", "_unread_bytes", "paused", "transport")

    def __init__(self, connections: Connections) -> None:
        self.transport: asyncio.Transport | None = None
        self.paused = False
        self._connections = connections
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        # The part of a large body that is not written yet.
        self._rest = memoryview(b"")
        # `put_parts` waits for it.
        self._read: asyncio.Future[None] | None = None
        # What would be unread if the client had read nothing since the last `begin_watch`.
        self._unread_bytes = 0

    def open(self, transport: asyncio.Transport) -> None:
        """Write to ``transport`` from now on."""
        self.transport = transport
        transport.set_write_buffer_limits(high=_BATCH_BYTES)
        # asyncio's documentation does not mention it. Without it more memory is needed.
        transport.max_size = _READ_BYTES  # type: ignore[attr-defined]

    def close(self) -> None:
        """Drop all that is not written. Closing twice does nothing."""
        self.transport = None
        self._batch.clear()
        self._batch_bytes = 0
        self._rest = memoryview(b"")
        self._wake()

    def put(self, request: Request, connection: bytes, response: Response) -> None:
        """Add the response to ``request``; ``connection`` is its Connection header line, or empty."""
        if len(response.body) > PIECE_BYTES and request.method != "HEAD":
            self._put_large(request, connection, response)
        else:
            self.put_bytes(self.render(request, connection, response))

    def put_bytes(self, data: bytes) -> None:
        """Add a rendered response, and write the batch if it is full."""
        self._batch.append(data)
        self._batch_bytes += len(data)
        if self._batch_bytes >= _BATCH_BYTES:
            self.flush()

    def write_stream(self, data: bytes) -> None:
        """Write ``data`` at once, also while the client does not read."""
        if self.transport is not None:
            # Before it is written: within write() the transport may ask to pause, and the watch begins anew.
            self._unread_bytes += len(data)
            self.transport.write(data)

    def _put_large(self, request: Request, connection: bytes, response: Response) -> None:
        try:
            head = render(response, connection, body=False)
        except Exception as exc:  # noqa: BLE001 - it is the handler's error
            self.put_bytes(render(self.failure(request, exc), connection))
            return
        self._batch.append(head)
        self._batch_bytes += len(head)
        self._put_body(response.body)

    async def put_parts(
        self, request: Request, connection: bytes, response: PartedResponse, on_part: Callable[[], None]
    ) -> bool:
        """Add a response to ``request``, each part when the client has read the one before.

        ``on_part`` is called after each part. Return False if the connection is lost or the response has failed.
        """
        self.put_bytes(response.head(connection, chunked=request.chunked))
        part, response.first = b"" if request.method == "HEAD" else response.first, b""
        while part:
            self._put_body(chunk(part) if request.chunked else part)
            del part  # while the client does not read, the transport has a copy
            on_part()
            while self.transport is not None and (self.paused or self._rest):
                self._read = asyncio.get_running_loop().create_future()
                await self._read
            if self.transport is None or self.transport.is_closing():
                return False
            try:
                part = await response.more()
            except (TimeoutError, TooManyWaiting):
                return False  # a file system hangs, or the user has too many requests: no error of the daemon
            except Exception as exc:  # noqa: BLE001 - it is the handler's error
                self.failure(request, exc)
                return False
        if request.chunked and request.method != "HEAD":
            self.put_bytes(LAST_CHUNK)
        return True

    def _wake(self) -> None:
        if self._read is not None and not self._read.done():
            self._read.set_result(None)

    def _put_body(self, data: bytes) -> None:
        # Set before the head is written: within write() the transport may ask to pause, and the body counts then.
        self._rest = memoryview(data)
        self.flush()
        self.write_pieces()

    def write_pieces(self) -> None:
        """Write the next pieces of a large body, until the transport asks to pause or all is written."""
        transport = self.transport
        while self._rest and transport is not None and transport.get_write_buffer_size() <= _BATCH_BYTES:
            if transport.is_closing():
                # The client hung up. asyncio would drop each piece and log a warning.
                self._rest = memoryview(b"")
                return
            # Cut before it is written: within write() the transport may ask to pause, and the rest is counted then.
            # An empty view would keep the whole body in memory.
            piece, self._rest = self._rest[:PIECE_BYTES], self._rest[PIECE_BYTES:] or memoryview(b"")
            transport.write(piece)
            del piece
        if not (self._rest or self.paused):
            self._wake()

    @property
    def has_pieces(self) -> bool:
        """Whether a part of a large body is not written yet."""
        return bool(self._rest)

    def flush(self) -> None:
        """Write the batch."""
        if self._batch:
            # Emptied before it is written: within write() the transport may ask to pause, and the batch counts once.
            batch, self._batch, self._batch_bytes = self._batch, [], 0
            if self.transport is not None and not self.transport.is_closing():
                self.transport.write(batch[0] if len(batch) == 1 else b"".join(batch))

    def render(self, request: Request, connection: bytes, response: Response) -> bytes:
        """Return the bytes of the response to ``request``, or of a 500 if ``response`` cannot be sent."""
        body = request.method != "HEAD"
        try:
            if connection or not body:
                return render(response, connection, body=body)
            # A route may return one Response many times. This saves 8 % of the time of a repeated request.
            if response.wire is None:
                response.wire = render(response)
        except Exception as exc:  # noqa: BLE001 - it is the handler's error
            return render(self.failure(request, exc), connection, body=body)
        return response.wire

    def failure(self, request: Request, exc: Exception) -> Response:
        """Return the 500 for a request on which the handler failed, and report ``exc``."""
        # An exception in the callback must not affect the response.
        with contextlib.suppress(Exception):
            self._connections.on_error(request, exc)
        return problem("internal-error")

    def begin_watch(self) -> None:
        """Note how much is unread now, for `has_progress`."""
        self._unread_bytes = self.unread_bytes()

    def has_progress(self) -> bool:
        """Return whether the client has read some since `begin_watch`, but not all."""
        return 0 < self.unread_bytes() < self._unread_bytes

    def unread_bytes(self) -> int:
        """Return the number of bytes of responses that this process still holds."""
        if self.transport is None:
            return 0
        return self.transport.get_write_buffer_size() + self._batch_bytes + len(self._rest)
