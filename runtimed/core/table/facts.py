"""What there is to know of the host: what a generation depends on, and what only clients want to know."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Facts:
    """The host, as far as answers depend on it.

    ``cgroup2``: the unified hierarchy is mounted. ``systemd``: systemd is the running init. ``ramdisk``:
    the root file system is a ramdisk, which pivot_root cannot leave (dockerd's ``DOCKER_RAMDISK``).
    """

    cgroup2: bool
    systemd: bool
    ramdisk: bool


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine as clients are told of it; no answer about a runtime depends on it.

    ``name``, ``kernel`` (its release) and ``architecture`` are those of uname(2), ``system`` is the distribution's.
    """

    name: str
    system: str
    kernel: str
    architecture: str
    cpus: int
    memory_bytes: int
