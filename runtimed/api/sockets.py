"""The listening socket: where it is, who may connect, and that it is nobody else's."""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import re
import select
import socket
import stat
import struct
from pathlib import Path
from typing import NamedTuple

from runtimed.core.errors import AlreadyRunning, SocketRefused, UnknownGroup

# sizeof(sun_path) less the final NUL: unix(7).
PATH_BYTES = 107

_UCRED = struct.Struct("3i")
# The highest id; the one above it, (gid_t) -1, means "leave as it is" to chown(2).
_LAST_ID = 2**32 - 2
_KINDS = (
    (stat.S_ISREG, "a regular file"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a FIFO"),
)


class Peer(NamedTuple):
    """Who is at the other end, as the kernel says: credentials at the time of its connect(2) or listen(2)."""

    pid: int
    uid: int
    gid: int


def peer_of(sock: socket.socket) -> Peer:
    """Return who is at the other end of a connected Unix socket (SO_PEERCRED, unix(7))."""
    pid, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    # Ids are unsigned, and ids above 2**31 are usual in user namespaces.
    return Peer(pid, uid & 0xFFFFFFFF, gid & 0xFFFFFFFF)


def has_hung_up(sock: socket.socket) -> bool:
    """Return whether the peer has closed its socket, and not only its side of it (POLLHUP, poll(2))."""
    poll = select.poll()
    poll.register(sock.fileno(), 0)
    return bool(poll.poll(0))


def group_id(name: str) -> int:
    """Return the id of a group, given by name or, as dockerd's ``--group`` allows, as a number.

    Raises: UnknownGroup.
    """
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):  # ValueError: a NUL in it
        pass
    if re.fullmatch(r"[0-9]{1,10}", name) and int(name) <= _LAST_ID:
        return int(name)
    raise UnknownGroup(name)


def inherited_name(host: str) -> str | None:
    """Return the name in ``-H/--host fd://NAME``, empty for ``fd://``, which means all; None for any other host."""
    scheme, _, name = host.partition("://")
    return name if scheme == "fd" else None


def parse_host(host: str) -> str:
    """Return the path that ``-H/--host unix:///path`` names.

    Raises: SocketRefused for any other scheme and for a path that is not absolute or names no file.
    """
    scheme, mark, path = host.partition("://")
    if not mark or scheme != "unix":
        raise SocketRefused(host, "expected unix:///absolute/path, or fd:// for what systemd hands over")
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise SocketRefused(host, "expected unix:// and the absolute path of a file")
    return path


class BoundSocket:
    """A socket that listens at ``path``, and the lock that makes the path ours; made by `bind_socket`."""

    __slots__ = ("_how", "_identity", "_lock_fd", "path", "sock")

    def __init__(
        self,
        sock: socket.socket,
        path: str,
        identity: tuple[int, int],
        lock_fd: int,
        how: tuple[int, int | None, int],
    ) -> None:
        self.sock = sock
        self.path = path
        self._identity = identity
        self._lock_fd = lock_fd
        # Mode, group and backlog.
        self._how = how

    def is_in_place(self) -> bool:
        """Return whether the path still leads to this socket."""
        try:
            found = os.lstat(self.path)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._identity

    def renew(self) -> socket.socket:
        """Listen at the path anew, which was removed or replaced; return the socket from before, still open.

        Raises: as `bind_socket`.
        """
        lock_fd = self._lock_fd
        try:
            if not _is_at(f"{self.path}.lock", lock_fd):
                lock_fd = _take_lock(self.path)
            try:
                _clear(self.path)
                sock, self._identity = _listen(self.path, *self._how)
            except BaseException:
                if lock_fd != self._lock_fd:
                    os.close(lock_fd)
                raise
        except OSError as exc:
            raise SocketRefused(self.path, _explain(exc, self.path)) from exc
        if lock_fd != self._lock_fd:
            os.close(self._lock_fd)
        old, self.sock, self._lock_fd = self.sock, sock, lock_fd
        return old

    def close(self) -> None:
        """Stop listening, remove the path if it is still ours, let the lock go. Closing twice does nothing.

        The lock file stays: whoever waits for it would otherwise hold a lock on a file that nobody sees.
        """
        if self._lock_fd < 0:
            return
        try:
            if self.is_in_place():
                Path(self.path).unlink()
        except OSError:
            pass  # gone with its directory, or the directory is read-only now: a stale socket hurts nobody
        self.sock.close()
        os.close(self._lock_fd)
        self._lock_fd = -1


