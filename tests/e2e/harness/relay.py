"""A TCP port on loopback that leads to a daemon's Unix socket, for a program that speaks only to ports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

_PART_BYTES = 65536
_LINE_BYTES = 1024 * 1024


@dataclass(slots=True)
class Relay:
    """Carries connections of one request each to the Unix socket ``path``, and notes what was answered."""

    path: str
    url: str = ""
    # How often: method, target, status.
    seen: dict[tuple[str, str, int], int] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Begin to carry a connection. The task is kept: asyncio itself only knows it weakly."""
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End what is still carried."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                if line := await reader.readline():
                    self._note(line, await self._exchange(line, reader, writer))
        finally:
            await _close(writer)

    async def _exchange(self, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """Carry a request that begins with ``line``, and its answer; return the first line of that."""
        from_daemon, to_daemon = await asyncio.open_unix_connection(self.path)
        to_daemon.write(line)
        sending = asyncio.create_task(_copy(reader, to_daemon))
        try:
            return await _answer(from_daemon, writer)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await _close(to_daemon)

    def _note(self, asked: bytes, answered: bytes) -> None:
        method, target = asked.decode("latin-1").split(" ")[:2]
        key = method, target, int(answered.split()[1])
        self.seen[key] = self.seen.get(key, 0) + 1


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_PART_BYTES):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Pass an answer on to its end, a stream's to its first heartbeat; return its first line."""
    answer = b""
    while data := await reader.read(_PART_BYTES):
        answer += data
        writer.write(data)
        await writer.drain()
        if b"application/x-ndjson" in answer and b'"type": "heartbeat"' in answer:
            break
    if not answer:
        raise ConnectionResetError("the daemon has closed without an answer")
    return answer.partition(b"\r\n")[0]


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


@asynccontextmanager
async def relay(path: str) -> AsyncIterator[Relay]:
    """Yield a relay that listens."""
    made = Relay(path)
    server = await asyncio.start_server(made.accept, "127.0.0.1", 0, limit=_LINE_BYTES)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        await made.close()
        await server.wait_closed()
