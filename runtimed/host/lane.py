"""A lane: one thread for calls that block, one at a time, that nobody has to wait for at the end.

asyncio's own executor is joined when the loop closes, so a call that hangs (a dead NFS server) would
keep the process from stopping; a lane's thread is a daemon thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Lane:
    """A named daemon thread that runs one call after another."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return ``function(*args, **kwargs)``, called in the lane's thread.

        When the caller is cancelled (by a time-out, say) a call that has begun goes on to its end
        unheard, and calls behind it wait; one that has not begun is dropped.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def job() -> None:
            if future.cancelled():
                return
            try:
                result = function(*args, **kwargs)
            except StopIteration as error:
                # No future takes one.
                _post(loop, _fail, future, RuntimeError(f"a call ended in {error!r}"))
            except BaseException as error:  # noqa: BLE001 - it is the caller's, whatever it is
                _post(loop, _fail, future, error)
            else:
                _post(loop, _finish, future, result)

        self._jobs.put(job)
        return await future

    def close(self, timeout_s: float = 1.0) -> bool:
        """End the thread after what is queued; return False if a call hangs, after ``timeout_s``, and goes on."""
        self._jobs.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


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
