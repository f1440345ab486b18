"""What the daemon costs without requests: time to ready, resident memory, wake-ups."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.budget import Budget
from bench.installed import Installation, new_installation
from bench.intervals import Figure
from bench.machine import starting_on_server_cpu, wait_until_quiet
from bench.rounds import OURS, interleave, of_value
from bench.rows import Row
from bench.tables import table
from harness.daemon import PATIENCE_S, RunningDaemon

IDLE_S = 60.0
LARGE = 10_000
# Runtimes -> the goal for the milliseconds to ready.
STARTS_MS = {10: 150.0, 1000: 250.0}
IDLE_MB, LARGE_MB, WAKEUPS_S = 36.0, 90.0, 0.5
# The daemon watches all directories above its configuration; other programs write to /tmp.
_QUIET = "/var/lib" if os.access("/var/lib", os.W_OK) else "/tmp"
PEER = "python, asyncio and structlog"


def measure(budget: Budget) -> Iterator[Row]:
    """Yield what it costs to be there, and to start."""
    with new_installation() as installed:
        yield from _idle(installed, budget.seconds(IDLE_S))
        for size in budget.sizes(LARGE):
            with _daemon(installed, size) as daemon:
                start_ms(daemon)
                wait_until_quiet(daemon.pid)
                resident = Figure(_resident_mb(daemon.pid))
                yield Row(f"resident memory, {size} wrapped runtimes", resident, "MB", goal=LARGE_MB)
        for size, until_s in budget.split(budget.sizes(*STARTS_MS)):
            yield from _starts(installed, size, until_s)


@contextlib.contextmanager
def _daemon(installed: Installation, size: int) -> Iterator[RunningDaemon]:
    with tempfile.TemporaryDirectory(prefix="rtd", dir=_QUIET) as root:
        daemon = RunningDaemon(Path(root))
        daemon.interpreter = installed.python
        daemon.write(table(size, 0, all_new=True))
        try:
            yield daemon
        finally:
            daemon.kill()


def _idle(installed: Installation, idle_s: float) -> Iterator[Row]:
    with _daemon(installed, 10) as daemon:
        start_ms(daemon)
        wait_until_quiet(daemon.pid)
        before = _switches(daemon.pid)
        time.sleep(idle_s)
        wakeups = (_switches(daemon.pid) - before) / idle_s
        yield Row("resident memory, idle", Figure(_resident_mb(daemon.pid)), "MB", goal=IDLE_MB)
        yield Row(f"wake-ups over {idle_s:g} s, idle", Figure(wakeups), "/s", goal=WAKEUPS_S)


def _starts(installed: Installation, size: int, until_s: float) -> Iterator[Row]:
    sides = {OURS: lambda: _start_twice(installed, size), PEER: lambda: {"first": _imports_ms(installed)}}
    rounds = interleave(sides, [of_value("first"), of_value("again")], until_s)
    what = f"start to ready, {size} runtimes"
    yield rounds.single(what, "ms", "again", STARTS_MS.get(size))
    yield rounds.single(f"{what}, all new", "ms", "first", STARTS_MS.get(size))
    yield rounds.compared(f"{what}, all new", "ms", "first", PEER)


def _start_twice(installed: Installation, size: int) -> Mapping[str, float]:
    """Return how long a start takes that publishes the first table, and one that finds it published."""
    with _daemon(installed, size) as daemon:
        first = start_ms(daemon)
        daemon.stop()
        return {"first": first, "again": start_ms(daemon)}


def _imports_ms(installed: Installation) -> float:
    with starting_on_server_cpu():
        begun_s = time.perf_counter()
        subprocess.run([installed.python, "-c", "import asyncio, structlog"], check=True)
        return (time.perf_counter() - begun_s) * 1000


def start_ms(daemon: RunningDaemon) -> float:
    """Start the daemon and return how long it took until it told its service manager that it is ready."""
    address = daemon.root / "notify"
    address.unlink(missing_ok=True)
    daemon.environ["NOTIFY_SOCKET"] = str(address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(PATIENCE_S)
        os.sync()
        begun_s = time.perf_counter()
        with starting_on_server_cpu():
            daemon.launch()
        while b"READY=1" not in manager.recv(1 << 16):
            pass
        return (time.perf_counter() - begun_s) * 1000


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def _switches(pid: int) -> int:
    """Return how often the threads of a process went to sleep by themselves: each has woken up as often."""
    found = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        status = Path(f"/proc/{pid}/task/{task}/status").read_text()
        found += int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return found
