"""Writes and reads files so that a crash leaves the old content or the new one."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from runtimed.core.errors import StoreFailed
from runtimed.core.history.layout import TEMPORARY

# Engines of ordinary users execute stable paths: every user may search the directories, and read scripts, as sh does.
# Each wrapper has a launcher with the same arguments, so a wrapper of mode 0700 would hide nothing.
DIRECTORY_MODE = 0o711
SCRIPT_MODE = 0o755
# The mode that earlier versions gave to both.
OLD_MODE = 0o700
FILE_MODE = 0o600
# Up to this number of new files are synced one by one: each costs about a millisecond. A start repairs any others.
SYNC_MOST = 32
_CHUNK = 1 << 20
_ADVICE = {
    errno.ENOSPC: "free space or inodes on its file system (df, df -i)",
    errno.EDQUOT: "raise the quota or free space",
    errno.EROFS: "remount its file system writable",
    errno.EIO: "look for the disk in the kernel's log (dmesg)",
}


@contextmanager
def failing_as(doing: str, path: str) -> Iterator[None]:
    """Turn an ``OSError`` of the block into ``StoreFailed`` with the operation ``doing`` and its path."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        advice = _ADVICE.get(error.errno or 0)
        raise StoreFailed(doing, error.filename or path, f"{reason}; {advice}" if advice else reason) from error


def write_new(path: str, data: bytes, mode: int, *, sync: bool = False) -> None:
    """Write ``data`` to the new file ``path`` with exactly ``mode``; the path must not exist.

    After an error the file is removed, so that a full disk does not fill with the halves of every attempt.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        os.fchmod(fd, mode)
        left = memoryview(data)
        while left:
            left = left[os.write(fd, left) :]
        if sync:
            os.fsync(fd)
    except OSError as error:
        error.filename = path
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise
    finally:
        os.close(fd)


def replace_file(path: str, data: bytes, mode: int, *, sync: bool = False) -> None:
    """Replace the file ``path`` by rename: a reader sees the old file or the new one, whole."""
    temporary = unused_name(path)
    write_new(temporary, data, mode, sync=sync)
    os.rename(temporary, path)


def replace_link(path: str, target: str) -> None:
    """Make ``path`` a symbolic link to ``target`` by rename, atomic on every Linux file system."""
    temporary = unused_name(path)
    os.symlink(target, temporary)
    os.rename(temporary, path)


def unused_name(path: str) -> str:
    """Return the name under which the new content of ``path`` is written, after removing an earlier file there."""
    directory, name = os.path.split(path)
    temporary = f"{directory}/{TEMPORARY}{name}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    return temporary


def leads_to(link: str, target: str) -> bool:
    """Return whether ``link`` is a symbolic link with exactly this ``target``."""
    try:
        return os.readlink(link) == target
    except OSError:
        return False


def make_directory(path: str, *, exist_ok: bool = True) -> None:
    """Make the directory ``path`` with exactly DIRECTORY_MODE; one that exists stays as it is if ``exist_ok``."""
    try:
        os.mkdir(path, DIRECTORY_MODE)
    except FileExistsError:
        if not exist_ok:
            raise
    else:
        os.chmod(path, DIRECTORY_MODE)  # The umask may have cleared bits.


def make_exec_root(path: str) -> None:
    """Make the exec root again if it was removed while the daemon runs, with the mode that a start gives to it."""
    mode = 0o755 if os.geteuid() == 0 else 0o700
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, mode)
        os.chmod(path, mode)  # As in `make_directory`.


def open_to_users(path: str, mode: int) -> None:
    """Give ``path``, a directory or script of an earlier version with the mode of that time, the mode ``mode``.

    A path with another mode, of another owner, or that is missing stays as it is, and so does each on a read-only disk.
    """
    with contextlib.suppress(OSError):
        state = os.lstat(path)
        if stat.S_IMODE(state.st_mode) == OLD_MODE and state.st_uid == os.geteuid() and not stat.S_ISLNK(state.st_mode):
            os.chmod(path, mode)


def sync_directory(path: str) -> None:
    """Return once the entries of the directory ``path`` have reached the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def require_regular(fd: int, path: str) -> None:
    """Raise an ``OSError`` unless ``fd``, opened at ``path``, is a regular file."""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", path)


def read_file(path: str, most: int | None = None) -> bytes:
    """Return the content of the regular file ``path``, or its first ``most`` bytes.

    Raises: OSError, also for a FIFO or a device, on which the read could wait forever.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        require_regular(fd, path)
        data = bytearray()
        while chunk := os.read(fd, _CHUNK if most is None else most - len(data)):
            data += chunk
        return bytes(data)
    finally:
        os.close(fd)
