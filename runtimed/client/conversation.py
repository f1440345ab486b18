"""The conversation with a daemon, written once, for programs that block and for those that have an event loop.

It is made of coroutines that await nothing but what a `Waits` gives them. Where that blocks instead of waiting, the
coroutines never suspend: they are plain functions then, but for being run by `runtimed.client.sync`.
"""

from __future__ import annotations

import os
import sys
import time

from runtimed.client.errors import DaemonUnreachable, TimedOut, UntrustedServer
from runtimed.client.socket_path import default_sockets, explain_failure
from runtimed.client.wire import AnswerReader, read_document, render_request

TYPE_CHECKING = False  # what typing's constant is, without the milliseconds that typing costs
if TYPE_CHECKING:
    from socket import socket as socket_type
    from typing import Any, Protocol

    Document = dict[str, Any]

    class Waits(Protocol):
        """All that takes time. A socket never blocks by itself; nothing may take longer than ``timeout_s``."""

        async def send(self, sock: socket_type, data: bytes, timeout_s: float) -> None:
            """Send all of ``data``, or raise OSError, of which TimeoutError is one."""

        async def receive(self, sock: socket_type, timeout_s: float) -> bytes:
            """Return what comes next, nothing where the other side is done, or raise OSError."""

        async def sleep(self, seconds: float) -> None:
            """Do nothing for a while."""


# How long the one retry waits for a daemon that is being restarted to listen again.
_RESTART_S = 2.0
_POLL_S = 0.01


class Conversation:
    """Asks the daemon on ``socket`` (None: see `default_sockets`), each question on a connection of its own."""

    def __init__(self, socket: str | None, timeout_s: float, waits: Waits) -> None:
        paths = [socket] if socket else default_sockets(os.environ, os.geteuid())
        # The sockets after the first are tried until one was connected to, which is kept: a daemon that is restarted
        # must not hand its client over to another daemon.
        self.socket, *self._alternatives = (path.removeprefix("unix://") for path in paths)
        self.timeout_s = timeout_s
        self._waits = waits

    async def _ask(self, method: str, target: str) -> tuple[int, Document]:
        """Return status and body of the answer, which took at most ``timeout_s``, a second attempt included."""
        request = render_request(method, target)
        deadline_s = time.monotonic() + self.timeout_s
        try:
            status, body = await self._exchange(request, deadline_s, 0.0)
        except ConnectionError as died:
            if method != "GET":
                reason = "the connection ended before the answer; whether it was done is not known"
                raise DaemonUnreachable(self.socket, reason, "ask for its status, then try again") from died
            try:
                status, body = await self._exchange(request, deadline_s, _RESTART_S)
            except ConnectionError as died_again:
                reason = "the connection ended before the answer, twice"
                raise DaemonUnreachable(self.socket, reason, "look at its log: journalctl -u runtimed") from died_again
        return status, read_document(body, self.socket)

    async def _exchange(self, request: bytes, deadline_s: float, patience_s: float) -> tuple[int, bytes]:
        """Return status and body of the answer to ``request``.

        Raises:
            ConnectionError: the connection ended before the answer.
            ClientError: there was none to begin with, it took too long, or what came is no answer.
        """
        reader = AnswerReader(self.socket)
        with await self._connect(deadline_s, patience_s) as sock:
            try:
                try:  # noqa: SIM105 - one import less
                    await self._waits.send(sock, request, self._left_s(deadline_s))
                except BrokenPipeError:
                    pass  # A server that refuses need not hear what for: its answer may be there to be read.
                while data := await self._waits.receive(sock, self._left_s(deadline_s)):
                    answer = reader.feed(data)
                    if answer is not None:
                        return answer
            except TimeoutError:
                raise self._timed_out() from None
        raise ConnectionResetError

    async def _connect(self, deadline_s: float, patience_s: float) -> socket_type:
        """Return a connection to a server that may be believed; where none listens yet, wait ``patience_s`` for it."""
        import socket  # noqa: PLC0415 - 3 ms, which not every program that imports this module needs

        patient_until_s = min(deadline_s, time.monotonic() + patience_s)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(0)
            while not self._reach(sock, patient_until_s):
                self._left_s(deadline_s)
                await self._waits.sleep(_POLL_S)
            # struct ucred: pid, uid, gid. Asked before a word is said.
            credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            self._check_server(int.from_bytes(credentials[4:8], sys.byteorder))
        except BaseException:
            sock.close()
            raise
        return sock

    def _reach(self, sock: socket_type, patient_until_s: float) -> bool:
        """Return whether ``sock`` is connected now; if it is not, it may be soon."""
        first: OSError | None = None
        connected = True
        for path in (self.socket, *self._alternatives):
            try:
                sock.connect(path)
            except BlockingIOError:
                # The queue of connections is full. unix(7): no connection is under way then, so there is none to wait
                # for. (An event loop's own sock_connect waits all the same, and takes the socket for connected.)
                connected = False
            except (FileNotFoundError, ConnectionRefusedError) as exc:
                first = first or exc
                continue
            except (OSError, ValueError) as exc:
                if first is not None:
                    continue  # the socket of this user's daemon comes first in the explanation, too
                raise explain_failure(path, exc) from exc
            self.socket, self._alternatives = path, []
            return connected
        if time.monotonic() >= patient_until_s:
            raise explain_failure(self.socket, first or FileNotFoundError(), self._alternatives) from first
        return False

    def _check_server(self, uid: int) -> None:
        if uid not in (0, os.geteuid()):
            raise UntrustedServer(self.socket, uid)

    def _left_s(self, deadline_s: float) -> float:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise self._timed_out()
        return left_s

    def _timed_out(self) -> TimedOut:
        reason = f"nothing whole came within {self.timeout_s:g} s"
        return TimedOut(self.socket, reason, "look at its log: journalctl -u runtimed")
