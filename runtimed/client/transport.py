"""Sends requests to the daemon and receives responses, once for the blocking and the asyncio client.

Its coroutines await only the methods of a `Backend`. With a backend that blocks they never suspend, so
`runtimed.client.sync` runs them as plain functions.
"""

from __future__ import annotations

import os
import sys
import time

from runtimed.client.errors import DaemonUnreachable, TimedOut, UntrustedServer
from runtimed.client.socket_path import default_sockets, explain_failure, log_hint
from runtimed.client.wire import ResponseReader, read_document, render_request

TYPE_CHECKING = False  # as typing.TYPE_CHECKING, without the milliseconds that importing typing costs
if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import socket as socket_type
    from typing import Any, Protocol, TypeVar

    Document = dict[str, Any]
    T = TypeVar("T")

    class Backend(Protocol):
        """The operations that wait. The sockets are non-blocking; none may take longer than ``timeout_s``."""

        async def send(self, sock: socket_type, data: bytes, timeout_s: float) -> None:
            """Send all of ``data``. Raises: OSError, of which TimeoutError is one."""

        async def receive(self, sock: socket_type, timeout_s: float) -> bytes:
            """Return the next bytes, none at the end of the connection. Raises: OSError."""

        async def run(self, function: Callable[..., T], *args: object) -> T:
            """Return the result of ``function``, which reads files."""

        async def sleep(self, seconds: float) -> None:
            """Wait."""


# How long the retry of a request waits until a daemon that is restarting listens again.
_RESTART_S = 2.0
_POLL_S = 0.01


class Transport:
    """Connections to the daemon on ``socket`` (None: see `default_sockets`), one for each request."""

    def __init__(self, socket: str | None, timeout_s: float, backend: Backend) -> None:
        paths = [socket] if socket else default_sockets(os.environ, os.geteuid())
        # All sockets are tried until one connects. Only that one is kept, because a client must not change to another
        # daemon when its own is restarted.
        self.socket, *self._alternatives = (path.removeprefix("unix://") for path in paths)
        self.timeout_s = timeout_s
        self._backend = backend

    async def _request(self, method: str, target: str) -> tuple[int, Document]:
        """Return status and document of the response."""
        status, body = await self._request_bytes(method, target)
        return status, read_document(body, self.socket)

    async def _request_bytes(self, method: str, target: str) -> tuple[int, bytes]:
        """Return status and body of the response; ``timeout_s`` includes the retry of a GET."""
        request = render_request(method, target)
        deadline_s = time.monotonic() + self.timeout_s
        try:
            status, body = await self._exchange(request, deadline_s, 0.0)
        except ConnectionError as first:
            if method != "GET":
                reason = "the connection ended before the response; whether the work was done is not known"
                raise DaemonUnreachable(self.socket, reason, "ask for its status, then try again") from first
            try:
                status, body = await self._exchange(request, deadline_s, _RESTART_S)
            except ConnectionError as second:
                reason = "the connection ended before the response, twice"
                raise DaemonUnreachable(self.socket, reason, log_hint(self.socket)) from second
        return status, body

    async def _exchange(self, request: bytes, deadline_s: float, patience_s: float) -> tuple[int, bytes]:
        """Return status and body of the response to ``request``.

        Raises:
            ConnectionError: the connection ended before the response.
            ClientError: there was no connection, it took too long, or the response is invalid.
        """
        reader = ResponseReader(self.socket)
        sock = await self._connect(deadline_s, patience_s)
        try:
            try:  # noqa: SIM105 - one import less
                await self._backend.send(sock, request, self._left_s(deadline_s))
            except BrokenPipeError:
                pass  # a server may refuse without reading the request; its response may be there
            while data := await self._backend.receive(sock, self._left_s(deadline_s)):
                response = reader.feed(data)
                if response is not None:
                    return response
        except TimeoutError:
            raise self._timed_out() from None
        finally:
            sock.close()
        raise ConnectionResetError

    async def _connect(self, deadline_s: float, patience_s: float) -> socket_type:
        """Return a connection to a trusted server; wait up to ``patience_s`` until one listens."""
        # Not `socket`: its import makes enums of all constants, which takes a tenth of a request from a shell. Its
        # class adds nothing to this one that a backend uses.
        import _socket  # noqa: PLC0415 - not every program that imports this module makes a request

        patient_until_s = min(deadline_s, time.monotonic() + patience_s)
        sock: socket_type = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)  # type: ignore[assignment]  # see above
        try:
            sock.settimeout(0)
            while not self._try_connect(sock, patient_until_s):
                self._left_s(deadline_s)
                await self._backend.sleep(_POLL_S)
            # struct ucred: pid, uid, gid. It is checked before any byte is sent.
            credentials = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
            self._check_server(int.from_bytes(credentials[4:8], sys.byteorder))
        except BaseException:
            sock.close()
            raise
        return sock

    def _try_connect(self, sock: socket_type, patient_until_s: float) -> bool:
        """Return whether ``sock`` is connected; raise if it is not and there is no time to try again."""
        first: OSError | None = None
        for path in (self.socket, *self._alternatives):
            connected = True
            try:
                sock.connect(path)
            except BlockingIOError:
                # The server's queue is full, and unix(7) starts no connection then. (An event loop's sock_connect would
                # wait for one, and take the socket for connected.)
                connected = False
            except (FileNotFoundError, ConnectionRefusedError) as exc:
                first = first or exc
                continue
            except (OSError, ValueError) as exc:
                if first is not None:
                    continue  # the error reports the first socket, that of the user's daemon
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
        reason = f"no complete response within {self.timeout_s:g} s"
        return TimedOut(self.socket, reason, log_hint(self.socket))
