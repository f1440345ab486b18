"""Probes one binary for its features, if only users who may become root could have changed it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Event
from typing import Protocol

from runtimed.core.errors import PathMissing, PathRefused
from runtimed.core.features import Features, read_features, read_version
from runtimed.core.message_text import printable
from runtimed.host.features.command import Outcome, run_command

# Device, inode, size, times of the last change of content and of status; or why there is no binary.
Identity = tuple[int, int, int, int, int] | str
# Returns why another user could replace a path, or None.
Trusted = Callable[[str], str | None]

# The kernel reads this much of a script to find its interpreter (execve(2)).
_HEAD_BYTES = 256
# Errors of the machine at the start of a process, not of the binary.
_PASSING = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY})


class WalkedPath(Protocol):
    """The end of a walk along a path; ``error`` says why the path must not be followed."""

    @property
    def error(self) -> PathRefused | PathMissing | None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


def replaceable(path: str, walk: Callable[[str], WalkedPath]) -> str | None:
    """Return why a user that ``walk`` does not trust could replace the file at ``path``, or None.

    A path that cannot be followed counts as replaceable. One that does not exist does not, because it cannot be run.
    """
    found = walk(path)
    try:
        return str(found.error) if isinstance(found.error, PathRefused) else None
    finally:
        found.close()


def identify(binary: str) -> Identity:
    """Return values that differ when ``binary`` is changed or replaced, or why there is no binary."""
    try:
        status = os.stat(binary)
    except OSError as exc:
        return (exc.strerror or str(exc)).lower()
    except ValueError:  # a NUL byte
        return "no such file or directory"
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a probe.

    ``refused`` is the reason if the binary was not executed because another user could replace it. ``passing`` says
    that the cause may be the machine and not the binary, so that another probe may succeed.
    """

    features: Features
    refused: str | None = None
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Probe:
    """Limits of a probe: ``timeout_s`` for each of at most two runs, ``output_bytes`` for each stream of a run."""

    trusted: Trusted
    timeout_s: float
    output_bytes: int
    stopped: Event

    def run(self, binary: str, identity: Identity) -> Finding:
        """Return the features that ``binary`` reports; never raises OSError."""
        if isinstance(identity, str):
            return Finding(Features("unknown", reason=f"there is no binary to probe: {identity}"))
        if (refused := self.refusal(binary)) is not None:
            reason = f"the binary was not probed, because another user could replace it: {refused}"
            return Finding(Features("unknown", reason=reason), refused=refused)
        try:
            return self._run_twice(binary)
        except OSError as exc:
            reason = f"the binary cannot be executed: {(exc.strerror or str(exc)).lower()}"
            return Finding(
                Features("unknown", reason=reason, refusal=_explain_refusal(binary, exc)),
                passing=exc.errno in _PASSING,
            )

    def refusal(self, binary: str) -> str | None:
        """Return why ``binary``, or the interpreter that its first line names, must not be executed."""
        if (refused := self.trusted(binary)) is not None:
            return refused
        interpreter = _interpreter(binary)
        return self.trusted(interpreter) if interpreter is not None else None

    def _run_twice(self, binary: str) -> Finding:
        outcome = self._run(binary, "features")
        if outcome.cut_short is not None:
            # No second run: it would hang too.
            return Finding(Features("unknown", reason=f"`features` {outcome.cut_short}"), passing=True)
        features = read_features(outcome.status, outcome.stdout, outcome.stderr)
        if features.status == "known":
            return Finding(features)
        second = self._run(binary, "--version")
        version = None if second.cut_short is not None else read_version(second.status, second.stdout)
        # The cause of a signal may be the machine, for example when memory runs out.
        killed = outcome.status < 0 or second.status < 0 or second.cut_short is not None
        return Finding(replace(features, version=version), passing=killed)

    def _run(self, binary: str, argument: str) -> Outcome:
        return run_command(
            (binary, argument), timeout_s=self.timeout_s, output_bytes=self.output_bytes, stopped=self.stopped
        )


def _explain_refusal(binary: str, exc: OSError) -> str | None:
    """Return why the kernel will refuse to execute ``binary`` the next time too, or None if ``exc`` does not say so."""
    if exc.errno == errno.ENOEXEC:
        return "the kernel cannot execute it: it is neither a program for this machine nor a script that names one"
    # The file exists and is executable: the error is about the interpreter that a script or a program names.
    interpreter = _interpreter(binary)
    named = f"the interpreter that it names ({printable(interpreter)})" if interpreter else "the loader that it names"
    if exc.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"the kernel cannot execute it: {named} does not exist" if os.path.exists(binary) else None
    if exc.errno in (errno.EACCES, errno.ELOOP, errno.ELIBBAD) and interpreter is not None:
        # For root access(2) refuses where no bit allows it, and also on a mount that is noexec for this process alone.
        noexec = os.path.exists(interpreter) and os.statvfs(interpreter).f_flag & os.ST_NOEXEC
        usable = os.path.isfile(interpreter) and (noexec or os.access(interpreter, os.X_OK))
        return None if usable else f"the kernel cannot execute it: {named} cannot be executed"
    return None


def _interpreter(binary: str) -> str | None:
    """Return the interpreter that the first line of a script names, None for any other file.

    The read has a second purpose: the interpreter of Python stops from vfork(2) to exec(2), so a file system that does
    not respond must block here, where only this thread waits for it.
    """
    head = b""
    # A binary that may be executed and not read is not a script.
    with contextlib.suppress(OSError):
        fd = os.open(binary, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            head = os.read(fd, _HEAD_BYTES)
        finally:
            os.close(fd)
    words = head.partition(b"\n")[0].removeprefix(b"#!").split(maxsplit=1) if head.startswith(b"#!") else []
    return os.fsdecode(words[0]) if words else None
