"""A server in the test's event loop, whose handler returns the contents of the request, fails or delays."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic

import pytest
from harness.daemon import PATIENCE_S

from runtimed.api import connections as connections_module
from runtimed.api import http as http_module
from runtimed.api.connections import Connections, HttpLimits
from runtimed.api.docker import refuse_body
from runtimed.api.messages import Request, Response
from runtimed.api.server import Server
from runtimed.api.sockets import bind_socket
from runtimed.core.config import Limits

HOST = b"Host: x\r\n"
# For a client that may lose its connection at any moment: a test may stand still for longer than each of these.
QUICK = HttpLimits(head_s=0.15, idle_s=0.3, write_s=0.2, linger_s=0.2, sweep_s=0.02)
# For a client that does not read.
QUICK_WRITE = HttpLimits(write_s=0.2, sweep_s=0.02)


@dataclass(slots=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> object:
        return json.loads(self.body)["code"]


@dataclass(slots=True)
class Running:
    """A server whose handler chooses its behaviour by the path of the request."""

    path: str
    connections: Connections
    server: Server
    asked: list[Request] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    exhausted: list[OSError] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def answer(self, request: Request) -> Response | Awaitable[Response]:
        self.asked.append(request)
        match request.segments:
            case ("fail",):
                raise RuntimeError("as asked")
            case ("slow", *_):
                return self._slow(request)
            case ("big",):
                return Response(200, b"x" * int(request.query["bytes"]), "text/plain")
            case ("broken",):
                return Response(200, b"", headers=(("X", "a\r\nb"),))
            case _:
                return Response(200, json.dumps([request.method, request.path, dict(request.query)]).encode())

    async def _slow(self, request: Request) -> Response:
        await self.gate.wait()
        if request.segments[-1] == "fail":
            raise RuntimeError("as asked, later")
        return Response(200, request.path.encode())

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(self.path)

    async def exchange(self, data: bytes, *, half_close: bool = False) -> bytes:
        """Return all that comes back, to the end of the connection."""
        reader, writer = await self.connect()
        with suppress(ConnectionError):
            writer.write(data)
            if half_close:
                writer.write_eof()
        received = b""
        with suppress(ConnectionError):
            while part := await reader.read(65536):
                received += part
        await hang_up(writer)
        return received


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def read_reply(reader: asyncio.StreamReader, *, body: bool = True) -> Reply:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    content = b""
    if body and headers.get("Transfer-Encoding") == "chunked":
        while part := await _read_chunk(reader):
            content += part
    elif body:
        content = await reader.readexactly(int(headers["Content-Length"]))
    return Reply(int(head[0].split()[1]), headers, content)


async def _read_chunk(reader: asyncio.StreamReader) -> bytes:
    size = int(await reader.readuntil(b"\r\n"), 16)
    return (await reader.readexactly(size + 2))[:-2]


async def replies(data: bytes) -> list[Reply]:
    """Return the replies in bytes that hold whole ones."""
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    found = []
    while not reader.at_eof():
        found.append(await read_reply(reader))
    return found


class Time:
    """The time of connections: it passes as usual, and at once where a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._added_s = 0.0
        for module in (connections_module, http_module):
            monkeypatch.setattr(module, "monotonic", self._now)

    def _now(self) -> float:
        return monotonic() + self._added_s

    def add(self, seconds: float, connections: Connections) -> None:
        """Let so many seconds pass, and compare all deadlines."""
        self._added_s += seconds
        if connections._timer is not None:
            connections._timer.cancel()
        connections._sweep()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(limits: HttpLimits | None = None, admission: Limits | None = None) -> AsyncIterator[Running]:
    """Serve, and afterwards check that no connection, task, timer or descriptor is left."""
    descriptors = len(os.listdir("/proc/self/fd"))
    directory = tempfile.mkdtemp(dir="/tmp")
    bound = bind_socket(f"{directory}/s")
    errors: list[Exception] = []
    exhausted: list[OSError] = []
    connections = Connections(
        lambda request: run.answer(request),  # noqa: PLW0108 - made below
        on_error=lambda _, error: errors.append(error),
        refuse_body=refuse_body,
        limits=limits,
        admission=admission,
    )
    run = Running(bound.path, connections, Server(bound.sock, connections, on_exhausted=exhausted.append))
    run.errors, run.exhausted = errors, exhausted
    try:
        yield run
    finally:
        run.gate.set()
        run.server.close()
        await connections.drain(1)
        bound.close()
        shutil.rmtree(directory)
    assert len(connections) == 0
    assert connections._timer is None
    assert connections._by_uid == {}
    await until(lambda: len(asyncio.all_tasks()) == 1)
    # Descriptors that other tests leaked are closed when they are garbage-collected.
    await until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
