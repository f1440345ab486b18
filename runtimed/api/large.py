"""Renders large JSON documents in small steps, and responds with them in parts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

from runtimed.api.messages import Response
from runtimed.api.parts import PART_BYTES, PartedResponse, take_part

# Calls a function, in a thread or as `call_in_loop` does, and returns its result.
Run = Callable[..., Awaitable[Any]]

# Entries that one call of json.dumps renders: some 0.2 ms.
_STEP = 64
# Depth of the large tables: /v1/generations/N has {"config": {"runtimes": {...}}}.
_DEPTH = 3
# The memory that an entry of a large table takes while the rest of the table is not rendered.
_ENTRY_BYTES = 256


async def respond_in_parts(run: Run, begin: Callable[[], Iterator[bytes]]) -> Response | PartedResponse:
    """Respond with the JSON whose pieces ``begin`` yields.

    An exception before the first part is complete is raised here, so that the client gets a problem.
    """

    def take_first() -> tuple[Iterator[bytes], bytes]:
        pieces = begin()
        return pieces, take_part(pieces)

    pieces, first = await run(take_first)
    return Response(200, first) if len(first) < PART_BYTES else PartedResponse(first, lambda: run(take_part, pieces))


async def respond_with(run: Run, describe: Callable[..., object], *args: object) -> Response | PartedResponse:
    """Respond with the document that ``describe`` returns for ``args``, as JSON that ends with a line feed."""
    entries = 0

    def begin() -> Iterator[bytes]:
        nonlocal entries
        document = describe(*args)
        entries = _count(document, _DEPTH)
        return chain(_pieces(document, _DEPTH), (b"\n",))

    response = await respond_in_parts(run, begin)
    if isinstance(response, PartedResponse):
        response.held_bytes = entries * _ENTRY_BYTES
    return response


async def call_in_loop(function: Callable[..., Any], *args: object) -> Any:
    """Return ``function(*args)``, called when the event loop has handled other events."""
    await asyncio.sleep(0)
    return function(*args)


def _count(value: object, depth: int) -> int:
    """Return the number of entries of the large tables in ``value``."""
    if isinstance(value, list | Mapping) and len(value) > _STEP:
        return len(value)
    return sum(_count(entry, depth - 1) for entry in value.values()) if isinstance(value, Mapping) and depth else 0


def _pieces(value: object, depth: int) -> Iterator[bytes]:
    """Yield the bytes of json.dumps(value) in parts."""
    if isinstance(value, list) and len(value) > _STEP:
        yield from _joined(b"[", (json.dumps(value[at : at + _STEP]) for at in range(0, len(value), _STEP)), b"]")
    elif isinstance(value, Mapping) and len(value) > _STEP:
        entries = iter(value.items())
        steps = iter(lambda: dict(islice(entries, _STEP)), {})
        yield from _joined(b"{", map(json.dumps, steps), b"}")
    elif isinstance(value, Mapping) and value and depth:
        for number, (key, entry) in enumerate(value.items()):
            yield b"%b%b: " % (b", " if number else b"{", json.dumps(key).encode())
            yield from _pieces(entry, depth - 1)
        yield b"}"
    else:
        yield json.dumps(value).encode()


def _joined(begin: bytes, texts: Iterator[str], end: bytes) -> Iterator[bytes]:
    """Yield one container with the entries of those in ``texts``, which are not empty."""
    separator = begin
    for text in texts:
        yield separator
        yield text[1:-1].encode()
        separator = b", "
    yield end
