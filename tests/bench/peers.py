"""Servers that do nothing but answer every request with the bytes in a file: ``python peers.py KIND SOCKET FILE``.

What our daemon is measured against. ``echo`` is the limit: an asyncio protocol that looks at nothing; the file holds
the answer, head and all. The others are given the body and make the head themselves, as they would.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any


class Echo(asyncio.Protocol):
    """Writes the same bytes whenever any arrive."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._answer)


async def serve_echo(path: str, answer: bytes) -> None:
    server = await asyncio.get_running_loop().create_unix_server(lambda: Echo(answer), path, backlog=1024)
    await server.serve_forever()


async def serve_aiohttp(path: str, answer: bytes) -> None:
    from aiohttp import web

    body = answer.partition(b"\r\n\r\n")[2]

    async def resolve(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    application = web.Application()
    application.router.add_get("/v1/resolve", resolve)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.UnixSite(runner, path, backlog=1024).start()
    await asyncio.Event().wait()


async def serve_uvicorn(path: str, answer: bytes) -> None:
    import uvicorn

    body = answer.partition(b"\r\n\r\n")[2]
    start = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())],
    }

    async def application(_scope: Any, _receive: Any, send: Any) -> None:
        await send(start)
        await send({"type": "http.response.body", "body": body})

    config = uvicorn.Config(
        application, uds=path, loop="asyncio", http="httptools", lifespan="off", log_level="error", access_log=False
    )
    await uvicorn.Server(config).serve()


KINDS = {"echo": serve_echo, "aiohttp": serve_aiohttp, "uvicorn": serve_uvicorn}

if __name__ == "__main__":
    kind, where, file = sys.argv[1:]
    asyncio.run(KINDS[kind](where, Path(file).read_bytes()))
