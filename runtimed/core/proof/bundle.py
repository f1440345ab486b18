"""Makes the OCI bundle of a test: a process of /bin/sh that prints facts of its container.

The container needs no image: its root file system is an empty directory, on which the host's programs and libraries are
mounted read-only. The script uses the shell's builtins only, so a shell and its libraries are enough.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PREFIX = "runtimed-test-"
ID = re.compile(rf"{PREFIX}[0-9a-f]{{12}}")
ID_DIGITS = 12
# In the environment of every program that a test starts, with the id as its value, so that they can be found.
VARIABLE = "RUNTIMED_TEST"
# The exit status of the script, which no shell and no runtime returns by chance.
EXIT_STATUS = 42
# Directories with programs and libraries, and with the files that links in them lead to on NixOS and Guix.
_SHARED = re.compile(r"usr|bin|sbin|lib[a-z0-9]{0,3}|nix|gnu")
# More than gVisor and virtual machines need for themselves.
_MEMORY_BYTES = 1 << 30
_PROCESSES = 1024
# Under /proc, which every kernel has.
_FILES = ("sys/kernel/osrelease", "sys/kernel/version", "version", "self/uid_map", "self/status")
_NAMESPACES = ("pid", "ipc", "uts", "mount", "network")
_CAPABILITIES = ("bounding", "effective", "inheritable", "permitted", "ambient")
_BIND = ("rbind", "ro", "nosuid", "nodev")
_SCRIPT = """\
show() {{
  while IFS= read -r line; do printf '%s %s %s\\n' {id} "$1" "$line"; done 2>/dev/null </proc/"$1"
}}
{shows}
printf '%s end\\n' {id}
exit {status}
"""


@dataclass(frozen=True, slots=True)
class Node:
    """The facts of a node that the bundle depends on.

    ``entries`` maps the names in the root directory to the targets of links, and those of directories to None.
    ``controllers`` are the names of the cgroup controllers.
    """

    entries: Mapping[str, str | None]
    controllers: frozenset[str]


@dataclass(frozen=True, slots=True)
class RootDirectory:
    """The root file system of a container: names of empty directories, and of links with their targets."""

    directories: tuple[str, ...]
    links: Mapping[str, str]


def is_shared(name: str) -> bool:
    """Return whether the container sees the entry ``name`` of the host's root directory."""
    return _SHARED.fullmatch(name) is not None


def make_root_directory(node: Node) -> RootDirectory:
    """Return the root file system for the container of a test on ``node``."""
    shared = {name: target for name, target in sorted(node.entries.items()) if is_shared(name)}
    directories = [name for name, target in shared.items() if target is None]
    links = {name: target for name, target in shared.items() if target is not None}
    return RootDirectory(("dev", "proc", *directories), links)


def make_script(identifier: str) -> str:
    """Return the script of the container: it prints the id, the name of a file and a line of it, and exits with 42."""
    shows = "\n".join(f"show {file}" for file in _FILES)
    return _SCRIPT.format(id=identifier, shows=shows, status=EXIT_STATUS)


def make_config(identifier: str, root: str, node: Node, *, systemd_cgroup: bool) -> dict[str, Any]:
    """Return the config.json of the container ``identifier`` with the root file system at the path ``root``.

    Its cgroup is directly below the root of the hierarchy, or a scope in system.slice, so that no test leaves a parent
    that another one uses. A limit is only set where the node has the controller: Raspberry Pi OS has none for memory.
    """
    resources: dict[str, Any] = {"devices": [{"allow": False, "access": "rwm"}]}
    if "memory" in node.controllers:
        resources["memory"] = {"limit": _MEMORY_BYTES}
    if "pids" in node.controllers:
        resources["pids"] = {"limit": _PROCESSES}
    return {
        "ociVersion": "1.0.2",
        "root": {"path": root, "readonly": True},
        "hostname": identifier,
        "mounts": _mounts(make_root_directory(node)),
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/sh", "-c", make_script(identifier)],
            "env": ["PATH=/usr/bin:/bin", f"{VARIABLE}={identifier}"],
            "cwd": "/",
            "capabilities": {name: [] for name in _CAPABILITIES},
            "noNewPrivileges": True,
        },
        "linux": {
            "namespaces": [{"type": kind} for kind in _NAMESPACES],
            "cgroupsPath": cgroup_path(identifier, systemd_cgroup=systemd_cgroup),
            "resources": resources,
            # Refuses a call that the shell never makes: a filter that the container can see.
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["kexec_load"], "action": "SCMP_ACT_ERRNO"}],
            },
        },
    }


def cgroup_path(identifier: str, *, systemd_cgroup: bool) -> str:
    """Return the cgroupsPath of a container; with systemd this becomes the unit ``<id>.scope``."""
    if systemd_cgroup:
        return f"system.slice:{PREFIX.removesuffix('-')}:{identifier.removeprefix(PREFIX)}"
    return f"/{identifier}"


def _mounts(root: RootDirectory) -> list[dict[str, Any]]:
    dev = {
        "destination": "/dev",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
    }
    proc = {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]}
    shared = [name for name in root.directories if is_shared(name)]
    return [
        proc,
        dev,
        *({"destination": f"/{name}", "type": "bind", "source": f"/{name}", "options": list(_BIND)} for name in shared),
    ]
