"""Tests of the verb test without a container: its usage, and how evidence is shown. tests/e2e starts containers."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest
from harness.daemon import PATIENCE_S, ordinary_user
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
        (("a", "--timeout", "0"), "'0' is not a number of seconds from 0 to 86400"),
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
