"""A booted machine in which this checkout is installed as its administrator would do it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from e2e.harness.booted import CHECKOUT, Booted, new_machine
from harness.daemon import put, wait_until

from runtimed.client import Client, ClientError

ROOTFS = "/srv/rootfs"
SERVICE, SOCKET = "runtimed.service", "runtimed.socket"
ADDRESS = "/run/runtimed/runtimed.sock"
CONFIG = "/etc/runtimed/daemon.json"
SOURCE = "/usr/src/runtimed"
CLIENTS = 20
PAUSE_S = 0.01
# A bound on a failing test: what waits for a restart gets its answer long before.
ANSWER_S = 240.0
# A runtime with arguments, and so with a wrapper; and those whose features are asked for.
TABLE: dict[str, Any] = {
    "runtimes": {
        "crun": {"path": "/usr/bin/crun"},
        "gvisor": {"path": "/usr/bin/runsc", "runtimeArgs": ["--platform=ptrace"]},
        "wrapped": {"path": "/usr/sbin/runc", "runtimeArgs": ["--debug"]},
    }
}
BROKEN = '{\n "runtimes": {\n  "crun": {"pathh": "/usr/bin/crun"}\n }\n}\n'
BROKEN_AT = f"{CONFIG}:3:"
_NOT_OF_A_CLONE = shutil.ignore_patterns(".git", ".venv*", ".*_cache", "__pycache__", "*.egg-info", "build")


@dataclass
class Load:
    """What many clients saw that asked without pause."""

    sent: int = 0
    answered: int = 0
    failures: list[str] = field(default_factory=list)

    def go_on(self) -> None:
        """Wait until there are answers that nobody can have had before now."""
        before = self.answered
        wait_until(lambda: self.answered > before + CLIENTS, f"answers; {self.failures[:3]}")

    def __str__(self) -> str:
        return f"{self.sent} sent, {self.answered} answered, {len(self.failures)} failed"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the journal: what it says, how urgent that is (syslog(3)), and which process said it."""

    text: str
    priority: int
    pid: str


class Installed:
    """``machine`` with the service in it."""

    def __init__(self, machine: Booted) -> None:
        self.machine = machine
        self.run = machine.run

    def install(self, *words: str, python: str = "/usr/bin/python3") -> str:
        """Install, or install again over what runs, and return what was said on standard output."""
        # A careful administrator's umask: what is installed is for everybody nevertheless.
        script = f'umask 077; exec {SOURCE}/systemd/install "$@"'
        return self.run("env", f"PYTHON={python}", "sh", "-c", script, "install", *words).stdout

    def client(self) -> Client:
        """Return a client outside the machine."""
        return Client(str(self.machine.inside(ADDRESS)), ANSWER_S)

    def ctl(self, *words: str, status: int = 0, user: str | None = None) -> str:
        """Return what ``runtimectl`` in the machine says, on both outputs, in lines of any length."""
        done = self.run("env", "COLUMNS=0", "runtimectl", *words, status=status, user=user)
        return done.stdout + done.stderr

    def systemctl(self, *words: str, status: int | None = 0) -> str:
        done = self.run("systemctl", *words, status=status)
        return done.stdout + done.stderr

    def show(self, name: str, unit: str = SERVICE) -> str:
        return self.machine.show(unit, name)

    def state(self, unit: str = SERVICE) -> str:
        """Return the state of a unit: ``active (running)``."""
        return f"{self.show('ActiveState', unit)} ({self.show('SubState', unit)})"

    def kill(self) -> None:
        """Kill the main process, and wait for the next one."""
        pid = self.pid()
        self.run("kill", "-KILL", pid)
        wait_until(lambda: self.pid() not in ("0", pid), "another process", ANSWER_S)
        self.settle()

    def pid(self) -> str:
        """Return the main process of the service, as the machine counts; 0 where there is none."""
        return self.show("MainPID")

    def settle(self, state: str = "active (running)") -> None:
        """Wait until the service is as it is when nothing is going on."""
        wait_until(
            lambda: self.state() == state, f"{state}: {self.systemctl('status', SERVICE, status=None)}", ANSWER_S
        )

    def number(self) -> int:
        """Return the number of the generation."""
        return int(self.client().status()["generation"])

    def answers(self) -> dict[str, object]:
        """Return every answer that can be got, and so their digests and the generation they are of."""
        client = self.client()
        return {one["name"]: client.resolve(one["name"]) for one in client.runtimes()["runtimes"]}

    def write(self, content: object) -> None:
        """Replace the configuration."""
        put(self.machine.root / CONFIG[1:], content)

    def mend(self) -> None:
        """Have the configuration of all these tests, applied, by a service that runs as it was installed."""
        self.write(TABLE)
        self.systemctl("start", SERVICE)
        self.systemctl("reload", SERVICE)
        assert self.client().status()["health"]["status"] == "ok"

    def journal(self) -> list[Line]:
        """Return what the service and systemd said of it since the machine was booted, oldest first."""
        self.run("journalctl", "--sync")
        text = self.run("journalctl", "-b", "-o", "json", "--no-pager", "-u", SERVICE).stdout
        found = map(json.loads, text.splitlines())
        return [Line(str(one["MESSAGE"]), int(one["PRIORITY"]), str(one.get("_PID", ""))) for one in found]

    def mark(self) -> int:
        """Return where the journal is now.

        Not journald's own cursor: with a filter, journalctl 252 skips the first line that comes after one.
        """
        return len(self.journal())

    def said(self, mark: int, start: str, among: str = "") -> Line:
        """Wait for a line after ``mark`` that begins with ``start`` and has ``among`` in it; return the first."""
        found = wait_until(
            lambda: [line for line in self.journal()[mark:] if line.text.startswith(start) and among in line.text],
            f"{start} in the journal: {self.journal()[mark:]}",
        )
        return cast("Line", found[0])

    @contextlib.contextmanager
    def dropin(self, text: str) -> Iterator[None]:
        """Add to the unit for a while; it holds from the next start on, and so does its end."""
        path = self.machine.root / "etc/systemd/system" / f"{SERVICE}.d" / "test.conf"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"[Service]\n{text}\n")
        try:
            self.systemctl("daemon-reload")
            yield
        finally:
            path.unlink()
            path.parent.rmdir()
            self.systemctl("daemon-reload")

    @contextlib.contextmanager
    def load(self, what: str) -> Iterator[Load]:
        """Have many clients ask all the time meanwhile; fails when a single request fails, and prints how many."""
        load, stop, lock = Load(), threading.Event(), threading.Lock()
        client = self.client()

        def ask() -> None:
            while not stop.is_set():
                with lock:
                    load.sent += 1
                try:
                    found = client.resolve("wrapped")
                except ClientError as error:
                    with lock:
                        load.failures.append(f"{error}; {error.hint}")
                else:
                    if "from" in found:
                        load.failures.append("the table file had to answer")
                    with lock:
                        load.answered += 1
                # Work for the daemon all the time, and a processor for what is done to it.
                time.sleep(PAUSE_S)

        with ThreadPoolExecutor(CLIENTS) as pool:
            asking = [pool.submit(ask) for _ in range(CLIENTS)]
            try:
                load.go_on()
                yield load
                load.go_on()
            finally:
                stop.set()
        for one in asking:
            one.result()
        sys.stdout.write(f"{what}: {load} by {CLIENTS} clients\n")
        assert load.failures == []
        assert load.answered == load.sent

    def meanwhile(self, ask: Callable[[Client], Any]) -> _Asking:
        """Ask in a thread, now; the answer may be long in coming."""
        return _Asking(self.client(), ask)


