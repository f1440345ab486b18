"""The stable paths of all runtimes, with arguments and without, while reloads go on: looked at, and executed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from e2e.harness.node import in_memory
from harness.daemon import RunningDaemon, new_daemon
from harness.reload_count import QUICK_RELOADS

# Looks at paths in a tight loop until its standard input ends; then prints its counts.
LOOKER = r"""
import os, sys, threading
paths, missed, looks = sys.argv[1:], [], 0
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
print("ready", flush=True)
while not ended.is_set():
    for _ in range(100):
        for path in paths:
            try:
                os.stat(path)
            except OSError as error:
                missed.append(str(error))
    looks += 100 * len(paths)
print(looks, len(missed), missed[:5])
"""
# Executes paths one after the other until its standard input ends; then prints its counts.
EXECUTOR = r"""
import os, sys, threading
paths, failed, executed = sys.argv[1:], [], 0
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
output = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
print("ready", flush=True)
while not ended.is_set():
    for path in paths:
        try:
            pid = os.posix_spawn(path, [path, "--version"], os.environ, file_actions=output)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if status:
                failed.append(f"{path}: {status}")
        except OSError as error:
            failed.append(str(error))
        executed += 1
print(executed, len(failed), failed[:5])
"""


def table(number: int) -> dict[str, dict[str, Any]]:
    """Return the runtimes of reload ``number``: some stay as they are, and some change each time."""
    programs = ("/usr/bin/env", "/usr/bin/./env")
    return {
        "steady": {"path": programs[0]},
        "steady-with-arguments": {"path": programs[0], "runtimeArgs": ["--unset=X"]},
        "changing": {"path": programs[number % 2]},
        "changing-with-arguments": {"path": programs[0], "runtimeArgs": [f"--unset=X{number}"]},
        "bare": {"path": "env"},
        "by-turns": {"path": programs[0], **({"runtimeArgs": ["--unset=X"]} if number % 3 else {})},
        f"n{number % 5}": {"path": programs[0]},
    }


@pytest.fixture
def daemon() -> Iterator[RunningDaemon]:
    with new_daemon() as daemon, in_memory(daemon.data):
        yield daemon
        daemon.kill()


@pytest.mark.timeout(300 + 2 * QUICK_RELOADS)
def test_stable_paths_are_never_missing_and_can_always_be_executed(
    daemon: RunningDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.write({"runtimes": table(0)})
    daemon.start()
    paths = [str(daemon.data / "runtimes" / name) for name in table(0) if name != "n0"]
    observers = [
        subprocess.Popen([sys.executable, "-c", text, *paths], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for text in (LOOKER, EXECUTOR)
    ]
    try:
        for observer in observers:
            assert observer.stdout is not None
            assert observer.stdout.readline() == "ready\n"
        begun_s = time.monotonic()
        for number in range(1, QUICK_RELOADS + 1):
            daemon.write({"runtimes": table(number)})
            assert daemon.reload()["outcome"] in ("applied", "unchanged")
        took_s = time.monotonic() - begun_s
        looker, executor = (observer.communicate()[0].split(maxsplit=2) for observer in observers)
    finally:
        for observer in observers:
            observer.kill()
            observer.wait()
    with capsys.disabled():
        counts = f"{looker[0]} looks: {looker[1]} missed, {executor[0]} executed: {executor[1]} failed"
        sys.stdout.write(f"\nstable paths, {QUICK_RELOADS} reloads in {took_s:.0f} s: {counts}\n")
    assert looker[1:] == ["0", "[]\n"]
    assert executor[1:] == ["0", "[]\n"]
    assert int(executor[0]) > QUICK_RELOADS // 10
