"""Runs blocking calls in one daemon thread, one after the other, and returns their results to the event loop.

asyncio's executor is joined when the loop closes, so a call that hangs (a dead NFS server) would keep the process from
stopping. A daemon thread ends with the process.

Unlike :mod:`runtimed.host.directory_pool`, a worker runs its calls in order, is fair between users and never gives up a
call; the pool runs calls for different directories at the same time and gives up those that hang.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

from runtimed.core.errors import TooManyWaiting
from runtimed.core.fair_queue import FairQueue

P = ParamSpec("P")
T = TypeVar("T")

# Number of calls that one user may have waiting: more than a well-behaved client needs, and few enough to hold.
WAITING_MAX = 256


class Worker:
    """A named daemon thread and its queue of calls."""

    def __init__(self, name: str) -> None:
        self._jobs: FairQueue[Callable[[], None]] = FairQueue()
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return ``function(*args, **kwargs)``, called in the worker's thread.

        When the caller is cancelled, for example by a time-out, a call that has begun runs to its end and its result is
        dropped; a call that still waits is removed.
        """
        return await self.run_for(None, function, *args, **kwargs)

    async def run_for(self, user: int | None, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Do as `run` for the user with this id. The worker takes one call of each waiting user in turn.

        Raises:
            TooManyWaiting: WAITING_MAX calls of this user wait already.
        """
        # Not a future of concurrent.futures, with which asyncio.wrap_future takes twice the time.
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        # Taken out by the thread, which would otherwise hold the arguments when the caller already has the result.
        call = [partial(function, *args, **kwargs)]

        def job() -> None:
            if future.cancelled():
                return
            try:
                settle = partial(future.set_result, call.pop()())
            except StopIteration as error:  # a future does not accept it
                settle = partial(future.set_exception, RuntimeError(f"a call ended in {error!r}"))
            except BaseException as error:  # noqa: BLE001 - the caller gets every exception
                settle = partial(future.set_exception, error)
            # RuntimeError: the loop is closed, so no caller waits for the result.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, future, settle)

        with self._changed:
            if user is not None and self._jobs.count(user) >= WAITING_MAX:
                raise TooManyWaiting(user, WAITING_MAX)
            self._jobs.put(user, job)
            self._changed.notify()
        try:
            return await future
        except asyncio.CancelledError:
            # Removed here and not by the thread, because cancelled calls would pile up while the thread hangs.
            with self._changed:
                self._jobs.withdraw(user, job)
            raise

    def close(self, timeout_s: float = 1.0) -> bool:
        """End the thread after the waiting calls; return False if it still runs after ``timeout_s``."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (job := self._take()) is not None:
            job()
            # A reference that is kept while the thread waits would keep the caller's objects alive.
            del job

    def _take(self) -> Callable[[], None] | None:
        """Wait for the next call and return it; return None at the end."""
        with self._changed:
            while not (self._jobs or self._closed):
                self._changed.wait()
            return self._jobs.take() if self._jobs else None


def _settle(future: asyncio.Future[T], settle: Callable[[], None]) -> None:
    if not future.done():
        settle()
