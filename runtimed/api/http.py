"""Serves one HTTP/1.1 connection: passes requests to the handler, and sends the responses in order.

`Connection._advance` processes input in small slices: it parses one, answers all requests in it and writes once. While
the connection waits (for a slow response, for the client to read, or in the queue of connections), input
stays unparsed and the socket is not polled. So however much a client pipelines, a connection holds at most the result
of one recv(2), the requests of one slice and one batch of responses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from math import inf
from time import monotonic
from typing import cast

from runtimed.api.connections import Connections
from runtimed.api.messages import CLOSE, Answer, Request, Response, render
from runtimed.api.parts import PartedResponse
from runtimed.api.reader import Pending, RequestReader
from runtimed.api.sockets import Peer, has_hung_up
from runtimed.api.state import WITHOUT_INPUT, State
from runtimed.api.stream import UNREAD_BYTES, Channel, Stream, render_head
from runtimed.api.writer import PIECE_BYTES, ResponseWriter

# A global is quicker to look up than a member of an enum.
_IDLE = State.IDLE


class Connection(asyncio.Protocol):
    """One client's connection; ``connections`` has the handler, the limits and all other connections.

    If there is a ``refusal``, the connection sends it without reading a request, and ends.
    """

    __slots__ = (
        "_again", "_channel", "_connections", "_eof", "_idle_s", "_known", "_linger_bytes", "_queued", "_reader",
        "_task", "_transport", "_writer", "deadline", "peer", "state",
    )  # fmt: skip

    def __init__(self, connections: Connections, peer: Peer, refusal: Response | None = None) -> None:
        self.peer = peer
        self.state = State.IDLE
        # The reading of time.monotonic() at which `expire` is called.
        self.deadline = monotonic() + connections.limits.idle_s
        self._connections = connections
        # Copies of attributes that every known request needs.
        self._again = connections.again
        self._known = connections.known
        self._idle_s = connections.limits.idle_s
        # None before the connection is made and after it is lost.
        self._transport: asyncio.Transport | None = None
        self._reader = RequestReader(connections, peer, refusal)
        self._writer = ResponseWriter(connections)
        # Makes a slow response.
        self._task: asyncio.Task[None] | None = None
        self._channel: Channel | None = None
        # While LINGERING: bytes that the client may still send.
        self._linger_bytes = connections.limits.linger_bytes
        # The client sends no more; the connection is in the queue of `connections`.
        self._eof = self._queued = False

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start."""
        self._transport = cast("asyncio.Transport", transport)
        self._writer.open(self._transport)
        self._advance()

    def data_received(self, data: bytes) -> None:
        """Answer a known request at once; parse all other input."""
        if self.state is _IDLE and (target := self._known.get(data)) is not None:
            now_s = monotonic()
            again = self._again(target, now_s)
            if again is not None and again.wire is not None:
                # Set before the write: within write() the transport may ask to pause, which sets another deadline.
                self.deadline = now_s + self._idle_s
                self._transport.write(again.wire)  # type: ignore[union-attr]  # there is one while IDLE
                return
            request = Request("GET", target, self.peer)
            answer = self._call_handler(request)
            if isinstance(answer, Response) and len(answer.body) <= PIECE_BYTES:
                self.deadline = monotonic() + self._idle_s
                self._transport.write(answer.wire or self._writer.render(request, b"", answer))  # type: ignore[union-attr]
                return
            self._answer((request, b""), answer)
        elif self.state is State.STREAMING:
            return
        elif self.state is State.LINGERING:
            self._linger_bytes -= len(data)
            if self._linger_bytes < 0:
                self.abort()
            return
        else:
            self._reader.add(data)
        if self._connections.has_queued:
            self._enqueue()
        elif not self._queued:
            self._advance()

    def eof_received(self) -> bool:
        """Answer the requests that have arrived, then close; return whether some of that is left to do."""
        self._eof = True
        if self._transport is not None and self.state is State.STREAMING:
            unfinished = not has_hung_up(self._transport.get_extra_info("socket"))
        else:
            busy = self._task or self._writer.has_pieces or self._reader.has_unanswered()
            unfinished = bool(busy) and self.state is not State.LINGERING
        if not unfinished:
            self._close()
        return unfinished

    def pause_writing(self) -> None:
        """Stop calling the handler: the client does not read."""
        self._writer.paused = True
        if self.state not in WITHOUT_INPUT:
            self.state = State.RESPONDING
        self._note_unread()

    def resume_writing(self) -> None:
        """Continue: the client has read."""
        self._writer.paused = False
        self._connections.unread.release(self)
        if self.state is State.STREAMING:
            self.deadline = inf
        elif self.state is State.RESPONDING:
            # Not at once: asyncio's transport must not be closed from within this call.
            self._enqueue()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Release everything. A slow response is made to its end (see `Connections.spawn`), or to that of a part."""
        self.state = State.CLOSING
        self._transport = None
        self._writer.close()
        if self._channel is not None:
            self._channel.lost()
        self._reader.close()
        self._connections.discard(self)

    # Called by Connections

    def process_queued(self) -> None:
        """Process a slice of input: this connection is the next one in the queue."""
        self._queued = False
        self._advance()

    def expire(self) -> None:
        """Act on the deadline: send a 408 if a request is incomplete, and abort if the client does not read."""
        if self._transport is None:
            return
        if self._writer.has_progress():
            self._await_client()
        elif self._channel is not None and self.state is State.STREAMING:
            self._channel.give_up()
        elif self.state is State.READING and not self._writer.unread_bytes():
            self._reader.time_out()
            self._advance()
        else:
            self.abort()

    def begin_drain(self) -> None:
        """End the stream, if there is one. The response to the last request that has arrived closes the connection."""
        if self._channel is not None:
            self._channel.end()

    def close_if_idle(self) -> None:
        """Close, unless a request has begun or waits for a response."""
        busy = self._task or self.state is State.LINGERING or self._reader.begun or self._reader.has_unanswered()
        if busy or self._transport is None or self._transport.is_closing():
            return
        if self._writer.has_pieces:
            self._reader.stop()  # closes after the last piece
        else:
            self._close()

    def abort(self) -> None:
        """Close at once; drop all that is not sent."""
        # Release memory now: connection_lost is called later, and one iteration of the loop may abort many connections.
        self._writer.close()
        if self._transport is not None:
            self.state = State.CLOSING
            self._transport.abort()

    # From input to responses

    def _advance(self) -> None:
        """Parse and answer a slice of input, as far as the handler and the client allow."""
        transport = self._transport
        if transport is None or transport.is_closing() or self.state in WITHOUT_INPUT:
            return
        self._writer.write_pieces()
        reader = self._reader
        if reader.backlog and not (reader.requests or self._task or self._writer.paused):
            reader.read_slice()
        while reader.requests and not (self._task or self._writer.paused):
            pending = reader.requests.popleft()
            self._answer(pending, self._call_handler(pending[0]))
        self._writer.flush()
        if self.state not in WITHOUT_INPUT:
            self._settle(transport)

    def _settle(self, transport: asyncio.Transport) -> None:
        """Enter the state that the remaining input and the unsent responses require, and set its deadline."""
        reader = self._reader
        if self._task or self._writer.paused:
            self.state = State.RESPONDING
            if reader.backlog or reader.requests:
                transport.pause_reading()
            if not self._writer.paused:
                self.deadline = inf  # the handler bounds the time of a slow response
        elif reader.backlog:
            self._enqueue()
        elif reader.refusal is not None:
            self._linger(transport, reader.refusal)
        elif self._eof or reader.ended:
            self._close()
        elif not reader.begun:
            self.state = State.IDLE
            self.deadline = monotonic() + self._idle_s
            transport.resume_reading()
        else:
            if self.state is not State.READING:
                self.state = State.READING
                self.deadline = monotonic() + self._connections.limits.head_s
                self._connections.wake_by(self.deadline)
            transport.resume_reading()

    def _linger(self, transport: asyncio.Transport, refusal: Response) -> None:
        """Send the last response, then discard input for a while."""
        self.state = State.LINGERING
        transport.write(render(refusal, CLOSE, body=not self._reader.answers_head()))
        if self._eof or transport.is_closing():
            self._close()
            return
        transport.write_eof()
        transport.resume_reading()
        self._await_client(self._connections.limits.linger_s)

    def _close(self) -> None:
        """Close once everything is sent, or at the latest when the client has read nothing for ``write_s``."""
        self.state = State.CLOSING
        if self._transport is not None:
            self._transport.close()
            self._await_client()

    def _enqueue(self) -> None:
        if self._transport is not None and not self._queued and self.state not in WITHOUT_INPUT:
            self._queued = True
            self._transport.pause_reading()
            self._connections.enqueue(self)

    def _await_client(self, for_s: float | None = None) -> None:
        """Give the client ``for_s`` (by default ``write_s``) to read; `expire` grants it again after any progress."""
        self._writer.begin_watch()
        self.deadline = monotonic() + (self._connections.limits.write_s if for_s is None else for_s)
        self._connections.wake_by(self.deadline)

    def _call_handler(self, request: Request) -> Answer:
        try:
            return self._connections.handler(request)
        except Exception as exc:  # noqa: BLE001 - the handler's error concerns one request, not the connection
            return self._writer.failure(request, exc)

    def _answer(self, pending: Pending, answer: Answer) -> None:
        self.state = State.RESPONDING
        if isinstance(answer, Response):
            self._put(pending, answer)
        elif isinstance(answer, Stream):
            self._begin_stream(pending, answer)
        else:
            self._task = asyncio.get_running_loop().create_task(self._finish(pending, answer))
            self._connections.spawn(self._task)

    async def _finish(self, pending: Pending, answer: Awaitable[Response | PartedResponse]) -> None:
        try:
            response = await answer
        except Exception as exc:  # noqa: BLE001 - as in _call_handler
            response = self._writer.failure(pending[0], exc)
        # A client that has left must not count as one that does not read.
        if isinstance(response, PartedResponse) and self._transport is not None:
            await self._put_parts(pending, response)
        self._task = None
        if self._transport is not None:
            if isinstance(response, Response):
                self._put(pending, response)
            self._advance()

    async def _put_parts(self, pending: Pending, response: PartedResponse) -> None:
        request, connection = pending
        if not request.chunked:
            connection = CLOSE  # only the end of the connection ends the response
            self._reader.stop()
        connection_line = self._reader.connection_line(connection)
        if not await self._writer.put_parts(request, connection_line, response, self._note_unread):
            self.abort()
        elif self._connections.draining:
            self._reader.connection_line(connection)

    def _begin_stream(self, pending: Pending, stream: Stream) -> None:
        request, connection = pending
        if request.method == "HEAD":
            keep_alive = not self._reader.connection_line(connection)
            self._writer.put_bytes(render_head(stream.content_type, keep_alive=keep_alive))
            if not keep_alive:
                self._reader.stop()
            return
        if self._connections.draining:
            self._put(pending, Response(200, b"", stream.content_type))
            return
        self._writer.flush()
        self.state = State.STREAMING
        transport = cast("asyncio.Transport", self._transport)
        transport.write(render_head(stream.content_type, keep_alive=not connection))
        self._channel = Channel(transport, self._writer.write_stream, self._close, chunked=not connection)
        self._note_unread()
        self._reader.stop()
        if not self._writer.paused:
            self.deadline = inf
        transport.resume_reading()
        self._channel.begin(stream)

    def _put(self, pending: Pending, response: Response) -> None:
        self._writer.put(pending[0], self._reader.connection_line(pending[1]), response)
        # The transport calls pause_writing only once: it may have done so before this response was complete.
        self._note_unread()

    def _note_unread(self) -> None:
        """While the client does not read, count the responses that this connection holds, and set the deadline."""
        if self._writer.paused:
            self._await_client()
            # A stream may write more while it is paused, so it counts with the most that it may leave unread.
            unread_bytes = UNREAD_BYTES if self.state is State.STREAMING else self._writer.unread_bytes()
            self._connections.unread.hold(self, unread_bytes)
