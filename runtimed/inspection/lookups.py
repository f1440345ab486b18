"""Looks at the files that an answer names before the answer is given, in a thread and rarely more than once in 5 ms."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Callable, Mapping
from time import monotonic

from runtimed.core.errors import BinaryUnavailable
from runtimed.host.directory_pool import DirectoryPool

# An answer needs a look that is not older than this.
LOOK_VALID_S = 0.010
# An answer that finds a look older than this is given, and has the next look begin: under load no request waits.
_RENEW_S = LOOK_VALID_S / 2


class Lookup:
    """The verdict on ``files``, all of which an answer names, and the look that renews it."""

    __slots__ = (
        *("__weakref__", "_begun_s", "_error", "_known_until_s", "_lookups", "_under_way"),
        *("files", "renew_s", "usable_s"),
    )

    def __init__(self, lookups: Lookups, files: tuple[str, ...]) -> None:
        self.files = files
        # Readings of time.monotonic(): the answer may be given before usable_s, and then wants `renew` from renew_s on.
        self.usable_s = self.renew_s = float("-inf") if files else float("inf")
        self._lookups = lookups
        self._error: BinaryUnavailable | None = None
        self._begun_s = self._known_until_s = self.usable_s
        self._under_way: asyncio.Future[None] | None = None

    def error(self, now_s: float) -> BinaryUnavailable | None:
        """Return why the files cannot be executed, where the last look says so and is young enough at ``now_s``."""
        return self._error if now_s < self._known_until_s else None

    def renew(self) -> None:
        """Begin a look, if none is under way."""
        self.renew_s = self.usable_s
        if self._under_way is None:
            self._under_way = self._lookups.begin(self)

    async def wait(self) -> BinaryUnavailable | None:
        """Return, after a look, why the files cannot be executed, None where they can. All who wait share one look."""
        oldest_s = monotonic() - LOOK_VALID_S
        while self.files:
            self.renew()
            assert self._under_way is not None  # noqa: S101 - renew() has begun one
            await asyncio.shield(self._under_way)
            # One that was under way already may have begun long ago.
            if self._begun_s >= oldest_s:
                break
        return self._error

    def finish(self, begun_s: float, outcomes: Mapping[str, object]) -> None:
        """Take the outcomes of a look that began at ``begun_s``: an exception for each file that cannot be used."""
        self._begun_s = begun_s
        self._error = next(filter(None, (_error(file, outcomes[file]) for file in self.files)), None)
        self._known_until_s = begun_s + LOOK_VALID_S
        usable = self._error is None
        self.usable_s = self._known_until_s if usable else float("-inf")
        self.renew_s = begun_s + _RENEW_S if usable else float("-inf")
        under_way, self._under_way = self._under_way, None
        if under_way is not None and not under_way.done():
            under_way.set_result(None)


class Lookups:
    """Looks at files by ``look_up``, which raises BinaryUnavailable, in threads of ``workers``. Of one event loop."""

    def __init__(self, look_up: Callable[[str], str], workers: DirectoryPool) -> None:
        self._look_up = look_up
        self._workers = workers
        self._lookups: weakref.WeakValueDictionary[tuple[str, ...], Lookup] = weakref.WeakValueDictionary()
        self._timer: asyncio.TimerHandle | None = None

    def of(self, files: tuple[str, ...]) -> Lookup:
        """Return the lookup of ``files``, which all askers for the same files share."""
        found = self._lookups.get(files)
        if found is None:
            found = self._lookups[files] = Lookup(self, files)
        return found

    def begin(self, lookup: Lookup) -> asyncio.Future[None]:
        """Begin a look for ``lookup`` and return what is done when it has ended, within bounded time."""
        loop = asyncio.get_running_loop()
        begun_s = monotonic()
        outcomes: Mapping[str, object] = {}

        def end() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(lambda: lookup.finish(begun_s, outcomes))

        # A call for each file: a file that hangs says nothing of the others.
        outcomes = self._workers.submit_all(self._look_up, lookup.files, end, urgent=True)
        if self._timer is None:
            self._timer = loop.call_later(self._workers.timeout_s, self._expire)
        return loop.create_future()

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        if self._workers.expire():
            self._timer = asyncio.get_running_loop().call_later(self._workers.timeout_s / 4, self._expire)


def _error(file: str, outcome: object) -> BinaryUnavailable | None:
    """Return why ``file`` cannot be used, by the outcome of a look at it."""
    if isinstance(outcome, BinaryUnavailable):
        # It is kept, and its frames are not to be.
        return outcome.with_traceback(None)
    return BinaryUnavailable(file, str(outcome)) if isinstance(outcome, Exception) else None
