"""Everything that answers: what the routes may ask, the connections, what looks around on the node for them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import structlog

from runtimed.api.connections import Connections
from runtimed.api.docker import refuse_body
from runtimed.api.listeners import Listeners, Listening
from runtimed.api.messages import Request
from runtimed.api.routes import Routes
from runtimed.api.server import Server
from runtimed.api.sockets import Peer
from runtimed.core.collection.references import ReferenceScan
from runtimed.core.config import Settings
from runtimed.core.drift import BinaryState, Drift
from runtimed.core.report import Report
from runtimed.core.table.availability import Unavailable, summarise_unavailable
from runtimed.core.table.generation import Generation
from runtimed.daemon.announcer import Announcer
from runtimed.daemon.service import Service, WorkerThreads
from runtimed.daemon.status import Status, Traffic
from runtimed.host.containerd import list_containers
from runtimed.host.containers import scan_references
from runtimed.host.store import Store
from runtimed.host.watch import Watcher
from runtimed.inspection.binaries import NodeInspector
from runtimed.inspection.drift_watch import DriftWatch
from runtimed.inspection.lookups import Lookups
from runtimed.inspection.published_files import PublishedWatch
from runtimed.inspection.wrapper_collector import Collector
from runtimed.reload.reloader import Reloader

log = structlog.get_logger()

# How long looking for containers may take before everything is kept.
SCAN_TIMEOUT_S = 60.0
# How long a look at all binaries may take before it counts for nothing.
STATES_TIMEOUT_S = 30.0
# How long clients have to finish what was begun when the daemon stops.
DRAIN_S = 5.0


class Components:
    """Answers on sockets from the reloader's current generation; undone by ``stack``, the last thing first.

    ``disk`` runs a call in the thread that publishes; ``secure`` makes the directory of a socket, or refuses it.
    """

    def __init__(
        self,
        reloader: Reloader,
        store: Store,
        watcher: Watcher,
        boot: Settings,
        inspector: NodeInspector,
        announcer: Announcer,
        stack: AsyncExitStack,
        *,
        disk: Callable[..., Awaitable[Any]],
        secure: Callable[[str], object],
    ) -> None:
        self._reloader = reloader
        self._store = store
        self._threads = WorkerThreads.open()
        stack.callback(self._threads.close)
        self._inspector = inspector
        lookups = Lookups(inspector.look_up, inspector.workers)
        stack.callback(lookups.close)
        self._collector = Collector(
            store,
            scan=self._scan_references,
            disk=disk,
            grace_s=lambda: reloader.current.config.own.grace_s,
            removed=announcer.collected,
        )
        self._announcer = announcer
        self._drift = DriftWatch(self._states, self._drifted)
        self._servers: list[Server] = []
        self._listeners = Listeners(secure, disk, lambda path: log.warning("socket.renewed", path=path))
        self._published = PublishedWatch(self._seems_damaged, self._repair)
        traffic = Traffic(lambda: len(self._connections), self._exhausted)
        self._status = Status(reloader, store, watcher, self._drift, announcer, traffic, boot, self._published_faults)
        service = Service(
            reloader, store, self._collector, inspector, lookups, self._drift, self._status, self._threads
        )
        self._routes = Routes(service, announcer.events, announcer.counters)
        self._connections = Connections(
            self._routes,
            again=self._routes.again,
            refuse_body=refuse_body,
            on_error=_log_request_error,
            on_reset=_log_reset,
            owners=frozenset({0, os.geteuid()}),
        )
        stack.push_async_callback(self._drain)
        self._probes: set[asyncio.Task[None]] = set()
        self._unavailable: tuple[Unavailable, ...] = ()
        self.apply(reloader.current)

    @property
    def connection_count(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def serve(self, sockets: Iterable[Listening], stack: AsyncExitStack) -> None:
        """Begin to take connections from ``sockets``, which listen and do not block."""
        for listening in sockets:
            server = Server(listening.sock, self._connections, on_exhausted=_log_exhausted)
            self._servers.append(server)
            self._listeners.add(listening, server)
            stack.callback(server.close)

    def reloaded(self, report: Report, generation: Generation) -> None:
        """Do what follows from a reload that was not rejected and left ``generation`` current."""
        # Whoever asks for a reload is told what cannot be used.
        self.apply(generation, accept="api" in report.reason or "signal" in report.reason)
        self._routes.docker.reloaded(generation, report.outcome)

    def apply(self, generation: Generation, *, accept: bool = False) -> None:
        """Take over the limits of ``generation`` and have its binaries watched and probed.

        ``accept``: see `DriftWatch.apply`.
        """
        self._connections.admission = generation.config.own.limits
        self._drift.apply(generation, accept=accept)
        self._collector.published(generation)
        self._probe(generation)

    def look_soon(self) -> None:
        """Look at the binaries now: something about one of them has become known."""
        self._drift.look_soon()

    def _probe(self, generation: Generation) -> None:
        # In a thread, and no reload waits for it.
        task = asyncio.create_task(self._threads.probing.run(self._inspector.probe, generation))
        self._probes.add(task)
        task.add_done_callback(self._probes.discard)

    def collect_by_itself(self) -> Coroutine[None, None, None]:
        """Return what watches wrappers for as long as it runs, and collects them where the configuration says so."""
        return self._collector.watch(lambda: self._reloader.current.config.own.gc)

    def watch_drift(self) -> Coroutine[None, None, None]:
        """Return what watches the binaries of the current generation for as long as it runs."""
        return self._drift.watch()

    def watch_published(self) -> Coroutine[None, None, None]:
        """Return what looks at the published files and the sockets' paths, and repairs them, for as long as it runs."""
        return self._published.watch()

    def check_health(self) -> None:
        """Tell of the daemon's health if it has changed."""
        self._announcer.health(self._status.faults())

    async def _states(self, binaries: Iterable[str]) -> Mapping[str, BinaryState]:
        async with asyncio.timeout(STATES_TIMEOUT_S):
            return await self._threads.probing.run(self._inspector.states, tuple(binaries))

    def _drifted(self, come: Mapping[str, Drift], gone: Mapping[str, Drift], loaded: bool) -> None:  # noqa: FBT001
        self._announcer.drifted(come, gone, self._drift.runtimes, loaded=loaded)
        # Another file may be one that the kernel refuses.
        if any(drift.kind in ("replaced", "installed") for drift in come.values()):
            self._probe(self._reloader.current)
        before, self._unavailable = self._unavailable, self._status.unavailable()
        if self._unavailable and self._unavailable != before:
            total = len(self._reloader.current.runtimes)
            log.warning("runtimes.unavailable", reason=summarise_unavailable(self._unavailable, total))
        self.check_health()

    def _published_faults(self) -> Mapping[str, str]:
        return {**self._published.faults, **self._listeners.faults}

    def _seems_damaged(self) -> bool:
        return self._listeners.seems_damaged() or self._store.seems_damaged()

    async def _repair(self) -> bool:
        await self._listeners.note()
        # A lost socket is told before it is bound anew: clients were cut off for some seconds.
        self.check_health()
        await self._listeners.renew()
        await self._reloader.repair()
        self.check_health()
        return bool(self._listeners.faults) or "store" in self._reloader.faults

    async def _scan_references(self) -> ReferenceScan:
        engines = self._reloader.current.config.own.containerd
        list_within = partial(list_containers, timeout_s=SCAN_TIMEOUT_S / 2)
        look = partial(scan_references, engines, below=self._store.root, list_containers=list_within)
        try:
            async with asyncio.timeout(SCAN_TIMEOUT_S):
                return await self._threads.scanning.run(look)
        except TimeoutError:
            return ReferenceScan((), (f"looking for what refers to it took longer than {SCAN_TIMEOUT_S:g} s",))
        except Exception as error:  # noqa: BLE001 - what cannot be known keeps everything
            return ReferenceScan((), (f"looking for what refers to it failed: {error!r}",))

    def _exhausted(self) -> str | None:
        return next((server.exhausted for server in self._servers if server.exhausted), None)

    async def _drain(self) -> None:
        self._announcer.events.close()
        if cut_off := await self._connections.drain(DRAIN_S):
            log.warning("stop.connections_cut_off", connections=cut_off)


def _log_exhausted(error: OSError) -> None:
    log.error("connections.exhausted", reason=error.strerror, retry="within a second")


def _log_request_error(request: Request, error: Exception) -> None:
    log.error("request.failed", method=request.method, path=request.path, exc_info=error)


def _log_reset(peer: Peer, unread_bytes: int) -> None:
    log.warning("connection.reset", uid=peer.uid, pid=peer.pid, unread_bytes=unread_bytes)
