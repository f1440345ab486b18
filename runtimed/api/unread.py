"""Bounds the memory that answers take while their clients do not read them."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Protocol

from runtimed.api.sockets import Peer

# All connections together may hold this much. A connection counts only while its client leaves more unread than one
# batch (see `outbox`): with its answers, and with what else it may hold, one read and the requests in one slice.
UNREAD_BYTES = 48 * 1024 * 1024
_CONNECTION_BYTES = 64 * 1024
_REPORT_EVERY_S = 60.0


class Holder(Protocol):
    """What is needed of a connection."""

    peer: Peer

    def abort(self) -> None:
        """End at once and release all memory."""


class Unread:
    """The connections that wait until their clients read, and how much memory they hold.

    Above ``most_bytes`` the connection that has waited longest is reset, of the user whose connections hold most. So a
    client that reads is answered, whatever others leave unread. ``on_reset`` is called with the peer and its unread
    bytes, once a minute at most: one client can cause thousands of resets.
    """

    def __init__(self, on_reset: Callable[[Peer, int], None], most_bytes: int = UNREAD_BYTES) -> None:
        self._on_reset = on_reset
        self._most_bytes = most_bytes
        self._reported_s = -inf
        # In the order in which they began to wait.
        self._held: dict[Holder, int] = {}
        self._by_uid: dict[int, int] = {}
        self.total_bytes = 0

    def hold(self, holder: Holder, unread_bytes: int) -> None:
        """Count a connection that waits, or count it anew; reset others until all fit. ``holder`` is never reset."""
        counted_bytes = self._held.get(holder, 0)
        held_bytes = unread_bytes + _CONNECTION_BYTES
        # A connection that is counted anew keeps its place in the order.
        self._held[holder] = held_bytes
        self._add(holder.peer.uid, held_bytes - counted_bytes)
        while self.total_bytes > self._most_bytes and (victim := self._longest_waiting(holder)) is not None:
            self._report(victim)
            self.release(victim)
            victim.abort()

    def release(self, holder: Holder) -> None:
        """Count a connection no longer. Releasing it twice does nothing."""
        held_bytes = self._held.pop(holder, 0)
        if held_bytes:
            self._add(holder.peer.uid, -held_bytes)

    def _longest_waiting(self, but: Holder) -> Holder | None:
        others: dict[int, Holder] = {}
        for holder in self._held:
            if holder is not but:
                others.setdefault(holder.peer.uid, holder)
        uid = max(others, key=self._by_uid.__getitem__, default=None)
        return None if uid is None else others[uid]

    def _report(self, victim: Holder) -> None:
        now_s = monotonic()
        if now_s - self._reported_s >= _REPORT_EVERY_S:
            self._reported_s = now_s
            self._on_reset(victim.peer, self._held[victim] - _CONNECTION_BYTES)

    def _add(self, uid: int, held_bytes: int) -> None:
        self.total_bytes += held_bytes
        self._by_uid[uid] = self._by_uid.get(uid, 0) + held_bytes
        if not self._by_uid[uid]:
            del self._by_uid[uid]
