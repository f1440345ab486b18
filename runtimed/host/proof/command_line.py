"""Runs the container of a test by the command line of its runtime, as an engine does.

The process becomes a child subreaper: when the runtime's process ends, the container's process is a child of this one.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from threading import Event

from runtimed.core.errors import TestFailed, TestInterrupted
from runtimed.core.proof.bundle import VARIABLE
from runtimed.core.proof.command_line import CommandLine
from runtimed.core.proof.engine import Step
from runtimed.core.proof.evidence import describe_failure
from runtimed.host.proof.bundle import Bundle

_PR_SET_CHILD_SUBREAPER = 36
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OUTPUT_BYTES = 64 * 1024
# The whole content of a pipe (pipe(7)).
_CHUNK = 64 * 1024
# Interval between looks at the event of an interruption.
_CHECK_S = 0.02
# Time for the runtime to remove the container of a failed test.
_ABORT_S = 5.0
# A process that is killed may start others meanwhile.
_ROUNDS = 100


class Pipe:
    """A pipe that other processes write to, and the first or the last bytes from it, as ``kept`` says."""

    def __init__(self, kept: slice) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.data = b""
        self._kept = kept

    def read(self) -> None:
        """Read the content of the pipe once, because a process may write without end."""
        with contextlib.suppress(BlockingIOError):
            self.data = (self.data + os.read(self.reader, _CHUNK))[self._kept]

    def close(self) -> None:
        """Close both ends."""
        os.close(self.reader)
        os.close(self.writer)


class Direct:
    """A `runtimed.core.proof.engine.Engine` that calls the runtime of ``command`` for the container of ``bundle``.

    Each call takes at most ``timeout_s``. ``stopped`` is set to interrupt the test.
    """

    def __init__(self, command: CommandLine, bundle: Bundle, timeout_s: float, stopped: Event) -> None:
        _become_subreaper()
        self._command = command
        self._bundle = bundle
        self._timeout_s = timeout_s
        self._stopped = stopped
        self._environment = {"PATH": _PATH, "LC_ALL": "C", "HOME": "/", VARIABLE: bundle.id}
        self._output = Pipe(slice(_OUTPUT_BYTES))
        # An error is the last message.
        self._messages = Pipe(slice(-_OUTPUT_BYTES, None))
        # The container's process, once it is known.
        self._pid = 0
        self._running: subprocess.Popen[bytes] | None = None
        # The wait statuses of other processes that have ended: the container's, and helpers of the runtime.
        self._ended: dict[int, int] = {}

    @property
    def output(self) -> bytes:
        """The first bytes that the container's process has written to its stdout."""
        return self._output.data

    def create(self) -> None:
        """Create the container. Raises: TestFailed, TestInterrupted."""
        file = f"{self._bundle.path}/pid"
        more = (*self._command.create, "--bundle", self._bundle.path, "--pid-file", file, self._bundle.id)
        self._call("create", "create", *more)
        try:
            with open(file, encoding="ascii") as pid:
                self._pid = int(pid.read(20))
        except (OSError, ValueError):
            reason = "the runtime ended with exit status 0 and made no container: it wrote no process id"
            raise TestFailed("create", reason) from None
        if self._pid not in self._ended and self._pid not in dict(_children()):
            raise TestFailed("create", f"process {self._pid}, which the runtime named, is none that it has started")

    def start(self) -> None:
        """Start the container's process. Raises: TestFailed, TestInterrupted."""
        self._call("start", "start", self._bundle.id)

    def wait(self) -> int:
        """Return the exit status of the container's process. Raises: TestFailed, TestInterrupted."""
        if not self._ends(self._pid, self._timeout_s, self._stopped):
            raise TestFailed("wait", f"the container's process did not end within {self._timeout_s:g} s")
        status = os.waitstatus_to_exitcode(self._ended[self._pid])
        return status if status >= 0 else 128 - status

    def delete(self) -> None:
        """Delete the container. Raises: TestFailed, TestInterrupted."""
        self._call("delete", "delete", self._bundle.id)
        self._close()

    def abort(self) -> None:
        """Kill the runtime's process if there is one, and let the runtime remove the container."""
        if self._running is not None:
            _kill(self._running)
        with contextlib.suppress(OSError):
            self._running = self._spawn("delete", "--force", self._bundle.id)
            self._ends(self._running.pid, min(self._timeout_s, _ABORT_S), Event())
            _kill(self._running)
        self._close()

    def _call(self, step: Step, *words: str) -> None:
        """Run the runtime with ``words``. Raises: TestFailed, TestInterrupted."""
        self._messages.data = b""
        try:
            self._running = process = self._spawn(*words)
        except OSError as error:
            raise TestFailed(step, f"{self._command.words[0]} cannot be executed: {error.strerror}") from error
        if not self._ends(process.pid, self._timeout_s, self._stopped):
            said = _last_line(self._messages.data)
            raise TestFailed(step, f"the runtime did not end within {self._timeout_s:g} s{said}")
        status = process.wait()
        self._running = None
        if status != 0:
            raise TestFailed(step, describe_failure(status, self._messages.data))

    def _spawn(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - an administrator's runtime
            [*self._command.words, *words],
            stdin=subprocess.DEVNULL,
            stdout=self._output.writer,
            stderr=self._messages.writer,
            cwd="/",
            env=self._environment,
            start_new_session=True,
        )

    def _ends(self, pid: int, timeout_s: float, stopped: Event) -> bool:
        """Return whether the process ends within ``timeout_s``. Raises: TestInterrupted.

        Meanwhile the pipes are read, and other children are waited for: gVisor waits until its own processes are gone.
        """
        if pid in self._ended:
            return True
        deadline_s = time.monotonic() + timeout_s
        poll = select.poll()
        pidfd = os.pidfd_open(pid)
        try:
            for fd in (pidfd, self._output.reader, self._messages.reader):
                poll.register(fd, select.POLLIN)
            while (left_s := deadline_s - time.monotonic()) > 0:
                ready = [fd for fd, _ in poll.poll(min(left_s, _CHECK_S) * 1000)]
                self._output.read()
                self._messages.read()
                self._reap()
                if pidfd in ready:
                    return True
                if stopped.is_set():
                    raise TestInterrupted
            return False
        finally:
            os.close(pidfd)

    def _reap(self) -> None:
        """Wait for all children that have ended, but not for the process that this object has started itself."""
        own = 0 if self._running is None else self._running.pid
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and found.si_pid != own:
                self._ended[found.si_pid] = os.waitpid(found.si_pid, 0)[1]

    def _close(self) -> None:
        self._output.close()
        self._messages.close()


def end_children() -> list[str]:
    """Kill all children of this process, which are those of the tested runtime, and return the names of those that ran.

    The children of a killed process become children of this one, because it is a subreaper.
    """
    names: list[str] = []
    for _ in range(_ROUNDS):
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        children = dict(_children())
        if not children:
            break
        for pid, name in children.items():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            names.append(f"{name} (process {pid})")
        time.sleep(0.005)
    return [*dict.fromkeys(names)]


def _children() -> Iterator[tuple[int, str]]:
    """Yield the ids and names of the children of this process (proc_pid_stat(5))."""
    own = str(os.getpid())
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stat:
                head, _, tail = stat.read().rpartition(")")
                if tail.split()[1] == own:
                    yield int(entry), head.partition("(")[2]


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and the others of its session, and wait for its end."""
    # Before wait(), which frees the number of the process group.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_line(messages: bytes) -> str:
    lines = [line.strip() for line in messages.decode(errors="backslashreplace").splitlines() if line.strip()]
    return f"; its last message: {lines[-1]}" if lines else ""


def _become_subreaper() -> None:
    """Make this process the parent of its orphaned descendants (PR_SET_CHILD_SUBREAPER(2const))."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "this process cannot become a child subreaper")
