"""Asking one binary what it can do, if only those who may be root already have had a say in what it is."""

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

# Device, inode, size, times of the last change of content and of anything; or why there is nothing to ask.
Identity = tuple[int, int, int, int, int] | str
# Why somebody else could replace a path, None where only its owners could.
Trusted = Callable[[str], str | None]

# What the kernel reads of a script to find its interpreter (execve(2)).
_HEAD_BYTES = 256
# Of starting a process: these say nothing of the binary.
_PASSING = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY})


class WalkedPath(Protocol):
    """Where a path led, or in ``error`` why it may not be followed."""

    @property
    def error(self) -> PathRefused | PathMissing | None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


def replaceable(path: str, walk: Callable[[str], WalkedPath]) -> str | None:
    """Return why somebody who must not could put something else at ``path``, None where nobody could.

    ``walk`` judges every directory and link on the way by whom it trusts, and so does its answer here. A path that
    cannot be followed at all counts as replaceable; one that does not exist does not: nobody can run it.
    """
    found = walk(path)
    try:
        return str(found.error) if isinstance(found.error, PathRefused) else None
    finally:
        found.close()


def identify(binary: str) -> Identity:
    """Return what tells ``binary`` from what stood or will stand at its path, or why there is nothing to run."""
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
    """What asking a binary has come to.

    ``refused`` is why it was not executed, where others could replace it. ``passing`` says that the reason may be the
    machine's and not the binary's: asked again it may answer.
    """

    features: Features
    refused: str | None = None
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Probe:
    """How binaries are asked: ``timeout_s`` for each of at most two runs, ``output_bytes`` for each stream of a run."""

    trusted: Trusted
    timeout_s: float
    output_bytes: int
    stopped: Event

    def ask(self, binary: str, identity: Identity) -> Finding:
        """Return what ``binary`` says of itself; never raises OSError."""
        if isinstance(identity, str):
            return Finding(Features("unknown", reason=f"there is nothing to ask: {identity}"))
        if (refused := self.refusal(binary)) is not None:
            reason = f"the binary was not asked, because somebody else could replace it: {refused}"
            return Finding(Features("unknown", reason=reason), refused=refused)
        try:
            return self._ask(binary)
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

    def _ask(self, binary: str) -> Finding:
        outcome = self._run(binary, "features")
        if outcome.cut_short is not None:
            # It is not run a second time: what hangs once hangs again.
            return Finding(Features("unknown", reason=f"`features` {outcome.cut_short}"), passing=True)
        features = read_features(outcome.status, outcome.stdout, outcome.stderr)
        if features.status == "known":
            return Finding(features)
        asked = self._run(binary, "--version")
        version = None if asked.cut_short is not None else read_version(asked.status, asked.stdout)
        # A signal, the kernel's out of memory for one, need not be the binary's fault.
        killed = outcome.status < 0 or asked.status < 0 or asked.cut_short is not None
        return Finding(replace(features, version=version), passing=killed)

    def _run(self, binary: str, argument: str) -> Outcome:
        return run_command(
            (binary, argument), timeout_s=self.timeout_s, output_bytes=self.output_bytes, stopped=self.stopped
        )


def _explain_refusal(binary: str, exc: OSError) -> str | None:
    """Return why the kernel will not execute ``binary`` the next time either, None where ``exc`` does not say so."""
    if exc.errno == errno.ENOEXEC:
        return "the kernel cannot execute it: it is neither a program for this machine nor a script that names one"
    # The file itself is there and executable: the kernel means the interpreter that a script or a program names.
    interpreter = _interpreter(binary)
    named = f"the interpreter that it names ({printable(interpreter)})" if interpreter else "the loader that it names"
    if exc.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"the kernel cannot execute it: {named} does not exist" if os.path.exists(binary) else None
    if exc.errno in (errno.EACCES, errno.ELOOP, errno.ELIBBAD) and interpreter is not None:
        # For root access(2) says no where no bit allows it, and also on a mount that is noexec for this process alone.
        noexec = os.path.exists(interpreter) and os.statvfs(interpreter).f_flag & os.ST_NOEXEC
        usable = os.path.isfile(interpreter) and (noexec or os.access(interpreter, os.X_OK))
        return None if usable else f"the kernel cannot execute it: {named} cannot be executed"
    return None


def _interpreter(binary: str) -> str | None:
    """Return the interpreter that the first line of a script names, None for any other file."""
    head = _head(binary).partition(b"\n")[0]
    words = head[2:].split(maxsplit=1) if head.startswith(b"#!") else []
    return os.fsdecode(words[0]) if words else None


def _head(binary: str) -> bytes:
    """Return the first bytes of ``binary``, none where it may only be executed and not be read.

    Reading it has a second use: the interpreter stands still from vfork(2) to exec(2), and a file system that does not
    answer any more shows here, where only this thread waits for it.
    """
    with contextlib.suppress(OSError):
        fd = os.open(binary, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.read(fd, _HEAD_BYTES)
        finally:
            os.close(fd)
    return b""
