"""Provides the client for programs with an asyncio event loop."""

from __future__ import annotations

import asyncio

from runtimed.client.requests import Requests

TYPE_CHECKING = False  # as in the other modules, although asyncio imports typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import socket as socket_type
    from typing import TypeVar

    from runtimed.client.events import EventStream
    from runtimed.core.shapes.events import Event

    T = TypeVar("T")

_RECEIVE_BYTES = 256 * 1024


class AsyncClient(Requests):
    """A client whose methods are those of `Client`, as coroutines; `Client` documents them.

    It need not be closed and belongs to no event loop. Cancelling a request closes its connection.

    >>> async def shims(*names):
    ...     client = AsyncClient(timeout_s=5)
    ...     found = await asyncio.gather(*(client.resolve(name) for name in names))
    ...     return [each["shim"] for each in found]
    >>> asyncio.run(shims("gvisor", "runc"))
    ['io.containerd.runc.v2', 'io.containerd.runc.v2']
    """

    def __init__(self, socket: str | None = None, timeout_s: float = 10.0) -> None:
        super().__init__(socket, timeout_s, AsyncioBackend())

    def watch(self, since: int | None = None, *, patience_s: float = 60.0) -> Events:
        """Return an endless iterator of events: those after number ``since``, or from now on.

        See `Client.watch`. Waiting for the next event may be cancelled, by `asyncio.wait_for`, say. The iterator then
        continues after the last event that it returned.

        >>> async def next_generation():
        ...     async for event in AsyncClient().watch(since=0):
        ...         if event["type"] == "generation":
        ...             return event["generation"]
        >>> asyncio.run(next_generation())
        1

        Raises: DaemonUnreachable if there is no daemon at first, or for ``patience_s`` seconds later on.
        """
        return Events(self.event_stream(since, patience_s))


class Events:
    """An iterator of events. Its connection is closed with it, or when it is garbage-collected."""

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream
        self._is_waiting = False
        self._is_closed = False

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> Event:
        if self._is_closed:
            raise StopAsyncIteration
        if self._is_waiting:
            raise RuntimeError("another task waits for the next event of this iterator; use one iterator for each task")
        self._is_waiting = True
        try:
            return await self._stream.next()
        finally:
            self._is_waiting = False

    async def aclose(self) -> None:
        """Close the connection; the iterator ends. `contextlib.aclosing` calls this."""
        if self._is_waiting:
            # A socket that the event loop waits for must not be closed.
            raise RuntimeError("a task waits for the next event; cancel that first")
        self._is_closed = True
        self._stream.close()

    def __del__(self) -> None:
        self._stream.close()


class AsyncioBackend:
    """A `runtimed.client.transport.Backend` that suspends the task."""

    async def send(self, sock: socket_type, data: bytes, timeout_s: float) -> None:
        """Send all of ``data``."""
        async with asyncio.timeout(timeout_s):
            await asyncio.get_running_loop().sock_sendall(sock, data)

    async def receive(self, sock: socket_type, timeout_s: float) -> bytes:
        """Return the next bytes."""
        async with asyncio.timeout(timeout_s):
            return await asyncio.get_running_loop().sock_recv(sock, _RECEIVE_BYTES)

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """Return the result of ``function``, which reads files, in a thread."""
        return await asyncio.to_thread(function, *args)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
