"""Binds listening Unix sockets without replacing a live one, and reads peer credentials."""

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
    """Credentials of the process at the other end, as of its connect(2) or listen(2)."""

    pid: int
    uid: int
    gid: int


def peer_of(sock: socket.socket) -> Peer:
    """Return the credentials of a connected Unix socket's peer (SO_PEERCRED, unix(7))."""
    pid, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    # Ids are unsigned, and ids above 2**31 are usual in user namespaces.
    return Peer(pid, uid & 0xFFFFFFFF, gid & 0xFFFFFFFF)


def has_hung_up(sock: socket.socket) -> bool:
    """Return whether the peer has closed its socket completely, not only for writing (POLLHUP, poll(2))."""
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
    """Return the name in ``-H/--host fd://NAME``, empty for ``fd://`` (all sockets); None for any other host."""
    scheme, _, name = host.partition("://")
    return name if scheme == "fd" else None


def parse_host(host: str) -> str:
    """Return the path in ``-H/--host unix:///path``.

    Raises: SocketRefused for any other scheme and for a path that is not absolute or ends with a slash.
    """
    scheme, mark, path = host.partition("://")
    if not mark or scheme != "unix":
        raise SocketRefused(host, "expected unix:///absolute/path, or fd:// for sockets passed by systemd")
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise SocketRefused(host, "expected unix:// and the absolute path of a file")
    return path


class BoundSocket:
    """A socket that listens at ``path``, and the lock that reserves the path; made by `bind_socket`."""

    __slots__ = ("_identity", "_lock_fd", "_parameters", "path", "sock")

    def __init__(
        self,
        path: str,
        sock: socket.socket,
        identity: tuple[int, int],
        lock_fd: int,
        parameters: tuple[int, int | None, int],
    ) -> None:
        self.sock = sock
        self.path = path
        self._identity = identity
        self._lock_fd = lock_fd
        # Mode, group id and backlog.
        self._parameters = parameters

    def is_in_place(self) -> bool:
        """Return whether the path still leads to this socket."""
        return file_identity(self.path) == self._identity

    def renew(self) -> socket.socket:
        """Listen anew at the path, which was removed or replaced; return the previous socket, still open.

        Raises: as `bind_socket`.
        """
        sock, self._identity, lock_fd = _bind(self.path, self._lock_fd, self._parameters)
        if lock_fd != self._lock_fd:
            os.close(self._lock_fd)
        old, self.sock, self._lock_fd = self.sock, sock, lock_fd
        return old

    def close(self) -> None:
        """Stop listening, remove the path if it still leads to this socket, release the lock.

        Closing twice does nothing. The lock file stays: a process that has opened it already would otherwise lock a
        file that has been removed.
        """
        if self._lock_fd < 0:
            return
        try:
            if self.is_in_place():
                Path(self.path).unlink()
        except OSError:
            pass  # its directory is gone or read-only; a stale socket does no harm
        self.sock.close()
        os.close(self._lock_fd)
        self._lock_fd = -1


def bind_socket(path: str, *, mode: int = 0o660, gid: int | None = None, backlog: int = 1024) -> BoundSocket:
    """Return a socket that listens at ``path``, with exactly this mode and group from the moment it appears.

    It never replaces a live socket: it locks ``<path>.lock`` first (flock(2), held until `BoundSocket.close`), and then
    replaces a socket at the path only if connect(2) is refused.

    Raises: AlreadyRunning if another process serves the path; SocketRefused if the path leads to another kind of file
        or is too long, and for errors of the system.
    """
    if (length := len(os.fsencode(path))) > PATH_BYTES:
        reason = f"the path is {length} bytes long and a Unix socket's may have {PATH_BYTES}"
        raise SocketRefused(path, f"{reason}; name a shorter one with --host, and for clients by RUNTIMED_SOCKET")
    parameters = mode, gid, backlog
    return BoundSocket(path, *_bind(path, None, parameters), parameters)


def file_identity(path: str) -> tuple[int, int] | None:
    """Return device and inode of the file at ``path``, None if it does not exist or lstat(2) fails."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _bind(
    path: str, held_fd: int | None, parameters: tuple[int, int | None, int]
) -> tuple[socket.socket, tuple[int, int], int]:
    """Return a listening socket, its file's identity and the lock: ``held_fd`` if that still locks the path."""
    try:
        lock_fd = held_fd if held_fd is not None and _locks(held_fd, path) else _take_lock(path)
        try:
            _clear(path)
            return *_listen(path, *parameters), lock_fd
        except BaseException:
            if lock_fd != held_fd:
                os.close(lock_fd)
            raise
    except OSError as exc:
        raise SocketRefused(path, _explain(exc, path)) from exc


def _locks(lock_fd: int, path: str) -> bool:
    held = os.fstat(lock_fd)
    return file_identity(f"{path}.lock") == (held.st_dev, held.st_ino)


def _take_lock(path: str) -> int:
    lock_path = f"{path}.lock"
    # O_NONBLOCK: opening a FIFO or a device must not wait.
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
        raise SocketRefused(f"{path}.lock", "is not a regular file; remove it")
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock_fd, 32, 0).strip()
        raise AlreadyRunning(path, int(holder) if holder.isdigit() else None) from None
    os.ftruncate(lock_fd, 0)
    os.pwrite(lock_fd, b"%d\n" % os.getpid(), 0)


def _clear(path: str) -> None:
    """Remove a socket at ``path`` that no process serves; raise if there is any other file."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(found.st_mode)), "a device")
        raise SocketRefused(path, f"is {kind}, not a socket; it was not changed")
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
    """Listen under a temporary name, then rename, so that a client never finds a wrong mode or a refused connection.

    The temporary name differs in one character. So it is short enough if the path is, `ss -xl` stays readable, and the
    next start finds and removes the file that a killed start left.
    """
    temporary = path[:-1] + ("~" if path[-1] != "~" else "-")
    _clear(temporary)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The file's mode is the descriptor's, less the umask: no access until mode and group are set.
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
