"""Runs blocking calls in daemon threads, so that a file system that hangs delays only the calls that need it.

Every call has a path. Calls whose paths lie in one directory run one after the other, others beside each other. A call
that does not return in time counts as hanging: it fails, its thread is given up until it returns, and further calls on
its path fail at once. The process ends without waiting for the threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeVar

T = TypeVar("T")

# A call that takes longer counts as hanging. A look at a file takes microseconds, on a busy disk or over a network
# some tens of milliseconds; a second is long for these and short for a client that starts a container.
TIMEOUT_S = 1.0
# With this many hanging calls in one directory every call in it fails at once: its file system is gone.
_HUNG_MOST = 4
# Bound on all threads, those of hanging calls included.
_THREADS_MOST = 64
# Threads beyond these end when there is no call for them.
_IDLE_MOST = 2


class _Call:
    """A call that waits or runs; ``since_s`` is the time.monotonic() of its start."""

    __slots__ = ("done", "function", "group", "hangs", "path", "since_s")

    def __init__(self, path: str, function: Callable[[], object], done: Callable[[object], None]) -> None:
        self.path = path
        # A bare name is looked for in several directories.
        self.group = posixpath.dirname(path) if "/" in path else path
        self.function = function
        self.done = done
        self.since_s = 0.0
        self.hangs = False


class DirectoryPool:
    """Runs calls; safe to use from any thread. It starts a thread when a call needs one."""

    def __init__(self, name: str, timeout_s: float = TIMEOUT_S) -> None:
        self.timeout_s = timeout_s
        self._name = name
        self._changed = threading.Condition()
        self._closed = False
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        # Calls that wait, by group, for groups that have a call waiting or running; a running call that hangs does
        # not count. Groups of which none runs are ready.
        self._waiting: dict[str, deque[_Call]] = {}
        self._ready: deque[str] = deque()
        self._running: set[_Call] = set()
        self._hung: dict[str, _Call] = {}
        self._hung_in: Counter[str] = Counter()

    def submit(
        self, path: str, function: Callable[[], object], done: Callable[[object], None], *, urgent: bool = False
    ) -> None:
        """Have ``function`` called in a thread, and ``done`` with its result, its exception or a TimeoutError.

        ``done`` is called exactly once, in any thread, also before this returns. TimeoutErrors need `expire`.
        An ``urgent`` call comes before those of its directory that wait already.
        """
        call = _Call(path, function, done)
        refused: Iterable[_Call] = ()
        with self._changed:
            if self._is_refused(call):
                refused = (call,)
            elif (waiting := self._waiting.get(call.group)) is not None:
                (waiting.appendleft if urgent else waiting.append)(call)
            else:
                self._waiting[call.group] = deque((call,))
                refused = self._make_ready(call.group)
        for each in refused:
            each.done(self._timed_out())

    def expire(self) -> bool:
        """Give up the calls that take too long; return whether any other call waits or runs."""
        given_up: list[_Call] = []
        with self._changed:
            now_s = time.monotonic()
            for call in [call for call in self._running if not call.hangs and now_s - call.since_s > self.timeout_s]:
                call.hangs = True
                self._hung[call.path] = call
                self._hung_in[call.group] += 1
                given_up.append(call)
                left: deque[_Call] = deque()
                for each in self._waiting.pop(call.group, ()):  # close() may have dropped them
                    (given_up if self._is_refused(each) else left).append(each)
                if left:
                    self._waiting[call.group] = left
                    given_up += self._make_ready(call.group)
            if len(self._hung) >= _THREADS_MOST:
                given_up += (each for group in self._ready for each in self._waiting.pop(group))
                self._ready.clear()
            pending = bool(self._waiting)
        for call in given_up:
            call.done(self._timed_out())
        return pending

    def call_all(self, function: Callable[[str], T], paths: Iterable[str]) -> Mapping[str, T | Exception]:
        """Return the result of ``function(path)`` for each of ``paths``, or its exception. Blocks, within bounds."""
        ended = threading.Event()
        outcomes = self.submit_all(function, tuple(paths), ended.set)
        while not ended.wait(self.timeout_s / 4):
            self.expire()
        return outcomes

    async def gather(self, function: Callable[[str], T], paths: Iterable[str]) -> Mapping[str, T | Exception]:
        """Return what `call_all` returns, without blocking."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def end() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(ended.set)

        outcomes = self.submit_all(function, tuple(paths), end)
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.timeout_s / 4):
                    await ended.wait()
            self.expire()
        return outcomes

    def close(self, timeout_s: float = 1.0) -> None:
        """End the threads, except those of calls that hang: these end with the process."""
        with self._changed:
            self._closed = True
            dropped = [call for waiting in self._waiting.values() for call in waiting]
            self._waiting.clear()
            self._ready.clear()
            self._changed.notify_all()
            threads = tuple(self._threads)
        for call in dropped:
            call.done(self._timed_out())
        deadline_s = time.monotonic() + timeout_s
        for thread in threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))

    def submit_all(
        self, function: Callable[[str], T], paths: tuple[str, ...], end: Callable[[], None], *, urgent: bool = False
    ) -> Mapping[str, T | Exception]:
        """Submit ``function(path)`` for each of ``paths``; return the outcomes, complete when ``end`` is called."""
        outcomes: dict[str, T | Exception] = {}
        wanted = dict.fromkeys(paths)
        lock = threading.Lock()

        def done(path: str, outcome: object) -> None:
            with lock:
                outcomes[path] = outcome  # type: ignore[assignment]  # function's result, or an exception
                complete = len(outcomes) == len(wanted)
            if complete:
                end()

        for path in wanted:
            self.submit(path, partial(function, path), partial(done, path), urgent=urgent)
        if not wanted:
            end()
        return outcomes

    def _timed_out(self) -> TimeoutError:
        return TimeoutError(f"its file system does not answer: a look at it did not end within {self.timeout_s:g} s")

    def _is_refused(self, call: _Call) -> bool:
        """Return whether ``call`` fails at once. Holds the lock."""
        hung = call.path in self._hung or self._hung_in[call.group] >= _HUNG_MOST
        return hung or self._closed or len(self._hung) >= _THREADS_MOST

    def _make_ready(self, group: str) -> Iterable[_Call]:
        """Have a thread take the calls of ``group``; return them where no thread ever will. Holds the lock."""
        self._ready.append(group)
        if self._idle >= len(self._ready):
            self._changed.notify()
        elif len(self._threads) < _THREADS_MOST:
            thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._threads.add(thread)
            try:
                thread.start()
            except RuntimeError:  # the machine has no more threads
                self._threads.discard(thread)
                if len(self._threads) == len(self._hung):
                    self._ready.remove(group)
                    return self._waiting.pop(group)
        return ()

    def _work(self) -> None:
        while (call := self._take()) is not None:
            try:
                outcome: object = call.function()
            except Exception as error:  # noqa: BLE001 - the caller gets it
                outcome = error
            with self._changed:
                self._running.discard(call)
                if call.hangs:
                    del self._hung[call.path]
                    self._hung_in[call.group] -= 1
                elif (waiting := self._waiting.get(call.group)) is not None:
                    if waiting:
                        self._ready.append(call.group)
                    else:
                        del self._waiting[call.group]
            if not call.hangs:
                call.done(outcome)
            # A reference that is kept while the thread waits would keep the caller's objects alive.
            del call, outcome

    def _take(self) -> _Call | None:
        with self._changed:
            while not self._ready:
                if self._closed or self._idle >= _IDLE_MOST:
                    self._threads.discard(threading.current_thread())
                    return None
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            call = self._waiting[self._ready.popleft()].popleft()
            call.since_s = time.monotonic()
            self._running.add(call)
            return call
