"""Checks the paths of the listening sockets, and binds one anew that was removed or replaced."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from runtimed.api.server import Server
from runtimed.api.sockets import BoundSocket, file_identity
from runtimed.core.errors import RuntimedError


class Listening(Protocol):
    """A listening socket: a `BoundSocket`, or one that the service manager passed."""

    @property
    def sock(self) -> socket.socket:
        """The socket."""

    @property
    def path(self) -> str:
        """Its path; an abstract name begins with @."""


class Listeners:
    """The daemon's listening sockets, each with its server.

    ``secure`` makes the directory of a path, and raises RuntimedError if others could change it; ``run`` calls a
    function in a thread; ``on_renew`` is called with each path that was bound anew.
    """

    def __init__(
        self, secure: Callable[[str], object], run: Callable[..., Awaitable[Any]], on_renew: Callable[[str], None]
    ) -> None:
        self._secure = secure
        self._run = run
        self._on_renew = on_renew
        self._listeners: list[tuple[Listening, Server]] = []
        # Device and inode of an inherited socket's path when the daemon took it; None if it did not exist.
        self._inherited: dict[str, tuple[int, int] | None] = {}
        self._faults: dict[str, str] = {}

    @property
    def faults(self) -> Mapping[str, str]:
        """The reason why clients cannot reach the daemon, under the subject `socket`; empty while they can."""
        return {"socket": "; ".join(self._faults.values())} if self._faults else {}

    def add(self, listening: Listening, server: Server) -> None:
        """Add a socket, from which ``server`` accepts connections."""
        self._listeners.append((listening, server))
        if not isinstance(listening, BoundSocket):
            self._inherited[listening.path] = file_identity(listening.path)

    def seems_damaged(self) -> bool:
        """Return whether a path does not lead to its socket. Blocks."""
        return any(not self._in_place(listening) for listening, _ in self._listeners)

    async def note(self) -> None:
        """Check all paths and update `faults`."""
        lost = [one for one, _ in self._listeners if not await self._run(self._in_place, one)]
        self._faults = {one.path: self._faults.get(one.path, _lost(one)) for one in lost}

    async def renew(self) -> None:
        """Bind anew the sockets that `note` found lost. Existing and waiting connections are kept."""
        for listening, server in self._listeners:
            if listening.path not in self._faults or not isinstance(listening, BoundSocket):
                continue
            try:
                old = await self._run(self._renew, listening)
            except RuntimedError as error:
                self._faults[listening.path] = f"{_lost(listening)}, and cannot be bound anew: {error}"
                continue
            server.replace(listening.sock)
            old.close()
            del self._faults[listening.path]
            self._on_renew(listening.path)

    def _renew(self, listening: BoundSocket) -> socket.socket:
        self._secure(os.path.dirname(listening.path))
        return listening.renew()

    def _in_place(self, listening: Listening) -> bool:
        if isinstance(listening, BoundSocket):
            return listening.is_in_place()
        identity = self._inherited[listening.path]
        return listening.path.startswith("@") or (identity is not None and file_identity(listening.path) == identity)


def _lost(listening: Listening) -> str:
    text = f"{listening.path} was removed or replaced, so clients cannot reach the daemon"
    if isinstance(listening, BoundSocket):
        return text
    return f"{text}; the service manager owns it: systemctl restart runtimed.socket runtimed.service"
