"""Tests of finding an engine's process, with small programs that have its name."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.daemon import ordinary_user, short_directory, wait_until

import runtimed.host.engines.processes
from runtimed.host.engines.processes import EngineProcess, command_line, find_process, hang_up

# Ignores SIGHUP until it is told; listens at a path, if there is one.
PROGRAM = """
import os, signal, socket, sys
# Not print(): the signal may come while the line below is being printed.
signal.signal(signal.SIGHUP, lambda *_: os.write(1, b"hang up\\n"))
with open("/proc/self/comm", "w") as comm:
    comm.write(sys.argv[1])
listener = socket.socket(socket.AF_UNIX)
if len(sys.argv) > 2 and sys.argv[2]:
    listener.bind(sys.argv[2])
    listener.listen()
print("ready", flush=True)
while True:
    signal.pause()
"""


@contextlib.contextmanager
def engine(*words: str, before: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    """Yield a process with a name, that listens at a path if there is one."""
    command = [*before, sys.executable, "-c", PROGRAM, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def name() -> str:
    return f"e{os.getpid() % 10**6}-{time.monotonic_ns() % 10**6}"[:15]


def test_an_engine_is_found_by_its_name_and_with_its_start(name: str) -> None:
    assert find_process(name, []) is None
    before_s = time.time()
    with engine(name) as process:
        found = find_process(name, [])
        assert found is not None
        assert (found.name, found.pid) == (name, process.pid)
        # Never before the real start, so that a file that was written before it is not newer.
        assert before_s <= found.started_s <= time.time() + 0.02
    assert find_process(name, []) is None


def test_a_stop_of_this_process_makes_no_start_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 5000.0

    def read_and_stop() -> float:
        nonlocal now_s
        now_s += 2
        return now_s - 2

    monkeypatch.setattr(time, "time", lambda: 10**9 + read_and_stop())
    monkeypatch.setattr(time, "clock_gettime", lambda _: read_and_stop())
    started_s = EngineProcess("x", 1, 3000 * os.sysconf("SC_CLK_TCK")).started_s
    monkeypatch.undo()
    assert 10**9 + 3000 <= started_s <= 10**9 + 3003


def test_the_process_that_listens_counts_before_an_older_one_of_the_name(name: str) -> None:
    with short_directory() as directory, engine(name), engine(name, f"{directory}/s") as listening:
        found = find_process(name, [f"{directory}/none", f"{directory}/s"])
        assert found is not None
        assert found.pid == listening.pid


def test_a_socket_of_another_program_is_not_the_engine(name: str) -> None:
    with short_directory() as directory, engine("another", f"{directory}/s"):
        assert find_process(name, [f"{directory}/s"]) is None
        with engine(name) as process:
            found = find_process(name, [f"{directory}/s"])
            assert found is not None
            assert found.pid == process.pid


def test_the_oldest_process_counts(name: str) -> None:
    with engine(name) as old:
        time.sleep(0.05)
        with engine(name):
            found = find_process(name, [])
            assert found is not None
            assert found.pid == old.pid


def test_a_process_that_has_ended_or_has_another_name_is_not_found(name: str) -> None:
    with engine(name) as process:
        process.kill()
        # A zombie until it is waited for.
        wait_until(
            lambda: Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z", "its end"
        )
        assert find_process(name, []) is None
    with engine(name[:-1]):
        assert find_process(name, []) is None


def test_a_long_name_is_compared_as_the_kernel_cuts_it(name: str) -> None:
    long_name = f"{name}-and-more-than-15"
    with engine(long_name) as process:
        found = find_process(long_name, [])
        assert found is not None
        assert found.pid == process.pid


def test_the_process_that_another_engine_manages_does_not_count(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
    with engine(name):
        assert find_process(name, []) is not None
        monkeypatch.setattr(runtimed.host.engines.processes, "_MANAGING", parent)
        assert find_process(name, []) is None


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
def test_the_process_of_a_container_does_not_count(name: str) -> None:
    with engine(name, before=("unshare", "--pid", "--fork", "--kill-child")):
        assert find_process(name, []) is None


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv")
def test_the_process_of_another_user_does_not_count(name: str) -> None:
    with engine(name, before=tuple(ordinary_user())) as process:
        assert find_process(name, []) is None
        with engine(name) as own:
            found = find_process(name, [])
            assert found is not None
            assert found.pid == own.pid != process.pid


def test_the_command_line_has_its_words(name: str) -> None:
    with engine(name, "", before=("env",)) as process:
        found = find_process(name, [])
        assert found is not None
        assert command_line(found)[-2:] == (name, "")
        assert command_line(EngineProcess(name, process.pid, 1)) == ()
    assert command_line(found) == ()


def test_a_hang_up_reaches_the_process(name: str) -> None:
    with engine(name) as process:
        found = find_process(name, [])
        assert found is not None
        assert hang_up(found)
        assert process.stdout is not None
        assert process.stdout.readline() == "hang up\n"


def test_no_other_process_is_hung_up(name: str) -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        for found in (EngineProcess(name, process.pid, 1), EngineProcess("sleep", process.pid, 1)):
            assert not hang_up(found)
        time.sleep(0.1)
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    assert not hang_up(EngineProcess("sleep", process.pid, 1))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may send any process a signal")
def test_an_engine_of_another_user_is_an_error() -> None:
    found = find_process("systemd", []) or find_process("init", [])
    if found is None:
        pytest.skip("no such process")
    with pytest.raises(PermissionError):
        hang_up(found)
