"""Reads the configuration files at one instant, and documents from pipes and descriptors."""

from __future__ import annotations

import errno
import os
import re
import shlex
import stat
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from runtimed.core.configuration.inputs import Documents, FileStatus, Source
from runtimed.core.configuration.watched_names import WatchedName, is_dropin_name
from runtimed.core.errors import PathMissing, PathRefused, Problem
from runtimed.core.message_text import printable

MAX_BYTES = 16 * 1024 * 1024
ATTEMPTS = 5
# Multiplied by the number of the attempt: gives a writer time to finish.
PAUSE_S = 0.01
# Standard input, and the path that a shell makes of `<(command)`.
_DESCRIPTOR = re.compile(r"-|/dev/stdin|/(?:dev|proc/(?:self|thread-self|[0-9]+))/fd/([0-9]{1,9})", re.ASCII)
# null(4).
_NULL_DEVICE = os.makedev(1, 3)

# Fields of the status of a file or directory that differ between versions; or the reason why there is none.
Identity = tuple[object, ...] | str


class WalkedPath(Protocol):
    """The end of a path: an O_PATH descriptor and a real path, or an error; and the names on the way."""

    fd: int
    real_path: str
    watched_names: frozenset[WatchedName]
    error: PathRefused | PathMissing | None


Walker = Callable[[str], AbstractContextManager[WalkedPath]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All documents at one instant, and the names in directories on which a later reading depends."""

    documents: Documents
    watched_names: frozenset[WatchedName]


def read_documents(main_path: str, dropin_dir: str | None, walk: Walker, *, dropin: bool = False) -> Snapshot:
    """Return the main file and the drop-ins (``*.json``, in the order of their bytes) as of one instant.

    Each file that cannot be read is a problem in the documents; OSError is never raised. A main file or drop-in
    directory that does not exist is no problem, unless a link leads to it. ``dropin``: the main file is read as
    drop-ins are. Blocks, on a dead network file system forever, so call it in a thread.
    """
    for attempt in range(ATTEMPTS):
        if attempt:  # a sleep of no time is a wake-up as well
            time.sleep(PAUSE_S * attempt)
        first = _Reading(walk, load=True)
        documents = first.read(main_path, dropin_dir, dropin=dropin)
        second = _Reading(walk, load=False)
        second.read(main_path, dropin_dir, dropin=dropin)
        watched_names = frozenset(first.watched_names | second.watched_names)
        if first.identities == second.identities:
            return Snapshot(documents, watched_names)
    paths = first.identities.keys() | second.identities.keys()
    changed = {path for path in paths if first.identities.get(path) != second.identities.get(path)}
    problems = tuple(_kept_changing(path) for path in sorted(changed, key=os.fsencode))
    return Snapshot(Documents(main_path, problems=problems), watched_names)


def is_stream(path: str) -> bool:
    """Return whether ``path`` is standard input, another descriptor of this process, or a pipe."""
    try:
        return _DESCRIPTOR.fullmatch(path) is not None or stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def read_stream(path: str, most: int) -> Documents:
    """Return the document from the stream ``path``, at most ``most`` bytes, or a problem. Blocks until its end.

    Owner and mode are not checked: the user who opened the stream could read it, and it is read only once.
    """
    name = "stdin" if path == "-" else printable(path)
    descriptor = _DESCRIPTOR.fullmatch(path)
    try:
        if descriptor is not None:
            fd = os.dup(int(descriptor[1] or 0))
        else:
            fd = os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            data = file.read(most + 1)
    except (OSError, OverflowError) as exc:
        reason = (getattr(exc, "strerror", None) or str(exc)).lower()
        return Documents(name, problems=(Problem(f"cannot be read: {reason}", name, found=reason),))
    if len(data) > most:
        return Documents(name, problems=(_too_big(name, f"more than {most:,} bytes", most),))
    return Documents(name, Source(name, data))


class _Reading:
    """One pass over all files: with ``load`` it reads their content, otherwise only their identities."""

    def __init__(self, walk: Walker, *, load: bool) -> None:
        self.walk = walk
        self.load = load
        self.identities: dict[str, Identity] = {}
        self.watched_names: set[WatchedName] = set()
        self.problems: list[Problem] = []
        self.remarks: list[Problem] = []

    def read(self, main_path: str, dropin_dir: str | None, *, dropin: bool) -> Documents:
        main = self._read_file(main_path, dropin=dropin)
        names = self._list_dropins(dropin_dir) if dropin_dir is not None else ()
        dropins = [self._read_file(f"{dropin_dir}/{name}", dropin=True) for name in names]
        return Documents(
            main_path=main_path,
            main=main,
            dropins=tuple(dropin for dropin in dropins if dropin is not None),
            problems=tuple(self.problems),
            remarks=tuple(self.remarks),
        )

    def _list_dropins(self, directory: str) -> tuple[str, ...]:
        """Return the names of the drop-ins in C-locale order; empty without such a directory."""
        with self.walk(directory) as found:
            self.watched_names |= found.watched_names
            if found.error is not None:
                self._report_error(directory, found.error)
                return ()
            status = os.fstat(found.fd)
            self.identities[directory] = _identity(status)
            if not stat.S_ISDIR(status.st_mode):
                expected = "a directory of *.json files"
                self._report(directory, f"is {_kind(status)}, not a directory", _kind(status), expected)
                return ()
            self.watched_names.add(WatchedName(found.real_path, None))
            try:
                names, others = _list_names(found.fd)
            except OSError as exc:
                self._report_unreadable(directory, exc, status)
                return ()
            self.remarks += (_not_read(f"{directory}/{name}") for name in others)
            # Without the directory's times: editors' temporary files come and go.
            self.identities[directory] = (status.st_dev, status.st_ino, names)
            return names

    def _read_file(self, path: str, *, dropin: bool) -> Source | None:
        """Return the file's content; None if there is no file, if it is a problem, or without ``load``."""
        with self.walk(path) as found:
            self.watched_names |= found.watched_names
            if dropin and _is_masked(path, found):
                self.identities[path] = "masked"
                return Source(printable(path), b"{}")
            if found.error is not None:
                self._report_error(path, found.error)
                return None
            status = os.fstat(found.fd)
            self.identities[path] = _identity(status)
            if not stat.S_ISREG(status.st_mode):
                self._report(path, f"is {_kind(status)}, not a regular file", _kind(status), "a regular file")
            elif status.st_size > MAX_BYTES:
                self.problems.append(_too_big(path, f"{status.st_size:,} bytes"))
            elif self.load:
                return self._load(path, found.real_path, status)
            return None

    def _load(self, path: str, real_path: str, status: os.stat_result) -> Source | None:
        try:
            data = _read_checked(real_path, status)
        except OSError as exc:
            self._report_unreadable(path, exc, status)
            return None
        if data is None:
            self.identities[path] = "replaced"  # differs from every other, so all files are read again
            return None
        if len(data) > MAX_BYTES:
            self.problems.append(_too_big(path, f"more than {MAX_BYTES:,} bytes"))
            return None
        return Source(printable(path), data, FileStatus(status.st_uid, status.st_mtime, status.st_ino))

    def _report_error(self, path: str, error: PathRefused | PathMissing) -> None:
        self.identities[path] = str(error)
        if isinstance(error, PathRefused):
            message = f"is not used, because {error}"
            if error.owner is not None and error.mode is not None:
                found = f"user id {error.owner}, mode {error.mode:04o}"
                self._report(path, message, found, "owned by root, not writable by other users")
            else:
                self._report(path, message, error.reason, "a path that can be followed")
        elif error.link is not None:
            message = f"{error}; create that file, or remove the link"
            self._report(path, message, f"a symbolic link to nowhere ({error.path})", "a file that exists")

    def _report_unreadable(self, path: str, exc: OSError, status: os.stat_result) -> None:
        reason = (exc.strerror or str(exc)).lower()
        advice = ""
        if exc.errno == errno.EACCES:
            mode, user = stat.S_IMODE(status.st_mode), os.geteuid()
            classes = "u" if status.st_uid == user else "go"
            access = "rx" if stat.S_ISDIR(status.st_mode) else "r"
            reason += f": user id {status.st_uid}, mode {mode:04o}, and runtimed runs as user id {user}"
            advice = f"; run: chmod {classes}+{access} {shlex.quote(printable(path))}"
        self._report(path, f"cannot be read: {reason}{advice}", reason, f"readable by user id {os.geteuid()}")

    def _report(self, path: str, message: str, found: str, expected: str) -> None:
        self.problems.append(Problem(message, printable(path), found=found, expected=expected))


def _kept_changing(path: str) -> Problem:
    return Problem(
        f"kept changing while it was read ({ATTEMPTS} times); wait until the program that writes it has finished",
        printable(path),
        found="a file that changes",
        expected="a file that stays the same while it is read",
        incomplete=True,
    )


def _too_big(path: str, found: str, most: int = MAX_BYTES) -> Problem:
    message = f"is too big to be a configuration ({found}); check that it is the right file"
    return Problem(message, printable(path), found=found, expected=f"at most {most:,} bytes")


def _not_read(path: str) -> Problem:
    message = "is not read, because the name of a drop-in ends in .json; rename it, or move it elsewhere"
    return Problem(message, printable(path), found="another name", expected="a name that ends in .json")


def _is_masked(path: str, found: WalkedPath) -> bool:
    """Return whether ``path`` is a link to the null device, with which an administrator disables a drop-in.

    The walk may have refused the device, which all users can write to, but no other file on the way to it.
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


def _list_names(directory_fd: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the drop-ins in C-locale order, and those of files with other names."""
    # An O_PATH descriptor cannot be listed; "." of it is the directory that was checked.
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory_fd)
    try:
        with os.scandir(fd) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    finally:
        os.close(fd)
    found.sort(key=lambda entry: os.fsencode(entry[0]))
    dropins = tuple(name for name, _ in found if is_dropin_name(name))
    # Names that begin with a dot or end with a tilde are those of editors, and skipped on purpose.
    others = (name for name, is_directory in found if not is_directory and name[0] != "." and name[-1] != "~")
    return dropins, tuple(name for name in others if not is_dropin_name(name))


def _read_checked(real_path: str, checked: os.stat_result) -> bytes | None:
    """Return at most one byte more than MAX_BYTES of the file ``checked``; None if the path leads to another file."""
    # O_NONBLOCK: if a FIFO has replaced the file, opening must not wait for a writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        fd = os.open(real_path, flags)
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENOTDIR):
            return None
        raise
    with open(fd, "rb") as file:
        return file.read(MAX_BYTES + 1) if os.path.samestat(os.fstat(fd), checked) else None


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _kind(status: os.stat_result) -> str:
    """Return the kind of a file with the article."""
    return {
        stat.S_IFREG: "a regular file",
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a FIFO (named pipe)",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a character device",
        stat.S_IFBLK: "a block device",
    }.get(stat.S_IFMT(status.st_mode), "something unknown")
