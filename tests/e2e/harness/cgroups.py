"""A control group of its own, in every hierarchy there is, for a process and all that it starts."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.daemon import wait_until


@contextlib.contextmanager
def new_cgroup(name: str) -> Iterator[list[str]]:
    """Yield what stands before a command so that it runs in a control group of its own, below ours.

    What is left in there at the end, all processes having ended, is removed.
    """
    made = [directory / name for directory in _ours()]
    for directory in made:
        directory.mkdir()
        for file in ("cpuset.cpus", "cpuset.mems"):
            # Empty in a new group of version 1, and then nobody can be in it.
            if (directory / file).exists() and not (directory / "cgroup.controllers").exists():
                (directory / file).write_text((directory.parent / file).read_text())
    entering = "".join(f"echo $$ > {directory}/cgroup.procs; " for directory in made)
    try:
        yield ["sh", "-c", f'set -e; {entering}exec "$@"', "sh"]
    finally:
        wait_until(lambda: all(_remove(directory) for directory in made), f"an end of all processes in {name}")


def _ours() -> Sequence[Path]:
    """Return the directory of our own control group in every hierarchy (proc(5), cgroups(7))."""
    groups: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        groups[controllers] = path
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, target, kind, options, *_ = line.split()
        if kind not in ("cgroup", "cgroup2"):
            continue
        given = set(options.split(","))
        for controllers, path in groups.items():
            if (kind == "cgroup2") == (controllers == "") and given.issuperset(
                controllers.split(",") if controllers else ()
            ):
                found.setdefault(controllers, Path(f"{target}{path}"))
    return list(found.values())


def _remove(directory: Path) -> bool:
    """Return whether a control group and all those below it are gone."""
    for path, _, _ in os.walk(directory, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(path)
    return not directory.exists()
