"""Looks at the files that an answer names, before each response, in a thread and rarely more than once in 5 ms."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Callable, Mapping
from time import monotonic

from runtimed.core.errors import BinaryUnavailable
from runtimed.host.directory_pool import DirectoryPool

# A response needs a look that is not older than this.
LOOK_VALID_S = 0.010
# A response whose look is older than this starts the next look, so that under load no request waits for one.
_RENEW_S = LOOK_VALID_S / 2


class Lookup:
    """The result of the last look at ``files``, all of which an answer names.

    ``usable_s`` and ``renew_s`` are readings of time.monotonic(): before ``usable_s`` a response may be sent without a
    look, and from ``renew_s`` on it should call `renew`.
    """

    __slots__ = (
        *("__weakref__", "_begun_s", "_error", "_known_until_s", "_lookups", "_running"),
        *("files", "renew_s", "usable_s"),
    )

    def __init__(self, lookups: Lookups, files: tuple[str, ...]) -> None:
        self.files = files
        self.usable_s = self.renew_s = float("-inf") if files else float("inf")
        self._lookups = lookups
        self._error: BinaryUnavailable | None = None
        self._begun_s = self._known_until_s = self.usable_s
        self._running: asyncio.Future[None] | None = None

    def error(self, now_s: float) -> BinaryUnavailable | None:
        """Return why a file cannot be executed, if the last look says so and is recent enough at ``now_s``."""
        return self._error if now_s < self._known_until_s else None

    def renew(self) -> None:
        """Start a look, if none is running."""
        self._renew()

    def _renew(self) -> asyncio.Future[None]:
        self.renew_s = self.usable_s
        if self._running is None:
            self._running = self._lookups.start(self)
        return self._running

    async def wait(self) -> BinaryUnavailable | None:
        """Return, after a look, why a file cannot be executed, or None. All callers share one look."""
        oldest_s = monotonic() - LOOK_VALID_S
        while self.files:
            await asyncio.shield(self._renew())
            # A look that was already running may have started long ago.
            if self._begun_s >= oldest_s:
                break
        return self._error

    def finish(self, begun_s: float, outcomes: Mapping[str, object]) -> None:
        """Store the outcomes of a look that started at ``begun_s``: an exception for each unusable file."""
        self._begun_s = begun_s
        self._error = next(filter(None, (_error(file, outcomes[file]) for file in self.files)), None)
        self._known_until_s = begun_s + LOOK_VALID_S
        usable = self._error is None
        self.usable_s = self._known_until_s if usable else float("-inf")
        self.renew_s = begun_s + _RENEW_S if usable else float("-inf")
        running, self._running = self._running, None
        if running is not None and not running.done():
            running.set_result(None)


class Lookups:
    """Calls ``look_up`` for files in threads of ``pool``; it raises BinaryUnavailable. To be used in one event loop."""

    def __init__(self, look_up: Callable[[str], str], pool: DirectoryPool) -> None:
        self._look_up = look_up
        self._pool = pool
        self._lookups: weakref.WeakValueDictionary[tuple[str, ...], Lookup] = weakref.WeakValueDictionary()
        self._timer: asyncio.TimerHandle | None = None

    def of(self, files: tuple[str, ...]) -> Lookup:
        """Return the lookup of ``files``, which all answers with the same files share."""
        found = self._lookups.get(files)
        if found is None:
            found = self._lookups[files] = Lookup(self, files)
        return found

    def start(self, lookup: Lookup) -> asyncio.Future[None]:
        """Start a look for ``lookup``; return a future that is done at its end, within bounded time."""
        loop = asyncio.get_running_loop()
        begun_s = monotonic()
        outcomes: Mapping[str, object] = {}

        def end() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(lambda: lookup.finish(begun_s, outcomes))

        # One call for each file, so that a file that hangs does not fail the others.
        outcomes = self._pool.submit_all(self._look_up, lookup.files, end, urgent=True)
        if self._timer is None:
            self._timer = loop.call_later(self._pool.timeout_s, self._expire)
        return loop.create_future()

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        if self._pool.expire():
            self._timer = asyncio.get_running_loop().call_later(self._pool.timeout_s / 4, self._expire)


def _error(file: str, outcome: object) -> BinaryUnavailable | None:
    """Return why ``file`` cannot be used, given the outcome of a look at it."""
    if isinstance(outcome, BinaryUnavailable):
        # The error is kept, so its frames must not be.
        return outcome.with_traceback(None)
    return BinaryUnavailable(file, str(outcome)) if isinstance(outcome, Exception) else None
