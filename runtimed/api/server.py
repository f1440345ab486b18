"""Taking connections from a listening socket."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

from runtimed.api.connections import Connections
from runtimed.api.http import Connection
from runtimed.api.sockets import peer_of

# How many connections are taken before those that exist have their turn.
_AT_ONCE = 64
_RETRY_S = 1.0
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Server:
    """The acceptor of one listening socket; made by `serve`.

    Not asyncio's own server: when descriptors run out, that one reports and retries once for every connection of its
    backlog, from Python 3.13 on it deletes the path of a socket it was given, and it makes a transport before
    anybody has asked who is there.

    ``exhausted`` is the reason while no connection can be taken for want of descriptors or memory, else None. They wait
    in the socket's queue; another try is made every second.
    """

    def __init__(self, sock: socket.socket, connections: Connections, on_exhausted: Callable[[OSError], None]) -> None:
        self.exhausted: str | None = None
        self._sock = sock
        self._connections = connections
        self._on_exhausted = on_exhausted
        self._loop = asyncio.get_running_loop()
        self._retry: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[tuple[asyncio.Transport, Connection]]] = set()
        self._loop.add_reader(sock.fileno(), self._accept)

    def close(self) -> None:
        """Take no more connections; those that exist go on, and the socket stays open. Closing twice does nothing."""
        self._loop.remove_reader(self._sock.fileno())
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                conn, _address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as exc:
                if exc.errno not in _EXHAUSTED:
                    raise
                self._pause(exc)
                return
            self.exhausted = None
            self._take(conn)

    def _pause(self, exc: OSError) -> None:
        """Stop polling for a while (the socket stays readable), and report only what is new."""
        self._loop.remove_reader(self._sock.fileno())
        self._retry = self._loop.call_later(_RETRY_S, self._resume)
        if self.exhausted is None:
            self.exhausted = exc.strerror or str(exc)
            self._on_exhausted(exc)

    def _resume(self) -> None:
        self._retry = None
        self._loop.add_reader(self._sock.fileno(), self._accept)

    def _take(self, conn: socket.socket) -> None:
        peer = peer_of(conn)
        refusal = self._connections.refusal(peer)
        if refusal is not None and self._connections.full_of_refused():
            conn.close()
            return
        conn.settimeout(0)
        connection = Connection(self._connections, peer, refusal)
        # Counted here and not when the transport is up: many connections may be taken before that.
        self._connections.add(connection, refused=refusal is not None)
        task = self._loop.create_task(self._loop.connect_accepted_socket(lambda: connection, conn))
        self._tasks.add(task)

        def done(task: asyncio.Task[tuple[asyncio.Transport, Connection]]) -> None:
            self._tasks.discard(task)
            if task.cancelled() or task.exception() is not None:
                self._connections.discard(connection)
                conn.close()

        task.add_done_callback(done)


def serve(
    sock: socket.socket, connections: Connections, *, on_exhausted: Callable[[OSError], None] = lambda _: None
) -> Server:
    """Begin to take connections from a listening, non-blocking Unix socket, and return what stops that.

    To be called on the running loop. ``on_exhausted`` is told once when descriptors run out, and again only after
    connections could be taken in between. To stop: `Server.close`, `Connections.drain`, then close the socket.
    """
    return Server(sock, connections, on_exhausted)
