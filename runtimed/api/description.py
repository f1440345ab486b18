"""Responds with the description of the API, composed at the first request for it."""

from __future__ import annotations

import asyncio

from runtimed.api.messages import Answer, Request, Response


class Description:
    """The route of `/openapi.json`."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._response: Response | None = None

    def answer(self, _request: Request) -> Answer:
        """Respond with the description."""
        return self._response or self._make()

    async def _make(self) -> Response:
        async with self._lock:
            if self._response is None:
                # In a thread: the imports take longer than other requests should wait.
                self._response = Response(200, await asyncio.to_thread(_render))
        return self._response


def _render() -> bytes:
    from runtimed.api.openapi import render_openapi  # noqa: PLC0415 - a megabyte that most daemons never need

    return render_openapi()
