"""How the daemon is: its health, what it says of itself, its figures."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from runtimed import __version__
from runtimed.api.metrics import Figures
from runtimed.core.config import Settings
from runtimed.core.drift import BinaryState
from runtimed.core.errors import StoreFailed
from runtimed.core.report import Report, shorten
from runtimed.core.table.availability import Unavailable, binaries_of, find_unavailable
from runtimed.core.table.generation import Generation, Runtime
from runtimed.daemon.announcer import Announcer
from runtimed.host.store import Store
from runtimed.host.watch import Watcher
from runtimed.inspection.drift_watch import DriftWatch, watched_binaries
from runtimed.reload.reloader import Reloader

if TYPE_CHECKING:
    from runtimed.core import shapes

# Bounds of the lists in the status: every user may request it at any rate, and the event loop renders it.
_SHOWN = 1000
_SHOWN_OF_REPORT = 100
_SHOWN_OF_DRIFT = 50
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
        # What was computed last, and from what.
        self._unavailable: tuple[Generation, Mapping[str, BinaryState], tuple[Unavailable, ...]] | None = None
        self._last: tuple[Report, shapes.ShortReport] | None = None

    def faults(self) -> dict[str, str]:
        """Return why the daemon is degraded, by subject; empty when it is well."""
        faults = {**self._published_faults(), **self._reloader.faults}
        if not self._watcher.alive:
            faults["watcher"] = "a thread of it has died; it is started again within seconds"
        if (reason := self._traffic.exhausted()) is not None:
            faults["connections"] = f"no connection can be taken: {reason}"
        if (reason := self._default_fault()) is not None:
            faults["default-runtime"] = reason
        return faults

    def unavailable(self) -> tuple[Unavailable, ...]:
        """Return the runtimes that cannot be used, by the last look at their binaries."""
        generation, states = self._reloader.current, self._drift.states
        if self._unavailable is not None and self._unavailable[0] is generation and self._unavailable[1] is states:
            return self._unavailable[2]
        obstacles = {binary: seen.reason or seen.state for binary, seen in states.items() if seen.state != "available"}
        found = find_unavailable(generation, obstacles)
        self._unavailable = generation, states, found
        return found

    def _last_reload(self) -> shapes.ShortReport | None:
        report = self._reloader.last
        if report is None:
            return None
        if self._last is None or self._last[0] is not report:
            self._last = report, shorten(report.as_dict(), _SHOWN_OF_REPORT)
        return self._last[1]

    def _drifts(self) -> list[shapes.DriftNews]:
        found: list[shapes.DriftNews] = []
        for binary, drift in islice(self._drift.drifts.items(), _SHOWN):
            names = self._drift.runtimes(binary)
            found.append({**drift.as_dict(), "runtimes": list(names[:_SHOWN_OF_DRIFT]), "runtime_count": len(names)})
        return found

    def _default_fault(self) -> str | None:
        name, default = _default(self._reloader.current)
        if default is None:
            return None
        for binary in watched_binaries(default):
            was_available = self._drift.was_available(binary)
            obstacle = self._drift.obstacle(binary)
            # containerd looks up the stock runc on a PATH of its own, where it may be from the start.
            if obstacle is not None and (was_available or binary in binaries_of(default)):
                return f"{name} {'became' if was_available else 'is'} unavailable: {binary}: {obstacle.reason}"
        return None

    def process_faults(self) -> Mapping[str, str]:
        """Return what is wrong with the process itself."""
        return {subject: reason for subject, reason in self.faults().items() if subject not in _NOT_OF_THE_PROCESS}

    def as_dict(self) -> shapes.Status:
        """Return how the daemon is as a JSON object, health first."""
        generation = self._reloader.current
        faults = self.faults()
        unavailable = self.unavailable()
        events = self._announcer.events
        return {
            "health": {"status": "degraded" if faults else "ok", "reasons": faults},
            "generation": generation.number,
            "digest": generation.digest,
            "default_runtime": generation.config.default_runtime,
            "runtimes": len(generation.runtimes),
            "unavailable": [each.as_dict() for each in unavailable[:_SHOWN]],
            "unavailable_count": len(unavailable),
            "last_reload": self._last_reload(),
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
            "drift": self._drifts(),
            "drift_count": len(self._drift.drifts),
            "events": {"seq": events.last, "subscribers": len(events)},
            "uptime_s": round(time.monotonic() - self._started_s, 3),
            "pid": os.getpid(),
            "version": __version__,
        }

    def figures(self) -> Figures:
        """Return what /metrics says besides what was counted. Blocks."""
        generation = self._reloader.current
        states = self._drift.states
        _, default = _default(generation)
        runtimes = {"available": 0, "missing": 0, "unusable": 0, "unknown": 0}
        for runtime in generation.runtimes.values():
            runtimes[_state(runtime, states)] += 1
        drift = {"replaced": 0, "removed": 0, "unusable": 0, "installed": 0}
        for binary, found in self._drift.drifts.items():
            drift[found.kind] += len(self._drift.runtimes(binary))
        return Figures(
            generation=generation.number,
            generations=len(self._store.retained),
            runtimes=runtimes,
            default_available=default is not None and _state(default, states) == "available",
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


def _default(generation: Generation) -> tuple[str, Runtime | None]:
    """Return the name of the default runtime, and the runtime; None for the name of a shim that is not configured."""
    name = generation.config.default_runtime
    return name, generation.runtimes.get(name)


def _state(runtime: Runtime, states: Mapping[str, BinaryState]) -> str:
    its = ["unknown" if (seen := states.get(each)) is None else seen.state for each in watched_binaries(runtime)]
    return next((state for state in its if state != "available"), "available" if its else "unknown")
