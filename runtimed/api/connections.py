"""All connections together: how many there may be, when each has waited long enough, how all of them end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from runtimed.api.messages import Handler, Request, Response, Target, parse_target, problem
from runtimed.api.sockets import Peer
from runtimed.api.unread import Unread
from runtimed.core.config import Limits
from runtimed.core.fair_queue import FairQueue

# What is remembered of requests seen before, so that a repeated one is not parsed again. Together
# with the sizes below this is what memory it may cost: 1 MiB at most.
_REMEMBERED = 1024
_REMEMBERED_BYTES = 512
# How many connections the owners may have when all others are taken. As many descriptors are kept for them.
OWNERS_SHARE = 16
# How many connections that have more to do may go on before the loop looks what else there is: a few milliseconds.
_AT_A_TIME = 8


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one connection may take. More than these is answered with a 4xx and the end of the connection."""

    # The path and query of a request line.
    target_bytes: int = 8 * 1024
    # Names and values of all headers of a request, and how many.
    header_bytes: int = 16 * 1024
    headers: int = 64
    # From the first byte of a request to the end of its headers.
    head_s: float = 10.0
    # From one request's answer to the first byte of the next; also from the connection to its first.
    idle_s: float = 75.0
    # How long a peer may take nothing of what it is sent.
    write_s: float = 30.0
    # How long, and for how many bytes, a peer that was refused is heard out, so that it reads the answer.
    linger_s: float = 2.0
    linger_bytes: int = 1024 * 1024
    # Time-outs may be late by this much: it bounds how often all connections are looked at.
    sweep_s: float = 1.0
    # How many refused connections may be heard out at a time; any more are closed without a word.
    refused: int = 64


class Member(Protocol):
    """What the registry needs of a connection."""

    peer: Peer
    # The reading of time.monotonic() after which the connection has waited long enough.
    deadline: float

    def go_on(self) -> None:
        """Do a little of what there is to do; it is this connection's turn."""

    def expire(self, now: float) -> None:
        """End the wait that is over, or give it a new deadline."""

    def begin_drain(self) -> None:
        """From now on answer what was begun, and close."""

    def close_if_idle(self) -> None:
        """Close, unless something was begun."""

    def abort(self) -> None:
        """End at once."""


