"""A TCP port on loopback that leads to a daemon's Unix socket, for a program that speaks only to ports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

_PART_BYTES = 65536


@dataclass(slots=True)
class Relay:
    """Carries connections of one request each to the Unix socket ``path``, and notes what was answered."""

    path: str
    url: str = ""
    # How often: method, target, status.
    seen: dict[tuple[str, str, int], int] = field(default_factory=dict)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection to its end."""
        with suppress(ConnectionError):
            asked = await reader.read(_PART_BYTES)
            if asked:
                from_daemon, to_daemon = await asyncio.open_unix_connection(self.path)
                to_daemon.write(asked)
                sending = asyncio.create_task(_copy(reader, to_daemon))
                try:
                    self._note(asked, await _answer(from_daemon, writer))
                finally:
                    sending.cancel()
                    await asyncio.gather(sending, return_exceptions=True)
                    await _close(to_daemon)
        await _close(writer)

    def _note(self, asked: bytes, status: int) -> None:
        method, target = asked.split(b" ", 2)[:2]
        key = method.decode(), target.decode(), status
        self.seen[key] = self.seen.get(key, 0) + 1


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(_PART_BYTES):
            writer.write(data)
            await writer.drain()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    """Pass an answer on to its end, a stream's to its first heartbeat; return its status."""
    answer = b""
    while data := await reader.read(_PART_BYTES):
        answer += data
        writer.write(data)
        await writer.drain()
        if b"application/x-ndjson" in answer and b'"type": "heartbeat"' in answer:
            break
    return int(answer.split(b" ", 2)[1])


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


@asynccontextmanager
async def relay(path: str) -> AsyncIterator[Relay]:
    """Yield a relay that listens."""
    made = Relay(path)
    server = await asyncio.start_server(made.carry, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()
