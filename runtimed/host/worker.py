"""A lane: one thread for calls that block, one at a time, that nobody has to wait for at the end.

asyncio's own executor is joined when the loop closes, so a call that hangs (a dead NFS server) would
keep the process from stopping; a lane's thread is a daemon thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from runtimed.core.errors import TooManyWaiting
from runtimed.core.fair_queue import FairQueue

P = ParamSpec("P")
T = TypeVar("T")

# How many calls one user may have waiting in a lane: more than an honest one needs, and few enough to hold.
WAITING_MOST = 256


class Worker:
    """A named daemon thread that runs one call after another."""

    def __init__(self, name: str) -> None:
        self._jobs: FairQueue[Callable[[], None]] = FairQueue()
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return ``function(*args, **kwargs)``, called in the lane's thread.

        When the caller is cancelled (by a time-out, say) a call that has begun goes on to its end
        unheard, and calls behind it wait; one that has not begun is dropped.
        """
        return await self._run(None, None, lambda: function(*args, **kwargs))

    async def run_for(self, user: int, function: Callable[..., T], /, *args: object) -> T:
        """Return ``function(*args)`` as `run` does, for the user with this id, who waits only for one of each other's.

        Raises:
            TooManyWaiting: so many of this user's calls wait here that one more may not.
        """
        return await self._run(user, WAITING_MOST, lambda: function(*args))

    async def _run(self, user: int | None, most: int | None, function: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def job() -> None:
            if future.cancelled():
                return
            try:
                result = function()
            except StopIteration as error:
                # No future takes one.
                _post(loop, _fail, future, RuntimeError(f"a call ended in {error!r}"))
            except BaseException as error:  # noqa: BLE001 - it is the caller's, whatever it is
                _post(loop, _fail, future, error)
            else:
                _post(loop, _finish, future, result)

        with self._changed:
            if most is not None and self._jobs.of(user) >= most:
                raise TooManyWaiting(user, most)
            self._jobs.put(user, job)
            self._changed.notify()
        try:
            return await future
        except asyncio.CancelledError:
            # Not left for the thread to drop: while that hangs, they would pile up.
            with self._changed:
                self._jobs.withdraw(user, job)
            raise

    def close(self, timeout_s: float = 1.0) -> bool:
        """End the thread after what is queued; return False if a call hangs, after ``timeout_s``, and goes on."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (job := self._take()) is not None:
            job()
            # Held on to while waiting for the next, it would keep alive what it was made of.
            del job

    def _take(self) -> Callable[[], None] | None:
        """Return the next call, and wait for it; None at the end."""
        with self._changed:
            while not (self._jobs or self._closed):
                self._changed.wait()
            return self._jobs.take() if self._jobs else None


def _post(loop: asyncio.AbstractEventLoop, deliver: Callable[..., None], *args: object) -> None:
    # RuntimeError: the loop is closed, the daemon has stopped without waiting for this call.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(deliver, *args)


def _finish(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
