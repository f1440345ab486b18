"""Finds references in the arguments of processes, and shims of a containerd that is not configured."""

from __future__ import annotations

import errno
import os

from runtimed.core.collection.references import (
    DamagedBundle,
    Reference,
    engine_paths_in_arguments,
    paths_in_arguments,
    shim_address,
)
from runtimed.host.containers.bundles import read_bundle

# The kernel takes no more than 6 MiB of arguments (execve(2)).
_ARGUMENTS_MAX = 8 << 20


def read_processes(below: str, addresses: set[str], proc: str) -> tuple[list[Reference], list[str], set[str]]:
    """Return the references in processes' arguments, the faults, and the locations of engines' files named there.

    ``below`` is the data root, ``addresses`` are the real paths of the configured engines' API sockets. A process that
    ends during the scan has no references.
    """
    try:
        names = os.listdir(proc)
    except OSError as error:
        return [], [f"{proc}: {error.strerror}"], set()
    references: list[Reference] = []
    unknown: list[str] = []
    locations: set[str] = set()
    if "1" not in names:
        # With hidepid= or systemd's ProtectProc=, hidden processes are not listed.
        unknown.append(f"{proc} does not show the processes of others (hidepid, ProtectProc=)")
    for process in (f"{proc}/{name}" for name in names if name.isdecimal()):
        try:
            if not (argv := _arguments(process)):
                continue
            if (named := engine_paths_in_arguments(argv)) and _is_trusted(process):
                locations |= named
            holder = f"process {os.path.basename(process)} ({os.fsdecode(os.path.basename(argv[0]))})"
            references += (Reference(path, holder) for path in paths_in_arguments(argv))
            address = shim_address(argv)
            # Trust first: realpath may hang on a path that another user gives.
            if address is not None and _is_trusted(process) and os.path.realpath(address) not in addresses:
                paths, faults = _unconfigured_shim(process, holder, address, below)
                references += (Reference(path, holder) for path in paths)
                unknown += faults
        except OSError as error:
            if not _is_gone(process, error):
                unknown.append(f"process {os.path.basename(process)}: {error.strerror}")
    return references, unknown, locations


def _unconfigured_shim(process: str, holder: str, address: str, below: str) -> tuple[set[str], list[str]]:
    """Return the paths in the bundle of a shim, and a fault if its containerd may have further references."""
    try:
        # The working directory of a shim is its bundle.
        paths = read_bundle(f"{process}/cwd")
    except FileNotFoundError:
        return set(), []
    except DamagedBundle as error:
        return set(), [f"{holder} belongs to a containerd at {address}, which is not configured: {error}"]
    # That the containerd exists is no fault; that it uses wrappers is.
    if any(path.startswith(f"{below}/") for path in paths):
        return paths, [f"the containerd at {address} uses wrappers but is not configured, see {holder}"]
    return paths, []


def _is_trusted(process: str) -> bool:
    """Return whether ``process`` is one of root or of the daemon's user, so that its engine may be read.

    Any other user could name a file system that hangs, and so end every reference scan. All its user ids count: the
    real one of a setuid program is that of the user who started it (proc_pid_status(5)).
    """
    with open(f"{process}/status", "rb") as file:
        uids = next((line.split()[1:] for line in file if line.startswith(b"Uid:")), [])
    return bool(uids) and all(int(uid) in (0, os.geteuid()) for uid in uids)


def _arguments(process: str) -> list[bytes]:
    with open(f"{process}/cmdline", "rb") as file:
        data = file.read(_ARGUMENTS_MAX)
    # Kernel threads and zombies have none. A process may overwrite its arguments and leave out the last NUL.
    return data.removesuffix(b"\0").split(b"\0") if data else []


def _is_gone(process: str, error: OSError) -> bool:
    if error.errno in (errno.ENOENT, errno.ESRCH):
        return True
    try:
        os.lstat(process)
    except FileNotFoundError:
        return True
    except OSError:
        pass
    return False
