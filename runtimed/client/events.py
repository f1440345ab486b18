"""Events of the daemon, one after the other, for as long as one likes: connections come and go, the numbers go on."""

from __future__ import annotations

import time

from runtimed.client.errors import BadAnswer, DaemonUnreachable, refuse
from runtimed.client.wire import read_document, render_target

TYPE_CHECKING = False  # what typing's constant is, without the milliseconds that typing costs
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from socket import socket as socket_type
    from typing import Any

    from runtimed.client.conversation import Waits
    from runtimed.core.shapes.daemon import Event

# The daemon says something every 15 s. After three times as long nobody is there any more.
SILENCE_S = 45.0
_HEAD_MAX_BYTES = 64 * 1024
_LINE_MAX_BYTES = 4 * 1024 * 1024
_PAUSE_S = 0.2


class Watching:
    """Reads the events after number ``since`` (None: from now on), heartbeats too; there is no last one.

    ``connect`` makes a connection to the daemon on the path that ``socket`` returns. One that ends is made anew; the
    events go on after the last that was returned; ``patience_s`` is how long the daemon may be away.
    """

    def __init__(
        self,
        connect: Callable[[], Coroutine[Any, Any, socket_type]],
        waits: Waits,
        socket: Callable[[], str],
        since: int | None,
        patience_s: float,
    ) -> None:
        self._connect = connect
        self._waits = waits
        self._socket = socket
        self._since = since
        self._patience_s = patience_s
        self._met = False
        self._away_since_s: float | None = None
        self._sock: socket_type | None = None
        self._reader = EventReader(socket())
        # What was read and is still to be returned. The connection is used again when there is none of that left.
        self._read: list[Event] = []

    async def next(self) -> Event:
        """Return the next event. If that fails or is cancelled, no connection is left, and it may be tried again.

        Raises:
            ClientError: there was no daemon to begin with, it refused, or it stayed away.
        """
        try:
            while not self._read:
                await self._read_on()
        except BaseException:
            self.close()
            raise
        self._away_since_s = None
        event = self._read.pop(0)
        self._since = event["seq"]
        return event

    def close(self) -> None:
        """End the connection."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    async def _read_on(self) -> None:
        """Read what comes, from a new connection if need be; where there is none to be had, wait a little."""
        try:
            sock = self._sock or await self._subscribe()
            self._read = self._reader.feed(await self._waits.receive(sock, SILENCE_S))
        except DaemonUnreachable:
            if not self._met:
                raise
            await self._miss()
        except (ConnectionError, TimeoutError):
            await self._miss()

    async def _subscribe(self) -> socket_type:
        target = render_target("/v1/events", {} if self._since is None else {"since": str(self._since)})
        sock = self._sock = await self._connect()
        self._met = True
        self._reader = EventReader(self._socket())
        # HTTP/1.0: the end of the answer is that of the connection, and there are no chunks.
        await self._waits.send(sock, f"GET {target} HTTP/1.0\r\n\r\n".encode(), SILENCE_S)
        return sock

    async def _miss(self) -> None:
        """Wait before the next attempt, or raise that there have been enough."""
        self.close()
        now_s = time.monotonic()
        if self._away_since_s is None:
            self._away_since_s = now_s
        if now_s - self._away_since_s >= self._patience_s:
            self._away_since_s = None
            reason = f"it has been away for {self._patience_s:g} s"
            raise DaemonUnreachable(self._socket(), reason, "look at its log: journalctl -u runtimed")
        await self._waits.sleep(_PAUSE_S)


class EventReader:
    """Takes the bytes of one answer as they come. ``socket`` is for its complaints. No I/O."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._bytes = b""
        # 0 until the head is there.
        self._status = 0

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that are whole with ``data``, which is empty where the connection has ended.

        Raises:
            ConnectionResetError: it has ended.
            ClientError: what came is a no, or no answer of a daemon.
        """
        self._bytes += data
        if not self._status:
            self._take_head()
        if self._status not in (0, 200) and (not data or len(self._bytes) > _LINE_MAX_BYTES):
            refuse(self._status, read_document(self._bytes, self._socket))
        if not data:
            raise ConnectionResetError
        return self._take_events() if self._status == 200 else []  # noqa: PLR2004 - HTTP's own number

    def _take_head(self) -> None:
        end = self._bytes.find(b"\r\n\r\n")
        status = self._bytes[9:12]
        if not self._bytes.startswith(b"HTTP/1."[: len(self._bytes)]) or (end >= 0 and not status.isdigit()):
            raise BadAnswer(self._socket, "it is not HTTP/1")
        if end < 0:
            if len(self._bytes) >= _HEAD_MAX_BYTES:
                raise BadAnswer(self._socket, f"its head is larger than {_HEAD_MAX_BYTES} bytes")
            return
        self._status = int(status)
        self._bytes = self._bytes[end + 4 :]

    def _take_events(self) -> list[Event]:
        *lines, self._bytes = self._bytes.split(b"\n")
        if len(self._bytes) > _LINE_MAX_BYTES:
            raise BadAnswer(self._socket, "an event is too long")
        return [self._parse(line) for line in lines]

    def _parse(self, line: bytes) -> Event:
        event: Any = read_document(line, self._socket)
        if not isinstance(event.get("seq"), int):
            raise BadAnswer(self._socket, "an event has no number")
        found: Event = event
        return found
