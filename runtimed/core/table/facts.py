"""Defines the facts of the host."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of the host that resolutions depend on."""

    # The unified cgroup hierarchy is mounted.
    cgroup2: bool
    # systemd is the running init.
    systemd: bool
    # The root file system is a ramdisk, which pivot_root(2) cannot leave (dockerd's DOCKER_RAMDISK).
    ramdisk: bool
    # The PATH of the daemon, which launchers search for a bare name: an engine may pass none.
    search: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts of the host that only clients read: those of uname(2), the distribution's name, the hardware."""

    name: str
    system: str
    kernel: str
    architecture: str
    cpus: int
    memory_bytes: int
