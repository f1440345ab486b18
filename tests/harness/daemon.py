"""Runs a real daemon in a process, and sends requests and signals to it."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from runtimed.core.history.layout import EVENTS

# Bounds a failing test; every condition takes far less. Longer than a virtual machine may stand still.
PATIENCE_S = 60.0
# The daemon with other intervals between looks for drift and between heartbeats, another number of generations, and
# reports that wait for their looks at the node, and for the command line of the client, on a busy machine, too.
_WITH_LIMITS = """
import functools, sys
from runtimed import __main__
from runtimed.daemon import announcer, components, threads
from runtimed.host.store import retained
from runtimed.reload import look
if {drift_every_s}:
    components.DriftWatch = functools.partial(components.DriftWatch, every_s={drift_every_s})
if {heartbeat_s}:
    announcer.Events = functools.partial(announcer.Events, heartbeat_s={heartbeat_s})
if {generations_most}:
    retained._KEEP_MOST = {generations_most}
look.LOOK_TIMEOUT_S = threads.COMMAND_TIMEOUT_S = {patience_s}
sys.exit(__main__.main())
"""


def wait_until(condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Return the first true value of ``condition``, or fail with ``what`` in the message."""
    deadline = time.monotonic() + patience_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience_s} s without success for {what}")
        time.sleep(0.01)
    return value


def put(path: Path, content: object) -> None:
    """Put text, bytes or a value as JSON at ``path`` by rename, as editors do; make its directory."""
    path.parent.mkdir(exist_ok=True)
    data = content if isinstance(content, (str, bytes)) else json.dumps(content, indent=1)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(data.encode() if isinstance(data, str) else data)
    temporary.rename(path)


def put_executable(path: Path, text: str = "#!/bin/sh\n") -> Path:
    """Put an executable file at ``path``, make its directory, and return ``path``."""
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text)
    temporary.chmod(0o755)
    return temporary.rename(path)


def listing(root: Path) -> dict[str, tuple[object, ...]]:
    """Return the metadata and content of everything below ``root``, so that any write makes a difference.

    Not of the events of a generation, to which a start and a rejection are added, nor the times of its directory.
    """
    found: dict[str, tuple[object, ...]] = {}
    for path in (root, *sorted(each for each in root.rglob("*") if not each.name.endswith(EVENTS))):
        status = path.lstat()
        content: object = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        fixed = status.st_ino, status.st_mode, status.st_uid, status.st_gid, status.st_size
        if path.name.isdigit() and path.is_dir():
            found[str(path.relative_to(root))] = fixed[:4]
            continue
        found[str(path.relative_to(root))] = (*fixed, status.st_mtime_ns, status.st_ctime_ns, content)
    return found


def ordinary_user() -> list[str]:
    """Return the words to put before a command so that it does not run as root; none if this process does not."""
    if os.geteuid() != 0:
        return []
    # The capability lets it read an interpreter that only root can; it gives no right to write.
    reading = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *reading]


def as_user(uid: int, function: Callable[[], Any]) -> Any:
    """Return the result of ``function`` in a forked process of the user ``uid``; it must be picklable.

    Forked, because the interpreter itself may lie where that user cannot execute it.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.write(writing, pickle.dumps(function()))
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as results:
        data = results.read()
    os.waitpid(child, 0)
    return pickle.loads(data)


def thread_states(pid: int) -> dict[str, str]:
    """Return the state of each thread of a process by the thread's number: T for stopped, say (proc_pid_stat(5))."""
    states = {}
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # the thread has ended
            states[path.parent.name] = path.read_text().rpartition(")")[2].split()[0]
    return states


