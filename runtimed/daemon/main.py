"""The composition root: wiring, signals, start and stop order. The only place that knows everyone."""

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
from runtimed.api.sockets import BoundSocket, bind_socket, group_id, inherited_name, parse_host
from runtimed.core.config import Documents, Settings
from runtimed.core.errors import Problem, RuntimedError, SocketRefused
from runtimed.core.features import Features
from runtimed.core.history.manifest import rebuild_wrappers
from runtimed.core.plan import Frame, plan
from runtimed.core.report import Report
from runtimed.core.table.generation import Generation, Host
from runtimed.daemon.announcer import Announcer
from runtimed.daemon.arguments import Arguments, parse_arguments
from runtimed.daemon.components import Components
from runtimed.daemon.log import configure_log, log_features, log_replaceable
from runtimed.daemon.preflight import runtime_directories
from runtimed.daemon.startup import check_owner, find_data_root, find_settings, main_required, read_snapshot
from runtimed.host.containers import container_states
from runtimed.host.facts import read_facts
from runtimed.host.process import raise_descriptor_limit, write_pidfile
from runtimed.host.store import Recovered, Store, believed
from runtimed.host.store.numbers import reserve_event_numbers
from runtimed.host.systemd import Inherited, Notifier, speaks_to_journal, take_sockets
from runtimed.host.trust import Trust, secure_below, secure_directory, walk
from runtimed.host.watch import Watcher
from runtimed.host.worker import Worker
from runtimed.inspection.binaries import NodeInspector
from runtimed.reload.gc_freeze import GcFreeze, give_back_large_blocks, limit_malloc_arenas
from runtimed.reload.reloader import Reloader
from runtimed.reload.settle import follow

log = structlog.get_logger()

# How long the configuration may take to be read before the reload is rejected: a dead NFS server.
READ_TIMEOUT_S = 5.0
# A busy thread keeps the event loop waiting this long at a time; Python's own 5 ms are long for a client.
SWITCH_INTERVAL_S = 0.0005
SOCKET_MODE = 0o660


