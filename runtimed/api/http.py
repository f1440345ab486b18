"""One HTTP/1.1 connection: requests to the handler, answers out in order, and the end of it.

Input goes through `Connection._advance` in small slices: read one, answer all that was in it, write once. While a slow
answer, a peer that does not read, or fairness to the others holds that up, what has arrived waits unread and the socket
is not polled. So whatever a peer pipelines, a connection holds one recv(2), one slice's requests, one batch of answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from math import inf
from time import monotonic
from typing import cast

from runtimed.api.connections import Connections
from runtimed.api.messages import CLOSE, Answer, Request, Response, render
from runtimed.api.outbox import PIECE_BYTES, Outbox
from runtimed.api.reader import Asked, RequestReader
from runtimed.api.sockets import Peer, has_hung_up
from runtimed.api.stream import UNREAD_BYTES, Channel, Stream, open_channel


class Connection(asyncio.Protocol):
    """One client's connection; ``connections`` holds the handler, the limits and all the others.

    A connection with a ``refusal`` gets that answer whatever it asks, and ends.
    """

    __slots__ = (
        "_again", "_channel", "_connections", "_eof", "_handler", "_head_deadline", "_idle_s", "_known",
        "_linger_bytes", "_outbox", "_quiet", "_reader", "_refusal", "_scheduled", "_task", "_transport",
        "_write_paused", "deadline", "peer",
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
        # When the head that has begun must have ended; 0 while none has.
        self._head_deadline = 0.0
        # Answers that are made; the one that is still being made.
        self._outbox = Outbox(connections)
        self._task: asyncio.Task[None] | None = None
        # The peer does not read; it sends no more; _advance() will be called soon.
        self._write_paused = self._eof = self._scheduled = False
        # What a peer that was refused may still send; -1 while it was not.
        self._linger_bytes = -1
        # What an answer without end is sent on, once there is one.
        self._channel: Channel | None = None
        # At the start of a request and nothing else going on: only then remembered bytes need no parser.
        self._quiet = False

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._outbox.open(self._transport)
        self._advance()

    def data_received(self, data: bytes) -> None:
        """Take bytes: those of a request seen before are answered at once, all others are read first."""
        if self._quiet and (target := self._known.get(data)) is not None:
            now_s = monotonic()
            again = self._again(target, now_s)
            if again is not None and again.wire is not None:
                self._transport.write(again.wire)  # type: ignore[union-attr]  # quiet: there is one
                self.deadline = now_s + self._idle_s
                return
            request = Request("GET", target, self.peer)
            try:
                answer = self._handler(request)
            except Exception as exc:  # noqa: BLE001 - a handler's error is this request's, not the connection's
                answer = self._outbox.failure(request, exc)
            if isinstance(answer, Response) and len(answer.body) <= PIECE_BYTES:
                self._transport.write(answer.wire or self._outbox.render(request, b"", answer))  # type: ignore[union-attr]
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
            self._reader.add(data)
        if self._connections.crowded:
            self._advance_soon()
        elif not self._scheduled:
            self._advance()

    def eof_received(self) -> bool:
        """Answer what was asked, then close; return whether that takes longer than now."""
        self._eof = True
        self._quiet = False
        transport = cast("asyncio.Transport", self._transport)
        listens = self._channel is not None and not has_hung_up(transport.get_extra_info("socket"))
        busy = self._task or self._outbox.is_writing or self._reader.has_unanswered()
        if listens or (self._linger_bytes < 0 and busy):
            return True
        self._close()
        return False

    def pause_writing(self) -> None:
        """Ask the handler nothing while the peer does not read."""
        self._write_paused = True
        self._quiet = False
        self._note_unread()

    def resume_writing(self) -> None:
        """Go on."""
        self._write_paused = False
        self._connections.unread.release(self)
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
        self._outbox.close()
        if self._channel is not None:
            self._channel.lost()
        self._reader.close()
        self._connections.discard(self)

    # What the registry calls

    def go_on(self) -> None:
        """Take the turn that was stood in line for."""
        self._scheduled = False
        self._advance()

    def expire(self, now: float) -> None:
        """End the wait that is over: 408 to a request that does not get on, a reset to a peer that does not read."""
        if self._transport is None:
            return
        if self._outbox.is_read():
            self._await_reading_peer()  # slowly, but it does
        elif self._channel is not None and not self._channel.is_closing:
            self._channel.give_up()
        elif self.deadline <= now and self._head_deadline and self._linger_bytes < 0 and self._outbox.is_empty():
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
        busy = self._task or self._linger_bytes >= 0 or self._reader.begun or self._reader.has_unanswered()
        if busy or self._transport is None or self._transport.is_closing():
            return
        if self._outbox.is_writing:
            self._reader.stop()  # and close after it
        else:
            self._close()

    def abort(self) -> None:
        """End at once; what was not sent yet is lost."""
        # Now: connection_lost comes a turn of the loop later, and many may be aborted in one.
        self._outbox.close()
        if self._transport is not None:
            self._transport.abort()

    # Input to answers

    def _advance(self) -> None:
        """Read and answer a slice of the input, as far as the handler and the peer let us."""
        self._quiet = False
        if self._transport is None or self._transport.is_closing() or self._linger_bytes >= 0 or self._channel:
            return
        self._outbox.go_on()
        reader = self._reader
        if reader.backlog and not (reader.asked or self._task or self._write_paused):
            reader.read_slice()
            if reader.asked:
                self._head_deadline = 0.0
        while reader.asked and not (self._task or self._write_paused):
            self._answer(reader.asked.popleft())
        self._outbox.flush()
        if self._channel is None:
            self._settle()

    def _advance_soon(self) -> None:
        if not (self._scheduled or self._transport is None):
            self._scheduled = True
            self._transport.pause_reading()
            self._connections.stand_in_line(self)

    def _settle(self) -> None:
        """Decide what this connection waits for now, and until when."""
        transport = cast("asyncio.Transport", self._transport)
        refusal = self._refusal or self._reader.refusal
        if self._task or self._write_paused:
            if self._reader.backlog or self._reader.asked:
                transport.pause_reading()
            # A slow answer takes as long as its maker lets it.
            self.deadline = self.deadline if self._write_paused else inf
        elif self._reader.backlog:
            self._advance_soon()
        elif refusal is not None:
            self._send_refusal(refusal)
        elif self._eof or self._reader.ended:
            self._close()
        else:
            transport.resume_reading()
            self._await_request()

    def _await_request(self) -> None:
        if not self._reader.begun:
            self._quiet = not self._connections.draining
            self.deadline = monotonic() + self._idle_s
        elif not self._head_deadline:
            self.deadline = self._head_deadline = monotonic() + self._connections.limits.head_s
            self._connections.wake_by(self.deadline)
        else:
            self.deadline = self._head_deadline

    def _await_reading_peer(self, for_s: float | None = None) -> None:
        """Give the peer time to read; it gets as much again for every bit it reads."""
        self._outbox.begin_watch()
        self.deadline = monotonic() + (self._connections.limits.write_s if for_s is None else for_s)
        self._connections.wake_by(self.deadline)

    def _answer(self, asked: Asked) -> None:
        try:
            answer = self._handler(asked[0])
        except Exception as exc:  # noqa: BLE001 - as above
            answer = self._outbox.failure(asked[0], exc)
        self._take(asked, answer)

    def _take(self, asked: Asked, answer: Answer) -> None:
        if isinstance(answer, Response):
            self._put_out(asked, answer)
        elif isinstance(answer, Stream):
            self._begin_stream(asked, answer)
        else:
            self._task = asyncio.get_running_loop().create_task(self._finish(asked, answer))
            self._connections.spawn(self._task)

    def _begin_stream(self, asked: Asked, stream: Stream) -> None:
        """Send the head of an answer without end, and leave the rest to its maker."""
        if asked[0].method == "HEAD":
            keep_alive = not self._connection_line(asked)
            self._outbox.put_head(stream.content_type, keep_alive=keep_alive)
            if not keep_alive:
                self._reader.stop()
            return
        if self._connections.draining:
            self._put_out(asked, Response(200, b"", stream.content_type))
            return
        self._outbox.flush()
        transport = cast("asyncio.Transport", self._transport)
        self._channel = open_channel(stream.content_type, transport, self._close, keep_alive=not asked[1])
        self._note_unread()
        self._reader.stop()
        self.deadline = self.deadline if self._write_paused else inf
        transport.resume_reading()
        self._channel.begin(stream)

    async def _finish(self, asked: Asked, answer: Awaitable[Response]) -> None:
        try:
            response = await answer
        except Exception as exc:  # noqa: BLE001 - as for an answer that is made at once
            response = self._outbox.failure(asked[0], exc)
        self._task = None
        self._head_deadline = 0.0
        if self._transport is not None:
            self._put_out(asked, response)
            self._advance()

    def _put_out(self, asked: Asked, response: Response) -> None:
        self._outbox.put(asked[0], self._connection_line(asked), response)
        # The transport asks to pause only once: it may have done so before this response was complete.
        self._note_unread()

    def _note_unread(self) -> None:
        """If the client does not read, count the responses that this connection holds, and give it time to read."""
        if self._write_paused:
            self._await_reading_peer()
            # A stream may write more while it is paused, so it counts with the most that it may leave unread.
            self._connections.unread.hold(self, UNREAD_BYTES if self._channel else self._outbox.unread_bytes())

    def _connection_line(self, asked: Asked) -> bytes:
        """Return the Connection header of an answer; the last one before a stop closes the connection."""
        reader = self._reader
        if self._connections.draining and not (reader.backlog or reader.asked or reader.begun):
            reader.ended = True
            return CLOSE
        return asked[1]

    def _send_refusal(self, refusal: Response) -> None:
        """Send the last answer, and hear the peer out for a while: a reset could overtake the answer."""
        transport = cast("asyncio.Transport", self._transport)
        transport.write(render(refusal, CLOSE, body=not self._reader.answers_head()))
        if self._eof or transport.is_closing():
            self._close()
            return
        transport.write_eof()
        transport.resume_reading()
        self._linger_bytes = self._connections.limits.linger_bytes
        self._await_reading_peer(self._connections.limits.linger_s)

    def _close(self) -> None:
        """Close once everything is sent, and not later than a peer may take to read it."""
        if self._transport is not None:
            self._transport.close()
            self._await_reading_peer()
