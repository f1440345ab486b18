"""References of real processes: monitors of other engines, shims of a containerd that is not configured."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator

import pytest
from harness.engine_state import ROOT, WRAPPER, EngineState, new_node, ordinary_user, process

from runtimed.core.collection.references import Reference, ReferenceScan


@pytest.fixture
def node() -> Iterator[EngineState]:
    with new_node() as node:
        yield node


def unknown_of(scan: ReferenceScan, pid: int) -> list[str]:
    """Return the faults of one process, because other processes on this machine may have faults too."""
    return [reason for reason in scan.unknown if re.search(rf"\bprocess {pid}\b", reason)]


def test_processes_of_other_engines_refer_to_paths_in_their_arguments(node: EngineState) -> None:
    link = f"{ROOT}/runtimes/gvisor"
    with process(["conmon", "-c", "abc", "-r", "/opt/crun"]) as one, process(["podman", f"--runtime={link}"]) as two:
        references = node.scan(proc="/proc").references
    assert Reference("/opt/crun", f"process {one} (conmon)") in references
    assert Reference(link, f"process {two} (podman)") in references


def test_processes_of_other_users_are_read(node: EngineState) -> None:
    with process(["conmon", "-r", "/opt/crun"]) as pid, ordinary_user():
        result = node.scan(proc="/proc")
    assert Reference("/opt/crun", f"process {pid} (conmon)") in result.references


def test_processes_that_end_during_the_scan_are_no_fault(node: EngineState) -> None:
    stop = threading.Event()
    ended: list[int] = []

    def churn() -> None:
        while not stop.is_set():
            with subprocess.Popen(["/bin/true"]) as child:
                ended.append(child.pid)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        scans = [node.scan(proc="/proc") for _ in range(100)]
    finally:
        stop.set()
        thread.join()
    assert ended
    assert [reason for scan in scans for pid in ended for reason in unknown_of(scan, pid)] == []


def test_a_zombie_has_no_references(node: EngineState) -> None:
    child = subprocess.Popen(["/bin/true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    result = node.scan(proc="/proc")
    child.wait()
    assert unknown_of(result, child.pid) == []


def test_a_process_that_cannot_be_read_is_unknown(node: EngineState) -> None:
    (node.proc / "77").mkdir()
    (node.proc / "77/cmdline").write_bytes(b"conmon\0")
    (node.proc / "77/cmdline").chmod(0)
    with ordinary_user():
        assert node.unknown() == "process 77: Permission denied"


def test_a_missing_proc_or_one_that_hides_processes_is_unknown(node: EngineState) -> None:
    shutil.rmtree(node.proc / "1")
    assert "does not show the processes of others" in node.unknown()
    shutil.rmtree(node.proc)
    assert node.unknown() == f"{node.proc}: No such file or directory"


def test_a_shim_of_a_containerd_that_is_not_configured_is_a_fault(node: EngineState) -> None:
    bundle = node.bundle("b", runtime=WRAPPER)
    shim = ["containerd-shim-runc-v2", "-namespace", "moby", "-id", "b", "-address"]
    with process([*shim, "/run/k3s.sock"], cwd=bundle) as pid:
        result = node.scan(proc="/proc")
    assert Reference(WRAPPER, f"process {pid} (containerd-shim-runc-v2)") in result.references
    holder = f"process {pid} (containerd-shim-runc-v2)"
    expected = [f"the containerd at /run/k3s.sock uses wrappers but is not configured, see {holder}"]
    assert unknown_of(result, pid) == expected
    # The same under a configured engine's address, under an alias of it, and where it does not use our wrappers.
    alias = node.root / "alias"
    alias.symlink_to(node.root)
    for address, runtime in ((node.engine.address, WRAPPER), (f"{alias}/c.sock", WRAPPER), ("/run/k3s.sock", "/opt/x")):
        (bundle / "runtime").write_text(runtime)
        with process([*shim, address], cwd=bundle) as pid:
            assert unknown_of(node.scan(proc="/proc"), pid) == []
    (bundle / "options.json").write_text("")
    with process([*shim, "/run/k3s.sock"], cwd=bundle) as pid:
        assert "not configured: options.json" in "\n".join(unknown_of(node.scan(proc="/proc"), pid))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_shim_of_another_user_cannot_make_anything_unknown(node: EngineState) -> None:
    one = node.proc / "123"
    (one / "cwd").mkdir(parents=True)
    (one / "cwd/runtime").write_text(WRAPPER)
    (one / "cmdline").write_bytes(b"containerd-shim-runc-v2\0-address\0/nowhere.sock\0")
    (one / "status").write_text("Name:\tshim\nUid:\t0\t0\t0\t0\n")
    assert "uses wrappers but is not configured" in node.unknown()
    # The real user id of a setuid program is that of the user who started it.
    (one / "status").write_text("Name:\tsu\nUid:\t65534\t0\t0\t0\n")
    assert node.found() == set()
