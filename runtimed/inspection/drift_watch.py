"""Watches the binaries of the current generation for drift."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType

from runtimed.core.drift import BinaryState, Drift, compare_states
from runtimed.core.table.availability import watched_binaries
from runtimed.core.table.generation import Generation
from runtimed.core.table.resolve import find_runtime

# Interval between checks in a thread, each of which may cause a look. A look wakes four threads, a check only its own.
EVERY_S = 10.0
# Checks and looks take no more than this share of the time: the interval grows for that, up to STRETCH times.
SHARE = 0.02
STRETCH = 6


class DriftWatch:
    """Compares the node's binaries with their states at the last load of the configuration.

    ``look`` returns the state of each binary, or raises TimeoutError. ``on_look`` is called after every look with the
    drift that has begun and that has ended since the last look, by binary, and whether a load is the reason; and
    without drift when no look was due for STRETCH intervals. ``seem_changed`` is called in a thread with the states of
    the last look, and returns whether another look is due. While it hangs, looks are made without it, the
    first of them up to STRETCH intervals later.

    `drifts` and `states` are the results of the last look, by binary.
    """

    def __init__(
        self,
        look: Callable[[Iterable[str]], Awaitable[Mapping[str, BinaryState]]],
        on_look: Callable[[Mapping[str, Drift], Mapping[str, Drift], bool], None],
        seem_changed: Callable[[Mapping[str, BinaryState]], bool],
        every_s: float = EVERY_S,
    ) -> None:
        self._look = look
        self._on_look = on_look
        self._seem_changed = seem_changed
        self._every_s = every_s
        self.drifts: Mapping[str, Drift] = MappingProxyType({})
        self.states: Mapping[str, BinaryState] = MappingProxyType({})
        # Binary -> names of the runtimes that execute it.
        self._watched: Mapping[str, tuple[str, ...]] = MappingProxyType({})
        self._loaded: Mapping[str, BinaryState] | None = None
        # The number of calls of `apply` and `update`: a look that began before the last one has older states.
        self._calls = 0
        # Binaries that were available at some look since the process started.
        self._once_available: set[str] = set()
        # Unavailable binaries that a reload has accepted, and those that the next look adds if they are unavailable.
        self._accepted: set[str] = set()
        self._accepting: frozenset[str] = frozenset()
        self._wake_up = asyncio.Event()
        self._longest_s = every_s * STRETCH
        self._pause_s = every_s
        # Stays true while a check hangs.
        self._is_checking = False

    def obstacle(self, binary: str) -> BinaryState | None:
        """Return the state of an unavailable ``binary``; None if it is available, or a reload has accepted it."""
        seen = self.states.get(binary)
        return None if seen is None or seen.state == "available" or binary in self._accepted else seen

    def was_available(self, binary: str) -> bool:
        """Return whether ``binary`` was available at some look since the process started."""
        return binary in self._once_available

    def drift_of(self, binary: str) -> Drift | None:
        """Return how ``binary``, a path or a name as configured, differs from the one at the last load."""
        return self.drifts.get(binary)

    def runtimes(self, binary: str) -> tuple[str, ...]:
        """Return the names of the runtimes that execute ``binary``."""
        return self._watched.get(binary, ())

    def apply(self, generation: Generation, *, accept: bool = False) -> None:
        """Watch the binaries of ``generation``; their states at the next look are those of its load.

        ``accept``: binaries that were watched before and are unavailable at that look are accepted. A binary that is
        new in ``generation`` is not, because it has never been reported.
        """
        watched = generation.binaries
        # The default runtime may be a shim that is not configured.
        default = find_runtime(generation, generation.config.default_runtime)
        if default.name not in generation.runtimes:
            names = {binary: (*watched.get(binary, ()), default.name) for binary in watched_binaries(default)}
            watched = {**watched, **names}
        if accept:
            self._accepting |= self._watched.keys()
        self._watched = watched
        self._loaded = None
        self._calls += 1
        self._wake_up.set()

    def update(self, states: Mapping[str, BinaryState]) -> None:
        """Add the ``states`` of some binaries to those of the last look, and look at all binaries soon."""
        self._keep({**self.states, **states})
        self._calls += 1
        self._wake_up.set()

    def look_soon(self) -> None:
        """Look now, because the state of a binary may have changed."""
        self._wake_up.set()

    async def watch(self) -> None:
        """Look, and call ``on_look``, until cancelled."""
        stopped = threading.Event()
        # A daemon thread, because a file system that hangs must not keep the process from stopping.
        check = partial(self._check, asyncio.get_running_loop(), stopped)
        threading.Thread(target=check, name="drift", daemon=True).start()
        try:
            await self._watch()
        finally:
            stopped.set()

    async def _watch(self) -> None:
        while True:
            self._wake_up.clear()
            calls = self._calls
            begun_s, states = time.monotonic(), None
            try:
                states = await self._look(self._watched)
            except TimeoutError:
                self._on_look({}, {}, self._loaded is None)
            else:
                # Otherwise the next look follows at once.
                if calls == self._calls:
                    self._compare(states)
            self._pause_s = self._pause_after(time.monotonic() - begun_s)
            while not await self._is_woken_up(lacks_states=states is None):
                self._on_look({}, {}, self._loaded is None)

    async def _is_woken_up(self, *, lacks_states: bool) -> bool:
        """Wait, and return whether a look is due."""
        try:
            async with asyncio.timeout(self._pause_s if lacks_states or self._is_checking else self._longest_s):
                return await self._wake_up.wait()
        except TimeoutError:
            # A check that began after the last look may hang since.
            return lacks_states or self._is_checking

    def _check(self, loop: asyncio.AbstractEventLoop, stopped: threading.Event) -> None:
        """Have `watch` look when a binary seems to have changed, until ``stopped``."""
        took_s = 0.0
        while not stopped.wait(max(self._pause_s, self._pause_after(took_s))):
            begun_s, self._is_checking = time.monotonic(), True
            try:
                changed = self._seem_changed(self.states)
            except Exception:  # noqa: BLE001 - the look reports it
                changed = True
            took_s, self._is_checking = time.monotonic() - begun_s, False
            if changed:
                # RuntimeError: the loop is closed, the daemon has stopped.
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._wake_up.set)

    def _pause_after(self, took_s: float) -> float:
        return min(max(self._every_s, took_s / SHARE), self._longest_s)

    def _compare(self, states: Mapping[str, BinaryState]) -> None:
        is_load = self._loaded is None
        if self._loaded is None:
            self._loaded = states
        available = {binary for binary, seen in states.items() if seen.state == "available"}
        self._once_available = (self._once_available | available) & self._watched.keys()
        self._accepted = ((self._accepted | self._accepting) & self._watched.keys()) - available
        self._accepting = frozenset()
        self._keep(states)
        before = self.drifts
        self.drifts = compare_states(self._loaded, states)
        begun = {binary: drift for binary, drift in self.drifts.items() if before.get(binary) != drift}
        ended = {binary: drift for binary, drift in before.items() if binary not in self.drifts}
        self._on_look(begun, ended, is_load)

    def _keep(self, states: Mapping[str, BinaryState]) -> None:
        # The same object until a state changes: users compare a large table with it only when it is another one.
        if states != self.states:
            self.states = MappingProxyType(dict(states))
