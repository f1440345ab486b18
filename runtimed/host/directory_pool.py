"""Runs blocking calls in daemon threads, so that a file system that hangs delays only the calls that need it.

Every call has a path. Calls whose paths are in one directory run one after the other, others at the same time. A call
that does not return in time counts as hanging: it fails, its thread does nothing else until it returns, and further
calls on its path fail at once. The process ends without waiting for the threads.

Unlike :mod:`runtimed.host.worker`, which runs all calls in order in one thread, a pool keeps no order between
directories and gives up calls that hang.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

T = TypeVar("T")

# A call that takes longer counts as hanging. A look-up of a file takes microseconds, on a busy disk or over a network
# tens of milliseconds; a second is long for these and short for a client that starts a container.
TIMEOUT_S = 1.0
# With this many hanging calls in one directory every call in it fails at once: its file system is gone.
_HUNG_MAX = 4
# Bound on all threads, those of hanging calls included.
_THREADS_MAX = 64
# Further threads end when no call waits for them.
_IDLE_MAX = 2


@dataclass(eq=False, slots=True)
class _Call:
    path: str
    group: str
    function: Callable[[], object]
    done: Callable[[object], None]
    since_s: float = 0.0
    is_overdue: bool = False


class DirectoryPool:
    """Runs calls; safe to use from any thread. It starts a thread when a call needs one."""

    def __init__(self, name: str, timeout_s: float = TIMEOUT_S) -> None:
        self.timeout_s = timeout_s
        self._name = name
        self._changed = threading.Condition()
        self._closed = False
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        # The waiting calls of each group that has a call waiting or running; hanging calls do not count. A group is
        # ready when it has waiting calls and none that runs.
        self._waiting: dict[str, deque[_Call]] = {}
        self._ready: deque[str] = deque()
        self._running: set[_Call] = set()
        self._hung: dict[str, _Call] = {}

    def submit(
        self, path: str, function: Callable[[], object], done: Callable[[object], None], *, urgent: bool = False
    ) -> None:
        """Have ``function`` called in a thread, and ``done`` with its result, its exception or a TimeoutError.

        ``done`` is called exactly once, in any thread, also before this returns. TimeoutErrors need `expire`.
        An ``urgent`` call runs before the waiting calls of its directory.
        """
        # A bare name is searched in several directories, so it is a separate group.
        call = _Call(path, posixpath.dirname(path) if "/" in path else path, function, done)
        failed: Iterable[_Call] = ()
        with self._changed:
            if self._must_fail(call):
                failed = (call,)
            elif (waiting := self._waiting.get(call.group)) is not None:
                (waiting.appendleft if urgent else waiting.append)(call)
            else:
                self._waiting[call.group] = deque((call,))
                failed = self._make_ready(call.group)
        self._fail(failed)

    def expire(self) -> bool:
        """Give up the calls that take too long; return whether any other call waits or runs."""
        failed: list[_Call] = []
        with self._changed:
            latest_s = time.monotonic() - self.timeout_s
            for call in [call for call in self._running if call.since_s < latest_s]:
                if not call.is_overdue:
                    # This process may have been stopped, and the call with it: it has time until the next `expire`.
                    call.is_overdue = True
                    continue
                self._running.remove(call)
                self._hung[call.path] = call
                failed.append(call)
                waiting = self._waiting.pop(call.group, ())  # close() may have removed them
                failed += filter(self._must_fail, waiting)
                if left := deque(each for each in waiting if not self._must_fail(each)):
                    self._waiting[call.group] = left
                    failed += self._make_ready(call.group)
            if len(self._hung) >= _THREADS_MAX:
                failed += (each for group in self._ready for each in self._waiting.pop(group))
                self._ready.clear()
            pending = bool(self._waiting)
        self._fail(failed)
        return pending

    def call_all(self, function: Callable[[str], T], paths: Iterable[str]) -> Mapping[str, T | Exception]:
        """Return the result of ``function(path)``, or its exception, for each path. Blocks for a bounded time."""
        ended = threading.Event()
        outcomes = self.submit_all(function, tuple(paths), ended.set)
        while not ended.wait(self.timeout_s / 4):
            self.expire()
        return outcomes

    async def gather(self, function: Callable[[str], T], paths: Iterable[str]) -> Mapping[str, T | Exception]:
        """Return the same as `call_all`, without blocking."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def end() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(ended.set)

        outcomes = self.submit_all(function, tuple(paths), end)
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), self.timeout_s / 4)
            self.expire()
        return outcomes

    def submit_all(
        self, function: Callable[[str], T], paths: tuple[str, ...], end: Callable[[], None], *, urgent: bool = False
    ) -> Mapping[str, T | Exception]:
        """Submit ``function(path)`` for each path; return the outcomes, which are complete when ``end`` is called."""
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

    def close(self, timeout_s: float = 1.0) -> None:
        """End the threads, except those of calls that hang, which end with the process; fail the waiting calls."""
        with self._changed:
            self._closed = True
            waiting = [call for calls in self._waiting.values() for call in calls]
            self._waiting.clear()
            self._ready.clear()
            self._changed.notify_all()
            threads = tuple(self._threads)
        self._fail(waiting)
        deadline_s = time.monotonic() + timeout_s
        for thread in threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))

    def _fail(self, calls: Iterable[_Call]) -> None:
        text = f"its file system does not answer: a look-up did not end within {self.timeout_s:g} s"
        for call in calls:
            call.done(TimeoutError(text))

    def _must_fail(self, call: _Call) -> bool:
        """Return whether ``call`` fails at once. Holds the lock."""
        if self._closed or call.path in self._hung or len(self._hung) >= _THREADS_MAX:
            return True
        return sum(hung.group == call.group for hung in self._hung.values()) >= _HUNG_MAX

    def _make_ready(self, group: str) -> Iterable[_Call]:
        """Have a thread run the calls of ``group``; return them if no thread ever will. Holds the lock."""
        self._ready.append(group)
        if self._idle >= len(self._ready):
            self._changed.notify()
        elif len(self._threads) < _THREADS_MAX:
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
            if self._end(call):
                call.done(outcome)
            # A reference that is kept while the thread waits would keep the caller's objects alive.
            del call, outcome

    def _end(self, call: _Call) -> bool:
        """Record that ``call`` has returned; return False if it has been given up."""
        with self._changed:
            if call not in self._running:
                del self._hung[call.path]
                return False
            self._running.remove(call)
            if (waiting := self._waiting.get(call.group)) is not None:
                if waiting:
                    self._ready.append(call.group)
                else:
                    del self._waiting[call.group]
            return True

    def _take(self) -> _Call | None:
        """Wait for the next call and return it; return None if this thread must end."""
        with self._changed:
            while not self._ready:
                if self._closed or self._idle >= _IDLE_MAX:
                    self._threads.discard(threading.current_thread())
                    return None
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            call = self._waiting[self._ready.popleft()].popleft()
            call.since_s = time.monotonic()
            self._running.add(call)
            return call
