"""The route that describes the API."""

from __future__ import annotations

import asyncio

from runtimed.api.messages import Answer, Request, Response


class Description:
    """Answers with the API's description, which is made when it is first asked for, and then kept."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._made: Response | None = None

    def answer(self, _request: Request) -> Answer:
        """Answer with the description."""
        return self._made or self._make()

    async def _make(self) -> Response:
        # Whoever asks meanwhile waits for the same one.
        async with self._lock:
            if self._made is None:
                # In a thread: what it is made from is imported there, and takes longer than others should wait.
                self._made = Response(200, await asyncio.to_thread(_render))
        return self._made


def _render() -> bytes:
    from runtimed.api.openapi import render_openapi  # noqa: PLC0415 - a megabyte that most daemons never need

    return render_openapi()