class Connections:
    """The connections of one daemon, what they share, and the one timer for all of them.

    ``handler`` answers every request; ``on_error`` is told of each exception that it lets out (the client gets a 500).
    ``on_reset`` is called when a connection is reset because its answers are not read (see `Unread`).
    ``again`` returns, for the target of a GET and the time (time.monotonic()) at which it came, the very answer that
    ``handler`` would give now, where it has it at hand, and None where the handler must be asked.
    ``owners`` are the user ids for which a share of connections is kept: root, and the user that the daemon runs as.
    ``admission`` bounds the number of connections; it may be set anew at any time and holds for new ones.
    There is no timer while there is no connection, and one wake-up per ``idle_s`` while they rest.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        admission: Limits | None = None,
        limits: HttpLimits | None = None,
        again: Callable[[Target, float], Response | None] = lambda _target, _begun_s: None,
        on_error: Callable[[Request, Exception], None],
        on_reset: Callable[[Peer, int], None] = lambda _peer, _bytes: None,
        owners: frozenset[int] = frozenset(),
    ) -> None:
        self.handler = handler
        self.again = again
        self.on_error = on_error
        self.admission = admission or Limits()
        self.limits = limits or HttpLimits()
        self._owners = owners
        self.draining = False
        self.unread = Unread(on_reset)
        # The bytes of a whole GET request on HTTP/1.1 -> its target. Parsing has no other input than these
        # bytes, so what was parsed once need not be parsed again.
        self.known: dict[bytes, Target] = {}
        self._targets: dict[bytes, Target] = {}
        self._members: set[Member] = set()
        self._by_uid: dict[int, int] = {}
        self._refused: set[Member] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        # Connections that have more to do than one turn's work.
        self._line: FairQueue[Member] = FairQueue()
        self._line_handle: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._emptied: asyncio.Event | None = None

    def __len__(self) -> int:
        """Return how many connections are open, without those that were refused."""
        return len(self._members) - len(self._refused)

    @property
    def held(self) -> int:
        """How many connections are open, those that were refused among them."""
        return len(self._members)

    # Who is let in

    def refusal(self, peer: Peer) -> Response | None:
        """Return the 503 that a new connection of ``peer`` gets, None if it is welcome."""
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
        """Return whether one more refused connection cannot be heard out."""
        return len(self._refused) >= self.limits.refused

    def add(self, member: Member, *, refused: bool = False) -> None:
        """Count a connection, and watch its deadline."""
        self._members.add(member)
        if refused:
            self._refused.add(member)
        else:
            self._by_uid[member.peer.uid] = self._by_uid.get(member.peer.uid, 0) + 1
        self.wake_by(member.deadline)

    def discard(self, member: Member) -> None:
        """Forget a connection; forgetting it twice does nothing."""
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

    # What connections share

    def target(self, raw: bytes) -> Target:
        """Return a request's target taken apart, from memory where it was seen before. Raises: BadTarget."""
        target = self._targets.get(raw)
        if target is None:
            target = parse_target(raw)
            if len(raw) <= _REMEMBERED_BYTES:
                if len(self._targets) >= _REMEMBERED:
                    self._targets.clear()
                self._targets[raw] = target
        return target

    def remember(self, data: bytes, target: Target) -> None:
        """Note that ``data`` is one whole GET request on HTTP/1.1 that keeps its connection, and nothing else."""
        if len(data) <= _REMEMBERED_BYTES:
            if len(self.known) >= _REMEMBERED:
                self.known.clear()
            self.known[data] = target

    def spawn(self, task: asyncio.Task[None]) -> None:
        """Hold on to the task of a slow answer. It outlives its client: work that was asked for is not cut off."""
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._note_empty()

    # Whose turn it is

    @property
    def crowded(self) -> bool:
        """Whether connections stand in line, so that more work should do so as well."""
        return bool(self._line)

    def stand_in_line(self, member: Member) -> None:
        """Have ``member`` go on when it is its turn: users take turns, whoever has how many connections."""
        self._line.put(member.peer.uid, member)
        if self._line_handle is None:
            self._line_handle = asyncio.get_running_loop().call_soon(self._serve_line)

    def _serve_line(self) -> None:
        self._line_handle = None
        try:
            for _ in range(min(_AT_A_TIME, len(self._line))):
                self._line.take().go_on()
        finally:
            if self._line and self._line_handle is None:
                self._line_handle = asyncio.get_running_loop().call_soon(self._serve_line)

    # Time

    def wake_by(self, deadline: float) -> None:
        """Make sure that a deadline is noticed, at most ``sweep_s`` late."""
        if self._timer is not None:
            if self._timer_at <= deadline + self.limits.sweep_s:
                return
            self._timer.cancel()
        self._schedule(deadline)

    def _schedule(self, deadline: float) -> None:
        delay_s = max(deadline - monotonic(), self.limits.sweep_s)
        self._timer_at = monotonic() + delay_s
        # No deadline at all (inf) is a slow answer's; that connection comes back by itself.
        delay_s = min(delay_s, 3600.0)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        now = monotonic()
        for member in [member for member in self._members if member.deadline <= now]:
            member.expire(now)
        # expire() may have set a timer as well, for its own deadline: one too many, which does no harm.
        if self._members:
            self.wake_by(min(member.deadline for member in self._members))

    # The end

    async def drain(self, timeout_s: float) -> int:
        """Return how many connections had to be cut off after ``timeout_s``; afterwards there are none.

        Idle ones are closed at once; in the others, requests that have arrived are answered, the last with
        ``Connection: close``. Slow answers whose client has left are waited for as well. No new connection may be
        made meanwhile: whoever accepts stops first.
        """
        self.draining = True
        for member in tuple(self._members):
            member.begin_drain()
        # What clients had sent before now may still lie unread in the kernel. A connection that was accepted in this
        # very turn of the loop is made in the next, is polled from the one after that on, and has been read after four.
        for _ in range(4):
            await asyncio.sleep(0)
        for member in tuple(self._members):
            member.close_if_idle()
        self._emptied = asyncio.Event()
        self._note_empty()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._emptied.wait()
        cut_off = len(self._members)
        for task in self._tasks:
            task.cancel()
        for member in tuple(self._members):
            member.abort()
        await self._emptied.wait()
        return cut_off

    def _note_empty(self) -> None:
        if self._emptied is not None and not self._members and not self._tasks:
            self._emptied.set()


def no_descriptors() -> Response:
    """Return the 503 of a client whose connection cannot be taken for want of descriptors."""
    return _too_many("no file descriptor is free; try again later, or raise the daemon's limit (LimitNOFILE)")


def _too_many(detail: str) -> Response:
    return problem("too-many-connections", detail)
