"""Tests of the trip of a test with runtimes that make no container: a process, or none. tests/e2e has real ones."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from harness.processes_as_containers import put_runtime

from runtimed.host.proof.runner import Conditions, run_test

# In a process of its own, because it becomes the parent of orphans and ends all its children. Only the step that hangs
# has the time-out; of a runtime that hangs, after its first message.
DRIVER = """
import json, select, signal, sys
from threading import Event
from runtimed.core.errors import TestInterrupted
from runtimed.host.proof.command_line import Direct
from runtimed.host.proof.runner import Conditions, run_test
program, directory, hanging, interrupt_s = *sys.argv[1:4], float(sys.argv[4])
timeout_s = 0.5 if hanging else 60
def patiently(take, direct):
    direct._timeout_s = 60
    try:
        return take(direct)
    finally:
        direct._timeout_s = timeout_s
for step in ("create", "start", "wait", "delete"):
    if step != hanging:
        setattr(Direct, step, lambda direct, take=getattr(Direct, step): patiently(take, direct))
spawn = Direct._spawn
def spawn_and_wait(direct, *words):
    process = spawn(direct, *words)
    if words[0] == hanging and "--force" not in words:
        select.select([direct._messages.reader], [], [], 60)
    return process
Direct._spawn = spawn_and_wait
stopped = Event()
if interrupt_s:
    signal.signal(signal.SIGALRM, lambda *_: stopped.set())
    signal.setitimer(signal.ITIMER_REAL, interrupt_s)
runtime = {"name": "x", "generation": 1, "digest": "d", "stable_path": program, "shim": "io.containerd.runc.v2",
           "available": True, "reason": None, "binary": program, "definition": {"path": program}}
resolution = {"shim": runtime["shim"], "options": {"fields": {"root": directory + "/state"}}}
try:
    evidence = run_test(runtime, resolution, Conditions(None, timeout_s, directory + "/pins", (), directory), stopped)
except TestInterrupted:
    evidence = "interrupted"
print(json.dumps(evidence))
"""


def run(tmp_path: Path, step: str = "", *, hanging: str = "", interrupt_s: float = 0) -> Any:
    """Return the evidence of a test with a runtime that runs ``step`` first; nothing is left in its directories."""
    program = put_runtime(tmp_path / "bin" / "runtime", step)
    (tmp_path / "state").mkdir()
    found = drive(program, tmp_path, hanging, interrupt_s)
    assert sorted(os.listdir(tmp_path)) == ["bin", "state"]
    assert os.listdir(tmp_path / "state") == []
    return found


def drive(program: Path, directory: Path, hanging: str = "", interrupt_s: float = 0) -> Any:
    """Return the evidence of a test of ``program`` with its bundle in ``directory``."""
    command = [sys.executable, "-c", DRIVER, str(program), str(directory), hanging, str(interrupt_s)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_process_that_runs_the_script_passes(tmp_path: Path) -> None:
    evidence = run(tmp_path)
    assert (evidence["outcome"], evidence["failure"], evidence["exit_status"]) == ("passed", None, 42)
    assert [*evidence["milliseconds"]] == ["create", "start", "wait", "delete"]
    assert evidence["kernel"] == evidence["host_kernel"]
    assert evidence["uid_map"]


@pytest.mark.parametrize(
    ("step", "failed", "reason"),
    [
        ("sys.exit(3)", "create", "it ended with exit status 3 and no message"),
        ("sys.exit('cannot')", "create", "cannot (exit status 1)"),
        ("os.kill(os.getpid(), 15)", "create", "it ended with signal 15 and no message"),
        ("sys.exit(0)", "create", "the runtime ended with exit status 0 and made no container: it wrote no process id"),
        (
            "print('a' * 200000); print('b' * 200000, file=sys.stderr); verb == 'start' and sys.exit(1)",
            "start",
            None,
        ),
        ("verb == 'delete' and sys.exit('no')", "delete", "no (exit status 1)"),
        ("if verb == 'delete': open(state + '/' + words[-1], 'w').close()", "leftovers", None),
    ],
)
def test_the_step_that_fails_is_named(tmp_path: Path, step: str, failed: str, reason: str | None) -> None:
    evidence = run(tmp_path, step)
    assert evidence["outcome"] == "failed"
    assert evidence["failure"]["step"] == failed
    assert reason is None or evidence["failure"]["reason"] == reason


@pytest.mark.parametrize("verb", ["create", "start", "delete"])
def test_a_step_that_hangs_is_ended(tmp_path: Path, verb: str) -> None:
    hangs = (
        f"if verb == {verb!r} and '--force' not in words: print('wait', file=sys.stderr, flush=True); time.sleep(100)"
    )
    evidence = run(tmp_path, hangs, hanging=verb)
    reason = "the runtime did not end within 0.5 s; its last message: wait"
    assert evidence["failure"] == {"step": verb, "reason": reason}


def test_a_process_without_end_is_ended(tmp_path: Path) -> None:
    evidence = run(tmp_path, "verb == 'start' and sys.exit(0)", hanging="wait")
    assert evidence["failure"]["step"] == "wait"


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    assert run(tmp_path, "verb == 'start' and time.sleep(100)", interrupt_s=0.3) == "interrupted"


def test_what_a_runtime_starts_without_a_name_is_ended_and_told(tmp_path: Path) -> None:
    # The pipe is closed when the program has begun.
    step = """
if verb == 'delete':
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        os.execve('/bin/sleep', ['sleep', '100'], {})
    os.close(writing)
    os.read(reading, 1)
"""
    evidence = run(tmp_path, step)
    assert evidence["failure"]["step"] == "leftovers"
    assert "sleep" in evidence["failure"]["reason"]


def test_a_file_that_the_daemon_knows_to_be_refused_gets_the_plain_reason(tmp_path: Path) -> None:
    page = tmp_path / "runtime"
    page.write_text("<html>404</html>")
    runtime = {"name": "x", "generation": 1, "digest": "d", "stable_path": str(page), "shim": "io.containerd.runc.v2"}
    runtime |= {"available": False, "reason": "refused", "binary": None, "definition": {"path": str(page)}}
    evidence = run_test(runtime, None, Conditions(None, 1, "", (), str(tmp_path)), Event())
    reason = f'{page} is neither a program nor a script: it begins with "<html>404</html>", like a saved web page'
    assert evidence["failure"] == {"step": "resolve", "reason": reason}
    page.unlink()
    evidence = run_test(runtime, None, Conditions(None, 1, "", (), str(tmp_path)), Event())
    assert evidence["failure"] == {"step": "resolve", "reason": "refused"}


def test_a_bundle_that_cannot_be_made_is_a_failure(tmp_path: Path) -> None:
    evidence = drive(tmp_path / "runtime", tmp_path / "missing")
    assert evidence["failure"]["step"] == "create"
    assert re.fullmatch(
        r"the bundle cannot be made: .*No such file or directory: .*/missing/.*", evidence["failure"]["reason"]
    )
