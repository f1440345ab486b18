"""Reads the files of engines, and replaces them so that an engine finds the old file or the new one, whole.

New files are made in a staging directory below the engine's directory, from which they are renamed. Whenever a run is
killed, the engine's files are the old or the new ones, and the next run removes the staging directory.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from fnmatch import fnmatchcase
from typing import Protocol

from runtimed.core.engines.engine import FileWrite
from runtimed.core.errors import PathMissing, PathRefused
from runtimed.core.message_text import printable

# Engines list their drop-in directory only, and not the directory above, which has this one.
STAGING = ".runtimectl.new"
# The directory for checks in it: a file there may have the name of one that is to be put in place.
SCRATCH = f"{STAGING}/check"
MAX_BYTES = 16 * 1024 * 1024
_FILE_MODE = 0o644
# Another run may have to wait for the checks of an engine.
_LOCK_S = 60.0
_LOCK_CHECK_S = 0.05

AtStep = Callable[[str], None]


class WalkedPath(Protocol):
    """The end of a path: its status and its real path, or an error."""

    fd: int
    status: os.stat_result | None
    real_path: str
    error: PathRefused | PathMissing | None


# Follows a path and checks that only trusted users can change where it leads (host.trust.walk).
Walker = Callable[[str], AbstractContextManager[WalkedPath]]


def read_inputs(paths: Iterable[str], walk: Walker) -> dict[str, bytes]:
    """Return the content of each of ``paths`` that exists; ``*`` in a name matches any characters.

    Raises:
        PathRefused: a file is not a regular one, is too big, or other users could change it.
        PathMissing: the target of a link does not exist.
        OSError: a file cannot be read.
    """
    found: dict[str, bytes] = {}
    for path in paths:
        for each in _expand(path) if "*" in path else [path]:
            data = _read(each, walk)
            if data is not None:
                found[each] = data
    return found


def changed_at(path: str) -> float | None:
    """Return when the content of ``path`` was last changed, in seconds since the epoch; None if it does not exist."""
    try:
        return os.stat(path).st_mtime
    except OSError:
        return None


def _expand(pattern: str) -> list[str]:
    directory, name = os.path.split(pattern)
    try:
        names = sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    paths = [f"{directory}/{each}" for each in names if fnmatchcase(each, name)]
    return [path for path in paths if not os.path.isdir(path)]


def _read(path: str, walk: Walker) -> bytes | None:
    with walk(path) as end:
        if isinstance(end.error, PathMissing) and end.error.link is None:
            return None
        if end.error is not None:
            raise end.error
        status = end.status
        if status is None or not stat.S_ISREG(status.st_mode):
            raise PathRefused(printable(path), "is not a regular file", "move it away")
        try:
            # The descriptor of the walk can only name the file.
            with open(f"/proc/self/fd/{end.fd}", "rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            error.filename = path
            raise
    if len(data) > MAX_BYTES:
        raise PathRefused(printable(path), f"has more than {MAX_BYTES:,} bytes", "check that it is the right file")
    return data


def has_staging(directory: str) -> bool:
    """Return whether another run uses the staging directory, or a killed one has left it."""
    return os.path.lexists(f"{directory}/{STAGING}")


@contextmanager
def open_staging(directory: str, at_step: AtStep = lambda _: None) -> Iterator[str]:
    """Yield a new directory below the engine's ``directory``, which is locked and only for this run.

    The lock is on this directory, which only its owner can open: a user could lock any file that is readable.

    Raises:
        PathRefused: another run has had the lock for 60 s.
        OSError: the directory cannot be made.
    """
    path = f"{directory}/{STAGING}"
    at_step("stage")
    fd = _lock(path)
    try:
        _clear(path)
        yield path
        at_step("tidy")
    finally:
        # Also after an error, so that a failed run frees its space on a full disk.
        with contextlib.suppress(OSError):
            _clear(path)
            os.rmdir(path)
        os.close(fd)


def _lock(path: str) -> int:
    """Return a descriptor of the directory ``path``, made if it is missing and locked until it is closed."""
    deadline_s = time.monotonic() + _LOCK_S
    while True:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # another run has just removed it
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The run that had the lock has removed the directory, and the next one may have made another.
            if os.path.samestat(os.fstat(fd), os.lstat(path)):
                return fd
        os.close(fd)
        if time.monotonic() > deadline_s:
            raise PathRefused(path, f"has been locked by another runtimectl for {_LOCK_S:g} s", "try again later")
        time.sleep(_LOCK_CHECK_S)


def _clear(directory: str) -> None:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)


def make_scratch(staging: str, name: str, data: bytes) -> None:
    """Make the file ``name``, a path below the directory for checks, in the staging directory."""
    path = f"{os.path.dirname(staging)}/{SCRATCH}/{name}"
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    _write_new(path, data)


def write_file(write: FileWrite, staging: str, secure: Callable[[str], str], at_step: AtStep = lambda _: None) -> None:
    """Replace the file of ``write`` by rename; the new file has the mode and the owner of the old one, if any.

    ``staging`` is a directory of `open_staging`. ``secure`` returns the real path of the file's directory after it was
    checked and, if it is missing, made (host.trust.secure_directory).

    Raises:
        PathRefused: the file is a link or not a regular file, or other users could change its directory.
        OSError: it cannot be written.
    """
    parent, name = os.path.split(write.path)
    at_step("directory")
    is_new = not os.path.lexists(parent)
    directory = secure(parent)
    if is_new:
        _sync_directory(os.path.dirname(directory))
    status = replaceable(write.path)
    temporary = f"{staging}/{name}"
    at_step("temporary")
    _write_new(temporary, write.data, status, at_step)
    at_step("rename")
    os.rename(temporary, f"{directory}/{name}")
    at_step("sync-directory")
    _sync_directory(directory)


def replaceable(path: str) -> os.stat_result | None:
    """Return the status of the file ``path``, None if it does not exist.

    Raises:
        PathRefused: the path is a link or not a regular file, and a rename would replace it.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(status.st_mode):
        reason = f"is a symbolic link to {os.readlink(path)}: another program manages the file"
        raise PathRefused(path, printable(reason), "have that program write it, or replace the link by the file")
    if not stat.S_ISREG(status.st_mode):
        raise PathRefused(path, "is not a regular file", "move it away")
    return status


def _write_new(path: str, data: bytes, like: os.stat_result | None = None, at_step: AtStep = lambda _: None) -> None:
    """Write ``data`` to the new file ``path``, with the mode and the owner of ``like``, if any, and sync it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags, 0o600)
    try:
        if like is not None and (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(fd, like.st_uid, like.st_gid)
        # After fchown, which clears bits of the mode, and whatever the umask is.
        os.fchmod(fd, _FILE_MODE if like is None else stat.S_IMODE(like.st_mode))
        left = memoryview(data)
        while left:
            left = left[os.write(fd, left) :]
        at_step("sync")
        os.fsync(fd)
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(fd)


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