class _Asking:
    """A question that has been put and may not have been answered yet."""

    def __init__(self, client: Client, ask: Callable[[Client], Any]) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._future = self._pool.submit(ask, client)

    def waits(self) -> bool:
        return not self._future.done()

    def answer(self) -> Any:
        try:
            return self._future.result(ANSWER_S)
        finally:
            self._pool.shutdown()


@contextlib.contextmanager
def new_installation(*options: str) -> Iterator[Installed]:
    """Yield a machine with the service installed and running with the table above; ``options`` are nspawn's."""
    assert os.geteuid() == 0, "these tests need root"
    with new_machine() as machine:
        machine.options = options
        shutil.copytree(CHECKOUT, machine.root / SOURCE[1:], symlinks=True, ignore=_NOT_OF_A_CLONE)
        machine.boot()
        node = Installed(machine)
        try:
            node.install()
            node.mend()
            yield node
        except BaseException:
            sys.stdout.write(machine.run("journalctl", "-b", "--no-pager", "-n", "200", status=None).stdout)
            raise


def newest_python() -> str:
    """Return a Python that removes a socket's path when a server on it is closed, which 3.13 was the first to do."""
    places = ["/usr/bin", "/usr/local/bin"]
    if shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=True).stdout.strip()
        places += map(str, Path(root).glob("versions/*/bin"))
    found = [str(path) for place in places for path in Path(place).glob("python3.[1-9][0-9]")]
    new = [path for path in found if int(path.rpartition(".")[2]) >= 13]
    assert new, "install Python 3.13 or newer (pyenv install 3.13)"
    return new[-1]


def build_rootfs(node: Installed) -> None:
    """Make a root file system of busybox alone at ROOTFS."""
    node.run("mkdir", "-p", *(f"{ROOTFS}/{name}" for name in ("bin", "dev", "etc", "proc", "run", "sys", "tmp")))
    node.run("cp", "/bin/busybox", f"{ROOTFS}/bin/busybox")
    for name in ("echo", "sh", "sleep"):
        node.run("ln", "-s", "busybox", f"{ROOTFS}/bin/{name}")