def run(argv: Sequence[str]) -> int:
    """Run the daemon with the command line ``argv`` until it is told to stop; return the exit status.

    0 after SIGTERM or SIGINT, 1 when it cannot start or go on. With ``--validate`` 0 or 1 for the verdict.
    """
    arguments = parse_arguments(argv, os.environ, os.geteuid())
    if arguments.validate:
        # Imported late: a daemon has no use for it.
        from runtimed.daemon.validate import validate  # noqa: PLC0415

        return validate(arguments)
    configure_log("info", arguments.flags.log_format or "auto", journal=speaks_to_journal(os.environ, sys.stderr))
    # Not faulthandler.register(): that walks the stacks in the midst of whatever was interrupted, also of threads that
    # are running, and was seen to crash on it. A handler of Python's runs between two instructions, with the lock held.
    signal.signal(signal.SIGUSR1, lambda *_: faulthandler.dump_traceback(all_threads=True))
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    give_back_large_blocks()
    limit_malloc_arenas()
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
    """One run of the daemon, from its command line to a clean stop. Made inside a running event loop."""

    def __init__(self, arguments: Arguments, environ: MutableMapping[str, str]) -> None:
        self._arguments = arguments
        self._environ = environ
        self._trust = Trust.of_process()
        self._stop = asyncio.Event()
        self._hangup = asyncio.Event()
        self._hints = asyncio.Event()
        # Reading may hang, and must not keep anything else waiting.
        self._reading = Worker("reading")
        self._working = Worker("working")
        self._overdue = False
        self._loop = asyncio.get_running_loop()
        self._watcher = Watcher(self._loop, self._hints.set)
        self._systemd = Notifier(environ)
        self._announcer = Announcer(self._systemd)
        self._inspector = NodeInspector(environ.get("PATH", ""), self._probed, log_replaceable)
        self._serving: Components | None = None
        self._heap = GcFreeze(lambda: 0 if self._serving is None else self._serving.connection_count)
        self._status = 0
        # The one part of the log that holds from boot on.
        self._log_format = "auto"

    async def run(self) -> int:
        """Start, serve until told to stop, and undo everything in the reverse order; return the exit status.

        Raises:
            RuntimedError: it could not start.
        """
        async with AsyncExitStack() as stack:
            self._handle_signals(stack)
            stack.callback(self._reading.close)
            stack.callback(self._inspector.stop)
            stack.callback(self._watcher.stop)
            starting = asyncio.create_task(self._start(stack))
            stopped = asyncio.create_task(self._stop.wait())
            try:
                # A start may hang, on a data root on a dead network file system, say: that can be stopped, too.
                await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
                if starting.done():
                    await starting
                    await stopped
            finally:
                stopped.cancel()
                await _cancel(starting)
            log.info("stopping")
            self._systemd.stopping()
        return self._status

    async def _start(self, stack: AsyncExitStack) -> None:
        """Do all there is to do until the socket answers; ``stack`` undoes what was done of it."""
        self._watcher.start()
        documents = await self._read()
        store, recovered = await self._open_store(documents, stack)
        settings = self._settings(documents, recovered)
        self._log_format = settings.log_format
        self._configure_log(settings)
        await self._working.run(self._secure, settings)
        await self._number_events(settings, recovered)
        sockets = self._bind(settings, stack)
        recovered = await self._remember_numbers(store, recovered, settings)
        reloader = await self._first_generation(documents, store, recovered, settings, stack)
        paths = tuple(f"unix://{listening.path}" for listening in sockets)
        here = replace(settings, hosts=paths)
        secure = self._secure_directory
        self._serving = Components(
            *(reloader, store, self._watcher, here, self._inspector, self._announcer, stack),
            disk=self._working.run,
            secure=secure,
        )
        # Before the first answer: a script may take that for the end of the start.
        if settings.pidfile:
            stack.callback(await self._working.run(write_pidfile, settings.pidfile, secure))
        self._serving.serve(sockets, stack)
        self._follow(reloader, self._serving, stack)
        log.info("ready", generation=reloader.current.number, sockets=[s.path for s in sockets], version=__version__)
        self._announcer.ready()

    def _handle_signals(self, stack: AsyncExitStack) -> None:
        # First of all, so that a SIGHUP that comes after the files were read still leads to a reload. Not by the
        # loop's own add_signal_handler: closing the loop would make signals deadly again while we tidy up.
        loop = asyncio.get_running_loop()
        # What it is used for nevertheless: its self-pipe is woken by every signal from here on, so that none is left
        # lying that arrives just before the loop goes to sleep.
        loop.add_signal_handler(signal.SIGUSR2, lambda: None)
        for number, event in ((signal.SIGTERM, self._stop), (signal.SIGINT, self._stop), (signal.SIGHUP, self._hangup)):
            signal.signal(number, lambda *_, event=event: loop.call_soon_threadsafe(event.set))
            stack.callback(signal.signal, number, signal.SIG_IGN)

    async def _read(self) -> Documents:
        """Return the documents at one instant, and have the watcher look where they were found."""
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                documents = await self._reading.run(self._read_and_watch)
                self._announcer.watching(self._watcher.faults)
                return documents
        except TimeoutError:
            self._overdue = True
            path = self._arguments.config_path
            message = f"reading the configuration took longer than {READ_TIMEOUT_S:g} s; is its file system there?"
            return Documents(path, problems=(Problem(message, path),))
        except Exception as error:  # noqa: BLE001 - whatever is on the disk, the old answers go on
            path = self._arguments.config_path
            message = f"an error in runtimed itself while reading: {error!r}; please report it"
            return Documents(path, problems=(Problem(message, path),))

    def _read_and_watch(self) -> Documents:
        snapshot = read_snapshot(self._arguments, partial(walk, trust=self._trust))
        self._watcher.update(snapshot.watched_names)
        if self._overdue:
            # Nobody waits for this reading any more, or for those behind it: the file system is back, so look anew.
            self._overdue = False
            self._loop.call_soon_threadsafe(self._hints.set)
        return snapshot.documents

    async def _open_store(self, documents: Documents, stack: AsyncExitStack) -> tuple[Store, Recovered]:
        path = find_data_root(documents, self._arguments)
        stack.callback(self._working.close)
        root = await self._working.run(secure_directory, path, self._trust, 0o700)
        await self._working.run(secure_below, root, believed(root), self._trust)
        store = Store(root)
        stack.callback(self._release, store)
        recovered = await self._working.run(store.open, rebuild_wrappers)
        for fault in recovered.faults:
            log.warning("store.recovered", fault=fault)
        return store, recovered

    def _release(self, store: Store) -> None:
        # A publish that hangs keeps the claim until it is over, or the process is: nobody else may come between.
        if self._working.close():
            store.close()

    def _settings(self, documents: Documents, recovered: Recovered) -> Settings:
        return find_settings(documents, self._arguments, recovered.last, recovered.config_text)

    def _secure(self, settings: Settings) -> None:
        """Make sure that nobody else could put something where we are about to write. Blocks."""
        for directory in runtime_directories(settings):
            self._secure_directory(directory)
        check_owner(settings.exec_root, os.geteuid())
        secure_below(settings.exec_root, container_states(settings.exec_root), self._trust)

    def _secure_directory(self, directory: str) -> str:
        """Return the real path of the directory of a socket or of run-time state, which is made where it is missing."""
        # A user's own directory is for that user: below a shared parent, a group of many may otherwise connect.
        return secure_directory(directory, self._trust, 0o755 if os.geteuid() == 0 else 0o700)

    async def _remember_numbers(self, store: Store, recovered: Recovered, settings: Settings) -> Recovered:
        """Return ``recovered``, to be published anew where clients of this boot have seen newer generations."""
        current = recovered.last.number if recovered.last is not None else 0
        newest = await self._working.run(store.remember_in, settings.exec_root, current)
        if newest is None:
            return recovered
        log.warning("store.rolled_back", data_root=store.root, found=current, newest=newest)
        return replace(recovered, published=False)

    async def _number_events(self, settings: Settings, recovered: Recovered) -> None:
        """Make event numbers go on above those of earlier processes."""
        # After a boot the exec root is empty: then the newest generation tells what the clock has been at least.
        least = self._announcer.events.last
        if recovered.last is not None:
            least = max(least, int(recovered.last.created_s * 1000))
        number = await self._working.run(reserve_event_numbers, settings.exec_root, least)
        self._announcer.events.continue_from(number)

    def _bind(self, settings: Settings, stack: AsyncExitStack) -> list[BoundSocket | Inherited]:
        """Return the sockets, listening: who connects from now on waits for the first generation."""
        inherited = take_sockets(self._environ)
        for one in inherited:
            stack.callback(one.close)
        sockets: list[BoundSocket | Inherited] = []
        for host in settings.hosts:
            if (name := inherited_name(host)) is None:
                # Of a socket that is handed over, mode and group are its unit's; dockerd's file may name its own.
                gid = group_id(settings.group) if settings.group else None
                bound = bind_socket(parse_host(host), mode=SOCKET_MODE, gid=gid)
                stack.callback(bound.close)
                sockets.append(bound)
                continue
            found = [one for one in inherited if name in ("", one.name)]
            if not found:
                raise SocketRefused(host, "systemd has handed over no such socket; start runtimed.socket first")
            sockets += found
        return sockets

    async def _first_generation(
        self, documents: Documents, store: Store, recovered: Recovered, settings: Settings, stack: AsyncExitStack
    ) -> Reloader:
        arguments = self._arguments
        host = Host(read_facts(self._environ), store.root, settings.exec_root)
        frame = Frame(
            arguments.config_path, arguments.flags, arguments.defaults, host, settings, main_required(arguments)
        )
        reloader = Reloader(
            frame,
            read=self._read,
            disk=store,
            threads=self._working.run,
            begun=self._announcer.reloading,
            told=self._told,
            repaired=self._repaired,
            find_unavailable=self._inspector.find_unavailable,
            planner=self._heap.sparing(plan),
        )
        stack.push_async_callback(reloader.stop)
        await reloader.start(documents, recovered.last, recovered.config_text, published=recovered.published)
        return reloader

    def _follow(self, reloader: Reloader, serving: Components, stack: AsyncExitStack) -> None:
        """Let file changes and SIGHUP reload from now on, and time collect wrappers."""

        async def follow_hangups() -> None:
            while True:
                await self._hangup.wait()
                self._hangup.clear()
                await reloader.reload("signal")

        self._run_trigger("hangups", follow_hangups(), stack)
        self._run_trigger("hints", follow(self._hints, reloader.reload_changed), stack)
        self._run_trigger("gc", serving.collect_by_itself(), stack)
        self._run_trigger("drift", serving.watch_drift(), stack)
        self._run_trigger("published", serving.watch_published(), stack)
        if self._systemd.watchdog_s is not None:
            self._run_trigger("watchdog", self._feed_watchdog(self._systemd.watchdog_s), stack)

    async def _feed_watchdog(self, within_s: float) -> None:
        # By the loop that serves: when it is stuck, nothing is told. Faults of the watcher, the disk or the
        # configuration are another matter: a restart would cure none of them.
        while True:
            self._systemd.alive()
            await asyncio.sleep(within_s / 3)

    def _run_trigger(self, name: str, trigger: Coroutine[None, None, None], stack: AsyncExitStack) -> None:
        task = asyncio.create_task(trigger, name=name)
        task.add_done_callback(self._trigger_ended)
        stack.push_async_callback(_cancel, task)

    def _configure_log(self, settings: Settings) -> None:
        level = "debug" if settings.debug else settings.log_level
        configure_log(level, self._log_format, journal=speaks_to_journal(self._environ, sys.stderr))

    def _trigger_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            # A daemon that no longer hears its triggers is worse than one that the service manager starts anew.
            self._status = 1
            self._stop.set()
            log.critical("trigger.died", trigger=task.get_name(), exc_info=error)

    def _repaired(self, report: Report, current: Generation) -> None:
        """Tell of a repair. Settings, limits and binaries are those of the last reload, and stay."""
        self._announcer.reloaded(report, current)

    def _probed(self, binary: str, features: Features) -> None:
        """Log the result of a probe, and have drift notice that the kernel refuses the binary. Called in a thread."""
        log_features(binary, features)
        if features.refusal is not None and self._serving is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._serving.look_soon)

    def _told(self, report: Report, current: Generation) -> None:
        """Do what follows from a reload: tell of it, and apply the settings that can change while we run."""
        self._announcer.reloaded(report, current)
        if report.outcome != "rejected":
            self._configure_log(current.config.settings)
            if self._serving is not None:
                self._serving.reloaded(report, current)
        if self._serving is not None:
            self._serving.check_health()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task
