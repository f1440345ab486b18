"""Raises the descriptor limit of this process, and writes its pidfile."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Callable

from runtimed.core.errors import PathRefused


def raise_descriptor_limit() -> None:
    """Raise the soft limit on file descriptors to the hard limit.

    The soft limit, 1,024 on most systems, is for programs that use select(2), which this one does not
    (setrlimit(2), and systemd's "File Descriptor Limits"). Child processes get it back.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # ValueError, OSError: a hard limit above fs.nr_open, or a filter of system calls. The soft limit stays.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def write_pidfile(path: str, secure_directory: Callable[[str], str]) -> Callable[[], None]:
    """Write the id of this process to ``path`` by rename, and return the function that removes the file.

    The lock on the data root prevents a second daemon, so the pidfile of an earlier process is replaced.

    Raises:
        PathRefused: the file cannot be written, or other users could change its directory.
    """
    directory = secure_directory(os.path.dirname(os.path.abspath(path)))
    target = f"{directory}/{os.path.basename(path)}"
    temporary = f"{target}.{os.getpid()}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with open(fd, "wb", buffering=0) as file:
            # Readable for all whatever the umask is; the mode of the directory restricts access.
            os.fchmod(fd, 0o644)
            file.write(b"%d\n" % os.getpid())
        os.rename(temporary, target)
    except OSError as error:
        raise PathRefused(path, f"the pidfile cannot be written: {error.strerror}", "name another --pidfile") from error

    def remove() -> None:
        with contextlib.suppress(OSError):
            os.unlink(target)

    return remove