def bind_socket(path: str, *, mode: int = 0o660, gid: int | None = None, backlog: int = 1024) -> BoundSocket:
    """Return a socket that listens at ``path``, with exactly this mode and group from its first moment on.

    A live socket is never taken away: ``<path>.lock`` is locked first (flock(2), held until `BoundSocket.close`), and
    what answers at the path in spite of that is respected. Only a socket that nobody serves is replaced.

    Raises: AlreadyRunning where somebody serves the path; SocketRefused for what stands there and is no socket,
        for a path that is too long, and for what the system refuses.
    """
    if (length := len(os.fsencode(path))) > PATH_BYTES:
        reason = f"the path is {length} bytes long and a Unix socket's may have {PATH_BYTES}"
        raise SocketRefused(path, f"{reason}; name a shorter one with --host, and for clients by RUNTIMED_SOCKET")
    try:
        lock_fd = _take_lock(path)
        try:
            _clear(path)
            sock, identity = _listen(path, mode, gid, backlog)
        except BaseException:
            os.close(lock_fd)
            raise
    except OSError as exc:
        raise SocketRefused(path, _explain(exc, path)) from exc
    return BoundSocket(sock, path, identity, lock_fd, (mode, gid, backlog))


def _is_at(path: str, fd: int) -> bool:
    """Return whether ``path`` leads to the file of the descriptor ``fd``."""
    try:
        found, held = os.lstat(path), os.fstat(fd)
    except FileNotFoundError:
        return False
    return (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)


def _take_lock(path: str) -> int:
    lock_path = f"{path}.lock"
    # O_NONBLOCK: should it be a FIFO or a device, find out rather than wait.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    lock_fd = os.open(lock_path, flags, 0o600)
    try:
        _lock(lock_fd, path)
    except BaseException:
        os.close(lock_fd)
        raise
    return lock_fd


def _lock(lock_fd: int, path: str) -> None:
    if not stat.S_ISREG(os.fstat(lock_fd).st_mode):
        raise SocketRefused(f"{path}.lock", "is no regular file; remove it")
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock_fd, 32, 0).strip()
        raise AlreadyRunning(path, int(holder) if holder.isdigit() else None) from None
    os.ftruncate(lock_fd, 0)
    os.pwrite(lock_fd, b"%d\n" % os.getpid(), 0)


def _clear(path: str) -> None:
    """Make sure that nothing is at ``path``: a socket that nobody serves is removed, all else is refused."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(found.st_mode)), "a device")
        raise SocketRefused(path, f"is {kind}, not a socket; it was left alone")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
        except BlockingIOError:  # its queue is full
            raise AlreadyRunning(path, None) from None
        raise AlreadyRunning(path, peer_of(probe).pid)


def _listen(path: str, mode: int, gid: int | None, backlog: int) -> tuple[socket.socket, tuple[int, int]]:
    """Listen under a temporary name, then rename: no client meets a wrong mode or a refused connection.

    The temporary name differs in one character. So it fits where the path fits, `ss -xl` stays readable, and
    what a killed start left behind is found and removed by the next one.
    """
    temporary = path[:-1] + ("~" if path[-1] != "~" else "-")
    _clear(temporary)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The mode of the socket's file is that of its descriptor, less the umask: nobody's until it is as it should be.
        os.fchmod(sock.fileno(), 0)
        sock.bind(temporary)
        try:
            if gid is not None:
                os.chown(temporary, -1, gid, follow_symlinks=False)
            Path(temporary).chmod(mode)
            sock.listen(backlog)
            sock.settimeout(0)
            found = os.lstat(temporary)
            Path(temporary).rename(path)
        except BaseException:
            Path(temporary).unlink()
            raise
    except BaseException:
        sock.close()
        raise
    return sock, (found.st_dev, found.st_ino)


def _explain(exc: OSError, path: str) -> str:
    reason = exc.strerror or str(exc)
    if exc.errno == errno.ENOENT:
        return f"its directory {Path(path).parent} does not exist"
    if exc.errno == errno.ELOOP:
        return f"{exc.filename} is a symbolic link; remove it"
    return f"{exc.filename}: {reason}" if exc.filename and exc.filename != path else reason
