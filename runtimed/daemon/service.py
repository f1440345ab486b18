"""What the daemon can be asked: the functions that the socket's routes are given."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

import structlog

from runtimed.api.metrics import Figures
from runtimed.api.sockets import Peer
from runtimed.core.collection.collect import Collection
from runtimed.core.drift import Drift
from runtimed.core.errors import BinaryUnavailable
from runtimed.core.features import Features
from runtimed.core.history.retained import RetainedGeneration, Summary
from runtimed.core.report import Report
from runtimed.core.table.facts import Machine
from runtimed.core.table.generation import Generation
from runtimed.daemon.status import Status
from runtimed.host.facts import read_machine, read_system
from runtimed.host.store import Store
from runtimed.host.worker import Worker
from runtimed.inspection.binaries import NodeInspector
from runtimed.inspection.drift_watch import DriftWatch
from runtimed.inspection.lookups import Lookup, Lookups
from runtimed.inspection.wrapper_collector import Collector
from runtimed.reload.reloader import Reloader

if TYPE_CHECKING:
    from runtimed.core import shapes

log = structlog.get_logger()
T = TypeVar("T")

# How long looking at the disk for a client may take: a dead network file system.
LOOK_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class WorkerThreads:
    """Threads for what may hang, each on file systems of its own: none of them may keep another waiting."""

    # The data root, for clients.
    reading: Worker
    # Wherever binaries are, for clients; the same for their features and their drift.
    looking: Worker
    probing: Worker
    # What engines and processes tell of containers.
    scanning: Worker

    @classmethod
    def open(cls) -> Self:
        """Return new ones."""
        return cls(Worker("data-root"), Worker("looking"), Worker("probing"), Worker("scanning"))

    def close(self) -> None:
        """End all of them."""
        for worker in (self.reading, self.looking, self.probing, self.scanning):
            worker.close()


class Service:
    """The daemon as the API sees it."""

    def __init__(
        self,
        reloader: Reloader,
        store: Store,
        collector: Collector,
        inspector: NodeInspector,
        lookups: Lookups,
        drift: DriftWatch,
        status: Status,
        threads: WorkerThreads,
    ) -> None:
        self._reloader = reloader
        self._store = store
        self._collector = collector
        self._inspector = inspector
        self._drift = drift
        self._status = status
        self._threads = threads
        self.lookup: Callable[[tuple[str, ...]], Lookup] = lookups.of
        self._system = read_system()

    def current(self) -> Generation:
        """Return the current generation."""
        return self._reloader.current

    def status(self) -> shapes.Status:
        """Return how the daemon is, health first."""
        return self._status.as_dict()

    def process_faults(self) -> Mapping[str, str]:
        """Return what is wrong with the process itself; a configuration that is refused is not among it."""
        return self._status.process_faults()

    def faults(self) -> Mapping[str, str]:
        """Return why the daemon is degraded, by subject."""
        return self._status.faults()

    def identity(self) -> str:
        """Return the random id of the data root."""
        return self._store.identity

    def machine(self) -> Machine:
        """Return what machine this is."""
        return read_machine(self._system)

    def figures(self) -> Figures:
        """Return what /metrics says besides what was counted. Blocks."""
        return self._status.figures()

    def retained(self) -> tuple[Summary, ...]:
        """Return a line for each retained generation, the oldest first."""
        return self._store.retained

    def read_generation(self, number: int) -> RetainedGeneration:
        """Return the retained generation ``number``; reads the disk. Raises as ``Store.read`` does."""
        return self._store.read(number)

    def look_up_all(self, files: Iterable[str]) -> Mapping[str, str | BinaryUnavailable]:
        """Return the path that each of ``files``, paths or names, leads to, or why it cannot be executed. Blocks."""
        return self._inspector.look_up_all(files)

    def replaceable(self, binary: str) -> str | None:
        """Return why somebody else could replace ``binary``, None if nobody could."""
        return self._inspector.replaceable(binary)

    def features(self, binary: str) -> Features:
        """Return what ``binary`` says of itself, as far as is known by now."""
        return self._inspector.features(binary)

    def drift(self, binary: str) -> Drift | None:
        """Return what has become of ``binary``, a path or a name as configured, since the load."""
        return self._drift.drifts.get(binary)

    def may_change(self, peer: Peer) -> bool:
        """Return whether ``peer`` is root or the user that the daemon runs as."""
        return peer.uid in (0, os.geteuid())

    async def reload(self, peer: Peer, *, dry_run: bool) -> Report:
        """Return the report of a reload that ``peer`` asked for."""
        log.info("reload.requested", uid=peer.uid, pid=peer.pid, dry_run=dry_run)
        return await self._reloader.reload("api", dry_run=dry_run)

    async def collect(self, peer: Peer, *, dry_run: bool) -> Collection:
        """Return what became of every wrapper when ``peer`` asked."""
        log.info("gc.requested", uid=peer.uid, pid=peer.pid, dry_run=dry_run)
        return await self._collector.collect(f"uid {peer.uid}, pid {peer.pid}", dry_run=dry_run)

    async def reading(self, peer: Peer, function: Callable[..., T], *args: object) -> T:
        """Return the result of ``function(*args)``, which reads the data root for ``peer``.

        Raises:
            TimeoutError: the disk did not answer.
            TooManyWaiting: too much that this user asked for waits for it already.
        """
        async with asyncio.timeout(LOOK_TIMEOUT_S):
            return await self._threads.reading.run_for(peer.uid, function, *args)

    async def looking(self, peer: Peer, function: Callable[..., T], *args: object) -> T:
        """Return the result of ``function(*args)``, which looks for binaries for ``peer``.

        Raises:
            TimeoutError: the disk did not answer.
            TooManyWaiting: too much that this user asked for waits for it already.
        """
        async with asyncio.timeout(LOOK_TIMEOUT_S):
            return await self._threads.looking.run_for(peer.uid, function, *args)
