"""Joins the parts of a response."""

from __future__ import annotations

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
