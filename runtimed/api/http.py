"""One HTTP/1.1 connection: requests to the handler, answers out in order, and the end of it.

Input goes through `Connection._advance` in small slices: read one, answer all that was in it, write once. While
a slow answer, a peer that does not read, or fairness to the others holds that up, what has arrived waits unread
and the socket is not polled. So whatever a peer pipelines, a connection holds no more than one recv(2), one slice's
requests and one batch of answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
from collections.abc import Awaitable, Callable
from math import inf
from time import monotonic
from typing import cast

from runtimed.api.connections import Connections
from runtimed.api.messages import CLOSE, Answer, Request, Response, problem, render
from runtimed.api.reader import Asked, RequestReader
from runtimed.api.sockets import Peer
from runtimed.api.stream import Channel, Stream, render_stream_head

# About 150 of the smallest requests: what one connection may do before the others have their turn.
_SLICE_BYTES = 4096
# Answers are collected up to here and then written at once.
_BATCH_BYTES = 64 * 1024


def _has_hung_up(transport: asyncio.Transport | None) -> bool:
    """Return whether the peer has closed its socket, and not only its side of it (POLLHUP, poll(2))."""
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is None:
        return True
    poll = select.poll()
    poll.register(sock.fileno(), 0)
    return bool(poll.poll(0))


class Connection(asyncio.Protocol):
    """One client's connection; ``connections`` holds the handler, the limits and all the others.

    A connection with a ``refusal`` gets that answer whatever it asks, and ends.
    """

    __slots__ = (
        "_again", "_backlog", "_channel", "_connections", "_eof", "_forget_channel", "_handler", "_head_deadline",
        "_idle_s", "_known", "_last", "_linger_bytes", "_out", "_out_bytes", "_quiet", "_reader", "_refusal",
        "_scheduled", "_task", "_transport", "_unsent_bytes", "_write_paused", "deadline", "peer",
    )  # fmt: skip

    def __init__(self, connections: Connections, peer: Peer, refusal: Response | None = None) -> None:
        self.peer = peer
        self.deadline = monotonic() + connections.limits.idle_s
        self._connections = connections
        self._handler = connections.handler
        self._again = connections.again
        self._known = connections.known
        self._idle_s = connections.limits.idle_s
        self._refusal = refusal
        self._transport: asyncio.Transport | None = None
        self._reader = RequestReader(connections, peer)
        # Bytes that are not given to the reader yet.
        self._backlog = b""
        # When the head that has begun must have ended; 0 while none has.
        self._head_deadline = 0.0
        # Answers not written yet; the one that is still being made; the peer does not read; what it left unread then.
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._write_paused = False
        self._unsent_bytes = 0
        # _advance() will be called soon; the peer sends no more; the last answer is out; what a peer that was refused
        # may still send (-1: it was not refused).
        self._scheduled = self._eof = self._last = False
        self._linger_bytes = -1
        # What an answer without end is sent on, once there is one, and whom to tell when the peer is gone.
        self._channel: Channel | None = None
        self._forget_channel: Callable[[], None] | None = None
        # At the start of a request and nothing else going on: only then remembered bytes need no parser.
        self._quiet = False

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._advance()

    def data_received(self, data: bytes) -> None:
        """Take bytes: those of a request seen before are answered at once, all others are read first."""
        if self._quiet and (target := self._known.get(data)) is not None:
            again = self._again(target)
            if again is not None and again.wire is not None:
                self._transport.write(again.wire)  # type: ignore[union-attr]  # quiet: there is one
                self.deadline = monotonic() + self._idle_s
                return
            request = Request("GET", target, self.peer)
            try:
                answer = self._handler(request)
            except Exception as exc:  # noqa: BLE001 - a handler's error is this request's, not the connection's
                answer = self._fail(request, exc)
            if isinstance(answer, Response):
                self._transport.write(answer.wire or self._render(request, b"", answer))  # type: ignore[union-attr]
                self.deadline = monotonic() + self._idle_s
                return
            self._take((request, b""), answer)
        elif self._channel is not None:
            return  # no answer would ever come after one without end
        elif self._linger_bytes >= 0:
            self._linger_bytes -= len(data)
            if self._linger_bytes < 0:
                self.abort()
            return
        else:
            self._backlog = self._backlog + data if self._backlog else data
        if not self._scheduled:
            self._advance()

    def eof_received(self) -> bool:
        """Answer what was asked, then close; return whether that takes longer than now."""
        self._eof = True
        self._quiet = False
        if self._channel is not None and not _has_hung_up(self._transport):
            return True  # it sends no more and still listens
        if self._linger_bytes < 0 and (self._task or self._backlog or self._reader.asked or self._reader.refusal):
            return True
        self._close()
        return False

    def pause_writing(self) -> None:
        """Ask the handler nothing while the peer does not read."""
        self._write_paused = True
        self._quiet = False
        self._await_reading_peer()

    def resume_writing(self) -> None:
        """Go on."""
        self._write_paused = False
        self._head_deadline = 0.0
        if self._channel is not None:
            if not self._channel.is_closing:
                self.deadline = inf
            return
        # Not at once: asyncio's transport does not expect to be closed from within this call.
        self._advance_soon()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget everything. An answer that is still being made is made to its end: see `Connections.spawn`."""
        self._transport = None
        self._quiet = False
        self._backlog = b""
        self._out.clear()
        if self._forget_channel is not None:
            self._forget_channel()
        self._reader.close()
        self._connections.discard(self)

    # What the registry calls

    def expire(self, now: float) -> None:
        """End the wait that is over: 408 to a request that does not get on, a reset to a peer that does not read."""
        if self._transport is None:
            return
        unsent_bytes = self._transport.get_write_buffer_size()
        if 0 < unsent_bytes < self._unsent_bytes:
            self._await_reading_peer()  # it reads, slowly
        elif self.deadline <= now and self._head_deadline and self._linger_bytes < 0 and not unsent_bytes:
            self._reader.time_out()
            self._advance()
        else:
            self.abort()

    def begin_drain(self) -> None:
        """From now on the answer to the last request that has arrived is the last."""
        self._quiet = False
        if self._channel is not None:
            self._channel.end()

    def close_if_idle(self) -> None:
        """Close, unless something was begun."""
        if self._transport is None or self._linger_bytes >= 0 or self._transport.is_closing():
            return
        if not (self._task or self._backlog or self._reader.asked or self._reader.begun or self._reader.refusal):
            self._close()

    def abort(self) -> None:
        """End at once; what was not sent yet is lost."""
        if self._transport is not None:
            self._transport.abort()

    # Input to answers

    def _advance(self) -> None:
        """Read and answer a slice of the input, as far as the handler and the peer let us."""
        self._quiet = False
        if self._transport is None or self._transport.is_closing() or self._linger_bytes >= 0 or self._channel:
            return
        reader = self._reader
        if self._backlog and not (reader.asked or self._task or self._write_paused):
            data = self._backlog[:_SLICE_BYTES]
            rest = self._backlog[_SLICE_BYTES:]
            self._backlog = reader.feed(data) + rest
            if reader.ended:
                self._backlog = b""
            if reader.asked:
                self._head_deadline = 0.0
        while reader.asked and not (self._task or self._write_paused):
            self._answer(reader.asked.popleft())
        self._flush()
        if self._channel is None:
            self._settle()

    def _advance_soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._advance_now)

    def _advance_now(self) -> None:
        self._scheduled = False
        self._advance()

    def _settle(self) -> None:
        """Decide what this connection waits for now, and until when."""
        transport = cast("asyncio.Transport", self._transport)
        refusal = self._refusal or self._reader.refusal
        if self._task or self._write_paused:
            if self._backlog or self._reader.asked:
                transport.pause_reading()
            if not self._write_paused:
                self.deadline = inf  # a slow answer takes as long as its maker lets it
        elif self._backlog:
            transport.pause_reading()
            self._advance_soon()
        elif refusal is not None:
            self._send_refusal(refusal)
        elif self._last or self._eof or self._reader.ended:
            self._close()
        else:
            transport.resume_reading()
            self._await_request()

    def _await_request(self) -> None:
        if not self._reader.begun:
            self._quiet = not self._connections.draining
            self.deadline = monotonic() + self._idle_s
            return
        if not self._head_deadline:
            self._head_deadline = monotonic() + self._connections.limits.head_s
            self._connections.wake_by(self._head_deadline)
        self.deadline = self._head_deadline

    def _await_reading_peer(self) -> None:
        """Give the peer time to read; it gets as much again for every bit it reads."""
        if self._transport is not None:
            self._unsent_bytes = self._transport.get_write_buffer_size()
            self.deadline = monotonic() + self._connections.limits.write_s
            self._connections.wake_by(self.deadline)

    # Answers

    def _answer(self, asked: Asked) -> None:
        try:
            answer = self._handler(asked[0])
        except Exception as exc:  # noqa: BLE001 - a handler's error is this request's, not the connection's
            answer = self._fail(asked[0], exc)
        self._take(asked, answer)

    def _take(self, asked: Asked, answer: Answer) -> None:
        if isinstance(answer, Response):
            self._put_out(asked, answer)
        elif isinstance(answer, Stream):
            self._begin_stream(asked, answer)
        else:
            self._wait_for(asked, answer)

    def _begin_stream(self, asked: Asked, stream: Stream) -> None:
        """Send the head of an answer without end, and leave the rest to its maker."""
        request, connection = asked
        if request.method == "HEAD" or self._connections.draining:
            self._put_out(asked, Response(200, b"", stream.content_type))
            return
        self._flush()
        transport = cast("asyncio.Transport", self._transport)
        # Chunks are for HTTP/1.1, which keeps the connection without a word; all others get it closed at the end.
        chunked = not connection
        transport.write(render_stream_head(stream, b"" if chunked else CLOSE, chunked=chunked))
        self._backlog = b""
        self._reader.asked.clear()
        if not self._write_paused:
            self.deadline = inf
        transport.resume_reading()
        self._channel = Channel(transport, self._close, chunked=chunked)
        self._forget_channel = stream.begin(self._channel)

    def _wait_for(self, asked: Asked, answer: Awaitable[Response]) -> None:
        self._task = asyncio.get_running_loop().create_task(self._finish(asked, answer))
        self._connections.spawn(self._task)

    async def _finish(self, asked: Asked, answer: Awaitable[Response]) -> None:
        try:
            response = await answer
        except Exception as exc:  # noqa: BLE001 - as for an answer that is made at once
            response = self._fail(asked[0], exc)
        self._task = None
        self._head_deadline = 0.0
        if self._transport is not None:
            self._put_out(asked, response)
            self._advance()

    def _put_out(self, asked: Asked, response: Response) -> None:
        request, connection = asked
        reader = self._reader
        if self._connections.draining and not (self._backlog or reader.asked or reader.begun):
            connection = CLOSE
            self._last = True
        wire = self._render(request, connection, response)
        self._out.append(wire)
        self._out_bytes += len(wire)
        if self._out_bytes >= _BATCH_BYTES:
            self._flush()

    def _render(self, request: Request, connection: bytes, response: Response) -> bytes:
        body = request.method != "HEAD"
        try:
            if connection or not body:
                return render(response, connection, body=body)
            if response.wire is None:
                response.wire = render(response)
        except Exception as exc:  # noqa: BLE001 - a handler made an answer that cannot be sent
            return render(self._fail(request, exc), connection, body=body)
        return response.wire

    def _fail(self, request: Request, exc: Exception) -> Response:
        # Who is told must not make it worse.
        with contextlib.suppress(Exception):
            self._connections.on_error(request, exc)
        detail = "this is an error in runtimed, its log says more; the same request may succeed later"
        return problem(500, "internal-error", "Internal error", detail)

    def _flush(self) -> None:
        if self._out:
            transport = cast("asyncio.Transport", self._transport)
            if not transport.is_closing():
                transport.write(self._out[0] if len(self._out) == 1 else b"".join(self._out))
            self._out.clear()
            self._out_bytes = 0

    # The end

    def _send_refusal(self, refusal: Response) -> None:
        """Send the last answer, and hear the peer out for a while: a reset could overtake the answer."""
        transport = cast("asyncio.Transport", self._transport)
        transport.write(render(refusal, CLOSE, body=not self._reader.answers_head()))
        if self._eof:
            self._close()
            return
        if transport.is_closing():
            return
        transport.write_eof()
        transport.resume_reading()
        limits = self._connections.limits
        self._linger_bytes = limits.linger_bytes
        self._unsent_bytes = transport.get_write_buffer_size()
        self.deadline = monotonic() + limits.linger_s
        self._connections.wake_by(self.deadline)

    def _close(self) -> None:
        """Close once everything is sent, and not later than a peer may take to read it."""
        if self._transport is not None:
            self._transport.close()
            self._await_reading_peer()
