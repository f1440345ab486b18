"""Tests of runtimes by their command line: real ones, broken ones, and tests that are interrupted or killed."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.harness.broken_runtimes import SLOW
from e2e.harness.proving import ODD, Proving, new_proving, production
from harness.daemon import PATIENCE_S, ordinary_user, put_executable

# Each waits only for what it does, and a busy machine may take ten times as long.
pytestmark = pytest.mark.timeout(400)
HOST = os.uname()


@pytest.fixture(scope="module")
def proving() -> Iterator[Proving]:
    with new_proving() as made:
        yield made


# Real runtimes


@pytest.mark.parametrize("name", ["crun", "runc", "runc-with-arguments", "io.containerd.runc.v2", "by-shim", *ODD])
def test_a_runtime_that_works_passes_with_evidence(proving: Proving, name: str) -> None:
    before = proving.listing()
    evidence, status = proving.evidence("--", name)
    assert (evidence["outcome"], evidence["failure"], status) == ("passed", None, 0)
    assert evidence["runtime"] == name
    assert evidence["engine"] == "direct"
    assert evidence["exit_status"] == 42
    assert [*evidence["milliseconds"]] == ["create", "start", "wait", "delete"]
    assert all(0 <= taken < 60_000 for taken in evidence["milliseconds"].values())
    # runc and crun share the host's kernel.
    assert evidence["kernel"] == evidence["host_kernel"] == {"release": HOST.release, "version": HOST.version}
    assert evidence["uid_map"] == [" ".join(Path("/proc/self/uid_map").read_text().split())]
    assert evidence["seccomp"] == "filter"
    assert evidence["proof"] == "proved"
    assert (evidence["leftovers"], evidence["remaining"]) == ([], [])
    proving.assert_unchanged(before)
    proving.assert_no_traces(evidence["id"])


def test_gvisor_has_another_kernel_which_is_no_failure(proving: Proving) -> None:
    before = proving.listing()
    evidence, status = proving.evidence("gvisor")
    assert (evidence["outcome"], evidence["failure"], status) == ("passed", None, 0)
    assert evidence["kernel"]["release"] not in (None, HOST.release)
    assert evidence["host_kernel"]["release"] == HOST.release
    assert evidence["exit_status"] == 42
    proving.assert_unchanged(before)
    proving.assert_no_traces(evidence["id"])


def test_a_person_sees_each_step_and_the_kernel(proving: Proving) -> None:
    run = proving.run("crun")
    assert (run.returncode, run.stderr) == (0, "")
    first, *lines = run.stdout.splitlines()
    assert re.fullmatch(r"crun: passed \(generation \d+, direct\)", first)
    shown = dict(re.split(r" {2,}", line.strip(), maxsplit=1) for line in lines)
    assert [*shown] == ["created", "started", "ran", "deleted", "kernel", "uid map", "seccomp", "proof"]
    assert re.fullmatch(r"[\d.]+ ms, exit status 42", shown["ran"])
    assert shown["kernel"] == f"{HOST.release} {HOST.version}, as the host's"


# Broken runtimes: the step and the reason


REASONS = {
    "web-page": ("create", r'.*/web-page is neither a program nor a script: it begins with "<!DOCTYPE html>", like .*'),
    "only-a-version": ("create", "the runtime ended with exit status 0 and made no container: it wrote no process id"),
    "other-processor": ("create", r".*/other-processor is a program for aarch64 processors, and this node has .*"),
    "lacks-python": ("create", r'.*/lacks-python needs "/nowhere/python9" to run, which does not exist'),
    "missing": ("resolve", r".*/missing: no such file.*"),
    "fails-in-create": ("create", r"no luck today \(exit status 3\)"),
    "fails-in-start": ("start", r"cannot start \(exit status 4\)"),
    "fails-in-delete": ("delete", r"cannot delete \(exit status 5\)"),
    "hangs-in-create": ("create", "the runtime did not end within 6 s"),
    "hangs-in-wait": ("wait", "the container's process did not end within 6 s"),
    "prints-without-end": ("wait", "the container's process did not end within 6 s"),
    "leaves-a-cgroup": ("leftovers", r"the runtime left the cgroup .*/runtimed-test-\w+; removed"),
    "leaves-a-process": ("leftovers", r"the runtime left the process .*sleep.*; removed"),
    "leaves-a-mount": ("leftovers", r"the runtime left the mount /run/runtimed-test-\w+/here; removed"),
    "returns-another-status": ("evidence", "the script ended with exit status 42, but the runtime returned 7"),
    "runs-another-program": (
        "evidence",
        'the container did not run the script of the test: it ended with exit status 0 and printed "welcome"',
    ),
    "names-another-process": ("create", "process 1, which the runtime named, is none that it has started"),
}
# The kernel refuses these.
REFUSED = ("web-page", "other-processor", "lacks-python")


@pytest.mark.parametrize("name", REASONS)
def test_a_broken_runtime_gets_its_reason_and_leaves_nothing(proving: Proving, name: str) -> None:
    before = proving.listing()
    step, reason = REASONS[name]
    # As long as the reason says: a step that should succeed may take a while on a busy machine.
    within = re.search(r"within (\d) s", reason)
    evidence, status = proving.evidence(name, *(("--timeout", within[1]) if within else ()))
    assert (evidence["outcome"], status) == ("failed", 1)
    if name in REFUSED and evidence["failure"]["step"] == "resolve":
        step = "resolve"  # the daemon has probed the binary already
    assert evidence["failure"]["step"] == step, evidence
    assert re.fullmatch(reason, evidence["failure"]["reason"]), evidence["failure"]["reason"]
    assert evidence["remaining"] == []
    assert evidence["proof"] == "not-proved"
    assert proving.daemon.get(f"/v1/runtimes/{name}")[1]["proof"]["detail"].startswith(f"{step}: ")
    proving.assert_unchanged(before)
    if evidence["id"] is not None:
        proving.assert_no_traces(evidence["id"])


def test_a_shim_without_a_command_line_is_not_tested_directly(proving: Proving) -> None:
    evidence, status = proving.evidence("kata", "--engine", "direct")
    assert (evidence["outcome"], status, evidence["id"], evidence["proof"]) == ("failed", 1, None, None)
    assert "--engine containerd" in evidence["failure"]["reason"]


# All runtimes, and usage


def test_all_runtimes_are_tested_and_one_failure_is_one_exit_status(proving: Proving) -> None:
    with own_table(proving, ["crun", "gvisor"]):
        run = proving.run("--all", "--json")
        assert (run.returncode, run.stderr) == (0, "")
        names = [evidence["runtime"] for evidence in json.loads(run.stdout)["tests"]]
        assert names == ["crun", "gvisor", "io.containerd.runc.v2", "runc"]
    with own_table(proving, ["crun", "fails-in-start"]):
        run = proving.run("--all")
        assert (run.returncode, run.stderr) == (1, "")
        outcomes = re.findall(r"^(\S+): (passed|failed) ", run.stdout, re.MULTILINE)
        assert dict(outcomes) == {
            "crun": "passed",
            "fails-in-start": "failed",
            "io.containerd.runc.v2": "passed",
            "runc": "passed",
        }


@contextlib.contextmanager
def own_table(proving: Proving, names: list[str]) -> Iterator[None]:
    """Reduce the table to some of its runtimes."""
    whole = json.loads(proving.daemon.config.read_text())
    proving.daemon.write({**whole, "runtimes": {name: whole["runtimes"][name] for name in names}})
    assert proving.daemon.reload()["outcome"] in ("applied", "unchanged")
    try:
        yield
    finally:
        proving.daemon.write(whole)
        assert proving.daemon.reload()["outcome"] in ("applied", "unchanged")


def test_a_name_that_is_not_in_the_table_is_an_error(proving: Proving) -> None:
    run = proving.run("crum")
    assert (run.returncode, run.stdout) == (1, "")
    assert "unknown or invalid runtime name: crum" in run.stderr


def test_a_user_who_is_not_root_is_told_so(proving: Proving) -> None:
    run = subprocess.run(
        [*ordinary_user(), *proving.command("crun")[len(proving.root.enter) :]],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert "only root" in run.stderr


def test_a_binary_that_changes_during_its_test_is_not_proved(proving: Proving) -> None:
    before = proving.listing()
    with proving.slow_test("takes-a-moment") as (tester, _):
        program = proving.daemon.root / "runtimes" / "takes-a-moment"
        put_executable(program, f"{program.read_text()}# changed\n")
        proving.end_slow_step("takes-a-moment")
        stdout, stderr = tester.communicate(timeout=PATIENCE_S)
    assert tester.returncode == 1
    assert "takes-a-moment: passed" in stdout
    assert "the daemon has not recorded the test of takes-a-moment" in stderr
    assert proving.daemon.get("/v1/runtimes/takes-a-moment")[1]["proof"]["state"] == "not-proved"
    proving.assert_unchanged(before)


# Interruptions


@pytest.mark.parametrize(
    ("name", "number"), [*itertools.product(SLOW, (signal.SIGINT, signal.SIGTERM)), ("slow-wait", signal.SIGHUP)]
)
def test_a_signal_ends_the_test_without_traces(proving: Proving, name: str, number: int) -> None:
    before = proving.listing()
    with proving.slow_test(name) as (tester, identifier):
        tester.send_signal(number)
        stdout, stderr = tester.communicate(timeout=PATIENCE_S)
    assert (tester.returncode, stdout) == (128 + number, "")
    assert stderr == "runtimectl: interrupted; the container of the test is removed\n"
    proving.assert_unchanged(before)
    proving.assert_no_traces(identifier)


@pytest.mark.parametrize("name", SLOW)
def test_the_next_test_removes_what_a_killed_one_has_left(proving: Proving, name: str) -> None:
    before = proving.listing()
    with proving.slow_test(name) as (tester, identifier):
        # A test that runs is left alone.
        assert proving.run("crun").stderr == ""
        assert proving.bundles() == [identifier]
        tester.kill()
    assert proving.traces(identifier) != []
    run = proving.run("crun")
    assert (run.returncode, run.stderr) == (0, f"note: removed the container of the killed test {identifier}\n")
    proving.assert_unchanged(before)
    proving.assert_no_traces(identifier)


def test_a_container_of_production_does_not_notice(proving: Proving) -> None:
    with production(proving) as observe:
        before = observe()
        for name in ("crun", "gvisor", "leaves-a-cgroup", "leaves-a-mount", "hangs-in-create"):
            proving.run(name, "--timeout", "0.5")
        with proving.slow_test("slow-created") as (tester, _):
            tester.kill()
        assert proving.run("crun").returncode == 0
        assert observe() == before
    assert proving.bundles() == []
