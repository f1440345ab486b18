"""Watching for drift: the binaries of the current generation, looked at now and then."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType

from runtimed.core.containerd.names import shim_binary_name
from runtimed.core.drift import BinaryState, Drift, compare_states
from runtimed.core.table.availability import binaries_of
from runtimed.core.table.generation import Generation, Runtime

# How often binaries are looked at; less often where that takes long, so that it never costs more than this share.
EVERY_S = 10.0
SHARE = 0.02
PAUSE_MOST_S = 300.0

Look = Callable[[Iterable[str]], Awaitable[Mapping[str, BinaryState]]]


def binary_of(runtime: Runtime) -> str:
    """Return what is executed for ``runtime`` in the end, a path or a name; empty where containerd derives nothing."""
    return runtime.binary or shim_binary_name(runtime.shim)


def watched_binaries(runtime: Runtime) -> tuple[str, ...]:
    """Return the binaries that have to be executable for ``runtime``, and the one that is executed in the end."""
    return tuple(dict.fromkeys(binary for binary in (*binaries_of(runtime), binary_of(runtime)) if binary))


class DriftWatch:
    """Compares the node's binaries with what they were when the configuration was last loaded.

    ``look`` returns what is found of each binary, or raises TimeoutError; ``told`` hears, after every look, what
    drift has come and what has gone since the last one, by binary, and whether that is so because of a load.
    """

    def __init__(
        self,
        look: Look,
        told: Callable[[Mapping[str, Drift], Mapping[str, Drift], bool], None],
        every_s: float = EVERY_S,
    ) -> None:
        self._look = look
        self._told = told
        self._every_s = every_s
        self._wanted: Mapping[str, tuple[str, ...]] = MappingProxyType({})
        self._loaded: Mapping[str, BinaryState] | None = None
        self._now: Mapping[str, BinaryState] = MappingProxyType({})
        self._drifts: Mapping[str, Drift] = MappingProxyType({})
        # Binaries that could be executed at some look since the process began.
        self._once_available: set[str] = set()
        # Binaries that cannot be executed, and a reload has taken that as it is; and those that the next look adds
        # to them if it finds that they cannot.
        self._accepted: set[str] = set()
        self._accepting: frozenset[str] = frozenset()
        self._awake = asyncio.Event()

    def obstacle(self, binary: str) -> BinaryState | None:
        """Return why ``binary`` cannot be executed; None where it can, and where a reload has accepted that."""
        seen = self._now.get(binary)
        if seen is None or seen.state == "available" or binary in self._accepted:
            return None
        return seen

    def was_available(self, binary: str) -> bool:
        """Return whether ``binary`` could be executed at some look since the process began."""
        return binary in self._once_available

    @property
    def drifts(self) -> Mapping[str, Drift]:
        """What is different now, by binary."""
        return self._drifts

    @property
    def states(self) -> Mapping[str, BinaryState]:
        """What was found at the last look, by binary."""
        return self._now

    def drift_of(self, binary: str) -> Drift | None:
        """Return how ``binary``, a path or a name as configured, differs from the one at the last load."""
        return self._drifts.get(binary)

    def runtimes(self, binary: str) -> tuple[str, ...]:
        """Return the names of the runtimes that execute ``binary``."""
        return self._wanted.get(binary, ())

    def apply(self, generation: Generation, *, accept: bool = False) -> None:
        """Take the node as it is now for what ``generation`` was loaded with.

        ``accept``: that some binaries cannot be executed is accepted as well, if they were watched before. One that is
        new in ``generation`` has never been reported.
        """
        wanted: dict[str, list[str]] = {}
        for name, runtime in generation.runtimes.items():
            for binary in watched_binaries(runtime):
                wanted.setdefault(binary, []).append(name)
        if accept:
            self._accepting |= self._wanted.keys()
        self._wanted = MappingProxyType({binary: tuple(names) for binary, names in wanted.items()})
        self._loaded = None
        self._awake.set()

    def look_soon(self) -> None:
        """Look at once: something about a binary has become known."""
        self._awake.set()

    async def watch(self) -> None:
        """Look, and tell, for as long as this runs."""
        while True:
            self._awake.clear()
            wanted = self._wanted
            begun_s = time.monotonic()
            try:
                states = await self._look(wanted)
            except TimeoutError:
                # A file system that does not answer tells nothing.
                self._told({}, {}, self._loaded is None)
            else:
                if wanted is self._wanted:
                    self._take(states)
            pause_s = min(max(self._every_s, (time.monotonic() - begun_s) / SHARE), PAUSE_MOST_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._awake.wait()

    def _take(self, states: Mapping[str, BinaryState]) -> None:
        loaded = self._loaded is None
        if self._loaded is None:
            self._loaded = states
        available = {binary for binary, seen in states.items() if seen.state == "available"}
        self._once_available = (self._once_available | available) & self._wanted.keys()
        self._accepted = ((self._accepted | self._accepting) & self._wanted.keys()) - available
        self._accepting = frozenset()
        before, self._now = self._drifts, states
        self._drifts = compare_states(self._loaded, states)
        come = {binary: drift for binary, drift in self._drifts.items() if before.get(binary) != drift}
        gone = {binary: drift for binary, drift in before.items() if binary not in self._drifts}
        self._told(come, gone, loaded)
