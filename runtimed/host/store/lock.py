"""Claiming the data root: one daemon at a time, and never a directory that belongs to something else."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from runtimed.core.errors import AlreadyRunning, DataRootRefused
from runtimed.core.history.layout import (
    CONFIG,
    CURRENT,
    GENERATIONS,
    LAYOUT,
    LINKS,
    LOCK,
    MANIFEST,
    TEMPORARY,
    VERSION,
    WRAPPERS,
)
from runtimed.host.store.disk import FILE_MODE, failing_as, read_file, replace_file, require_regular, sync_directory

# What may lie in a directory without making it somebody's: our lock, and what mkfs leaves.
_NOBODYS = frozenset({LOCK, "lost+found"})
_VERSION_MAX = 4096
_MEND = f"if the directory is runtimed's, write the line layout={LAYOUT} to {{root}}/{VERSION}"


def believed(root: str) -> Iterator[str]:
    """Yield the paths below ``root`` that a start believes or that root executes through, relative to it.

    Each directory comes before its content, and is listed only after the caller has taken its name. Wrappers are not
    among them: recovery writes those again that are not intact.
    """
    yield from (VERSION, LOCK, WRAPPERS, GENERATIONS, CURRENT)
    try:
        numbers = sorted(os.listdir(f"{root}/{GENERATIONS}"))
    except OSError:  # missing, or recovery says why it cannot be read
        return
    for number in numbers:
        directory = f"{GENERATIONS}/{number}"
        yield from (directory, f"{directory}/{LINKS}", f"{directory}/{CONFIG}", f"{directory}/{MANIFEST}")


def claim(root: str) -> int:
    """Return the descriptor of the lock on the data root ``root``; the claim ends when it is closed.

    An empty directory becomes a data root. Nothing is written to one that already is, so that a
    start on a full or read-only disk works.

    Raises:
        DataRootRefused: the directory holds other things, or a layout that this version does not know.
        AlreadyRunning: another process has claimed it.
        StoreFailed: the operating system refused.
    """
    with failing_as("claiming", root):
        # Looked at before the lock is made, so that nothing is left behind in a foreign directory.
        check_version(root)
        fd = lock(root)
        try:
            if not check_version(root):
                _write_version(root)
        except BaseException:
            os.close(fd)
            raise
    return fd


def read_identity(root: str) -> str:
    """Return the random id of the claimed data root ``root``; empty where VERSION was mended by hand without it.

    Raises: StoreFailed.
    """
    with failing_as("claiming", root):
        return _read_version(root).get("id", "")


def _read_version(root: str) -> dict[str, str]:
    return parse_version(read_file(f"{root}/{VERSION}", _VERSION_MAX))


def parse_version(data: bytes) -> dict[str, str]:
    """Return the entries of the file VERSION that holds ``data``."""
    text = data.decode(errors="replace")
    return {key: value for key, _, value in (line.partition("=") for line in text.splitlines())}


def check_version(root: str) -> bool:
    """Return whether ``root`` is a data root of ours; False where it is an empty directory.

    Raises: DataRootRefused, OSError.
    """
    try:
        layout = _read_version(root).get("layout", "")
    except FileNotFoundError:
        others = sorted(n for n in os.listdir(root) if n not in _NOBODYS and not n.startswith(TEMPORARY))
        if not others:
            return False
        shown = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")  # noqa: PLR2004 - three are enough to see
        reason = f"it holds other things ({shown}) and no {VERSION} file of runtimed's"
        if GENERATIONS in others:
            raise DataRootRefused(root, reason, _MEND.format(root=root)) from None
        raise DataRootRefused(root, reason, "name an empty or a new directory with --data-root") from None
    if layout == str(LAYOUT):
        return True
    if layout.isdecimal() and int(layout) > LAYOUT:
        reason = f"its layout is {layout}, and this version knows up to {LAYOUT}"
        raise DataRootRefused(root, reason, "run the newer runtimed that wrote it, or name another --data-root")
    raise DataRootRefused(root, f"its {VERSION} file is damaged", _MEND.format(root=root))


def lock(root: str) -> int:
    """Return the descriptor of the lock on ``root``. Raises: AlreadyRunning, OSError."""
    path = f"{root}/{LOCK}"
    # O_NONBLOCK: a FIFO in its place must not make a start wait.
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    # flock(2) asks for no write access, and a file held open for writing would keep the disk from being remounted.
    try:
        fd = os.open(path, os.O_RDONLY | flags)
    except FileNotFoundError:
        fd = os.open(path, os.O_RDONLY | os.O_CREAT | flags, 0o600)
    try:
        require_regular(fd, path)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(fd, 32, 0).strip()
        os.close(fd)
        raise AlreadyRunning(root, int(pid) if pid.isdigit() else None) from None
    except OSError:
        os.close(fd)
        raise
    # The number only helps whoever is refused; the lock holds without it, on a full or read-only disk.
    with contextlib.suppress(OSError), open(path, "r+b", buffering=0) as file:
        file.truncate()
        file.write(b"%d\n" % os.getpid())
    return fd


def _write_version(root: str) -> None:
    text = f"layout={LAYOUT}\nid={os.urandom(16).hex()}\n"
    replace_file(root, VERSION, text.encode(), FILE_MODE, sync=True)
    sync_directory(root)
