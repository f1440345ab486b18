"""Assigns processors, waits until processes are quiet, and describes the machine."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# The processor of whoever is measured, and of whoever measures; the same one where there is no second.
_PROCESSORS = sorted(os.sched_getaffinity(0))
SERVER_CPU, CLIENT_CPU = _PROCESSORS[0], _PROCESSORS[-1]
# Longer than the watcher waits after a change of a file, so that the reload of that hint is over as well.
_QUIET_S = 0.3
# What two idle daemons may run in that time.
_QUIET_NS = 3_000_000
_LOOK_S = 0.02
_PATIENCE_S = 10.0


def on_server_cpu() -> list[str]:
    """Return the words before the command of whoever is measured."""
    return ["taskset", "-c", str(SERVER_CPU)]


@contextlib.contextmanager
def starting_on_server_cpu() -> Iterator[None]:
    """Start processes on the processor of whoever is measured, without a program before theirs that takes time."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {SERVER_CPU})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def processor_ns(pid: int) -> int:
    """Return for how long the threads of a process have run, in nanoseconds."""
    found = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        # A thread may end meanwhile.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += int((task / "schedstat").read_text().split()[0])
    return found


def wait_until_quiet(*pids: int) -> None:
    """Wait until these processes run no more than idle ones, and written data is on disk, so that all begin alike."""
    os.sync()
    patience_s = time.monotonic() + _PATIENCE_S
    since_s, before = time.monotonic(), _all_ns(pids)
    while (now_s := time.monotonic()) < since_s + _QUIET_S and now_s < patience_s:
        time.sleep(_LOOK_S)
        now = _all_ns(pids)
        if now - before > _QUIET_NS:
            since_s, before = time.monotonic(), now


def _all_ns(pids: tuple[int, ...]) -> int:
    return sum(map(processor_ns, pids))


def description() -> dict[str, Any]:
    """Return what the figures depend on: processors, kernel, interpreter, and the load before the measurements."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processors": len(_PROCESSORS),
        "model": models[0] if models else platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }
