"""Both clients with one interface, and servers that run a script, for tests of the clients."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from harness.daemon import PATIENCE_S

from runtimed.client import AsyncClient, Client, ClientError

T = TypeVar("T")

# Handles one connection after the request was read.
Script = Callable[[socket.socket], None]
NewClient = Callable[..., Client]


class InLoops:
    """An AsyncClient with the interface of Client: each request runs alone in a new event loop."""

    def __init__(self, socket: str | None = None, timeout_s: float = 10.0) -> None:
        self.client = AsyncClient(socket, timeout_s)

    def __getattr__(self, name: str) -> Callable[..., object]:
        ask = getattr(self.client, name)
        if name == "watch":
            return lambda *args, **more: _iterate(ask(*args, **more))
        return lambda *args, **more: asyncio.run(_alone(ask(*args, **more)), debug=True)


def new_in_loops(socket: str | None = None, timeout_s: float = 10.0) -> Client:
    """Return an AsyncClient with the interface of Client."""
    return cast("Client", InLoops(socket, timeout_s))


async def _alone(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        return await coroutine
    finally:
        assert asyncio.all_tasks() == {asyncio.current_task()}


def _iterate(events: AsyncIterator[T]) -> Iterator[T]:
    with asyncio.Runner(debug=True) as runner:
        while True:
            yield runner.run(_alone(cast("Coroutine[Any, Any, T]", anext(events))))


class FakeServer:
    """Runs one script for each connection, in order; records the requests."""

    def __init__(self, path: Path, scripts: Sequence[Script]) -> None:
        self.path = str(path)
        self.requests: list[bytes] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._scripts = scripts
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        for script in self._scripts:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # the test is over
                return
            with connection:
                self.requests.append(connection.recv(65536))
                with suppress(ConnectionError):  # the client had enough
                    script(connection)

    def close(self) -> None:
        # Not by a connection: the thread may end just now, and its path may be that of another server.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE_S)
        self._listener.close()


@contextmanager
def fake_server(path: Path, *scripts: Script) -> Iterator[FakeServer]:
    """Yield a server on the socket ``path`` that runs one of ``scripts`` for each connection."""
    server = FakeServer(path, scripts)
    try:
        yield server
    finally:
        server.close()


def sends(data: bytes) -> Script:
    return lambda connection: connection.sendall(data)


def dies(_connection: socket.socket) -> None:
    """Close without an answer."""


def answer(document: object, status: int = 200) -> bytes:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return b"HTTP/1.1 %d Whatever\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def as_user(uid: int, function: Callable[[], Any]) -> Any:
    """Return the result of ``function``, or the contents of its ClientError, from a process of the user ``uid``."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            become(uid)
            try:
                result: Any = function()
            except ClientError as error:
                result = type(error).__name__, str(error), error.hint
            os.write(writing, pickle.dumps(result))
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as results:
        data = results.read()
    os.waitpid(child, 0)
    return pickle.loads(data)


@contextmanager
def server_of(uid: int, path: Path, greeting: bytes) -> Iterator[Callable[[], bytes]]:
    """Yield a function that returns all input of a server of the user ``uid``, which answers with ``greeting``."""
    reading, writing = os.pipe()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o777)
    child = os.fork()
    if child == 0:
        try:
            become(uid)
            listener.listen()
            os.write(writing, b"ready")
            connection, _ = listener.accept()
            heard = connection.recv(65536)
            os.write(writing, heard or b"nothing")
            connection.sendall(greeting)
        finally:
            os._exit(0)
    listener.close()
    try:
        assert os.read(reading, 5) == b"ready"
        yield lambda: os.read(reading, 65536)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)


def become(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
