"""Events of the daemon, one after the other, for as long as one likes."""

from __future__ import annotations

import time

from runtimed.client.errors import BadAnswer, DaemonUnreachable, TimedOut, refuse
from runtimed.client.wire import read_document, render_target

TYPE_CHECKING = False  # what typing's constant is, without the milliseconds that typing costs
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from socket import socket as socket_type
    from typing import Any

    Document = dict[str, Any]

# The daemon says something every 15 s. After three times as long nobody is there any more.
SILENCE_S = 45.0
_HEAD_MAX_BYTES = 64 * 1024
_LINE_MAX_BYTES = 4 * 1024 * 1024
_RECEIVE_BYTES = 64 * 1024
_PAUSE_S = 0.2


def watch_events(
    connect: Callable[[], socket_type], socket: str, since: int | None, patience_s: float
) -> Iterator[Document]:
    """Yield every event after number ``since`` (None: from now on), heartbeats too, and never end by itself.

    A connection that ends is made anew, from the last event on; ``patience_s`` is how long the daemon may be away.

    Raises:
        ClientError: there was no daemon to begin with, it refused, or it stayed away.
    """
    away_since_s: float | None = None
    connected = False
    while True:
        try:
            with connect() as sock:
                connected = True
                for event in _read_events(sock, socket, since):
                    away_since_s = None
                    since = event["seq"]
                    yield event
        except (ConnectionError, TimedOut):
            pass
        except DaemonUnreachable:
            if not connected:
                raise
        now_s = time.monotonic()
        away_since_s = now_s if away_since_s is None else away_since_s
        if now_s - away_since_s >= patience_s:
            reason = f"it has been away for {patience_s:g} s"
            raise DaemonUnreachable(socket, reason, "look at its log: journalctl -u runtimed")
        time.sleep(_PAUSE_S)


def _read_events(sock: socket_type, socket: str, since: int | None) -> Iterator[Document]:
    target = render_target("/v1/events", {} if since is None else {"since": str(since)})
    sock.settimeout(SILENCE_S)
    # HTTP/1.0: the end of the answer is that of the connection, and there are no chunks.
    sock.sendall(f"GET {target} HTTP/1.0\r\n\r\n".encode())
    waiting = b""
    head = True
    while data := _receive(sock, socket):
        waiting += data
        if head:
            end = waiting.find(b"\r\n\r\n")
            if end < 0 and len(waiting) < _HEAD_MAX_BYTES:
                continue
            _check_head(sock, socket, waiting[:end], waiting[end + 4 :])
            head, waiting = False, waiting[end + 4 :]
        *lines, waiting = waiting.split(b"\n")
        if len(waiting) > _LINE_MAX_BYTES:
            raise BadAnswer(socket, "an event is too long")
        for line in lines:
            event = read_document(line, socket)
            if not isinstance(event.get("seq"), int):
                raise BadAnswer(socket, "an event has no number")
            yield event


def _check_head(sock: socket_type, socket: str, head: bytes, body: bytes) -> None:
    status = head.split(b" ", 2)[1:2]
    if not head.startswith(b"HTTP/1.") or not status or not status[0].isdigit():
        raise BadAnswer(socket, "it is not HTTP/1")
    if status[0] != b"200":
        while len(body) < _LINE_MAX_BYTES and (data := _receive(sock, socket)):
            body += data
        refuse(int(status[0]), read_document(body, socket))


def _receive(sock: socket_type, socket: str) -> bytes:
    try:
        return sock.recv(_RECEIVE_BYTES)
    except TimeoutError:
        raise TimedOut(socket, f"nothing came for {SILENCE_S:g} s", "look at its log: journalctl -u runtimed") from None
