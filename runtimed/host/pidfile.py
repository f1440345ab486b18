"""The file that holds the daemon's process id, for scripts that want one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from runtimed.core.errors import PathRefused


def write_pidfile(path: str, secure_directory: Callable[[str], str]) -> Callable[[], None]:
    """Write this process's id to ``path`` and return the function that removes it again.

    The claim on the data root says who runs; the pidfile only tells. What a dead process left is
    replaced, by rename, so that it is never read half-written.

    Raises:
        PathRefused: it cannot be written, or its directory could be changed by others.
    """
    directory = secure_directory(os.path.dirname(os.path.abspath(path)))
    target = f"{directory}/{os.path.basename(path)}"
    temporary = f"{target}.{os.getpid()}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            # Whatever the umask: who may see the directory may see who runs.
            os.fchmod(fd, 0o644)
            os.write(fd, b"%d\n" % os.getpid())
        finally:
            os.close(fd)
        os.rename(temporary, target)
    except OSError as error:
        raise PathRefused(path, f"the pidfile cannot be written: {error.strerror}", "name another --pidfile") from error

    def remove() -> None:
        with contextlib.suppress(OSError):
            os.unlink(target)

    return remove
