"""Locks the data root for one daemon, and checks that its path still leads to the locked directory."""

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
    LINK_DIRECTORIES,
    LINKS,
    LOCK,
    MANIFEST,
    PARTS,
    TEMPORARY,
    VERSION,
    VIEW,
    WRAPPERS,
)
from runtimed.host.store.disk import FILE_MODE, failing_as, read_file, replace_file, require_regular, sync_directory
from runtimed.host.store.paths import Paths

# Files that may be in a directory that is not a data root yet: the lock, and the directory that mkfs makes.
_NEUTRAL = frozenset({LOCK, "lost+found"})
_VERSION_MAX = 4096
_REPAIR = f"if the directory is runtimed's, write the line layout={LAYOUT} to {{root}}/{VERSION}"
_OTHER_ROOT = "unmount it, or restart runtimed to use it as it is; until then runtimed does not write to it"


class DataRootLock:
    """The lock on the data root ``root`` and the identity of the locked directory.

    The constructor makes an empty directory a data root. It does not write to a directory that is one already, so
    that a start on a full or read-only disk works.

    Raises:
        DataRootRefused: the directory holds other files, or a layout that this version does not know.
        AlreadyRunning: another process holds the lock.
        StoreFailed: the operating system refused.
    """

    def __init__(self, root: str) -> None:
        self._paths = Paths(root)
        with failing_as("locking", root):
            # Before the lock file is made, so that no file is left behind in a foreign directory.
            check_version(root)
            self._fd = _lock(root)
            try:
                if not check_version(root):
                    text = f"layout={LAYOUT}\nid={os.urandom(16).hex()}\n"
                    replace_file(self._paths.version, text.encode(), FILE_MODE, sync=True)
                    sync_directory(root)
                # The content of VERSION.
                self.version = _read_version(root)
                # The random id of the data root; empty where VERSION was restored by hand without it.
                self.identity = _parse_version(self.version).get("id", "")
                self._inode = _inode(root)
                # The paths of the data root for this process and for process 1: under a unit the mounts may differ.
                self.views = (root, *_view_of_host(root, self._inode))
                # A directory that does not exist yet will be on the file system of the data root.
                names = (WRAPPERS, GENERATIONS, LINKS, PARTS)
                self._devices = {name: _device(f"{root}/{name}") or self._inode[0] for name in names}
            except BaseException:
                os.close(self._fd)
                raise

    def close(self) -> None:
        """Release the lock."""
        os.close(self._fd)

    def is_held(self) -> bool:
        """Return whether the lock file is still the one that this process has locked. Raises: OSError."""
        held = os.fstat(self._fd)
        try:
            return _inode(self._paths.lock) == (held.st_dev, held.st_ino)
        except FileNotFoundError:
            return False

    def lock_again(self) -> str | None:
        """Lock the data root again if its lock file was removed or replaced; return the reason of a failure."""
        path = self._paths.lock
        try:
            if self.is_held():
                return None
        except OSError as error:
            return f"{path} cannot be read: {error.strerror or error}"
        try:
            fd = _lock(self._paths.root)
        except (AlreadyRunning, OSError) as error:
            return f"{path} was removed or replaced, and the data root cannot be locked again: {error}"
        old, self._fd = self._fd, fd
        os.close(old)
        return None

    def refusal(self) -> str | None:
        """Return why the daemon must not write to the data root; None if it is the locked directory.

        Does not look at the lock file. Safe to call from any thread.
        """
        root = self._paths.root
        for view in self.views:
            try:
                is_other = _inode(view) != self._inode or any(
                    _device(f"{view}/{name}") not in (None, device) for name, device in self._devices.items()
                )
            except FileNotFoundError:
                return f"the data root {root} is missing; restart runtimed to make a new one"
            except OSError as error:
                return f"the data root {root} cannot be read ({error.strerror}); check that its disk is mounted"
            if is_other:
                where = "" if view == root else " in the mount namespace of the host"
                return f"another directory is at {root}{where} or mounted over it; {_OTHER_ROOT}"
        return self._version_refusal()

    def _version_refusal(self) -> str | None:
        path = self._paths.version
        try:
            found = _parse_version(_read_version(self._paths.root))
        except FileNotFoundError:  # damage that can be repaired
            return None
        except OSError as error:
            return f"{path} cannot be read: {error.strerror or error}"
        ours = _parse_version(self.version)
        is_other = any(key in found and found[key] != ours.get(key) for key in ("layout", "id"))
        return f"{path} is that of another data root; {_OTHER_ROOT}" if is_other else None


