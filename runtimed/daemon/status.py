"""Computes the daemon's health, its status for the API, and its values for /metrics."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from runtimed import __version__
from runtimed.api.metrics import Figures
from runtimed.core.config import Settings
from runtimed.core.containers import ContainersSummary, describe_containers, summarise_containers
from runtimed.core.drift import BinaryState
from runtimed.core.errors import StoreFailed
from runtimed.core.report import Report, shorten
from runtimed.core.table.availability import Unavailable, binaries_of, find_unavailable, watched_binaries
from runtimed.core.table.generation import Runtime
from runtimed.daemon.announcer import Announcer, drift_document
from runtimed.host.store import Store
from runtimed.host.watch import Watcher
from runtimed.inspection.drift_watch import DriftWatch
from runtimed.inspection.pinned_containers import PinnedContainers
from runtimed.inspection.proofs import Proofs
from runtimed.reload.reloader import Reloader

if TYPE_CHECKING:
    from runtimed.core import shapes

# Bounds of the lists in the status, which every user may request at any rate, and the event loop renders.
_SHOWN = 1000
_SHOWN_OF_REPORT = 100
_SHOWN_OF_DRIFT = 50
# Faults that a restart of the daemon does not cure: a rejected configuration, a full disk, a missing binary.
_NOT_OF_THE_PROCESS = frozenset({"configuration", "default-runtime", "store"})


@dataclass(eq=False, slots=True, kw_only=True)
class Status:
    """The status of the daemon, from its parts. Only `figures` blocks: it reads the data root."""

    reloader: Reloader
    store: Store
    watcher: Watcher
    drift: DriftWatch
    announcer: Announcer
    # The settings that the daemon was started with.
    boot: Settings
    # Return the number of open connections; why no connection can be accepted, or None; and the faults of the
    # published files and of sockets, by subject.
    connections: Callable[[], int]
    exhausted: Callable[[], str | None]
    published_faults: Callable[[], Mapping[str, str]]
    # The containers that use stable paths, as of the last look.
    pinned: PinnedContainers
    proofs: Proofs
    _started_s: float = field(default_factory=time.monotonic, init=False)
    # The last results, with their inputs.
    _unavailable: tuple[tuple[int, str], Mapping[str, BinaryState], tuple[Unavailable, ...]] | None = None
    _last: tuple[Report, shapes.ShortReport] | None = None
    _containers: tuple[tuple[object, ...], ContainersSummary] | None = None

    def faults(self) -> dict[str, str]:
        """Return why the daemon is degraded, by subject; empty when it is not."""
        faults = {**self.published_faults(), **self.reloader.faults}
        if not self.watcher.alive:
            faults["watcher"] = "a watcher thread died; restarting it"
        if (reason := self.exhausted()) is not None:
            faults["connections"] = f"no connection can be accepted: {reason}"
        if (reason := self._default_fault()) is not None:
            faults["default-runtime"] = reason
        return faults

    def process_faults(self) -> Mapping[str, str]:
        """Return the faults of the process itself, by subject."""
        return {subject: reason for subject, reason in self.faults().items() if subject not in _NOT_OF_THE_PROCESS}

    def unavailable(self) -> tuple[Unavailable, ...]:
        """Return the unusable runtimes, according to the last look at their binaries."""
        generation, states = self.reloader.current, self.drift.states
        if self._unavailable is not None and self._unavailable[0] == generation.key and self._unavailable[1] is states:
            return self._unavailable[2]
        obstacles = {binary: seen.reason or seen.state for binary, seen in states.items() if seen.state != "available"}
        found = find_unavailable(generation, obstacles)
        self._unavailable = generation.key, states, found
        return found

    def containers(self) -> ContainersSummary:
        """Return the summary of the containers, according to the last look at them."""
        generation, seen = self.reloader.current, self.pinned
        inputs = *generation.key, seen.pins, seen.unpinned, seen.faults
        if self._containers is None or any(a is not b for a, b in zip(self._containers[0], inputs, strict=True)):
            found = describe_containers(
                seen.pins, generation, self.store.retained.name_of, self.store.retained.generation_of
            )
            self._containers = inputs, summarise_containers(found, len(seen.unpinned), seen.faults)
        return self._containers[1]

    def as_dict(self) -> shapes.Status:
        """Return the JSON shape of the status."""
        generation = self.reloader.current
        faults = self.faults()
        unavailable = self.unavailable()
        events = self.announcer.events
        proofs = self.proofs.summarise(generation, self.drift.states)
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
            "data_root": self.boot.data_root,
            "exec_root": self.boot.exec_root,
            "hosts": list(self.boot.hosts),
            "watcher": {
                "mode": self.watcher.mode,
                "alive": self.watcher.alive,
                "faults": dict(self.watcher.faults),
            },
            "drift": [
                drift_document(drift, self.drift.runtimes(binary), _SHOWN_OF_DRIFT)
                for binary, drift in islice(self.drift.drifts.items(), _SHOWN)
            ],
            "drift_count": len(self.drift.drifts),
            "containers": self.containers().as_dict(),
            # Not part of the health: the daemon serves the table also where an engine does not follow it.
            "engines": list(self.announcer.engines.values()),
            "proofs": {
                "required": generation.config.runtimed.require_proof,
                "states": dict(proofs.states),
                "default": proofs.default,
                "remark": self.proofs.remark,
            },
            "events": {"seq": events.last, "subscribers": len(events)},
            "uptime_s": round(time.monotonic() - self._started_s, 3),
            "pid": os.getpid(),
            "version": __version__,
        }

    def figures(self) -> Figures:
        """Return the values for /metrics, except counters. Blocks."""
        generation = self.reloader.current
        states = self.drift.states
        default = generation.runtimes.get(generation.config.default_runtime)
        runtimes = {"available": 0, "missing": 0, "unusable": 0, "unknown": 0}
        for runtime in generation.runtimes.values():
            runtimes[_state(runtime, states)] += 1
        drift = {"replaced": 0, "removed": 0, "unusable": 0, "installed": 0}
        for binary, found in self.drift.drifts.items():
            drift[found.kind] += len(self.drift.runtimes(binary))
        proofs = self.proofs.summarise(generation, states)
        wrappers = None
        # A disk that cannot be read must not hide the other values.
        with contextlib.suppress(StoreFailed):
            wrappers = len(self.store.wrapper_files())
        return Figures(
            generation=generation.number,
            generations=len(self.store.retained.summaries()),
            runtimes=runtimes,
            default_available=default is not None and _state(default, states) == "available",
            faults=self.faults(),
            watcher_mode=self.watcher.mode,
            watcher_alive=self.watcher.alive,
            drift=drift,
            connections=self.connections(),
            subscribers=len(self.announcer.events),
            wrappers=wrappers,
            containers=self.containers(),
            proofs=proofs.states,
            default_proved=proofs.default["state"] == "proved",
            proof_required=generation.config.runtimed.require_proof,
            # A copy: the event loop records more while a thread renders.
            engines=tuple(self.announcer.engines.values()),
        )

    def _last_reload(self) -> shapes.ShortReport | None:
        report = self.reloader.last
        if report is None:
            return None
        if self._last is None or self._last[0] is not report:
            self._last = report, shorten(report.as_dict(), _SHOWN_OF_REPORT)
        return self._last[1]

    def _default_fault(self) -> str | None:
        name = self.reloader.current.config.default_runtime
        default = self.reloader.current.runtimes.get(name)
        if default is None:
            return None  # it is the name of a shim that is not configured
        for binary in watched_binaries(default):
            was_available = self.drift.was_available(binary)
            obstacle = self.drift.obstacle(binary)
            # containerd looks up the stock runc on its own PATH, where it may be available all the same.
            if obstacle is not None and (was_available or binary in binaries_of(default)):
                return f"{name} {'became' if was_available else 'is'} unavailable: {binary}: {obstacle.reason}"
        return None


def _state(runtime: Runtime, states: Mapping[str, BinaryState]) -> str:
    found = ["unknown" if (seen := states.get(each)) is None else seen.state for each in watched_binaries(runtime)]
    return next((state for state in found if state != "available"), "available" if found else "unknown")
