"""systemd's protocol: what it wants to be told (sd_notify(3)), which sockets it hands over (sd_listen_fds(3))."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import time
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Protocol

from runtimed.core.errors import SocketRefused
from runtimed.core.message_text import printable

# The first descriptor that is handed over.
_FIRST_FD = 3
# How long a service manager that does not read may hold us up.
_SEND_TIMEOUT_S = 0.1


class Notifier:
    """Tells systemd how the service is; tells nobody where there is no systemd that asked for it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        # What must be heard in the end and has not been yet: without READY=1 a reload never ends.
        self._unheard = ""
        self.watchdog_s = _watchdog_s(environ)

    def ready(self, status: str) -> None:
        """Tell that the service serves, for the first time or after a reload, and how it is, in one line."""
        self._unheard = f"READY=1\n{_status(status)}"
        self._tell()

    def reloading(self) -> None:
        """Tell that a reload has begun. `ready` must follow, whatever comes of it."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def status(self, status: str) -> None:
        """Tell how the service is, in one line."""
        self._tell(_status(status))

    def stopping(self) -> None:
        """Tell that the service is about to end."""
        self._tell("STOPPING=1", "STATUS=stopping")

    def alive(self) -> None:
        """Tell that the service is not stuck."""
        self._tell("WATCHDOG=1")

    def _tell(self, *assignments: str) -> None:
        if not self._address:
            return
        # An abstract name begins with a NUL, for which @ is written.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        # What nobody hears must not keep the service from serving; the next word to be heard brings it along.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(_SEND_TIMEOUT_S)
            sock.connect(address)
            if self._unheard:
                sock.sendall(self._unheard.encode())
                self._unheard = ""
            if assignments:
                sock.sendall("\n".join(assignments).encode())


@dataclass(frozen=True, slots=True)
class Inherited:
    """A listening Unix socket that was handed over, under the name that its unit gives it (FileDescriptorName=)."""

    name: str
    sock: socket.socket

    @property
    def path(self) -> str:
        """Where it listens."""
        address = self.sock.getsockname()
        return address if isinstance(address, str) else "@" + address[1:].decode(errors="replace")

    def close(self) -> None:
        """Close our end. The socket, its path, and who waits in its queue are systemd's, and stay."""
        self.sock.close()


def take_sockets(environ: MutableMapping[str, str]) -> tuple[Inherited, ...]:
    """Return the sockets that were handed over to this process, and forget in ``environ`` that there were any.

    Raises:
        SocketRefused: what was handed over is no listening Unix stream socket.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "0")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdecimal():
        return ()
    return tuple(
        _inherited(fd, names[number] if number < len(names) else "unknown")
        for number, fd in enumerate(range(_FIRST_FD, _FIRST_FD + int(count)))
    )


def _inherited(fd: int, name: str) -> Inherited:
    # Not inheritable: a binary that is asked for its features must not get it.
    wrong = SocketRefused("fd://", f"descriptor {fd} ({name}) is no listening Unix stream socket; correct its unit")
    try:
        os.set_inheritable(fd, False)  # noqa: FBT003 - it takes no keyword
    except OSError:
        raise wrong from None
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        raise wrong
    sock = socket.socket(fileno=fd)
    listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM or not listens:
        sock.detach()
        raise wrong
    sock.settimeout(0)
    return Inherited(name, sock)


def speaks_to_journal(environ: Mapping[str, str], stream: _Stream) -> bool:
    """Return whether ``stream`` goes to the journal (JOURNAL_STREAM, systemd.exec(5))."""
    with contextlib.suppress(OSError, ValueError):
        status = os.fstat(stream.fileno())
        return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
    return False


class _Stream(Protocol):
    def fileno(self) -> int:
        """Return its descriptor."""


def _status(text: str) -> str:
    # `systemctl status` shows it on a terminal.
    return "STATUS=" + printable(" ".join(text.split()))


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """Return the time in which systemd wants to hear of us at least once, None where it does not."""
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(os.getpid()))
    return int(usec) / 1e6 if usec.isdecimal() and int(usec) > 0 and pid == str(os.getpid()) else None
