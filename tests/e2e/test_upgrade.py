"""A data root of release 0.2.0, and containers that were started through its stable path, which was a wrapper."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.harness.containerd import RUNC_OPTIONS, running_containerd
from e2e.harness.node import ContainerdNode
from harness.daemon import RunningDaemon

from runtimed.core.containerd.options import RUNC, encode_options, make_options

# Written by release 0.2.0 at this place; its daemon.json had one runtime, "w-of-0.2.0", with "path": "/usr/sbin/runc",
# "runtimeArgs": ["--rootless", "false"]. Only the time of the generation was changed, to an earlier one.
ARCHIVE = Path(__file__).parent / "data" / "data-root-0.2.0.tar.gz"
ROOT = Path("/tmp/rtd-0.2.0")
NAME = "w-of-0.2.0"


@pytest.fixture
def node() -> Iterator[ContainerdNode]:
    with ROOT.with_name(f"{ROOT.name}.lock").open("w") as lock:
        # Another run of this test has the place for now; one that was killed has left it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(ROOT)
        ROOT.mkdir(mode=0o700)
        yield from new_node()


def new_node() -> Iterator[ContainerdNode]:
    daemon = RunningDaemon(ROOT)
    try:
        subprocess.run(["tar", "-C", str(ROOT), "-xzf", str(ARCHIVE)], check=True)
        with running_containerd() as containerd:
            yield ContainerdNode(daemon, containerd)
    finally:
        daemon.kill()
        shutil.rmtree(ROOT)


def test_containers_of_0_2_0_keep_their_runtime_after_the_upgrade(node: ContainerdNode) -> None:
    containerd, link = node.containerd, node.daemon.data / "runtimes" / NAME
    wrapper = link.resolve()
    states = ROOT / "run" / "runtime-runc" / "default"
    value = encode_options(make_options(RUNC, {"binary_name": str(link), "root": str(states.parent)}))
    old = [containerd.run(RUNC_OPTIONS, value) for _ in range(3)]
    # The upgrade, and at once another meaning.
    node.write({NAME: {"path": "/usr/bin/crun"}})
    node.daemon.start()
    assert node.daemon.status()["health"] == {"status": "ok", "reasons": {}}
    assert link.resolve() != wrapper
    new = containerd.run(RUNC_OPTIONS, value)
    assert (states / new / "status").exists(), "crun has started it"
    listed = {each["id"]: each for each in node.daemon.get("/v1/containers")[1]["containers"]}
    assert {listed[identifier]["binary"] for identifier in old} == {str(wrapper)}
    for identifier in (*old, new):
        containerd.ctr("tasks", "exec", "--exec-id", "x", identifier, "/bin/sh", "-c", "exit 42", status=42)
    # Started again, a container has the current definition.
    node.restart_task(old[0])
    assert (states / old[0] / "status").exists()
    for identifier in (*old, new):
        containerd.remove(identifier)
    assert list(states.iterdir()) == []
