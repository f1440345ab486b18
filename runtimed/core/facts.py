"""What a generation needs to know of the host."""

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
