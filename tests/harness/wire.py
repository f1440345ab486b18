"""A connection without a socket, for tests of its input and output."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import cast

from runtimed.api.connections import Connections
from runtimed.api.http import Connection
from runtimed.api.messages import Request, Response, Target
from runtimed.api.sockets import Peer
from runtimed.api.state import State

PEER = Peer(1, 2, 3)


class Wire:
    """A transport that records all that is written."""

    def __init__(self) -> None:
        self.written = b""
        self.closing = self.reading = False

    def write(self, data: bytes) -> None:
        assert not self.closing
        self.written += data

    def set_write_buffer_limits(self, high: int) -> None:
        """Do nothing: the peer reads everything."""

    def write_eof(self) -> None:
        """Do nothing: the connection lingers."""

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close

    def get_write_buffer_size(self) -> int:
        return 0


class WithoutMemory(Connections):
    """Connections that remember no request."""

    def remember(self, data: bytes, target: Target) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Output:
    """A connection's output, whether it ended, and the most input and requests that it held."""

    responses: bytes
    ended: bool
    held_bytes: int
    asked: int


def answer(request: Request) -> Response | Awaitable[Response]:
    """Return the contents of a request as JSON, at once or later."""
    text = json.dumps([request.method, request.segments, dict(request.query), request.target.decode("latin-1")])
    response = Response(200, text.encode())
    if request.segments == ("fail",):
        raise RuntimeError("as asked")
    return later(response) if request.segments == ("slow",) else response


async def later(response: Response) -> Response:
    for _ in range(3):
        await asyncio.sleep(0)
    return response


def new_connections(kind: type[Connections] = Connections) -> Connections:
    return kind(answer, on_error=lambda _request, _error: None)


async def exchange(connections: Connections, pieces: Iterable[bytes]) -> Output:
    """Return the output of a new connection for ``pieces``; it receives each when it reads again."""
    wire, connection = Wire(), Connection(connections, PEER)
    connections.add(connection)
    connection.connection_made(cast("asyncio.BaseTransport", wire))
    held = asked = 0
    for piece in pieces:
        if wire.closing:
            break
        connection.data_received(piece)
        held = max(held, len(connection._reader.backlog) + len(connection._reader._url))
        asked = max(asked, len(connection._reader.requests))
        while not (wire.reading or wire.closing) or connection._task:
            await asyncio.sleep(0)
    ended = wire.closing or connection.state is State.LINGERING
    connection.connection_lost(None)
    return Output(wire.written, ended, held, asked)
