"""The client for programs that wait for an answer."""

from __future__ import annotations

import os
import sys
import time

from runtimed.client.errors import DaemonUnreachable, TimedOut, UntrustedServer, refuse
from runtimed.client.places import default_socket, explain_failure
from runtimed.client.wire import AnswerReader, quote, read_document, render_request, render_target

TYPE_CHECKING = False  # what typing's constant is, without the milliseconds that typing costs
if TYPE_CHECKING:
    from collections.abc import Iterator
    from socket import socket as socket_type
    from typing import Any, NoReturn

    Document = dict[str, Any]

_RECEIVE_BYTES = 256 * 1024
# How long the one retry waits for a daemon that is being restarted to listen again.
_RESTART_S = 2.0
_POLL_S = 0.01
_DRY_RUN = {"dry_run": "true"}


class Client:
    """Asks the daemon on ``socket`` (a path, also ``unix://PATH``; by default see `default_socket`).

    Every request has a connection of its own and ``timeout_s`` seconds for everything, so a client may be
    shared by threads, kept for as long as one likes, and needs no closing. A GET whose connection ends
    before its answer is asked once more: the daemon was restarted. All methods raise `ClientError`.
    """

    def __init__(self, socket: str | None = None, timeout_s: float = 10.0) -> None:
        self.socket = (socket or default_socket(os.environ, os.geteuid())).removeprefix("unix://")
        self.timeout_s = timeout_s

    def resolve(self, runtime: str = "", generation: int | None = None, digest: str | None = None) -> Document:
        """Return what ``runtime`` means: shim, options and the generation that says so. Empty: the default.

        With a ``generation``, what it meant there, also if it means something else by now or nothing; with a
        ``digest`` too, only the very answer that has it.

        Raises: UnknownRuntime, InvalidRuntimeName, RuntimeUnavailable, NoSuchGeneration, GenerationGone,
            DigestMismatch, DiskTimeout.
        """
        pinned = {"generation": generation, "digest": digest}
        query = {key: str(value) for key, value in pinned.items() if value is not None}
        return self._get(render_target("/v1/resolve", {"runtime": runtime, **query} if runtime else query))

    def runtimes(self) -> Document:
        """Return the whole table, sorted by name, under ``runtimes``."""
        return self._get("/v1/runtimes")

    def runtime(self, name: str) -> Document:
        """Return what is known of one runtime: definition, origin, options, whether it is available.

        Raises: UnknownRuntime, InvalidRuntimeName.
        """
        return self._get(f"/v1/runtimes/{quote(name)}")

    def generations(self) -> Document:
        """Return the retained generations, the newest, which is the current one, first, under ``generations``.

        One that cannot be read has nothing but its number and a ``problem``.
        """
        return self._get("/v1/generations")

    def generation(self, number: int) -> Document:
        """Return all of one generation: its merged configuration, and every answer that was given in it.

        Raises: NoSuchGeneration, GenerationGone, DiskTimeout.
        """
        return self._get(f"/v1/generations/{number}")

    def diff(self, old: int, new: int) -> Document:
        """Return what differs in generation ``new`` from ``old``: runtimes by their answers, with both definitions.

        Raises: NoSuchGeneration, GenerationGone, DiskTimeout.
        """
        return self._get(render_target("/v1/diff", {"from": str(old), "to": str(new)}))

    def status(self) -> Document:
        """Return how the daemon is, health first."""
        return self._get("/v1/status")

    def healthz(self) -> Document:
        """Return ``{"status": "ok"}``.

        Raises: Unhealthy.
        """
        return self._get("/healthz")

    def watch(self, since: int | None = None, *, patience_s: float = 60.0) -> Iterator[Document]:
        """Yield what happens in the daemon, from the event after number ``since`` on, or from now on; never ends.

        Heartbeats are among the events, so that whoever iterates gets a turn every 15 s. When the connection ends,
        because the daemon is restarted, say, it is made anew from the last event on; an event of type ``gap`` says
        that some were lost.

        Raises: DaemonUnreachable where there is no daemon, or none again within ``patience_s`` seconds.
        """
        from runtimed.client.watch import watch_events  # noqa: PLC0415 - of use to few programs

        def connect() -> socket_type:
            return self._connect(time.monotonic() + self.timeout_s, 0.0)

        return watch_events(connect, self.socket, since, patience_s)

    def reload(self, *, dry_run: bool = False) -> Document:
        """Return the report of a reload, or of what one would do; its ``outcome`` may be ``rejected``.

        Raises: Forbidden.
        """
        status, document = self._ask("POST", render_target("/v1/reload", _DRY_RUN if dry_run else {}))
        if status != 200 and "outcome" not in document:  # noqa: PLR2004 - HTTP's own number
            refuse(status, document)
        return document

    def gc(self, *, dry_run: bool = False) -> Document:
        """Return the verdict on every wrapper, and why; remove those that may go unless it is a ``dry_run``.

        Raises: Forbidden, DiskTimeout.
        """
        return self._told("POST", render_target("/v1/gc", _DRY_RUN if dry_run else {}))

    def _get(self, target: str) -> Document:
        return self._told("GET", target)

    def _told(self, method: str, target: str) -> Document:
        status, document = self._ask(method, target)
        if status != 200:  # noqa: PLR2004 - HTTP's own number
            refuse(status, document)
        return document

    def _ask(self, method: str, target: str) -> tuple[int, Document]:
        request = render_request(method, target)
        deadline_s = time.monotonic() + self.timeout_s
        try:
            status, body = self._exchange(request, deadline_s, 0.0)
        except ConnectionError as died:
            if method != "GET":
                reason = "the connection ended before the answer; whether it was done is not known"
                raise DaemonUnreachable(self.socket, reason, "ask for its status, then try again") from died
            try:
                status, body = self._exchange(request, deadline_s, _RESTART_S)
            except ConnectionError as died_again:
                reason = "the connection ended before the answer, twice"
                raise DaemonUnreachable(self.socket, reason, "look at its log: journalctl -u runtimed") from died_again
        return status, read_document(body, self.socket)

    # What follows does I/O

    def _exchange(self, request: bytes, deadline_s: float, patience_s: float) -> tuple[int, bytes]:
        """Return status and body of the answer to ``request``.

        Raises:
            ConnectionError: the connection ended before the answer.
            ClientError: there was none to begin with, it took too long, or what came is no answer.
        """
        reader = AnswerReader(self.socket)
        with self._connect(deadline_s, patience_s) as sock:
            try:
                sock.settimeout(self._left_s(deadline_s))
                sock.sendall(request)
            except BrokenPipeError:
                pass  # A server that refuses need not hear what for: its answer may be there to be read.
            except TimeoutError:
                self._time_out()
            while True:
                sock.settimeout(self._left_s(deadline_s))
                try:
                    data = sock.recv(_RECEIVE_BYTES)
                except TimeoutError:
                    self._time_out()
                if not data:
                    raise ConnectionResetError
                answer = reader.feed(data)
                if answer is not None:
                    return answer

    def _connect(self, deadline_s: float, patience_s: float) -> socket_type:
        """Return a connection to a server that may be believed; where none listens yet, wait ``patience_s`` for it."""
        import socket  # noqa: PLC0415 - 3 ms, which not every program that imports this module needs

        patient_until_s = min(deadline_s, time.monotonic() + patience_s)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self._left_s(deadline_s))
            while True:
                try:
                    sock.connect(self.socket)
                    break
                except BlockingIOError:
                    # Its queue of connections is full, which unix(7) does not wait for when there is a time-out.
                    self._left_s(deadline_s)
                except (FileNotFoundError, ConnectionRefusedError) as exc:
                    if time.monotonic() >= patient_until_s:
                        raise explain_failure(self.socket, exc) from exc
                except (OSError, ValueError) as exc:
                    raise explain_failure(self.socket, exc) from exc
                time.sleep(_POLL_S)
            # struct ucred: pid, uid, gid. Asked before a word is said.
            credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            self._check_server(int.from_bytes(credentials[4:8], sys.byteorder))
        except BaseException:
            sock.close()
            raise
        return sock

    def _check_server(self, uid: int) -> None:
        if uid not in (0, os.geteuid()):
            raise UntrustedServer(self.socket, uid)

    def _left_s(self, deadline_s: float) -> float:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            self._time_out()
        return left_s

    def _time_out(self) -> NoReturn:
        reason = f"nothing whole came within {self.timeout_s:g} s"
        raise TimedOut(self.socket, reason, "look at its log: journalctl -u runtimed") from None
