"""One run of a command that may do its worst: hang, ignore signals, fork, print without end.

Only :mod:`subprocess` under it, and a thread of the caller's around it. asyncio's subprocesses would start the
child on the event loop's thread, need a thread for each child before Python 3.12, and wait for the end of a pipe
that a grandchild may hold for ever.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event
from types import MappingProxyType
from typing import IO

# Nothing of the daemon's own environment: it holds what is meant for the daemon (NOTIFY_SOCKET, say).
ENVIRONMENT = MappingProxyType(
    {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C", "HOME": "/"}
)
# The limit on descriptors that this process was started with: this module is imported before the daemon raises it.
_DESCRIPTORS = resource.getrlimit(resource.RLIMIT_NOFILE)
# How often a run looks whether its process has ended or it is to stop. A pidfd would tell at once, where there is one.
_LOOK_S = 0.01
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: ``status`` as :mod:`subprocess` has it, or in ``cut_short`` why it did not come to its end."""

    status: int
    stdout: bytes
    stderr: bytes
    cut_short: str | None = None


@dataclass(slots=True)
class _Stream:
    """One of the two pipes, read without waiting and without keeping more than ``limit`` bytes."""

    pipe: IO[bytes]
    limit: int
    data: bytearray = field(default_factory=bytearray)
    ended: bool = False

    @property
    def overflowed(self) -> bool:
        return len(self.data) > self.limit

    def read(self) -> bool:
        """Take what is there, up to a chunk; return whether there was anything."""
        try:
            chunk = os.read(self.pipe.fileno(), _CHUNK)
        except BlockingIOError:
            return False
        self.ended = not chunk
        self.data += chunk[: self.limit + 1 - len(self.data)]
        return bool(chunk)


def run_command(command: Sequence[str], *, timeout_s: float, output_bytes: int, stopped: Event) -> Outcome:
    """Return how ``command`` ended, at the latest after ``timeout_s``, or soon after ``stopped`` is set.

    It runs in a session of its own that is killed as a whole in every case, so nothing it has started outlives
    it, except in yet another session: that gets a closed pipe. More than ``output_bytes`` in one stream ends it.

    Raises:
        OSError: it could not be started.
    """
    # close_fds: nothing of ours gets into it. With these arguments, and no preexec_fn, subprocess takes vfork(2): the
    # whole interpreter waits until the exec, and no longer. Measured with four at a time the event loop then waits no
    # longer than when another process does the same work; with fork(2) three times as long, more so the larger we are.
    # A file that another thread has open for writing at that moment is open in the child too, and cannot be executed
    # (ETXTBSY) until the exec; as no thread of ours runs on until then, none can publish it within that time.
    process = subprocess.Popen(  # noqa: S603 - an administrator's binary, on a path that only root can change
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        close_fds=True,
        cwd="/",
        env=ENVIRONMENT,
        start_new_session=True,
    )
    # The soft limit is for programs that use select(2), or close all descriptors up to it. To set it before the exec
    # takes a preexec_fn, or lowers our own limit meanwhile; so the child has the higher one for its first microseconds.
    # PermissionError: it has become another user (setuid).
    with contextlib.suppress(ProcessLookupError, PermissionError):
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, _DESCRIPTORS)
    assert process.stdout is not None  # noqa: S101 - PIPE was asked for
    assert process.stderr is not None  # noqa: S101
    with process.stdout, process.stderr:
        streams = (_Stream(process.stdout, output_bytes), _Stream(process.stderr, output_bytes))
        try:
            cut_short = _follow(process.pid, streams, timeout_s, stopped)
        finally:
            # Before it is waited for: until then nobody else can have its number, nor that of its group.
            _kill_group(process.pid)
            process.wait()
    return Outcome(process.returncode, bytes(streams[0].data), bytes(streams[1].data), cut_short)


def _follow(pid: int, streams: Sequence[_Stream], timeout_s: float, stopped: Event) -> str | None:
    """Read until the process has ended; return what cut it short, or None."""
    deadline_s = time.monotonic() + timeout_s
    for stream in streams:
        os.set_blocking(stream.pipe.fileno(), False)
    while not stopped.is_set():
        exited = _has_exited(pid)
        open_streams = [stream for stream in streams if not stream.ended]
        # What a process wrote before it ended is in the pipe; what others may still write there is not waited for.
        some = [stream.read() for stream in open_streams]
        if any(stream.overflowed for stream in streams):
            return f"printed more than {streams[0].limit:,} bytes and was killed"
        if exited:
            if not any(some):
                return None
            _kill_group(pid)  # so that nobody goes on writing
            continue
        if time.monotonic() > deadline_s:
            return f"did not end within {timeout_s:g} s and was killed"
        if not any(some):
            _wait(open_streams)
    return "was killed because the daemon stops"


def _kill_group(pid: int) -> None:
    # PermissionError: those that are left have become another user (setuid), and we are not root.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _has_exited(pid: int) -> bool:
    # It stays a zombie, and its number taken, until it is waited for.
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # whoever started us ignores SIGCHLD, so the kernel keeps no zombies
        return True


def _wait(streams: Sequence[_Stream]) -> None:
    poll = select.poll()
    for stream in streams:
        if not stream.ended:
            poll.register(stream.pipe, select.POLLIN)
    poll.poll(_LOOK_S * 1000)
