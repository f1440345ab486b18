"""How the daemon is: its health, what it says of itself, its figures."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtimed import __version__
from runtimed.announcer import Announcer
from runtimed.api.metrics import Figures
from runtimed.core.config import Settings
from runtimed.core.drift import Sight
from runtimed.core.errors import StoreFailed
from runtimed.core.generation import Generation
from runtimed.drift import DriftWatch, binary_of
from runtimed.host.store import Store
from runtimed.host.watch import Watcher
from runtimed.reloader import Reloader

if TYPE_CHECKING:
    from runtimed.core import news

# A refused configuration, a full disk, a binary that was removed: no restart of the daemon would cure these.
_NOT_OF_THE_PROCESS = frozenset({"configuration", "default-runtime", "store"})


@dataclass(frozen=True, slots=True)
class Traffic:
    """How many connections there are, and why none can be taken at the moment, None while they can."""

    connections: Callable[[], int]
    exhausted: Callable[[], str | None]


class Status:
    """Looks at all parts of the daemon; nothing here blocks but ``figures``, which reads the data root."""

    def __init__(
        self,
        reloader: Reloader,
        store: Store,
        watcher: Watcher,
        drift: DriftWatch,
        announcer: Announcer,
        traffic: Traffic,
        boot: Settings,
        published_faults: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._reloader = reloader
        self._store = store
        self._watcher = watcher
        self._drift = drift
        self._announcer = announcer
        self._traffic = traffic
        self._boot = boot
        self._published_faults = published_faults
        self._started_s = time.monotonic()

    def faults(self) -> dict[str, str]:
        """Return why the daemon is degraded, by subject; empty when it is well."""
        faults = {**self._published_faults(), **self._reloader.faults}
        if not self._watcher.alive:
            faults["watcher"] = "a thread of it has died; it is started again within seconds"
        if (reason := self._traffic.exhausted()) is not None:
            faults["connections"] = f"no connection can be taken: {reason}"
        generation = self._reloader.current
        binary = _default_binary(generation)
        if (lost := self._drift.lost(binary)) is not None:
            name = generation.config.default_runtime
            faults["default-runtime"] = f"{name} became unavailable: {binary}: {lost.reason}"
        return faults

    def ailments(self) -> Mapping[str, str]:
        """Return what is wrong with the process itself."""
        return {subject: reason for subject, reason in self.faults().items() if subject not in _NOT_OF_THE_PROCESS}

    def as_dict(self) -> news.Status:
        """Return how the daemon is as a JSON object, health first."""
        generation = self._reloader.current
        last = self._reloader.last
        faults = self.faults()
        events = self._announcer.events
        drifts = self._drift.drifts.items()
        return {
            "health": {"status": "degraded" if faults else "ok", "reasons": faults},
            "generation": generation.number,
            "digest": generation.digest,
            "default_runtime": generation.config.default_runtime,
            "runtimes": len(generation.runtimes),
            "last_reload": None if last is None else last.as_dict(),
            "configuration": generation.config.path,
            "sources": list(generation.config.sources),
            "data_root": self._boot.data_root,
            "exec_root": self._boot.exec_root,
            "hosts": list(self._boot.hosts),
            "watcher": {
                "mode": self._watcher.mode,
                "alive": self._watcher.alive,
                "faults": dict(self._watcher.faults),
            },
            "drift": [{**drift.as_dict(), "runtimes": list(self._drift.runtimes(binary))} for binary, drift in drifts],
            "events": {"seq": events.last, "subscribers": len(events)},
            "uptime_s": round(time.monotonic() - self._started_s, 3),
            "pid": os.getpid(),
            "version": __version__,
        }

    def figures(self) -> Figures:
        """Return what /metrics says besides what was counted. Blocks."""
        generation = self._reloader.current
        sights = self._drift.sights
        runtimes = {"available": 0, "missing": 0, "unusable": 0, "unknown": 0}
        for runtime in generation.runtimes.values():
            runtimes[_state(sights.get(binary_of(runtime)))] += 1
        drift = {"replaced": 0, "removed": 0, "unusable": 0, "installed": 0}
        for binary, found in self._drift.drifts.items():
            drift[found.kind] += len(self._drift.runtimes(binary))
        return Figures(
            generation=generation.number,
            generations=len(self._store.retained),
            runtimes=runtimes,
            default_available=_state(sights.get(_default_binary(generation))) == "available",
            faults=self.faults(),
            watcher_mode=self._watcher.mode,
            watcher_alive=self._watcher.alive,
            drift=drift,
            connections=self._traffic.connections(),
            subscribers=len(self._announcer.events),
            wrappers=self._wrappers(),
        )

    def _wrappers(self) -> int | None:
        # On a disk that is ill all other figures are wanted the more.
        with contextlib.suppress(StoreFailed):
            return len(self._store.wrapper_files())
        return None


def _default_binary(generation: Generation) -> str:
    """Return what the default runtime executes; empty for a shim's name that nobody configured."""
    default = generation.runtimes.get(generation.config.default_runtime)
    return binary_of(default) if default is not None else ""


def _state(sight: Sight | None) -> str:
    return "unknown" if sight is None else sight.state
