"""Bounds the memory that responses take while their clients do not read them."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from runtimed.api.sockets import Peer

if TYPE_CHECKING:
    from runtimed.api.http import Connection

# The limit for all connections together. A connection counts only while its client leaves more unread than one batch of
# `writer`: with its responses, and with what else it may hold, one read of the socket and the requests of one slice.
UNREAD_BYTES = 48 * 1024 * 1024
_CONNECTION_BYTES = 64 * 1024
_REPORT_EVERY_S = 60.0


class Unread:
    """The connections that wait until their clients read, and the memory that they hold.

    Above ``most_bytes`` it resets the connection that has waited longest, of the user whose connections hold most.
    So a client that reads is answered, however much others leave unread. ``on_reset`` is called with the peer and its
    unread bytes, once a minute at most: one client can cause thousands of resets.
    """

    def __init__(self, on_reset: Callable[[Peer, int], None], most_bytes: int = UNREAD_BYTES) -> None:
        self._on_reset = on_reset
        self._most_bytes = most_bytes
        self._reported_s = -inf
        # In the order in which they began to wait.
        self._held: dict[Connection, int] = {}
        self._by_uid: dict[int, int] = {}
        self.total_bytes = 0

    def hold(self, connection: Connection, unread_bytes: int) -> None:
        """Count a connection that waits, or update its count; reset others, but never itself, until all fit."""
        held_bytes = unread_bytes + _CONNECTION_BYTES
        added_bytes = held_bytes - self._held.get(connection, 0)
        # An update keeps the position in the order.
        self._held[connection] = held_bytes
        self._add(connection.peer.uid, added_bytes)
        while self.total_bytes > self._most_bytes and (victim := self._longest_waiting(connection)) is not None:
            self._report(victim)
            self.release(victim)
            victim.abort()

    def release(self, connection: Connection) -> None:
        """Stop counting a connection. Releasing it twice does nothing."""
        if held_bytes := self._held.pop(connection, 0):
            self._add(connection.peer.uid, -held_bytes)

    def _longest_waiting(self, excluded: Connection) -> Connection | None:
        first_of: dict[int, Connection] = {}
        for connection in self._held:
            if connection is not excluded:
                first_of.setdefault(connection.peer.uid, connection)
        uid = max(first_of, key=self._by_uid.__getitem__, default=None)
        return None if uid is None else first_of[uid]

    def _report(self, victim: Connection) -> None:
        now_s = monotonic()
        if now_s - self._reported_s >= _REPORT_EVERY_S:
            self._reported_s = now_s
            self._on_reset(victim.peer, self._held[victim] - _CONNECTION_BYTES)

    def _add(self, uid: int, held_bytes: int) -> None:
        self.total_bytes += held_bytes
        self._by_uid[uid] = self._by_uid.get(uid, 0) + held_bytes
        if not self._by_uid[uid]:
            del self._by_uid[uid]
