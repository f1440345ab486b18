"""Receives the daemon's events, and subscribes again after the last one when a connection ends."""

from __future__ import annotations

import time

from runtimed.client.errors import BadAnswer, DaemonUnreachable, refuse
from runtimed.client.socket_path import log_hint
from runtimed.client.wire import read_document, render_target, take_head

TYPE_CHECKING = False  # as typing.TYPE_CHECKING, without the milliseconds that importing typing costs
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from socket import socket as socket_type
    from typing import Any

    from runtimed.client.transport import Backend
    from runtimed.core.shapes.events import Event

# The daemon sends a heartbeat every 15 s. After three times as long without one the connection is taken for dead.
SILENCE_S = 45.0
_LINE_MAX_BYTES = 4 * 1024 * 1024
_PAUSE_S = 0.2


class EventStream:
    """The events after number ``since`` (None: from now on), with heartbeats; the stream is endless.

    ``connect`` connects to the daemon on the path that ``socket`` returns. When a connection ends, a new one continues
    after the last event that was returned. ``patience_s`` is how long the daemon may be unreachable.
    """

    def __init__(
        self,
        connect: Callable[[], Coroutine[Any, Any, socket_type]],
        backend: Backend,
        socket: Callable[[], str],
        since: int | None,
        patience_s: float,
    ) -> None:
        self._connect = connect
        self._backend = backend
        self._socket = socket
        self._since = since
        self._patience_s = patience_s
        self._was_connected = False
        self._away_since_s: float | None = None
        self._sock: socket_type | None = None
        self._parser = EventParser(socket())
        # Events that were received and not returned. More are received when it is empty.
        self._received: list[Event] = []

    async def next(self) -> Event:
        """Return the next event. After an error or a cancellation the connection is closed, and it may be called again.

        Raises:
            ClientError: the daemon could not be reached at first or for too long, or refused.
        """
        try:
            while not self._received:
                await self._receive()
        except BaseException:
            self.close()
            raise
        self._away_since_s = None
        event = self._received.pop(0)
        self._since = event["seq"]
        return event

    def close(self) -> None:
        """Close the connection."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    async def _receive(self) -> None:
        """Receive the next events, from a new connection if necessary; pause after a failure."""
        try:
            sock = self._sock or await self._subscribe()
            self._received = self._parser.feed(await self._backend.receive(sock, SILENCE_S))
        except DaemonUnreachable:
            if not self._was_connected:
                raise
            await self._pause()
        except (ConnectionError, TimeoutError):
            await self._pause()

    async def _subscribe(self) -> socket_type:
        target = render_target("/v1/events", {} if self._since is None else {"since": str(self._since)})
        sock = self._sock = await self._connect()
        self._was_connected = True
        self._parser = EventParser(self._socket())
        # HTTP/1.0: the end of the connection is the end of the response, and there are no chunks.
        await self._backend.send(sock, f"GET {target} HTTP/1.0\r\n\r\n".encode(), SILENCE_S)
        return sock

    async def _pause(self) -> None:
        """Wait until the next attempt, or raise if the daemon has been unreachable for ``patience_s``."""
        self.close()
        now_s = time.monotonic()
        if self._away_since_s is None:
            self._away_since_s = now_s
        if now_s - self._away_since_s >= self._patience_s:
            self._away_since_s = None
            reason = f"it has been away for {self._patience_s:g} s"
            raise DaemonUnreachable(self._socket(), reason, log_hint(self._socket()))
        await self._backend.sleep(_PAUSE_S)


class EventParser:
    """Parses one response to a subscription. ``socket`` is for error messages."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._bytes = bytearray()
        # 0 until the head is complete.
        self._status = 0

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that ``data`` completes; empty ``data`` is the end of the connection.

        Raises:
            ConnectionResetError: the connection has ended.
            ClientError: the daemon refused, or the response is invalid.
        """
        self._bytes += data
        if not self._status and (head := take_head(self._bytes, self._socket)) is not None:
            self._status = self._parse_status(head)
        if self._status not in (0, 200) and (not data or len(self._bytes) > _LINE_MAX_BYTES):
            refuse(self._status, read_document(self._bytes, self._socket))
        if not data:
            raise ConnectionResetError
        return self._parse_lines() if self._status == 200 else []  # noqa: PLR2004 - HTTP's own number

    def _parse_status(self, head: str) -> int:
        status = head[9:12]
        if not (status.isascii() and status.isdigit()):
            raise BadAnswer(self._socket, "it is not HTTP/1")
        return int(status)

    def _parse_lines(self) -> list[Event]:
        *lines, self._bytes = self._bytes.split(b"\n")
        if len(self._bytes) > _LINE_MAX_BYTES:
            raise BadAnswer(self._socket, "an event is too long")
        return [self._parse_event(line) for line in lines]

    def _parse_event(self, line: bytearray) -> Event:
        event: Any = read_document(line, self._socket)
        if not isinstance(event.get("seq"), int):
            raise BadAnswer(self._socket, "an event has no number")
        found: Event = event
        return found
