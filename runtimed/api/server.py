"""Accepts connections from a listening socket."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import socket
import sys
from collections.abc import Callable
from math import inf
from time import monotonic

from runtimed.api.connections import OWNERS_SHARE, Connections, no_descriptors
from runtimed.api.http import Connection
from runtimed.api.messages import CLOSE, render
from runtimed.api.sockets import Peer, peer_of

# The most connections that are accepted before existing ones are served.
_AT_ONCE = 64
# Time until the next attempt when the server has reached its own limit, and when accept(2) has failed.
_OWN_LIMIT_RETRY_S = 0.1
_RETRY_S = 1.0
# Connections open and close often at the limit, so the report is repeated at most once in this time.
_REPORT_EVERY_S = 60.0
# Descriptors kept for reloads and for checks of binaries and containers.
_RESERVED = 24
# Send buffer of each client in the kernel, which doubles it (socket(7)). It counts as memory of the daemon's cgroup.
_SEND_BYTES = 32 * 1024
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Server:
    """Accepts connections from one listening, non-blocking Unix socket, from its construction in the running loop on.

    ``on_exhausted`` is called when descriptors run out, at most once a minute. To stop, call `close` and
    `Connections.drain`, then close the socket.

    asyncio's server is not used: when descriptors run out, it reports and retries once for every connection of its
    backlog; from Python 3.13 on it deletes the path of a socket that it was given; and it makes a transport before the
    peer's credentials are known.

    The last descriptors are not for connections, and those before them only for root and the daemon's own user: any
    other client gets a 503. When accept(2) fails for lack of descriptors or memory, clients wait in the socket's queue,
    and the server retries within a second.
    """

    def __init__(self, sock: socket.socket, connections: Connections, on_exhausted: Callable[[OSError], None]) -> None:
        self._exhausted: str | None = None
        self._sock = sock
        self._connections = connections
        self._on_exhausted = on_exhausted
        self._loop = asyncio.get_running_loop()
        self._retry: asyncio.TimerHandle | None = None
        self._room = _room()
        self._reported_s = -inf
        self._tasks: set[asyncio.Task[tuple[asyncio.Transport, Connection]]] = set()
        self._loop.add_reader(sock.fileno(), self._accept)

    @property
    def exhausted(self) -> str | None:
        """The reason why connections cannot be accepted for lack of descriptors or memory, None while they can."""
        return self._exhausted if self._retry is not None or self._is_reserved() else None

    def close(self) -> None:
        """Accept no more connections; existing ones and the socket stay open. Closing twice does nothing."""
        self._loop.remove_reader(self._sock.fileno())
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def replace(self, sock: socket.socket) -> None:
        """Accept connections from ``sock`` from now on, after those in the previous socket's queue."""
        self._loop.remove_reader(self._sock.fileno())
        while self._retry is None and self._accept():
            pass
        if self._retry is None:
            self._loop.remove_reader(self._sock.fileno())
            self._loop.add_reader(sock.fileno(), self._accept)
        self._sock = sock

    def _accept(self) -> bool:
        """Accept waiting connections; return whether there may be more."""
        for number in range(_AT_ONCE):
            if self._connections.held >= self._room:
                if not number:  # after an accept(2) it is not known whether another client waits
                    reason = f"all descriptors but {_RESERVED}, which are kept for reloads, are in use"
                    self._pause(OSError(errno.EMFILE, reason), _OWN_LIMIT_RETRY_S)
                return False
            try:
                conn, _address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                if not self._is_reserved():
                    self._exhausted = None  # the queue is empty, and accept(2) found a descriptor
                return False
            except OSError as exc:
                if exc.errno not in _EXHAUSTED:
                    raise
                self._pause(exc)
                return False
            peer = peer_of(conn)
            if not self._is_reserved():
                self._exhausted = None
            elif not self._connections.is_owner(peer):
                self._send_refusal(conn)
                continue
            self._take(conn, peer)
        return True

    def _is_reserved(self) -> bool:
        """Return whether the remaining descriptors are only for root and the daemon's own user."""
        return self._connections.held >= max(self._room - OWNERS_SHARE, self._room // 2)

    def _send_refusal(self, conn: socket.socket) -> None:
        """Send a 503 and close; the kernel delivers it even though the request is not read (unix(7))."""
        with contextlib.suppress(OSError):
            conn.send(render(no_descriptors(), CLOSE), socket.MSG_DONTWAIT)
        conn.close()
        self._report(OSError(errno.EMFILE, "the remaining descriptors are kept for root and for reloads"))

    def _pause(self, exc: OSError, for_s: float = _RETRY_S) -> None:
        """Stop polling for ``for_s``: the socket would stay readable."""
        self._loop.remove_reader(self._sock.fileno())
        self._retry = self._loop.call_later(for_s, self._resume)
        self._report(exc)

    def _report(self, exc: OSError) -> None:
        self._exhausted = exc.strerror or str(exc)
        if monotonic() - self._reported_s > _REPORT_EVERY_S:
            self._reported_s = monotonic()
            self._on_exhausted(exc)

    def _resume(self) -> None:
        self._retry = None
        self._loop.add_reader(self._sock.fileno(), self._accept)
        self._accept()

    def _take(self, conn: socket.socket, peer: Peer) -> None:
        refusal = self._connections.refusal(peer)
        if refusal is not None and self._connections.full_of_refused():
            conn.close()
            return
        conn.settimeout(0)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
        connection = Connection(self._connections, peer, refusal)
        # Counted now and not when the transport is made: more connections may be accepted before that.
        self._connections.add(connection, refused=refusal is not None)
        task = self._loop.create_task(self._loop.connect_accepted_socket(lambda: connection, conn))
        self._tasks.add(task)

        def done(task: asyncio.Task[tuple[asyncio.Transport, Connection]]) -> None:
            self._tasks.discard(task)
            if task.cancelled() or task.exception() is not None:
                self._connections.discard(connection)
                conn.close()

        task.add_done_callback(done)


def _room() -> int:
    """Return the most connections at a time."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Linux has a maximum (setrlimit(2), nr_open). Were it infinite, the limits on connections would remain.
    descriptors = sys.maxsize if soft == resource.RLIM_INFINITY else soft
    return max(descriptors - len(os.listdir("/proc/self/fd")) - _RESERVED, 1)
