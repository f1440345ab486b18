"""Processes: which paths stand in their arguments, and shims of an engine that nobody named."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator

from runtimed.core.collection.references import (
    DamagedBundle,
    Reference,
    engine_places,
    paths_in_arguments,
    shim_address,
)
from runtimed.host.containers.bundles import read_bundle

# The kernel takes no more than 6 MiB of arguments (execve(2)).
_ARGUMENTS_MAX = 8 << 20


def read_processes(below: str, addresses: Collection[str], proc: str) -> tuple[list[Reference], list[str], set[str]]:
    """Return the references in processes' arguments, the faults, and the places of engines' files named there.

    ``below`` is the data root, ``addresses`` are the API sockets of the engines whose bundles are read anyway.
    A process that ends while this looks refers to nothing.
    """
    try:
        names = os.listdir(proc)
    except OSError as error:
        return [], [f"{proc}: {error.strerror}"], set()
    references: list[Reference] = []
    unknown: list[str] = []
    places: set[str] = set()
    if "1" not in names:
        # hidepid=, or systemd's ProtectProc=: what is hidden is not even listed.
        unknown.append(f"{proc} does not show the processes of others (hidepid, ProtectProc=)")
    for name in names:
        if not name.isdecimal():
            continue
        try:
            argv = _arguments(f"{proc}/{name}")
            if argv:
                if (named := engine_places(argv)) and _is_trusted(f"{proc}/{name}"):
                    places |= named
                _judge(f"{proc}/{name}", argv, below, addresses, references, unknown)
        except OSError as error:
            if not _is_gone(f"{proc}/{name}", error):
                unknown.append(f"process {name}: {error.strerror}")
    return references, unknown, places


def _judge(
    process: str,
    argv: list[bytes],
    below: str,
    addresses: Collection[str],
    references: list[Reference],
    unknown: list[str],
) -> None:
    holder = f"process {os.path.basename(process)} ({os.fsdecode(os.path.basename(argv[0]))})"
    references += (Reference(path, holder) for path in paths_in_arguments(argv, below))
    address = shim_address(argv)
    if address is None or not _is_trusted(process):
        return
    if address in addresses or os.path.realpath(address) in addresses:
        return
    # A shim stands in its bundle. That its engine exists proves nothing; that it uses our wrappers does.
    paths, fault = _shim_paths(f"{process}/cwd")
    references += (Reference(path, holder) for path in paths)
    if fault is not None:
        unknown.append(f"{holder} belongs to a containerd at {address}, which is not configured: {fault}")
    elif any(path.startswith(f"{below}/") for path in paths):
        unknown.append(f"the containerd at {address} uses wrappers but is not configured, see {holder}")


def _is_trusted(process: str) -> bool:
    """Return whether ``process`` is one of root or of the daemon's own user, and so may be an engine to look into.

    Any other user could name a file system that hangs, and so end every reference scan. All its user ids count: the
    real one of a setuid program is that of the user who started it (proc_pid_status(5)).
    """
    with open(f"{process}/status", "rb") as file:
        uids = next((line.split()[1:] for line in file if line.startswith(b"Uid:")), [])
    return bool(uids) and all(int(uid) in (0, os.geteuid()) for uid in uids)


def _shim_paths(bundle: str) -> tuple[set[str], str | None]:
    try:
        return read_bundle(bundle), None
    except FileNotFoundError:
        return set(), None
    except DamagedBundle as error:
        return set(), str(error)


def _arguments(process: str) -> list[bytes]:
    descriptor = os.open(f"{process}/cmdline", os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b"".join(_chunks(descriptor))
    finally:
        os.close(descriptor)
    # Kernel threads and zombies have none; a process may have written over its own and left out the last NUL.
    return data.removesuffix(b"\0").split(b"\0") if data else []


def _chunks(descriptor: int) -> Iterator[bytes]:
    left = _ARGUMENTS_MAX
    while left > 0 and (chunk := os.read(descriptor, min(left, 1 << 16))):
        left -= len(chunk)
        yield chunk


def _is_gone(process: str, error: OSError) -> bool:
    if error.errno in (errno.ENOENT, errno.ESRCH):
        return True
    try:
        os.lstat(process)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False
