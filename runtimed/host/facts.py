"""Reads facts about the host: its control groups, its init, its environment."""

from __future__ import annotations

import os
import platform
import stat
from collections.abc import Mapping

from runtimed.core.mounts import parse_mounts
from runtimed.core.table.facts import Facts, Machine


def read_facts(
    environ: Mapping[str, str],
    cgroup_root: str = "/sys/fs/cgroup",
    systemd_dir: str = "/run/systemd/system",
    mountinfo: str = "/proc/self/mountinfo",
) -> Facts:
    """Return the host's facts, by the same signs as dockerd and runc; a sign that cannot be read counts as absent.

    dockerd sets no_pivot_root where the environment has DOCKER_RAMDISK, and uses systemd's cgroup driver where
    systemd runs and ``cgroup_root`` is cgroup2.
    """
    return Facts(
        cgroup2=_mounted_type(os.path.realpath(cgroup_root), mountinfo) == "cgroup2",
        systemd=_is_real_directory(systemd_dir),
        ramdisk=bool(environ.get("DOCKER_RAMDISK")),
        search=environ.get("PATH", ""),
    )


def read_system() -> str:
    """Return the distribution's name and version from its own file (os-release(5)), "Linux" if there is none."""
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return "Linux"


def read_machine(system: str) -> Machine:
    """Return the machine's present state, with ``system`` from :func:`read_system`. Reads no file."""
    uname = os.uname()
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(uname.nodename, system, uname.release, uname.machine, os.cpu_count() or 1, memory_bytes)


def _mounted_type(mount_point: str, mountinfo: str) -> str | None:
    """Return the type of the file system at ``mount_point`` from proc_pid_mountinfo(5): Python has no statfs(2)."""
    try:
        with open(mountinfo, "rb") as file:
            mounts = tuple(parse_mounts(file.read()))
    except OSError:
        return None
    # The last mount at a point is the visible one.
    return next((each.kind for each in reversed(mounts) if each.point == os.fsencode(mount_point)), None)


def _is_real_directory(path: str) -> bool:
    """Return whether ``path`` is a directory and not a link to one, as sd_booted(3) does."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False
