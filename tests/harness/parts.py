"""Makes responses in parts, and joins their parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runtimed.api.messages import Response
from runtimed.api.parts import PartedResponse


async def whole(response: Response | PartedResponse) -> Response:
    """Return the same response in one part."""
    if isinstance(response, Response):
        return response
    body = part = response.first
    while part:
        part = await response.more()
        body += part
    return Response(response.status, body, response.content_type)


async def run_in_place(function: Callable[..., Any], *args: object) -> Any:
    """Return ``function(*args)``, called at once."""
    return function(*args)
