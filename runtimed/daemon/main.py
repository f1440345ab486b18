"""Composes the daemon from its parts, starts and stops them, and handles signals."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import signal
import sys
from collections.abc import Coroutine, MutableMapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

import structlog

from runtimed import __version__
from runtimed.core.config import Config, Settings
from runtimed.core.configuration.inputs import Documents
from runtimed.core.errors import RuntimedError
from runtimed.core.features import Features
from runtimed.core.history.trigger import Trigger
from runtimed.core.plan import BootContext, plan
from runtimed.core.report import Report
from runtimed.core.table.generation import Generation, Host
from runtimed.daemon.announcer import Announcer
from runtimed.daemon.arguments import Arguments, parse_arguments
from runtimed.daemon.components import Components
from runtimed.daemon.configuration_reader import ConfigurationReader, main_required
from runtimed.daemon.container_watch import ContainerWatch
from runtimed.daemon.event_log import EventLog
from runtimed.daemon.log import configure_log, log_features, log_replaceable
from runtimed.daemon.proofs import ProofPlanner, open_planner
from runtimed.daemon.startup import (
    bind_sockets,
    continue_generation_numbers,
    find_configuration,
    open_store,
    secure_runtime_directories,
    secure_runtime_directory,
    with_table_file,
)
from runtimed.host.facts import read_facts
from runtimed.host.process import raise_descriptor_limit, write_pidfile
from runtimed.host.store import Recovered
from runtimed.host.store.numbers import reserve_event_numbers
from runtimed.host.store.table_file import StoreWithTableFile
from runtimed.host.systemd import Notifier, speaks_to_journal
from runtimed.host.trust import Trust
from runtimed.host.watch import Watcher
from runtimed.host.worker import Worker
from runtimed.inspection.binaries import NodeInspector
from runtimed.reload.gc_freeze import GcFreeze, tune_malloc
from runtimed.reload.reloader import Reloader
from runtimed.reload.settle import reload_on_hints

log = structlog.get_logger()

# Time after which the interpreter takes its lock from a busy thread. Python's default of 5 ms would delay clients.
SWITCH_INTERVAL_S = 0.0005


def run(argv: Sequence[str]) -> int:
    """Run the daemon with the command line ``argv`` until it is stopped; return the exit status.

    0 after SIGTERM or SIGINT, 1 when it cannot start or continue. With ``--validate``: 0 valid, 1 invalid.
    """
    arguments = parse_arguments(argv, os.environ, os.geteuid())
    if arguments.validate:
        # Imported late, because a daemon does not need it.
        from runtimed.daemon.validate import validate  # noqa: PLC0415

        return validate(arguments)
    configure_log("info", arguments.flags.log_format or "auto", journal=speaks_to_journal(os.environ, sys.stderr))
    # Not faulthandler.register(), which also walks the stacks of running threads and crashed on them. Python runs this
    # handler between two instructions, with its lock held.
    signal.signal(signal.SIGUSR1, lambda *_: faulthandler.dump_traceback(all_threads=True))
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    tune_malloc()
    raise_descriptor_limit()
    try:
        return asyncio.run(_run(arguments))
    except RuntimedError as error:
        problems = [str(problem) for problem in getattr(error, "problems", ())]
        why = {"problems": problems} if problems else {"reason": str(error)}
        log.critical("start.failed", code=error.code, **why)
        return 1


async def _run(arguments: Arguments) -> int:
    return await Daemon(arguments, os.environ).run()


class Daemon:
    """One run of the daemon, from its command line to its stop. Created inside a running event loop."""

    def __init__(self, arguments: Arguments, environ: MutableMapping[str, str]) -> None:
        self._arguments = arguments
        self._environ = environ
        self._trust = Trust.of_process()
        self._secure = partial(secure_runtime_directory, self._trust)
        self._stop = asyncio.Event()
        self._hangup = asyncio.Event()
        self._hints = asyncio.Event()
        self._exit_status = 0
        # Settled at the start, unlike the log level.
        self._log_format = "auto"
        self._loop = asyncio.get_running_loop()
        # The thread of everything that writes to the data root.
        self._disk_worker = Worker("working")
        self._watcher = Watcher(self._loop, self._hints.set)
        self._systemd = Notifier(environ)
        self._event_log = EventLog()
        self._announcer = Announcer(self._systemd, self._event_log.record)
        self._reader = ConfigurationReader(arguments, self._trust, self._watcher, self._announcer, self._hints.set)
        self._inspector = NodeInspector(environ.get("PATH", ""), self._on_features, log_replaceable)
        self._components: Components | None = None
        self._gc_freeze = GcFreeze(lambda: 0 if self._components is None else len(self._components.connections))

    async def run(self) -> int:
        """Start, serve until stopped, and undo everything in reverse order; return the exit status.

        Raises:
            RuntimedError: it could not start.
        """
        async with AsyncExitStack() as stack:
            self._handle_signals(stack)
            stack.callback(self._reader.close)
            stack.callback(self._inspector.stop)
            stack.callback(self._watcher.stop)
            starting = asyncio.create_task(self._start(stack))
            stopped = asyncio.create_task(self._stop.wait())
            try:
                # A start may hang, on a data root on NFS for example; a signal stops it nevertheless.
                await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
                if starting.done():
                    await starting
                    await stopped
            finally:
                stopped.cancel()
                await _cancel(starting)
            log.info("stopping")
            self._systemd.stopping()
        return self._exit_status

    def _handle_signals(self, stack: AsyncExitStack) -> None:
        # First, so that a SIGHUP after the files were read causes a reload. Not with the loop's add_signal_handler(),
        # because closing the loop would restore the default action, which kills, while the daemon still stops.
        loop = self._loop
        # This call makes every signal wake the loop through its self-pipe; otherwise one that arrives just before the
        # loop sleeps would wait.
        loop.add_signal_handler(signal.SIGUSR2, lambda: None)
        for number, event in ((signal.SIGTERM, self._stop), (signal.SIGINT, self._stop), (signal.SIGHUP, self._hangup)):
            signal.signal(number, lambda *_, event=event: loop.call_soon_threadsafe(event.set))
            stack.callback(signal.signal, number, signal.SIG_IGN)

    async def _start(self, stack: AsyncExitStack) -> None:
        """Start everything until the sockets are served; ``stack`` undoes the steps that were done."""
        self._watcher.start()
        documents = await self._reader.read()
        # The store has the last good settings, but its path must be known to open it.
        found = find_configuration(documents, self._arguments, None, b"")
        store, recovered = await open_store(found.settings.data_root, self._trust, self._disk_worker, stack)
        self._event_log.open(lambda lines: self._disk_worker.run(store.event_files.append, lines))
        stack.push_async_callback(self._event_log.close)
        config = find_configuration(documents, self._arguments, recovered.last, recovered.config_text, found)
        settings = config.settings
        self._log_format = settings.log_format
        self._configure_log(settings)
        await self._disk_worker.run(secure_runtime_directories, settings, self._trust)
        await self._continue_event_numbers(settings, recovered)
        sockets = bind_sockets(settings, self._environ, stack)
        disk = with_table_file(store, sockets, settings.exec_root)
        recovered = await continue_generation_numbers(store, recovered, settings, self._disk_worker)
        containers = ContainerWatch(store, settings.exec_root, stack)
        earlier = recovered.last.host.exec_root if recovered.last is not None else None
        await containers.take_over(earlier, config.runtimed.containerd)
        frozen_plan = partial(self._gc_freeze.call, plan)
        planner = await open_planner(frozen_plan, store, recovered.last, self._inspector, self._disk_worker)
        reloader = await self._publish_first_generation(documents, config, disk, recovered, containers, planner, stack)
        components = self._components = Components(
            reloader=reloader,
            store=store,
            table=disk.table,
            proofs=planner.proofs,
            containers=containers,
            watcher=self._watcher,
            boot=replace(settings, hosts=tuple(f"unix://{each.path}" for each in sockets)),
            inspector=self._inspector,
            announcer=self._announcer,
            stack=stack,
            disk=self._disk_worker.run,
            secure=self._secure,
        )
        # Before the first response, which a script may take for the end of the start.
        if settings.pidfile:
            stack.callback(await self._disk_worker.run(write_pidfile, settings.pidfile, self._secure))
        components.serve(sockets, stack)
        self._start_triggers(reloader, components, stack)
        log.info("ready", generation=reloader.current.number, sockets=[s.path for s in sockets], version=__version__)
        self._announcer.ready()

    async def _continue_event_numbers(self, settings: Settings, recovered: Recovered) -> None:
        """Number events above those of earlier processes."""
        # After a boot the exec root is empty. Numbers are milliseconds, so the newest generation gives a lower bound.
        least = self._announcer.events.last
        if recovered.last is not None:
            least = max(least, int(recovered.last.created_s * 1000))
        number = await self._disk_worker.run(reserve_event_numbers, settings.exec_root, least)
        self._announcer.events.continue_from(number)

    async def _publish_first_generation(
        self,
        documents: Documents,
        config: Config,
        disk: StoreWithTableFile,
        recovered: Recovered,
        containers: ContainerWatch,
        planner: ProofPlanner,
        stack: AsyncExitStack,
    ) -> Reloader:
        arguments, settings = self._arguments, config.settings
        host = Host(read_facts(self._environ), disk.root, settings.exec_root)
        required = main_required(arguments)
        reloader = Reloader(
            BootContext(arguments.config_path, arguments.flags, arguments.defaults, host, settings, required),
            read=self._reader.read,
            disk=disk,
            run_blocking=self._disk_worker.run,
            on_begin=self._announcer.reloading,
            on_report=self._on_report,
            on_repair=self._announcer.reloaded,
            find_unavailable=self._inspector.find_unavailable,
            find_kept=containers.find_kept,
            planner=planner,
        )
        stack.push_async_callback(reloader.stop)
        last, text = recovered.last, recovered.config_text
        await reloader.start(documents, last, text, published=recovered.published, parsed=config)
        return reloader

    def _start_triggers(self, reloader: Reloader, components: Components, stack: AsyncExitStack) -> None:
        """Start the tasks that reload on SIGHUP and on file changes, and those that watch the node."""
        triggers: dict[str, Coroutine[None, None, None]] = {
            "hangups": self._reload_on_hangups(reloader),
            "hints": reload_on_hints(self._hints, reloader.reload_changed),
            **components.watches(),
        }
        if self._systemd.watchdog_s is not None:
            triggers["watchdog"] = self._feed_watchdog(self._systemd.watchdog_s)
        for name, trigger in triggers.items():
            task = asyncio.create_task(trigger, name=name)
            task.add_done_callback(self._on_trigger_end)
            stack.push_async_callback(_cancel, task)

    async def _reload_on_hangups(self, reloader: Reloader) -> None:
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            await reloader.reload(Trigger(("signal",)))

    async def _feed_watchdog(self, within_s: float) -> None:
        # On the event loop that serves, so that systemd restarts a daemon whose loop is stuck. A restart would not
        # cure faults of the watcher, the disk or the configuration.
        while True:
            self._systemd.alive()
            await asyncio.sleep(within_s / 3)

    def _on_trigger_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            # The service manager restarts a daemon that fails; one that ignores a trigger would go unnoticed.
            self._exit_status = 1
            self._stop.set()
            log.critical("trigger.died", trigger=task.get_name(), exc_info=error)

    def _on_features(self, binary: str, features: Features) -> None:
        """Log the result of a probe; if the kernel refuses the binary, look for drift. Called in a worker thread."""
        log_features(binary, features)
        if features.refusal is not None and self._components is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._components.drift.look_soon)

    def _on_report(self, report: Report, current: Generation) -> None:
        """Announce a reload, and apply the settings that need no restart."""
        self._announcer.reloaded(report, current)
        if report.outcome != "rejected":
            self._configure_log(current.config.settings)
        if self._components is not None:
            self._components.on_report(report, current)

    def _configure_log(self, settings: Settings) -> None:
        level = "debug" if settings.debug else settings.log_level
        configure_log(level, self._log_format, journal=speaks_to_journal(self._environ, sys.stderr))


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task
