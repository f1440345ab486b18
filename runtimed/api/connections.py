"""Holds the open connections: their limits, their queue, their deadlines and their end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from runtimed.api.messages import Handler, Request, Response, Target, parse_target, problem
from runtimed.api.sockets import Peer
from runtimed.api.unread import Unread
from runtimed.core.config import Limits
from runtimed.core.fair_queue import FairQueue

if TYPE_CHECKING:
    from runtimed.api.http import Connection

# Bounds of `Connections.known` and of the parsed targets: they take 1 MiB at most.
_REMEMBERED = 1024
_REMEMBERED_BYTES = 512
# Connections kept for the owners when all others are taken. As many descriptors are kept for them.
OWNERS_SHARE = 16
# Queued connections that process input before the event loop handles other events: a few milliseconds.
_AT_A_TIME = 8


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Limits of one connection. A request beyond them is answered with a 4xx, which ends the connection."""

    # The path and query of a request line.
    target_bytes: int = 8 * 1024
    # Names and values of all headers of a request, and their number.
    header_bytes: int = 16 * 1024
    headers: int = 64
    # From the first byte of a request to the end of its headers.
    head_s: float = 10.0
    # From the connection to the first byte of its first request, and from a response to the next request.
    idle_s: float = 75.0
    # The longest time in which a client may read nothing of its response.
    write_s: float = 30.0
    # For how long, and how many bytes, input is discarded after a refusal, so that the client can read the refusal.
    linger_s: float = 2.0
    linger_bytes: int = 1024 * 1024
    # Time-outs may be late by this much: it bounds how often all deadlines are compared.
    sweep_s: float = 1.0
    # The most refused connections at a time; more are closed without a response.
    refused: int = 64


