"""Malformed and odd requests, sent to us and to nginx: where the two differ, the table below says why.

Only the connection is compared, so our side's handler answers 200 to everything, as nginx does here. Every case is sent
twice: as it is, and with one more request behind it. In both the sender then says that it has said all, and reads to
the end. No clock decides anything.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress

from e2e.harness.nginx import running_nginx
from e2e.harness.requests import CASES, DIFFERENCES
from harness.server import running

NEXT = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"
# A status line; what a case says comes back nowhere in this form.
STATUS = re.compile(rb"HTTP/1\.[01] ([1-5])[0-9]{2} ")


async def send(path: str, data: bytes) -> str:
    """Return the classes of the answers to ``data``, in their order; 0 stands for one without a head (HTTP/0.9)."""
    reader, writer = await asyncio.open_unix_connection(path)
    received = b""
    with suppress(ConnectionError):
        writer.write(data)
        writer.write_eof()
    with suppress(ConnectionError):
        while part := await reader.read(1 << 16):
            received += part
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    if received and not received.startswith(b"HTTP/"):
        return "0"
    return b"".join(STATUS.findall(received)).decode()


async def observe(path: str, data: bytes) -> str:
    """Return what a server makes of ``data``.

    A digit for each answer, then ``+`` where the request behind it is answered as well, ``.`` where it is not; where
    it was taken for a part of ``data`` the answers to both follow after ``!``.
    """
    alone, followed = await send(path, data), await send(path, data + NEXT)
    if followed == alone:
        return f"{alone}."
    return f"{alone}+" if followed == f"{alone}2" else f"{alone}!{followed}"


def line(name: str, ours: str, theirs: str) -> str:
    return f"{name:40} we: {ours:6} nginx: {theirs:6}"


async def test_malformed_requests_are_handled_as_nginx_does_but_for_listed_differences() -> None:
    differences: dict[str, str] = {}
    unexpected: list[str] = []
    with running_nginx() as nginx:
        async with running() as run:
            for name, data in CASES.items():
                ours, theirs = await observe(run.path, data), await observe(nginx, data)
                listed = DIFFERENCES.get(name)
                if ours != theirs:
                    differences[name] = f"{line(name, ours, theirs)} {listed.why if listed else ''}"
                if (ours if ours != theirs else None) != (listed.ours if listed else None):
                    unexpected.append(line(name, ours, theirs))
    print(f"{len(CASES)} requests, {len(differences)} differences:")  # noqa: T201
    print("\n".join(differences.values()))  # noqa: T201
    assert len(CASES) >= 80
    assert DIFFERENCES.keys() <= CASES.keys()
    assert unexpected == [], "differences that are not listed, or listed ones that are none (any more)"
