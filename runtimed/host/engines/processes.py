"""Finds the process of an engine and the time of its start, and sends it SIGHUP."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_PROC = "/proc"
_CREDENTIALS = struct.Struct("3i")
_CONNECT_S = 2.0
# The kernel cuts the name of a process to 15 bytes (proc_pid_comm(5)).
_NAME_MAX = 15
# The kernel takes no more than 6 MiB of arguments (execve(2)).
_ARGUMENTS_MAX = 8 << 20
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# dockerd may start a containerd for itself, which does not read /etc/containerd.
_MANAGING = "dockerd"


@dataclass(frozen=True, slots=True)
class EngineProcess:
    """The process of an engine; ``start_ticks`` is its start as the kernel counts it, since the boot."""

    name: str
    pid: int
    start_ticks: int

    @property
    def started_s(self) -> float:
        """The latest time at which it can have started, in seconds since the epoch."""
        since_boot_s = (self.start_ticks + 1) / _TICKS_PER_S
        # In this order: if this process is stopped between the two, the result is later and not earlier.
        ago_s = time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot_s
        return time.time() - ago_s


def find_process(name: str, sockets: Iterable[str]) -> EngineProcess | None:
    """Return the process ``name`` that listens on one of ``sockets``, otherwise one of that name, or None.

    Processes in other pid namespaces (in containers) and of other users than root and this one do not count. The oldest
    one counts if there are several.
    """
    pids = [*_pids_by_name(name)]
    # A connection to a socket on which systemd listens for an engine would start the engine.
    listeners = [pid for path in sockets if (pid := _listener(path)) is not None] if pids else []
    # Process 1 listens on a socket that systemd passes on.
    for pid in (*listeners, *pids):
        if (found := _inspect(pid, name)) is not None:
            return found
    return None


def command_line(process: EngineProcess) -> tuple[str, ...]:
    """Return the words of the command of ``process``, an empty tuple if it has ended."""
    with (
        contextlib.suppress(FileNotFoundError, ProcessLookupError),
        open(f"{_PROC}/{process.pid}/cmdline", "rb") as file,
    ):
        data = file.read(_ARGUMENTS_MAX)
        if _inspect(process.pid, process.name) == process:
            return tuple(os.fsdecode(word) for word in data.removesuffix(b"\0").split(b"\0"))
    return ()


def hang_up(process: EngineProcess) -> bool:
    """Send SIGHUP to ``process``; return whether it still runs.

    Raises:
        OSError: this user may not send it a signal.
    """
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        # While the descriptor is open a signal reaches this process or none; so it must be the right one now.
        if _inspect(process.pid, process.name) != process:
            return False
        signal.pidfd_send_signal(fd, signal.SIGHUP)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


def _listener(path: str) -> int | None:
    """Return the id of the process that made the socket at ``path`` listen, if that can be known."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_CONNECT_S)
        try:
            connection.connect(path)
            data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError:
            return None
    pid, _, _ = _CREDENTIALS.unpack(data)
    return pid or None  # 0: a process of a pid namespace outside of this one


def _pids_by_name(name: str) -> Iterator[int]:
    """Yield the ids of the engines' processes called ``name``, the oldest first."""
    found = []
    for pid in (int(entry) for entry in os.listdir(_PROC) if entry.isdecimal()):
        stat = _read_stat(pid)
        if stat is not None and stat[0] == name[:_NAME_MAX] and not _is_managed(stat[1]):
            found.append((stat[2], pid))
    yield from (pid for _, pid in sorted(found))


def _inspect(pid: int, name: str) -> EngineProcess | None:
    stat = _read_stat(pid)
    is_engine = stat is not None and stat[0] == name[:_NAME_MAX] and _is_of_node(pid)
    return EngineProcess(name, pid, stat[2]) if stat is not None and is_engine else None


def _read_stat(pid: int) -> tuple[str, int, int] | None:
    """Return the name of a process, the id of its parent and its start; None if it has ended (proc_pid_stat(5))."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"{_PROC}/{pid}/stat", "rb") as file:
        before, _, after = file.read().rpartition(b")")
        fields = after.split()
        if fields[0] not in (b"Z", b"X"):
            return os.fsdecode(before.partition(b"(")[2]), int(fields[1]), int(fields[19])
    return None


def _is_managed(parent: int) -> bool:
    stat = _read_stat(parent)
    return stat is not None and stat[0] == _MANAGING


def _is_of_node(pid: int) -> bool:
    """Return whether a process is in this pid namespace, and one of root or of this user (proc_pid_status(5)).

    A rootless engine belongs to its user, and any user may give a process any name.
    """
    with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"{_PROC}/{pid}/status", "rb") as file:
        fields = {key: value.split() for key, _, value in (line.partition(b":") for line in file)}
        uids = {int(uid) for uid in fields[b"Uid"]}
        return uids <= {0, os.geteuid()} and len(fields.get(b"NSpid", ())) <= 1
    return False