def trusted_paths(root: str) -> Iterator[str]:
    """Yield the paths below ``root``, relative to it, whose content a start relies on or that root executes through.

    Each directory comes before its content, and is listed only after the caller has taken its name. Wrappers and parts
    are not included: their names tell their contents, and recovery writes damaged wrappers again.
    """
    yield from (VERSION, LOCK, WRAPPERS, LINKS, *(f"{LINKS}/{each}" for each in LINK_DIRECTORIES))
    yield from (PARTS, GENERATIONS, CURRENT)
    try:
        numbers = sorted(os.listdir(f"{root}/{GENERATIONS}"))
    except OSError:  # missing, or unreadable, which recovery reports
        return
    for number in numbers:
        directory = f"{GENERATIONS}/{number}"
        yield from (directory, f"{directory}/{VIEW}", f"{directory}/{CONFIG}", f"{directory}/{MANIFEST}")


def check_version(root: str) -> bool:
    """Return whether ``root`` is a data root; False where it is an empty directory.

    Raises: DataRootRefused, OSError.
    """
    repair = _REPAIR.format(root=root)
    try:
        layout = _parse_version(_read_version(root)).get("layout", "")
    except FileNotFoundError:
        others = sorted(n for n in os.listdir(root) if n not in _NEUTRAL and not n.startswith(TEMPORARY))
        if not others:
            return False
        shown = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")  # noqa: PLR2004 - three are enough to see
        reason = f"it holds other things ({shown}) and no {VERSION} file of runtimed's"
        advice = repair if GENERATIONS in others else "name an empty or a new directory with --data-root"
        raise DataRootRefused(root, reason, advice) from None
    if layout == str(LAYOUT):
        return True
    if layout.isdecimal() and int(layout) > LAYOUT:
        reason = f"its layout is {layout}, and this version knows up to {LAYOUT}"
        raise DataRootRefused(root, reason, "run the newer runtimed that wrote it, or name another --data-root")
    raise DataRootRefused(root, f"its {VERSION} file is damaged", repair)


def _lock(root: str) -> int:
    """Return the descriptor of the lock on ``root``. Raises: AlreadyRunning, OSError."""
    path = f"{root}/{LOCK}"
    # O_NONBLOCK: a FIFO at this path must not make a start wait.
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    # Read-only suffices for flock(2); a file held open for writing would prevent a remount of the disk as read-only.
    try:
        fd = os.open(path, os.O_RDONLY | flags)
    except FileNotFoundError:
        fd = os.open(path, os.O_RDONLY | os.O_CREAT | flags, FILE_MODE)
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
    # The process id is only for the message of another daemon; the lock holds without it, on a full or read-only disk.
    with contextlib.suppress(OSError), open(path, "r+b", buffering=0) as file:
        file.truncate()
        file.write(b"%d\n" % os.getpid())
    return fd


def _read_version(root: str) -> bytes:
    return read_file(f"{root}/{VERSION}", _VERSION_MAX)


def _parse_version(data: bytes) -> dict[str, str]:
    lines = data.decode(errors="replace").splitlines()
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def _inode(path: str) -> tuple[int, int]:
    state = os.stat(path)
    return state.st_dev, state.st_ino


def _device(path: str) -> int | None:
    try:
        return os.lstat(path).st_dev
    except FileNotFoundError:
        return None


def _view_of_host(root: str, inode: tuple[int, int]) -> tuple[str, ...]:
    """Return the path of ``root`` in the mount namespace of process 1, where that is another one; none if unknown."""
    path = f"/proc/1/root{root}"
    with contextlib.suppress(OSError):
        if os.readlink("/proc/1/ns/mnt") != os.readlink("/proc/self/ns/mnt") and _inode(path) == inode:
            return (path,)
    return ()
