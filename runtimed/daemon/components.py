"""Composes the parts of a serving daemon: routes, connections, and the watches over binaries, wrappers and files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from runtimed.api.connections import Connections
from runtimed.api.docker import refuse_body
from runtimed.api.functions import DaemonFunctions
from runtimed.api.listeners import Listeners, Listening
from runtimed.api.messages import Request
from runtimed.api.routes import Routes
from runtimed.api.server import Server
from runtimed.api.sockets import Peer
from runtimed.core.collection import collect
from runtimed.core.config import Engine, Settings
from runtimed.core.drift import BinaryState, Drift
from runtimed.core.history.trigger import Actor, Trigger
from runtimed.core.proof.record import Proof, judge_proof
from runtimed.core.report import Report
from runtimed.core.table.availability import Unavailable, executed_binaries, summarise_unavailable
from runtimed.core.table.generation import Generation, Runtime
from runtimed.daemon.announcer import Announcer
from runtimed.daemon.container_watch import ContainerWatch
from runtimed.daemon.status import Status
from runtimed.daemon.threads import CALL_TIMEOUT_S, call_for, open_worker, read_command_of
from runtimed.host.facts import read_machine, read_system
from runtimed.host.store import Store
from runtimed.host.store.table_file import TableFile
from runtimed.host.watch import Watcher
from runtimed.inspection.binaries import NodeInspector
from runtimed.inspection.drift_watch import DriftWatch
from runtimed.inspection.lookups import Lookups
from runtimed.inspection.proofs import Proofs
from runtimed.inspection.published_files import PublishedWatch
from runtimed.inspection.wrapper_collector import Collector
from runtimed.reload.reloader import Reloader

if TYPE_CHECKING:
    from runtimed.core import shapes

log = structlog.get_logger()

# Time after which a look at all binaries counts as failed.
STATES_TIMEOUT_S = 30.0
# Time that requests have to finish when the daemon stops.
DRAIN_S = 5.0


class Components:
    """The parts that respond to clients from the current generation of ``reloader``; ``stack`` ends them.

    ``boot`` are the settings of the start. ``disk`` calls a function in the thread that publishes;
    ``secure`` creates the directory of a socket, or refuses it.
    """

    def __init__(
        self,
        *,
        reloader: Reloader,
        store: Store,
        proofs: Proofs,
        table: TableFile,
        containers: ContainerWatch,
        watcher: Watcher,
        boot: Settings,
        inspector: NodeInspector,
        announcer: Announcer,
        stack: AsyncExitStack,
        disk: Callable[..., Awaitable[Any]],
        secure: Callable[[str], object],
    ) -> None:
        self._reloader = reloader
        self._store = store
        self._proofs = proofs
        self._disk = disk
        self._table = table
        self._containers = containers
        self._inspector = inspector
        self._announcer = announcer
        self._probing_thread = open_worker("probing", stack)
        self._peers_thread = open_worker("peers", stack)
        self._collector = Collector(
            store,
            scan=lambda: containers.find_references(self._engines()),
            read_pins=containers.find_pin_references,
            disk=disk,
            grace_s=lambda: reloader.current.config.runtimed.grace_s,
            on_removed=announcer.collected,
        )
        self.drift = DriftWatch(self._find_states, self._on_look, inspector.seem_changed)
        self._servers: list[Server] = []
        self._listeners = Listeners(secure, disk, lambda path: log.warning("socket.renewed", path=path))
        self._published = PublishedWatch(self._seems_damaged, self._repair)
        self._status = self._build_status(watcher, boot)
        owners = frozenset({0, os.geteuid()})
        self._routes = Routes(self._build_functions(owners, stack), announcer.events, announcer.counters)
        self.connections = self._build_connections(owners)
        stack.push_async_callback(self._drain)
        if table.refusal is not None:
            remedy = f"in the unit: SupplementaryGroups={table.gid}"
            log.warning("table.private", path=table.path, gid=table.gid, reason=table.refusal, remedy=remedy)
        self._probes: set[asyncio.Task[None]] = set()
        self._unavailable: tuple[Unavailable, ...] = ()
        self._announced = self._find_proofs()
        self._apply(reloader.current, accept=False)

    def _build_status(self, watcher: Watcher, boot: Settings) -> Status:
        return Status(
            reloader=self._reloader,
            store=self._store,
            watcher=watcher,
            drift=self.drift,
            announcer=self._announcer,
            boot=boot,
            connections=lambda: len(self.connections),
            exhausted=lambda: next((server.exhausted for server in self._servers if server.exhausted), None),
            published_faults=lambda: {**self._published.faults, **self._listeners.faults},
            pinned=self._containers.pinned,
            proofs=self._proofs,
        )

    def _build_connections(self, owners: frozenset[int]) -> Connections:
        return Connections(
            self._routes,
            again=self._routes.again,
            refuse_body=refuse_body,
            on_error=_log_request_error,
            on_reset=_log_reset,
            owners=owners,
        )

    def _build_functions(self, owners: Collection[int], stack: AsyncExitStack) -> DaemonFunctions:
        """Return the functions that the routes may call; users in ``owners`` may send a POST."""
        reloader, store, inspector, status = self._reloader, self._store, self._inspector, self._status
        system = read_system()
        data_root_thread, binaries_thread = open_worker("data-root", stack), open_worker("binaries", stack)
        lookups = Lookups(inspector.look_up, inspector.pool)
        stack.callback(lookups.close)
        return DaemonFunctions(
            current=lambda: reloader.current,
            status=status.as_dict,
            process_faults=status.process_faults,
            faults=status.faults,
            identity=lambda: store.identity,
            machine=lambda: read_machine(system),
            retained=store.retained.summaries,
            lookup=lookups.of,
            read_generation=store.retained.read,
            read_events=store.event_files.read,
            figures=status.figures,
            containers=self._containers.describe,
            look_up_all=inspector.look_up_all,
            replaceable=inspector.replaceable,
            features=inspector.features,
            drift=self.drift.drift_of,
            current_proof=self._proofs.judge_now,
            last_proof=lambda runtime: self._proofs.judge(runtime, self.drift.states),
            in_data_root=partial(call_for, data_root_thread),
            in_binaries=partial(call_for, binaries_thread),
            may_change=lambda peer: peer.uid in owners,
            reload=self._reload,
            collect=self._collect,
            record_verification=self._announcer.verified,
            record_proof=partial(self._record_proof, partial(call_for, binaries_thread)),
        )

    def serve(self, sockets: Iterable[Listening], stack: AsyncExitStack) -> None:
        """Accept connections from ``sockets``, which listen and do not block."""
        for listening in sockets:
            server = Server(listening.sock, self.connections, on_exhausted=_log_exhausted)
            self._servers.append(server)
            self._listeners.add(listening, server)
            stack.callback(server.close)

    def watches(self) -> Mapping[str, Coroutine[None, None, None]]:
        """Return the coroutines that watch the node until they are cancelled, by name."""
        return {
            "gc": self._collector.watch(lambda: self._reloader.current.config.runtimed.gc),
            "drift": self.drift.watch(),
            "published": self._published.watch(),
            "pins": self._containers.watch(self._engines),
        }

    def on_report(self, report: Report, generation: Generation) -> None:
        """Apply ``generation``, which is current after the reload of ``report``, and check the daemon's health."""
        if report.outcome != "rejected":
            # The report names unusable runtimes to the user who requests a reload, so they are no fault afterwards.
            self._apply(generation, accept="api" in report.reason or "signal" in report.reason)
            self._routes.docker.reloaded(generation, report.outcome)
        self._check_health()

    def _check_health(self) -> None:
        self._announcer.health(self._status.faults())

    async def _reload(self, peer: Peer, *, dry_run: bool) -> Report:
        log.info("reload.requested", uid=peer.uid, pid=peer.pid, dry_run=dry_run)
        command = None if dry_run else await read_command_of(self._peers_thread, peer)
        trigger = Trigger(("api",), (Actor(peer.uid, peer.pid, command),))
        return await self._reloader.reload(trigger, dry_run=dry_run)

    async def _collect(self, peer: Peer, *, dry_run: bool) -> collect.Collection:
        log.info("gc.requested", uid=peer.uid, pid=peer.pid, dry_run=dry_run)
        return await self._collector.collect(f"uid {peer.uid}, pid {peer.pid}", dry_run=dry_run)

    async def _record_proof(
        self, in_binaries: Callable[..., Awaitable[Any]], peer: Peer, runtime: Runtime, proof: Proof
    ) -> shapes.Proof:
        log.info("proof.requested", runtime=runtime.name, uid=peer.uid, pid=peer.pid)
        states = await in_binaries(peer, self._proofs.compare, runtime, proof)
        async with asyncio.timeout(CALL_TIMEOUT_S):
            await self._disk(self._proofs.record, proof, self._reloader.current)
        # The last look at all binaries may be older than the test.
        self.drift.update(states)
        self._announce_proofs()
        return judge_proof(proof, proof.digest, proof.identity)

    def _apply(self, generation: Generation, *, accept: bool) -> None:
        self.connections.admission = generation.config.runtimed.limits
        self.drift.apply(generation, accept=accept)
        self._probe_soon()

    def _probe_soon(self) -> None:
        # In a thread, so that no reload waits for it.
        task = asyncio.create_task(self._probing_thread.run(self._probe))
        self._probes.add(task)
        task.add_done_callback(self._probes.discard)

    def _probe(self) -> None:
        generation = self._reloader.current
        settings, binaries = generation.config.runtimed.probe, executed_binaries(generation)
        # If it is replaced while the disk is read, this thread must not be the one that frees it, all at once.
        del generation
        self._inspector.probe(settings, binaries)

    async def _find_states(self, binaries: Iterable[str]) -> Mapping[str, BinaryState]:
        async with asyncio.timeout(STATES_TIMEOUT_S):
            return await self._probing_thread.run(self._inspector.states, tuple(binaries))

    def _on_look(self, begun: Mapping[str, Drift], ended: Mapping[str, Drift], loaded: bool) -> None:  # noqa: FBT001
        self._announcer.drifted(begun, ended, self.drift.runtimes, loaded=loaded)
        # The kernel may refuse the new file.
        if any(drift.kind in ("replaced", "installed") for drift in begun.values()):
            self._probe_soon()
        self._announce_proofs()
        before, self._unavailable = self._unavailable, self._status.unavailable()
        if self._unavailable and self._unavailable != before:
            total = len(self._reloader.current.runtimes)
            log.warning("runtimes.unavailable", reason=summarise_unavailable(self._unavailable, total))
        self._check_health()

    def _announce_proofs(self) -> None:
        before, self._announced = self._announced, self._find_proofs()
        self._announcer.proved(before, self._announced)

    def _find_proofs(self) -> Mapping[str, shapes.Proof]:
        return self._proofs.summarise(self._reloader.current, self.drift.states).found

    def _seems_damaged(self) -> bool:
        return self._listeners.seems_damaged() or self._table.seems_damaged() or self._store.seems_damaged()

    async def _repair(self) -> bool:
        await self._listeners.note()
        # The loss of a socket is announced before it is repaired, because clients could not connect for some seconds.
        self._check_health()
        await self._listeners.renew()
        await self._reloader.repair()
        self._check_health()
        return bool(self._listeners.faults) or "store" in self._reloader.faults

    def _engines(self) -> Sequence[Engine]:
        return self._reloader.current.config.runtimed.containerd

    async def _drain(self) -> None:
        self._announcer.events.close()
        if cut_off := await self.connections.drain(DRAIN_S):
            log.warning("stop.connections_cut_off", connections=cut_off)


def _log_exhausted(error: OSError) -> None:
    log.error("connections.exhausted", reason=error.strerror, retry="within a second")


def _log_request_error(request: Request, error: Exception) -> None:
    log.error("request.failed", method=request.method, path=request.path, exc_info=error)


def _log_reset(peer: Peer, unread_bytes: int) -> None:
    log.warning("connection.reset", uid=peer.uid, pid=peer.pid, unread_bytes=unread_bytes)
