"""Builds the record of the daemon's functions that the API's routes may call."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self

import structlog

from runtimed.api.functions import DaemonFunctions
from runtimed.api.sockets import Peer
from runtimed.core.collection.collect import Collection
from runtimed.core.report import Report
from runtimed.daemon.status import Status
from runtimed.host.facts import read_machine, read_system
from runtimed.host.store import Store
from runtimed.host.worker import Worker
from runtimed.inspection.binaries import NodeInspector
from runtimed.inspection.drift_watch import DriftWatch
from runtimed.inspection.lookups import Lookups
from runtimed.inspection.wrapper_collector import Collector
from runtimed.reload.reloader import Reloader

log = structlog.get_logger()

# Time after which a request that waits for a file system is answered with an error.
CALL_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class WorkerThreads:
    """One worker thread for each kind of blocking call, so that a hanging file system delays only its own kind."""

    # Clients' calls: those that read the data root, and those that look at binaries anywhere on the node.
    data_root: Worker
    binaries: Worker
    # The daemon's own calls: looking at binaries for probes and drift, and scanning engines for references.
    probing: Worker
    scanning: Worker

    @classmethod
    def open(cls) -> Self:
        """Start the threads."""
        return cls(Worker("data-root"), Worker("binaries"), Worker("probing"), Worker("scanning"))

    def close(self) -> None:
        """End the threads."""
        for worker in (self.data_root, self.binaries, self.probing, self.scanning):
            worker.close()


def build_functions(
    reloader: Reloader,
    store: Store,
    collector: Collector,
    inspector: NodeInspector,
    lookups: Lookups,
    drift: DriftWatch,
    status: Status,
    threads: WorkerThreads,
) -> DaemonFunctions:
    """Return the functions of these parts of the daemon."""
    system, trusted_uids = read_system(), {0, os.geteuid()}

    async def reload(peer: Peer, *, dry_run: bool) -> Report:
        log.info("reload.requested", uid=peer.uid, pid=peer.pid, dry_run=dry_run)
        return await reloader.reload("api", dry_run=dry_run)

    async def collect(peer: Peer, *, dry_run: bool) -> Collection:
        log.info("gc.requested", uid=peer.uid, pid=peer.pid, dry_run=dry_run)
        return await collector.collect(f"uid {peer.uid}, pid {peer.pid}", dry_run=dry_run)

    return DaemonFunctions(
        current=lambda: reloader.current,
        status=status.as_dict,
        process_faults=status.process_faults,
        faults=status.faults,
        identity=lambda: store.identity,
        machine=lambda: read_machine(system),
        retained=lambda: store.retained,
        lookup=lookups.of,
        read_generation=store.read,
        figures=status.figures,
        look_up_all=inspector.look_up_all,
        replaceable=inspector.replaceable,
        features=inspector.features,
        drift=drift.drift_of,
        in_data_root=_within_time(threads.data_root),
        in_binaries=_within_time(threads.binaries),
        may_change=lambda peer: peer.uid in trusted_uids,
        reload=reload,
        collect=collect,
    )


def _within_time(worker: Worker) -> Callable[..., Awaitable[Any]]:
    async def call(peer: Peer, function: Callable[..., Any], *args: object) -> Any:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            return await worker.run_for(peer.uid, function, *args)

    return call
