"""Speaks systemd's protocols: notifications (sd_notify(3)) and inherited sockets (sd_listen_fds(3))."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import TextIO

from runtimed.core.errors import SocketRefused
from runtimed.core.message_text import printable

# The first inherited descriptor.
_FIRST_FD = 3
# A service manager that does not read delays the daemon for this time at most.
_SEND_TIMEOUT_S = 0.1


class Notifier:
    """Sends the state of the service to systemd; sends nothing if ``environ`` names no socket for it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # The name of an abstract socket begins with a NUL, which is written as @.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        # A READY=1 that could not be sent. The next message sends it too, because without it a reload never ends.
        self._unsent = ""
        # Interval in seconds within which systemd expects `alive`, None if it expects none.
        self.watchdog_s = _watchdog_s(environ)

    def ready(self, status: str) -> None:
        """Report that the service serves, at the start or after a reload, with its state in one line."""
        self._unsent = f"READY=1\n{_status(status)}"
        self._send()

    def reloading(self) -> None:
        """Report that a reload has begun. `ready` must follow in every case."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def status(self, status: str) -> None:
        """Report the state of the service in one line."""
        self._send(_status(status))

    def stopping(self) -> None:
        """Report that the service is about to end."""
        self._send("STOPPING=1", "STATUS=stopping")

    def alive(self) -> None:
        """Report that the service is not stuck."""
        self._send("WATCHDOG=1")

    def _send(self, *assignments: str) -> None:
        if not self._address:
            return
        # A manager that does not listen must not keep the service from serving.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(_SEND_TIMEOUT_S)
            sock.connect(self._address)
            if self._unsent:
                sock.sendall(self._unsent.encode())
                self._unsent = ""
            if assignments:
                sock.sendall("\n".join(assignments).encode())


@dataclass(frozen=True, slots=True)
class Inherited:
    """A listening Unix socket from the service manager, with its name in the unit (FileDescriptorName=)."""

    name: str
    sock: socket.socket

    @property
    def path(self) -> str:
        """Path or @name on which it listens."""
        address = self.sock.getsockname()
        return address if isinstance(address, str) else "@" + address[1:].decode(errors="replace")

    def close(self) -> None:
        """Close this process's descriptor. The socket, its path and its queue belong to systemd and remain."""
        self.sock.close()


def take_sockets(environ: MutableMapping[str, str]) -> tuple[Inherited, ...]:
    """Return the sockets that this process inherits, and remove their variables from ``environ``.

    Raises:
        SocketRefused: a descriptor is not a listening Unix stream socket.
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
    wrong = SocketRefused("fd://", f"descriptor {fd} ({name}) is no listening Unix stream socket; correct its unit")
    try:
        # A binary that the daemon probes must not inherit it.
        os.set_inheritable(fd, False)  # noqa: FBT003 - it takes no keyword
        sock = socket.socket(fileno=fd)
    except OSError:  # the descriptor is not open, or is not a socket
        raise wrong from None
    listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM or not listens:
        sock.detach()
        raise wrong
    sock.settimeout(0)
    return Inherited(name, sock)


def speaks_to_journal(environ: Mapping[str, str], stream: TextIO) -> bool:
    """Return whether ``stream`` goes to the journal (JOURNAL_STREAM, systemd.exec(5))."""
    with contextlib.suppress(OSError, ValueError):
        status = os.fstat(stream.fileno())
        return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
    return False


def _status(text: str) -> str:
    # `systemctl status` shows it on a terminal.
    return "STATUS=" + printable(" ".join(text.split()))


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(os.getpid()))
    return int(usec) / 1e6 if usec.isdecimal() and int(usec) > 0 and pid == str(os.getpid()) else None
