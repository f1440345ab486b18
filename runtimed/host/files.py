"""The configuration files, read so that all of them are of one instant."""

from __future__ import annotations

import errno
import os
import shlex
import stat
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from runtimed.core.config import Documents, Source
from runtimed.core.configuration.watched_names import WatchedName, is_dropin_name
from runtimed.core.errors import PathMissing, PathRefused, Problem
from runtimed.core.message_text import printable

MAX_BYTES = 16 * 1024 * 1024
ATTEMPTS = 5
# Multiplied by the number of the attempt: lets a writer come to its end.
PAUSE_S = 0.01

# null(4).
_NULL_DEVICE = os.makedev(1, 3)

# Device, inode, size, times of the last change of content and of anything; or why there is no such file.
Identity = tuple[int, int, int, int, int] | str


class WalkedPath(Protocol):
    """Where a path led: an O_PATH descriptor and a real path, or an error; and the names on the way."""

    @property
    def fd(self) -> int: ...  # noqa: D102
    @property
    def real_path(self) -> str: ...  # noqa: D102
    @property
    def watched_names(self) -> frozenset[WatchedName]: ...  # noqa: D102
    @property
    def error(self) -> PathRefused | PathMissing | None: ...  # noqa: D102


Walker = Callable[[str], AbstractContextManager[WalkedPath]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All documents at one instant, and the names in directories on which a later reading depends."""

    documents: Documents
    watched_names: frozenset[WatchedName]


def read_documents(main_path: str, dropin_dir: str | None, walk: Walker, *, dropin: bool = False) -> Snapshot:
    """Return the main file and the drop-ins (``*.json``, in the order of their bytes) as of one instant.

    Whatever keeps a file from being read is a problem among the documents; OSError is never raised. A main file
    or drop-in directory that does not exist is none, unless a link leads to it. ``dropin``: the main file is read as
    drop-ins are. Blocks: on a dead network file system for ever, so call it from a thread.
    """
    for attempt in range(ATTEMPTS):
        time.sleep(PAUSE_S * attempt)
        first = _Reading(walk, load=True)
        documents = first.read(main_path, dropin_dir, dropin=dropin)
        second = _Reading(walk, load=False)
        second.read(main_path, dropin_dir, dropin=dropin)
        watched_names = frozenset(first.watched_names | second.watched_names)
        if first.identities == second.identities:
            return Snapshot(documents, watched_names)
    restless = {
        path
        for path in first.identities.keys() | second.identities.keys()
        if first.identities.get(path) != second.identities.get(path)
    }
    problems = tuple(_kept_changing(path) for path in sorted(restless, key=os.fsencode))
    return Snapshot(Documents(main_path, problems=problems), watched_names)


def _kept_changing(path: str) -> Problem:
    return Problem(
        file=printable(path),
        message=f"kept changing while it was read ({ATTEMPTS} times); wait until whatever writes it has finished",
        found="a file that changes",
        expected="a file that stays the same while it is read",
        incomplete=True,
    )


class _Reading:
    """One pass over all files: with ``load`` their content, without only their identities."""

    def __init__(self, walk: Walker, *, load: bool) -> None:
        self.walk = walk
        self.load = load
        self.identities: dict[str, Identity | tuple[int, int, tuple[str, ...]]] = {}
        self.watched_names: set[WatchedName] = set()
        self.problems: list[Problem] = []
        self.remarks: list[Problem] = []

    def read(self, main_path: str, dropin_dir: str | None, *, dropin: bool) -> Documents:
        main = self._file(main_path, dropin=dropin)
        names = self._listing(dropin_dir) if dropin_dir is not None else ()
        dropins = [self._file(f"{dropin_dir}/{name}", dropin=True) for name in names]
        return Documents(
            main_path=main_path,
            main=main,
            dropins=tuple(dropin for dropin in dropins if dropin is not None),
            problems=tuple(self.problems),
            remarks=tuple(self.remarks),
        )

    def _listing(self, directory: str) -> tuple[str, ...]:
        """Return the names of the drop-ins in C-locale order; none where there is no such directory."""
        with self.walk(directory) as found:
            self.watched_names |= found.watched_names
            if found.error is not None:
                self._unreached(directory, found.error)
                return ()
            status = os.fstat(found.fd)
            self.identities[directory] = _identity(status)
            if not stat.S_ISDIR(status.st_mode):
                expected = "a directory of *.json files"
                self._problem(directory, f"is {_kind(status)}, not a directory", _kind(status), expected)
                return ()
            self.watched_names.add(WatchedName(found.real_path, None))
            try:
                names, others = _names(found.fd)
            except OSError as exc:
                self._unreadable(directory, exc, status)
                return ()
            self.remarks += (_not_read(f"{directory}/{name}") for name in others)
            # Not the directory's times: editors' temporary files come and go.
            self.identities[directory] = (status.st_dev, status.st_ino, names)
            return names

    def _file(self, path: str, *, dropin: bool) -> Source | None:
        """Return the file's content; None where there is none, is a problem, or is not asked for."""
        with self.walk(path) as found:
            self.watched_names |= found.watched_names
            if dropin and _is_masked(path, found):
                self.identities[path] = "masked"
                return Source(printable(path), b"{}")
            if found.error is not None:
                self._unreached(path, found.error)
                return None
            status = os.fstat(found.fd)
            self.identities[path] = _identity(status)
            if not stat.S_ISREG(status.st_mode):
                self._problem(path, f"is {_kind(status)}, not a regular file", _kind(status), "a regular file")
            elif status.st_size > MAX_BYTES:
                self._too_big(path, f"{status.st_size:,} bytes")
            elif self.load:
                return self._content(path, found.real_path, status)
            return None

    def _content(self, path: str, real_path: str, status: os.stat_result) -> Source | None:
        try:
            data = _bytes(real_path, status)
        except OSError as exc:
            self._unreadable(path, exc, status)
            return None
        if data is None:
            self.identities[path] = "replaced"  # unlike any other, so everything is read again
            return None
        if len(data) > MAX_BYTES:
            self._too_big(path, f"more than {MAX_BYTES:,} bytes")
            return None
        return Source(printable(path), data)

    def _unreached(self, path: str, error: PathRefused | PathMissing) -> None:
        self.identities[path] = str(error)
        if isinstance(error, PathRefused):
            owned = error.owner is not None and error.mode is not None
            self._problem(
                path,
                f"is not used, because {error}",
                f"user id {error.owner}, mode {error.mode:04o}" if owned else error.reason,
                "owned by root, writable by nobody else" if owned else "a path that can be followed",
            )
        elif error.link is not None:
            message = f"{error}; create that file, or remove the link"
            self._problem(path, message, f"a symbolic link to nowhere ({error.path})", "a file that exists")

    def _unreadable(self, path: str, exc: OSError, status: os.stat_result) -> None:
        mode = stat.S_IMODE(status.st_mode)
        reason = (exc.strerror or str(exc)).lower()
        advice = ""
        if exc.errno == errno.EACCES:
            who = "u" if status.st_uid == os.geteuid() else "go"
            access = "rx" if stat.S_ISDIR(status.st_mode) else "r"
            reason += f": user id {status.st_uid}, mode {mode:04o}, and runtimed runs as user id {os.geteuid()}"
            advice = f"; run: chmod {who}+{access} {shlex.quote(printable(path))}"
        self._problem(path, f"cannot be read: {reason}{advice}", reason, f"readable by user id {os.geteuid()}")

    def _too_big(self, path: str, found: str) -> None:
        message = f"is too big to be a configuration ({found}); is it the right file?"
        self._problem(path, message, found, f"at most {MAX_BYTES:,} bytes")

    def _problem(self, path: str, message: str, found: str, expected: str) -> None:
        self.problems.append(Problem(file=printable(path), message=message, found=found, expected=expected))


def _is_masked(path: str, found: WalkedPath) -> bool:
    """Return whether ``path`` is a link to the null device, by which an administrator takes a drop-in out of use.

    The walk may have refused the device itself, which everybody may write to, but nothing on the way to it.
    """
    try:
        if not stat.S_ISLNK(os.lstat(path).st_mode):
            return False
        refused = found.error.path if isinstance(found.error, PathRefused) else None
        reached = found.error is None or (refused is not None and _is_null(os.lstat(refused)))
        return reached and _is_null(os.stat(path))
    except (OSError, ValueError):
        return False


def _is_null(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL_DEVICE


def _names(directory_fd: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the drop-ins in C-locale order, and those of files whose names are no drop-in's."""
    # An O_PATH descriptor cannot be listed; "." of it is the directory that was checked.
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory_fd)
    try:
        with os.scandir(fd) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    finally:
        os.close(fd)
    found.sort(key=lambda entry: os.fsencode(entry[0]))
    dropins = tuple(name for name, _ in found if is_dropin_name(name))
    # Names that begin with a dot or end with a tilde are those of editors, and meant to be skipped.
    others = (name for name, is_directory in found if not is_directory and name[0] != "." and name[-1] != "~")
    return dropins, tuple(name for name in others if not is_dropin_name(name))


def _not_read(path: str) -> Problem:
    message = "is not read, because the name of a drop-in ends in .json; rename it, or move it elsewhere"
    return Problem(file=printable(path), message=message, found="another name", expected="a name that ends in .json")


def _bytes(real_path: str, checked: os.stat_result) -> bytes | None:
    """Return at most one byte more than MAX_BYTES of the file that was ``checked``; None if it is another now."""
    # O_NONBLOCK: should a FIFO have taken its place, opening must not wait for its writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        fd = os.open(real_path, flags)
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENOTDIR):
            return None
        raise
    with open(fd, "rb", buffering=0) as file:
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) != (checked.st_dev, checked.st_ino):
            return None
        data = bytearray()
        while len(data) <= MAX_BYTES and (part := file.read(min(1 << 20, MAX_BYTES + 1 - len(data)))):
            data += part
        return bytes(data)


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _kind(status: os.stat_result) -> str:
    """Return what a file is in words, with the article."""
    return {
        stat.S_IFREG: "a regular file",
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a FIFO (named pipe)",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a character device",
        stat.S_IFBLK: "a block device",
    }.get(stat.S_IFMT(status.st_mode), "something unknown")
