"""Looks up the binary of a runtime as dockerd does: by its path or on PATH."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from runtimed.core.drift import BinaryState
from runtimed.core.errors import BinaryUnavailable
from runtimed.core.message_text import printable

_NOT_FOUND = "no such file"


def look_up(path: str, search: str, *, as_root: bool) -> str:
    """Return the file that executing ``path`` would run: ``path`` itself, or a hit on the PATH value ``search``.

    A path with a slash is taken as it is. Otherwise each element of ``search`` is tried in order, an empty one meaning
    the current directory. A hit through a relative element is an error, because it would depend on the directory in
    which the daemon was started (Go's os/exec, which dockerd uses). The effective user must be able to execute the
    file; ``as_root`` says whether that user is root.

    Raises:
        BinaryUnavailable: no executable file is found; its reason says why.
    """
    if "/" not in path:
        return _search(path, search, as_root=as_root)
    if (reason := _obstacle(path, as_root=as_root)) is not None:
        raise BinaryUnavailable(printable(path), reason, missing=reason == _NOT_FOUND)
    return path


def binary_state(path: str, search: str, *, as_root: bool, refusal: Callable[[str], str | None]) -> BinaryState:
    """Return the state of the file to which ``path`` leads (see :func:`look_up`), to compare it with a later state.

    ``refusal`` returns why the kernel refuses to execute a file that looks executable, None if it does not.
    """
    try:
        found = look_up(path, search, as_root=as_root)
        status = os.stat(found)
    except BinaryUnavailable as error:
        return BinaryState("missing" if error.missing else "unusable", reason=error.reason)
    except OSError as exc:  # removed since the look-up
        return BinaryState("missing", reason=_reason(exc))
    identity = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
    reason = refusal(found)
    return BinaryState("available" if reason is None else "unusable", found, identity, reason)


def _search(name: str, search: str, *, as_root: bool) -> str:
    # The obstacle of the first file with this name, which says more than "not found".
    closest = None
    # An empty PATH has no elements, as in Go; it is not one empty element.
    for element in search.split(":") if name and search else ():
        candidate = os.path.join(element or ".", name)
        reason = _obstacle(candidate, as_root=as_root)
        if reason is None:
            if not candidate.startswith("/"):
                raise BinaryUnavailable(
                    printable(name),
                    f"found only as {printable(candidate)} through the relative element "
                    f'"{printable(element)}" of PATH; write the full path',
                )
            return candidate
        if closest is None and reason != _NOT_FOUND:
            closest = f"{printable(candidate)}: {reason}"
    reason = closest or f"executable file not found in PATH ({printable(search)})"
    raise BinaryUnavailable(printable(name), reason, missing=closest is None)


def _obstacle(path: str, *, as_root: bool) -> str | None:
    """Return why the effective user cannot execute ``path``, or None."""
    try:
        mode = os.stat(path).st_mode
    except OSError as exc:
        return _reason(exc)
    except ValueError:  # a NUL byte
        return _NOT_FOUND
    if stat.S_ISDIR(mode):
        return "is a directory"
    # For root access(2) would also refuse on a mount that is noexec here but need not be where containerd runs.
    allowed = bool(mode & 0o111) if as_root else os.access(path, os.X_OK, effective_ids=True)
    return None if allowed else f"is not executable (mode {stat.S_IMODE(mode):04o})"


def _reason(exc: OSError) -> str:
    if exc.errno in (errno.ENOENT, errno.ENOTDIR):
        return _NOT_FOUND
    if exc.errno == errno.EACCES:
        return "permission denied: a directory on the way may not be searched"
    return (exc.strerror or str(exc)).lower()