class Connections:
    """The connections of one daemon, the objects that they share, and one timer for all of them.

    ``handler`` answers every request; ``on_error`` is called with each exception that it raises (the client gets a
    500). ``on_reset`` is called when a connection is reset because its responses are not read (see `Unread`).
    ``again`` returns the response that ``handler`` would return now, if it is at hand, else None; it is called with the
    target of a GET and the time (time.monotonic()) at which it arrived. ``refuse_body`` is called with the target of a
    request that has a body, and returns its refusal, None for the usual one. ``owners`` are the user ids for which a
    share of connections is kept: root and the daemon's own user. ``admission`` bounds the number of connections; it may
    be replaced at any time and applies to new connections.

    While there is no connection there is no timer, and while all are idle it fires once per ``idle_s``.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        admission: Limits | None = None,
        limits: HttpLimits | None = None,
        again: Callable[[Target, float], Response | None] = lambda _target, _begun_s: None,
        refuse_body: Callable[[bytes], Response | None] = lambda _target: None,
        on_error: Callable[[Request, Exception], None],
        on_reset: Callable[[Peer, int], None] = lambda _peer, _bytes: None,
        owners: frozenset[int] = frozenset(),
    ) -> None:
        self.handler = handler
        self.again = again
        self.refuse_body = refuse_body
        self.on_error = on_error
        self.admission = admission or Limits()
        self.limits = limits or HttpLimits()
        self._owners = owners
        self.draining = False
        self.unread = Unread(on_reset)
        # Percentages are processor time of the daemon for GET /v1/resolve, measured as in tests/bench serving.
        # The bytes of a whole GET on HTTP/1.1 that keeps its connection -> its target: parsing depends on nothing else.
        # Saves 55 % of a repeated request; `again` saves 23 %.
        self.known: dict[bytes, Target] = {}
        # Saves 8 % of a request on a connection for itself, as the client sends it, and 38 % of a pipelined request.
        self._targets: dict[bytes, Target] = {}
        self._members: set[Connection] = set()
        self._by_uid: dict[int, int] = {}
        self._refused: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        # Connections that have more input than they may process at once.
        self._queue: FairQueue[Connection] = FairQueue()
        self._queue_handle: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._emptied: asyncio.Event | None = None

    def __len__(self) -> int:
        """Return the number of open connections, without the refused ones."""
        return len(self._members) - len(self._refused)

    @property
    def held(self) -> int:
        """Number of open connections, including the refused ones."""
        return len(self._members)

    def refusal(self, peer: Peer) -> Response | None:
        """Return the 503 for a new connection of ``peer``, None if it is within the limits."""
        most = self.admission.connections + (OWNERS_SHARE if self.is_owner(peer) else 0)
        if len(self) >= most:
            return _too_many(f"there are {len(self)} connections, which is the limit; try again later")
        if (open_now := self._by_uid.get(peer.uid, 0)) >= self.admission.connections_per_user:
            return _too_many(f"user {peer.uid} has {open_now} connections, which is the limit; close some of them")
        return None

    def is_owner(self, peer: Peer) -> bool:
        """Return whether a share of connections is kept for ``peer``."""
        return peer.uid in self._owners

    def full_of_refused(self) -> bool:
        """Return whether the limit of refused connections is reached."""
        return len(self._refused) >= self.limits.refused

    def add(self, member: Connection, *, refused: bool = False) -> None:
        """Count a connection, and observe its deadline."""
        self._members.add(member)
        if refused:
            self._refused.add(member)
        else:
            self._by_uid[member.peer.uid] = self._by_uid.get(member.peer.uid, 0) + 1
        self.wake_by(member.deadline)

    def discard(self, member: Connection) -> None:
        """Remove a connection. Removing it twice does nothing."""
        if member not in self._members:
            return
        self._members.remove(member)
        self.unread.release(member)
        if member in self._refused:
            self._refused.remove(member)
        elif (left := self._by_uid[member.peer.uid] - 1) > 0:
            self._by_uid[member.peer.uid] = left
        else:
            del self._by_uid[member.peer.uid]
        if not self._members and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._note_empty()

    def target(self, raw: bytes) -> Target:
        """Return the parsed target of a request. Raises: BadTarget."""
        target = self._targets.get(raw)
        if target is None:
            target = parse_target(raw)
            if len(raw) <= _REMEMBERED_BYTES:
                if len(self._targets) >= _REMEMBERED:
                    self._targets.clear()
                self._targets[raw] = target
        return target

    def remember(self, data: bytes, target: Target) -> None:
        """Add ``data`` to `known`: the bytes of one whole GET on HTTP/1.1 that keeps its connection."""
        # While draining, each request is parsed, because its response may have to close the connection.
        if len(data) <= _REMEMBERED_BYTES and not self.draining:
            if len(self.known) >= _REMEMBERED:
                self.known.clear()
            self.known[data] = target

    def spawn(self, task: asyncio.Task[None]) -> None:
        """Keep a reference to the task that makes a response. It continues when its client disconnects."""
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._note_empty()

    @property
    def has_queued(self) -> bool:
        """Whether connections are queued, so that others must queue as well."""
        return bool(self._queue)

    def enqueue(self, member: Connection) -> None:
        """Call the connection's `process_queued` later, in turns with other users' however many each has."""
        self._queue.put(member.peer.uid, member)
        if self._queue_handle is None:
            self._queue_handle = asyncio.get_running_loop().call_soon(self._process_queue)

    def _process_queue(self) -> None:
        self._queue_handle = None
        try:
            for _ in range(min(_AT_A_TIME, len(self._queue))):
                self._queue.take().process_queued()
        finally:
            if self._queue and self._queue_handle is None:
                self._queue_handle = asyncio.get_running_loop().call_soon(self._process_queue)

    def wake_by(self, deadline: float) -> None:
        """Schedule the timer so that this deadline is noticed at most ``sweep_s`` late."""
        if self._timer is not None:
            if self._timer_at <= deadline + self.limits.sweep_s:
                return
            self._timer.cancel()
        delay_s = max(deadline - monotonic(), self.limits.sweep_s)
        self._timer_at = monotonic() + delay_s
        # A slow response has no deadline (inf); its connection sets one when the response is made.
        self._timer = asyncio.get_running_loop().call_later(min(delay_s, 3600.0), self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        now = monotonic()
        for member in [member for member in self._members if member.deadline <= now]:
            member.expire()
        # expire() may have set the timer already.
        if self._members:
            self.wake_by(min(member.deadline for member in self._members))

    async def drain(self, timeout_s: float) -> int:
        """Close all connections; return how many were aborted after ``timeout_s``.

        Idle ones are closed at once. In the others, requests that have arrived are answered, the last with
        ``Connection: close``. Slow responses whose clients have disconnected are awaited as well. The caller must have
        stopped accepting connections.
        """
        self.draining = True
        self.known.clear()
        for member in tuple(self._members):
            member.begin_drain()
        # Requests sent before now may be in the kernel's buffers. A connection that was accepted in this iteration of
        # the loop is made in the next, is polled from the one after that on, and has been read after four.
        for _ in range(4):
            await asyncio.sleep(0)
        for member in tuple(self._members):
            member.close_if_idle()
        self._emptied = asyncio.Event()
        self._note_empty()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._emptied.wait()
        aborted = len(self._members)
        for task in self._tasks:
            task.cancel()
        for member in tuple(self._members):
            member.abort()
        await self._emptied.wait()
        return aborted

    def _note_empty(self) -> None:
        if self._emptied is not None and not self._members and not self._tasks:
            self._emptied.set()


def no_descriptors() -> Response:
    """Return the 503 for a client whose connection cannot be accepted for lack of descriptors."""
    return _too_many("no file descriptor is free; try again later, or raise the daemon's limit (LimitNOFILE)")


def _too_many(detail: str) -> Response:
    return problem("too-many-connections", detail)
