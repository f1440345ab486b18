"""What the daemon costs when nobody asks: time to ready, resident memory, wake-ups; and one question from a shell."""

from __future__ import annotations

import compileall
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from dockerd import new_dockerd
from harness.daemon import new_daemon, short_directory
from table import Row, compared
from tables import table

import runtimed

STARTS = 9
IDLE_S = 20.0
COMMANDS = 15
LARGE = 10_000


def measure() -> Iterator[Row]:
    """Yield what it costs to start, to be there, and to ask."""
    # An installed daemon has its byte code; a checkout may have been told not to write any.
    compileall.compile_dir(str(Path(runtimed.__file__).parent), quiet=1)
    yield from _starts()
    yield from _memory()
    yield from _questions()


def _starts() -> Iterator[Row]:
    ready, bare = [], []
    for _ in range(STARTS):
        with new_daemon() as daemon:
            daemon.write(table(10, 0, all_new=True))
            ready.append(_timed_ms(daemon.start))
        bare.append(_timed_ms(lambda: subprocess.run([sys.executable, "-c", "import asyncio, structlog"], check=True)))
    yield Row("start to ready", statistics.median(ready), "ms", goal=300.0)
    yield compared("start to ready", "ms", ready, "python, asyncio and structlog", bare)


def _memory() -> Iterator[Row]:
    with new_daemon() as daemon:
        daemon.write(table(10, 0, all_new=True))
        pid = daemon.start().pid
        time.sleep(2)
        before = _switches(pid)
        time.sleep(IDLE_S)
        wakeups = (_switches(pid) - before) / IDLE_S
        yield Row("resident memory, idle", _resident_mb(pid), "MB", goal=40.0)
        yield Row("wake-ups, idle", wakeups, "/s", goal=1.0)
    with new_daemon() as daemon:
        daemon.write(table(LARGE, 0, all_new=True))
        yield Row(f"resident memory, {LARGE} wrapped runtimes", _resident_mb(daemon.start().pid), "MB")


def _questions() -> Iterator[Row]:
    """Yield what a question costs as a whole process, beside curl and docker."""
    runtimectl = str(Path(sysconfig.get_path("scripts")) / "runtimectl")
    with new_daemon() as daemon, ExitStack() as stack:
        daemon.write(table(10, 0, all_new=True))
        daemon.start()
        ours = [runtimectl, "--socket", str(daemon.socket), "resolve", "runtime1"]
        target = "http://x/v1/resolve?runtime=runtime1"
        peers = {"curl": ["curl", "-s", "--unix-socket", str(daemon.socket), target]}
        root = stack.enter_context(short_directory()) / "docker"
        dockerd = stack.enter_context(new_dockerd(root))
        if dockerd is not None and shutil.which("docker"):
            peers["docker info"] = ["docker", "-H", f"unix://{dockerd.socket}", "info", "-f", "{{json .Runtimes}}"]
        times: dict[str, list[float]] = {name: [] for name in ("ours", *peers)}
        for _ in range(COMMANDS):
            times["ours"].append(_run_ms(ours))
            for name, command in peers.items():
                times[name].append(_run_ms(command))
    yield Row("runtimectl resolve", statistics.median(times["ours"]), "ms", goal=60.0)
    for name in peers:
        goal = 5.0 if name == "curl" else None
        yield compared("runtimectl resolve", "ms", times["ours"], name, times[name], goal)


def _timed_ms(function: Callable[[], object]) -> float:
    begun_s = time.perf_counter()
    function()
    return (time.perf_counter() - begun_s) * 1000


def _run_ms(command: Sequence[str]) -> float:
    return _timed_ms(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def _switches(pid: int) -> int:
    """Return how often the threads of a process went to sleep of their own accord: each has woken up as often."""
    found = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        status = Path(f"/proc/{pid}/task/{task}/status").read_text()
        found += int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return found
