"""The client for programs that have an event loop: asyncio's, or any other that is one of asyncio's."""

from __future__ import annotations

import asyncio

from runtimed.client.questions import Questions

TYPE_CHECKING = False  # as in the other modules, although asyncio has imported typing by now
if TYPE_CHECKING:
    from socket import socket as socket_type

    from runtimed.client.events import Watching
    from runtimed.core.shapes.daemon import Event

_RECEIVE_BYTES = 256 * 1024


class AsyncClient(Questions):
    """Asks the daemon as `Client` does, whose methods say more: the same ones, to be awaited.

    It needs no closing and belongs to no event loop. A request that is cancelled has closed its connection by then.

    >>> async def shims(*names):
    ...     client = AsyncClient(timeout_s=5)
    ...     found = await asyncio.gather(*(client.resolve(name) for name in names))
    ...     return [each["shim"] for each in found]
    >>> asyncio.run(shims("gvisor", "runc"))
    ['io.containerd.runc.v2', 'io.containerd.runc.v2']
    """

    def __init__(self, socket: str | None = None, timeout_s: float = 10.0) -> None:
        super().__init__(socket, timeout_s, InLoop())

    def watch(self, since: int | None = None, *, patience_s: float = 60.0) -> Events:
        """Return an iterator of what happens, from the event after number ``since`` on, or from now on; never ends.

        See `Client.watch`. One wait for the next event may be cancelled, by `asyncio.wait_for`, say: the iterator goes
        on after the last event that it returned.

        >>> async def next_generation():
        ...     async for event in AsyncClient().watch(since=0):
        ...         if event["type"] == "generation":
        ...             return event["generation"]
        >>> asyncio.run(next_generation())
        1

        Raises: DaemonUnreachable where there is no daemon, or none again within ``patience_s`` seconds.
        """
        return Events(self.watching(since, patience_s))


class Events:
    """An iterator of events. It ends its connection when it is closed, or forgotten."""

    def __init__(self, watching: Watching) -> None:
        self._watching = watching
        self._is_asked = False
        self._is_closed = False

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> Event:
        if self._is_closed:
            raise StopAsyncIteration
        if self._is_asked:
            raise RuntimeError("one task waits for the next event already; others need an iterator of their own")
        self._is_asked = True
        try:
            return await self._watching.next()
        finally:
            self._is_asked = False

    async def aclose(self) -> None:
        """End it: there are no more events. `contextlib.aclosing` calls this."""
        if self._is_asked:
            # What the loop waits for must not be closed behind its back.
            raise RuntimeError("a task waits for the next event; cancel that first")
        self._is_closed = True
        self._watching.close()

    def __del__(self) -> None:
        self._watching.close()


class InLoop:
    """Waits by having the event loop go on with something else."""

    async def send(self, sock: socket_type, data: bytes, timeout_s: float) -> None:
        """Send all of ``data``."""
        async with asyncio.timeout(timeout_s):
            await asyncio.get_running_loop().sock_sendall(sock, data)

    async def receive(self, sock: socket_type, timeout_s: float) -> bytes:
        """Return what comes next."""
        async with asyncio.timeout(timeout_s):
            return await asyncio.get_running_loop().sock_recv(sock, _RECEIVE_BYTES)

    async def sleep(self, seconds: float) -> None:
        """Do nothing for a while."""
        await asyncio.sleep(seconds)
