"""Renders large JSON documents in small steps, and responds with them in parts."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from runtimed.api.messages import Response
from runtimed.api.parts import PART_BYTES, PartedResponse, take_part

# Entries that one call of json.dumps renders: some 0.2 ms.
_STEP = 64
# Depth of the large tables: /v1/generations/N has {"config": {"runtimes": {...}}}.
_DEPTH = 3


def large_json_response(status: int, body: object) -> Response:
    """Return ``body`` as JSON. Call it in a thread: one json.dumps would hold the interpreter's lock throughout."""
    return Response(status, b"".join((*_pieces(body, _DEPTH), b"\n")))


async def respond_in_parts(
    run: Callable[..., Awaitable[Any]], begin: Callable[[], Iterator[bytes]]
) -> Response | PartedResponse:
    """Respond with the JSON whose pieces ``begin`` yields; ``run`` calls a function in a thread.

    An exception before the first part is complete is raised here, so that the client gets a problem.
    """

    def take_first() -> tuple[Iterator[bytes], bytes]:
        pieces = begin()
        return pieces, take_part(pieces)

    pieces, first = await run(take_first)
    return Response(200, first) if len(first) < PART_BYTES else PartedResponse(first, lambda: run(take_part, pieces))


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
