"""Tests of the verb test with processes in place of containers, and of how evidence is shown."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

import pytest
from harness.daemon import PATIENCE_S, RunningDaemon, ordinary_user, wait_until
from harness.processes_as_containers import put_runtime
from harness.runtimectl import COMMAND, runtimectl

from runtimed.cli.proof_lines import render_evidence

PASSED: dict[str, Any] = {
    "runtime": "gvisor",
    "outcome": "passed",
    "engine": "direct",
    "generation": 7,
    "digest": "sha256:0",
    "id": "runtimed-test-0123456789ab",
    "milliseconds": {"create": 97.0, "start": 30.1, "wait": 15.7, "delete": 20.0},
    "exit_status": 42,
    "kernel": {"release": "4.4.0", "version": "#1 SMP"},
    "host_kernel": {"release": "6.1.0-18-amd64", "version": "#1 SMP"},
    "uid_map": ["0 100000 65536", "65536 0 1"],
    "seccomp": "none",
    "failure": None,
    "leftovers": [],
    "remaining": [],
    "proof": "proved",
}
FAILED: dict[str, Any] = {
    **PASSED,
    "outcome": "failed",
    "milliseconds": {"create": 97.0},
    "exit_status": None,
    "kernel": {"release": None, "version": None},
    "uid_map": [],
    "seccomp": None,
    "failure": {"step": "start", "reason": "no luck\x1b[31m"},
    "leftovers": [{"kind": "cgroup", "name": "/c"}, {"kind": "process", "name": "7 (sh)"}],
    "remaining": [{"kind": "process", "name": "7 (sh)"}],
    "proof": None,
}


def test_the_evidence_of_a_test_is_shown() -> None:
    assert render_evidence(PASSED) == [
        "gvisor: passed (generation 7, direct)",
        "  created  97 ms",
        "  started  30.1 ms",
        "  ran      15.7 ms, exit status 42",
        "  deleted  20 ms",
        "  kernel   4.4.0 #1 SMP; the host has 6.1.0-18-amd64",
        "  uid map  0 100000 65536",
        "           65536 0 1",
        "  seccomp  none",
        "  proof    proved",
    ]


def test_the_kernel_of_the_host_is_recognised() -> None:
    shared = {**PASSED, "kernel": PASSED["host_kernel"]}
    assert "  kernel   6.1.0-18-amd64 #1 SMP, as the host's" in render_evidence(shared)


def test_a_failure_is_shown_with_its_step_and_with_what_is_left() -> None:
    assert render_evidence(FAILED) == [
        "gvisor: failed (generation 7, direct)",
        "  created  97 ms",
        r"  start    no luck\x1b[31m",
        "  left     the cgroup /c, removed",
        "           the process 7 (sh)",
    ]


def test_leftovers_that_are_the_failure_are_shown_once() -> None:
    alone = {**FAILED, "failure": {"step": "leftovers", "reason": "the runtime left the cgroup /c"}}
    assert [line.split()[0] for line in render_evidence(alone)] == ["gvisor:", "created", "leftovers"]


def test_a_test_that_never_began_has_its_reason_only() -> None:
    never = {**FAILED, "engine": None, "milliseconds": {}, "leftovers": []}
    assert render_evidence(never) == ["gvisor: failed (generation 7)", r"  start  no luck\x1b[31m"]


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ((), "one of the arguments NAME --all is required"),
        (("a", "--all"), "not allowed with argument"),
        (("a", "--engine", "podman"), "invalid choice: 'podman'"),
        (("a", "--timeout", "0"), "'0' is not a number of seconds above 0, up to 86400"),
        (("a", "--timeout", "nan"), "'nan' is not a number of seconds"),
        (("a", "--timeout", "1e9"), "'1e9' is not a number of seconds"),
        (("a", "--timeout", "x"), "'x' is not a number of seconds"),
    ],
)
def test_a_usage_error_is_told(args: tuple[str, ...], text: str) -> None:
    run = runtimectl("test", *args)
    assert (run.returncode, run.stdout) == (2, "")
    assert text in run.stderr


def test_only_root_can_test() -> None:
    command = [*ordinary_user(), *COMMAND, "test", "runc"]
    run = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "RUNTIMED_SOCKET": "/nowhere/s"},
        timeout=PATIENCE_S,
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert "only root" in run.stderr


# With a daemon

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can test a runtime")


def put_table(daemon: RunningDaemon, **steps: str) -> None:
    """Give the daemon runtimes that execute these steps first; see `put_runtime`."""
    programs = daemon.root / "programs"
    daemon.write(
        {"runtimes": {name: {"path": str(put_runtime(programs / name, step))} for name, step in steps.items()}}
    )
    assert daemon.reload()["outcome"] in ("applied", "unchanged")


@needs_root
def test_the_outcome_is_recorded_and_is_the_exit_status(own_daemon: RunningDaemon) -> None:
    put_table(own_daemon, works="", fails="verb == 'start' and sys.exit('no luck')")
    run = runtimectl("test", "works", on=own_daemon)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("works: passed (generation ")
    run = runtimectl("test", "fails", "--json", on=own_daemon)
    assert (run.returncode, run.stderr) == (1, "")
    (evidence,) = json.loads(run.stdout)["tests"]
    assert evidence["failure"] == {"step": "start", "reason": "no luck (exit status 1)"}
    proofs = {name: own_daemon.get(f"/v1/runtimes/{name}")[1]["proof"] for name in ("works", "fails")}
    assert {name: (proof["state"], proof["engine"], proof["detail"]) for name, proof in proofs.items()} == {
        "works": ("proved", "direct", ""),
        "fails": ("not-proved", "direct", "start: no luck (exit status 1)"),
    }


@needs_root
def test_all_runtimes_are_tested_one_after_the_other(own_daemon: RunningDaemon) -> None:
    put_table(own_daemon, first="", second="sys.exit(3)", third="")
    run = runtimectl("test", "--all", on=own_daemon)
    assert (run.returncode, run.stderr) == (1, "")
    heads = [line.partition(" (")[0] for line in run.stdout.splitlines() if line[:1] not in ("", " ")]
    # A node with runc has the built-in ones, too.
    assert [head for head in heads if "runc" not in head] == ["first: passed", "second: failed", "third: passed"]


@needs_root
def test_an_unknown_name_is_refused(own_daemon: RunningDaemon) -> None:
    run = runtimectl("test", "nope", on=own_daemon)
    assert (run.returncode, run.stdout) == (1, "")
    assert "unknown or invalid runtime name: nope" in run.stderr


@needs_root
def test_a_test_that_is_not_recorded_is_told(own_daemon: RunningDaemon) -> None:
    mark, replaced = own_daemon.root / "mark", own_daemon.root / "replaced"
    waits = f"open({str(mark)!r}, 'w').close()\n    while not os.path.exists({str(replaced)!r}): time.sleep(0.01)"
    put_table(own_daemon, slow=f"if verb == 'delete':\n    {waits}")
    with subprocess.Popen(
        [*COMMAND, "test", "slow"], stderr=subprocess.PIPE, text=True, env=environ(own_daemon)
    ) as run:
        wait_until(mark.exists, "the last step")
        put_runtime(own_daemon.root / "programs" / "slow", "pass")
        replaced.touch()
        _, stderr = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 1
    assert "runtimectl: the daemon has not recorded the test of slow: " in stderr


@needs_root
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_test(own_daemon: RunningDaemon, number: int) -> None:
    mark = own_daemon.root / "mark"
    put_table(own_daemon, hangs=f"verb == 'start' and (open({str(mark)!r}, 'w'), time.sleep(100))")
    # A shell that runs pytest in the background makes it ignore SIGINT, and this program would, too.
    command = ["env", "--default-signal=INT", *COMMAND, "test", "hangs"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ(own_daemon)) as run:
        wait_until(mark.exists, "a step")
        run.send_signal(number)
        _, stderr = run.communicate(timeout=PATIENCE_S)
    assert (run.returncode, stderr) == (128 + number, "runtimectl: interrupted; the container of the test is removed\n")


def environ(daemon: RunningDaemon) -> dict[str, str]:
    return {**os.environ, "RUNTIMED_SOCKET": str(daemon.socket)}