@contextlib.contextmanager
def paused(pid: int) -> Iterator[None]:
    """Keep a process stopped during the block; the kernel stops one of its threads after the other."""
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: {*thread_states(pid).values()} == {"T"}, "the process to stop")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class UnixConnection(HTTPConnection):
    """http.client on a Unix socket."""

    def __init__(self, path: str, timeout_s: float = PATIENCE_S) -> None:
        super().__init__("runtimed", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class RunningDaemon:
    """A daemon whose configuration, data root, exec root and socket are all below ``root``.

    The directory's path is short, because a Unix socket's path must be.
    """

    def __init__(self, root: Path, command: Sequence[str] = (), environ: dict[str, str] | None = None) -> None:
        self.root = root
        self.config = root / "daemon.json"
        self.dropins = root / "daemon.json.d"
        self.data = root / "data"
        self.socket = root / "run" / "s.sock"
        self.log_file = root / "log"
        # The words before the interpreter, with setpriv for example.
        self.command = list(command)
        self.interpreter = sys.executable
        # The words after the interpreter.
        self.program = ["-m", "runtimed"]
        # Seconds between looks for drift and between heartbeats, and the number of young generations that are retained;
        # None for the default of the daemon.
        self.drift_every_s: float | None = None
        self.heartbeat_s: float | None = None
        self.generations_most: int | None = None
        # Name by name, because pytest changes a variable while threads of a test start daemons.
        inherited = {name: value for name in list(os.environ) if (value := os.environ.get(name)) is not None}
        # So that SIGABRT prints the stack of each thread, see `_explain`.
        self.environ = {**inherited, "PYTHONFAULTHANDLER": "1", **(environ or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def install(self, *names: str) -> None:
        """Put executables with these names in a directory that comes first in the daemon's PATH."""
        directory = self.root / "bin"
        for name in names:
            put_executable(directory / name)
        self.environ["PATH"] = f"{directory}:{self.environ['PATH']}"

    def write(self, document: object) -> None:
        """Replace the main configuration file by rename, as editors do."""
        put(self.config, document)

    def arguments(self) -> list[str]:
        return [
            *("--config", str(self.config), "--data-root", str(self.data), "--exec-root", str(self.root / "run")),
            *("-H", f"unix://{self.socket}"),
        ]

    def launch(self, *more: str) -> subprocess.Popen[bytes]:
        """Start the process without waiting for it."""
        program = self.program
        limits = {name: getattr(self, name) for name in ("drift_every_s", "heartbeat_s", "generations_most")}
        if any(value is not None for value in limits.values()):
            assert program[0] == "-m", "a test has a program and limits, which have one of their own"
            program = ["-c", _WITH_LIMITS.format(**limits, patience_s=PATIENCE_S)]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, self.interpreter, *program, *self.arguments(), *more],
                stderr=log,
                stdout=log,
                env=self.environ,
                cwd=self.root,
            )
        return self.process

    def start(self, *more: str) -> RunningDaemon:
        """Start the process and wait until it answers."""
        process = self.launch(*more)
        wait_until(lambda: self.answers() or process.poll() is not None, "a start")
        if process.poll() is not None:
            raise AssertionError(f"the daemon ended with {process.returncode}: {self.log_file.read_text()}")
        return self

    @property
    def pid(self) -> int:
        """The number of the process, which was started."""
        assert self.process is not None
        return self.process.pid

    def answers(self) -> bool:
        """Return whether the daemon is ready."""
        try:
            return self.get("/healthz")[0] == 200
        except OSError:
            return False

    @contextlib.contextmanager
    def running(self) -> Iterator[RunningDaemon]:
        """Start, and kill the process at the end if it still runs."""
        try:
            yield self.start()
        finally:
            self.kill()

    def has_ended(self) -> bool:
        """Return whether the process is gone."""
        return self.process is None or self.process.poll() is not None

    def kill(self) -> None:
        """Kill the process, if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def send(self, number: int) -> None:
        """Send a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Keep the process stopped during the block: it sees what is done there as one change."""
        with paused(self.pid):
            yield

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, return the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def ask(self, method: str, path: str) -> tuple[int, Any]:
        """Return status and decoded body of one request, on a new connection."""
        connection = UnixConnection(str(self.socket))
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except TimeoutError as error:
            raise AssertionError(f"{method} {path} took more than {PATIENCE_S} s; {self._explain()}") from error
        finally:
            connection.close()

    def _explain(self) -> str:
        """End a daemon that does not respond, and return the end of its log, with the stack of each thread."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.stop(signal.SIGABRT)
        return f"the end of the daemon's log:\n{self.log_file.read_text()[-20_000:]}"

    def get(self, path: str) -> tuple[int, Any]:
        return self.ask("GET", path)

    def resolve(self, runtime: str = "") -> dict[str, Any]:
        status, body = self.get(f"/v1/resolve?runtime={runtime}")
        assert status == 200, body
        return dict(body)

    def table(self) -> dict[str, Any]:
        """Return /v1/runtimes without the fields that probes and looks in the background fill."""
        table = dict(self.get("/v1/runtimes")[1])
        probed = ("features", "lint", "identity")
        table["runtimes"] = [{k: v for k, v in r.items() if k not in probed} for r in table["runtimes"]]
        return table

    def reload(self, query: str = "") -> dict[str, Any]:
        return dict(self.ask("POST", f"/v1/reload{query}")[1])

    def status(self) -> dict[str, Any]:
        return dict(self.get("/v1/status")[1])

    def log(self) -> list[dict[str, Any]]:
        """Return the events logged so far; lines that are no events (a traceback, say) as ``raw``."""
        events = []
        # The daemon may just be writing the last line.
        whole, _, _ = self.log_file.read_text().rpartition("\n")
        for line in whole.splitlines():
            try:
                events.append(json.loads(line))
            except json.JSONDecodeError:
                events.append({"event": None, "raw": line})
        return events

    def fail_to_start(self, *more: str) -> str:
        """Start the process, wait until it fails with status 1, and return its log."""
        before = self.log_file.stat().st_size if self.log_file.exists() else 0
        status = self.launch(*more).wait(PATIENCE_S)
        text = self.log_file.read_text()[before:]
        assert status == 1, (status, text)
        assert "Traceback" not in text, text
        return text

    def reloads(self, outcome: str) -> list[dict[str, Any]]:
        return [event for event in self.log() if event["event"] == f"reload.{outcome}"]


def make_drift(daemon: RunningDaemon, binary: Path, text: str) -> None:
    """Replace a binary of ``daemon`` until that is drift: before the look that follows a load it is none."""

    def has_drifted() -> bool:
        return str(binary) in [each["binary"] for each in daemon.status()["drift"]]

    wait_until(lambda: not has_drifted(), f"an end of the drift of {binary}")
    wait_until(lambda: put_executable(binary, text) and has_drifted(), f"drift of {binary}")


@contextlib.contextmanager
def short_directory() -> Iterator[Path]:
    """Yield a new directory with a short path."""
    with tempfile.TemporaryDirectory(prefix="rtd", dir="/tmp") as path:
        yield Path(path)


@contextlib.contextmanager
def new_daemon(command: Sequence[str] = (), environ: dict[str, str] | None = None) -> Iterator[RunningDaemon]:
    """Yield a daemon that is not started; at the end kill it if it runs."""
    with short_directory() as root:
        daemon = RunningDaemon(root, command, environ)
        try:
            yield daemon
        except BaseException:
            if daemon.log_file.exists():
                sys.stdout.write(f"the daemon's log:\n{daemon.log_file.read_text()}")
            raise
        finally:
            daemon.kill()
