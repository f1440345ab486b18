"""Renders large JSON documents in small steps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice

from runtimed.api.messages import Response

# Entries that one call of json.dumps renders: some 0.2 ms.
_STEP = 64
# Depth of the large tables: /v1/generations/N has {"config": {"runtimes": {...}}}.
_DEPTH = 3


def large_json_response(status: int, body: object) -> Response:
    """Return ``body`` as JSON. Call it in a thread: one json.dumps would hold the interpreter's lock throughout."""
    return Response(status, b"".join((*_pieces(body, _DEPTH), b"\n")))


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
