"""Lists what a test of a runtime can leave, by other means than the program's own search."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from e2e.harness.containerd import RunningContainerd
from harness.daemon import PATIENCE_S

from runtimed.host.containerd import list_containers

_STATE_PARENTS = ("/run", "/run/containerd", "/run/systemd/transient")


def traces_of(identifier: str) -> list[str]:
    """Return the paths, mounts and processes on this machine whose names or arguments have the id of a test."""
    return sorted({*_paths(identifier), *_proc(identifier)})


def _paths(identifier: str) -> Iterator[str]:
    for parent in (*_STATE_PARENTS, "/run/containerd/runc", "/run/runc", "/run/crun", "/run/runsc"):
        with contextlib.suppress(FileNotFoundError):
            yield from (f"{parent}/{name}" for name in os.listdir(parent) if identifier in name)
    for directory, names, _ in os.walk("/sys/fs/cgroup"):
        yield from (f"{directory}/{name}" for name in names if identifier in name)


def _proc(identifier: str) -> Iterator[str]:
    own = str(os.getpid())
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            entry = Path("/proc", pid)
            yield from (line for line in (entry / "mountinfo").read_text().splitlines() if identifier in line)
            words = (
                (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes() + (entry / "cgroup").read_bytes()
            )
            if pid != own and identifier.encode() in words:
                yield f"process {pid}: {words[:200]!r}"


def state_of(containerd: RunningContainerd) -> dict[str, list[str]]:
    """Return the names of all files and directories of a containerd, and its namespaces, containers and tasks."""
    files = [
        f"{directory}/{name}"
        for top in ("state", "root", "r")
        for directory, directories, names in os.walk(containerd.root / top)
        for name in (*directories, *names)
    ]
    namespaces = containerd.ctr("namespaces", "ls", "-q").split()
    containers = [f"{each.namespace}/{each.id}" for each in list_containers(containerd.address, PATIENCE_S)]
    # With their processes, which must go on.
    tasks = [containerd.ctr("tasks", "ls", namespace=each) for each in namespaces]
    return {"files": sorted(files), "namespaces": namespaces, "containers": sorted(containers), "tasks": tasks}
