"""Renders large JSON documents in small steps, and responds with them in parts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

from runtimed.api.messages import Response
from runtimed.api.parts import PART_BYTES, PartedResponse, take_part

# Calls a function, in a thread or as `call_in_loop` does, and returns its result.
Run = Callable[..., Awaitable[Any]]

# The most entries that one call of json.dumps renders: some 0.2 ms.
_STEP = 64
# Depth of the large tables: /v1/generations/N has {"config": {"runtimes": {...}}}.
_DEPTH = 3


def large_json_response(document: object) -> Response:
    """Respond with ``document`` as JSON. Call it in a thread: one json.dumps would hold the interpreter's lock."""
    return Response(200, b"".join(json_pieces(document)))


async def respond_in_parts(run: Run, begin: Callable[[], Iterator[bytes]]) -> Response | PartedResponse:
    """Respond with the JSON whose pieces ``begin`` yields.

    An exception before the first part is complete is raised here, so that the client gets a problem.
    """

    def take_first() -> tuple[Iterator[bytes], bytes]:
        pieces = begin()
        return pieces, take_part(pieces)

    pieces, first = await run(take_first)
    return Response(200, first) if len(first) < PART_BYTES else PartedResponse(first, lambda: run(take_part, pieces))


async def call_in_loop(function: Callable[..., Any], *args: object) -> Any:
    """Return ``function(*args)``, called when the event loop has handled other events."""
    await asyncio.sleep(0)
    return function(*args)


def json_pieces(document: object) -> Iterator[bytes]:
    """Yield the bytes of json.dumps(document) and a line feed, in small pieces."""
    return chain(_pieces(document, _DEPTH), (b"\n",))


def _pieces(value: object, depth: int) -> Iterator[bytes]:
    if isinstance(value, list) and len(value) > _STEP:
        yield from _joined(b"[", _texts(iter(value), list), b"]")
    elif isinstance(value, Mapping) and len(value) > _STEP:
        yield from _joined(b"{", _texts(iter(value.items()), dict), b"}")
    elif isinstance(value, Mapping) and value and depth:
        for number, (key, entry) in enumerate(value.items()):
            yield b"%b%b: " % (b", " if number else b"{", json.dumps(key).encode())
            yield from _pieces(entry, depth - 1)
        yield b"}"
    else:
        yield json.dumps(value).encode()


def _texts(entries: Iterator[Any], container: Callable[[Iterable[Any]], object]) -> Iterator[str]:
    """Yield the JSON of containers with up to `_STEP` of ``entries``, fewer where they are long."""
    step = 1
    while some := container(islice(entries, step)):
        text = json.dumps(some)
        yield text
        step = max(1, min(_STEP, 2 * step, step * PART_BYTES // len(text)))


def _joined(begin: bytes, texts: Iterator[str], end: bytes) -> Iterator[bytes]:
    """Yield one container with the entries of those in ``texts``, which are not empty."""
    separator = begin
    for text in texts:
        yield separator
        yield text[1:-1].encode()
        separator = b", "
    yield end
