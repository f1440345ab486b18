"""Runs a command that may hang, ignore signals, fork or print without end.

It uses :mod:`subprocess` in a thread of the caller. asyncio's subprocesses would start the child on the event loop's
thread, need a thread for each child before Python 3.12, and wait for the end of a pipe that a grandchild may hold open.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from types import MappingProxyType
from typing import IO

# Without the daemon's environment, which holds variables for the daemon only (NOTIFY_SOCKET, for example).
ENVIRONMENT = MappingProxyType(
    {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C", "HOME": "/"}
)
# The limit on descriptors at the start of the daemon, which raises it after this module is imported.
_DESCRIPTORS = resource.getrlimit(resource.RLIMIT_NOFILE)
# Interval between checks of the process and of the stop event. A pidfd would need Linux 5.3.
_CHECK_S = 0.01
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a run: ``status`` as in :mod:`subprocess`; in ``cut_short`` the reason if the run was killed."""

    status: int
    stdout: bytes
    stderr: bytes
    cut_short: str | None = None


@dataclass(slots=True)
class _Stream:
    """A pipe, read without blocking, and its first ``limit`` + 1 bytes."""

    pipe: IO[bytes]
    limit: int
    data: bytearray = field(default_factory=bytearray)
    ended: bool = False

    def read(self) -> bool:
        """Read a chunk if there is one; return whether there was."""
        try:
            chunk = os.read(self.pipe.fileno(), _CHUNK)
        except BlockingIOError:
            return False
        self.ended = not chunk
        self.data += chunk[: self.limit + 1 - len(self.data)]
        return bool(chunk)


def run_command(
    command: Sequence[str],
    *,
    timeout_s: float,
    output_bytes: int,
    stopped: Event,
    environment: Mapping[str, str] = ENVIRONMENT,
) -> Outcome:
    """Return the outcome of ``command``, at the latest after ``timeout_s``, or soon after ``stopped`` is set.

    The command runs in a new session, which is killed as a whole in every case. Only processes that start yet another
    session survive; they get a closed pipe. More than ``output_bytes`` in one stream ends the run.

    Raises:
        OSError: the command cannot be started.
    """
    # close_fds: the child inherits no descriptor. With these arguments, and no preexec_fn, subprocess uses vfork(2):
    # the whole interpreter waits until the exec, and no longer. Measured with four at a time the event loop then waits
    # no longer than when another process does the same work; with fork(2) three times as long, and longer with more
    # memory. A file that another thread has open for writing at that moment is open in the child too, and cannot be
    # executed (ETXTBSY) until the exec; no thread of this process runs until then, so none can publish it meanwhile.
    process = subprocess.Popen(  # noqa: S603 - an administrator's binary, on a path that only root can change
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        close_fds=True,
        cwd="/",
        env=environment,
        start_new_session=True,
    )
    # The soft limit is for programs that use select(2), or close all descriptors up to it. To set it before the exec
    # takes a preexec_fn, or lowers the daemon's limit meanwhile; so the child starts with the higher limit.
    # PermissionError: the process has become another user (setuid).
    with contextlib.suppress(ProcessLookupError, PermissionError):
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, _DESCRIPTORS)
    assert process.stdout is not None  # noqa: S101 - because of PIPE
    assert process.stderr is not None  # noqa: S101
    with process.stdout, process.stderr:
        streams = (_Stream(process.stdout, output_bytes), _Stream(process.stderr, output_bytes))
        try:
            cut_short = _read_until_exit(process.pid, streams, timeout_s, stopped)
        finally:
            # Before wait(), which frees the process id and that of the group for other processes.
            _kill_group(process.pid)
            process.wait()
    return Outcome(process.returncode, bytes(streams[0].data), bytes(streams[1].data), cut_short)


def _read_until_exit(pid: int, streams: Sequence[_Stream], timeout_s: float, stopped: Event) -> str | None:
    """Read until the process has ended; return the reason if the run must be cut short, or None."""
    deadline_s = time.monotonic() + timeout_s
    for stream in streams:
        os.set_blocking(stream.pipe.fileno(), False)
    while not stopped.is_set():
        exited = _has_exited(pid)
        open_streams = [stream for stream in streams if not stream.ended]
        # The output of an exited process is in the pipe; further output of other processes is not waited for.
        read = [stream.read() for stream in open_streams]
        if any(len(stream.data) > stream.limit for stream in streams):
            return f"printed more than {streams[0].limit:,} bytes and was killed"
        if exited:
            if not any(read):
                return None
            _kill_group(pid)  # so that no other process adds output
        elif time.monotonic() > deadline_s:
            return f"did not end within {timeout_s:g} s and was killed"
        elif not any(read):
            _wait_for_output(open_streams)
    return "was killed because the daemon stops"


def _kill_group(pid: int) -> None:
    # PermissionError: the remaining processes have become another user (setuid), and this process is not root.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _has_exited(pid: int) -> bool:
    try:
        # WNOWAIT leaves a zombie, which keeps the process id in use.
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # SIGCHLD is ignored, so the kernel keeps no zombies
        return True


def _wait_for_output(streams: Sequence[_Stream]) -> None:
    poll = select.poll()
    for stream in streams:
        if not stream.ended:
            poll.register(stream.pipe, select.POLLIN)
    poll.poll(_CHECK_S * 1000)
