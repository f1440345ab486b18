"""Responds from retained generations: their list, one of them, a resolution, the difference of two, the history."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable

from runtimed.api.functions import DaemonFunctions
from runtimed.api.large import large_json_response
from runtimed.api.messages import Request, Response, problem
from runtimed.api.problems import bad_name, json_response, unavailable
from runtimed.api.sockets import Peer
from runtimed.core.errors import (
    DamagedManifest,
    DigestMismatch,
    GenerationGone,
    InvalidRuntimeName,
    NoSuchGeneration,
    StoreFailed,
    UnknownRuntime,
)
from runtimed.core.history.retained import (
    compare_retained,
    describe_retained,
    resolve_retained,
)
from runtimed.core.history.timeline import make_timeline

NUMBER = re.compile(r"[0-9]{1,15}", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?", re.ASCII)
_UNREADABLE = (NoSuchGeneration, GenerationGone, DamagedManifest, StoreFailed)


class History:
    """Responds from generations other than the current one, which a thread reads from disk."""

    def __init__(self, daemon: DaemonFunctions) -> None:
        self._daemon = daemon

    def resolve(self, request: Request) -> Response | Awaitable[Response]:
        """Respond with the resolution of a retained generation."""
        number = _number(request, "generation")
        return number if isinstance(number, Response) else self._resolve(request, number)

    def list(self, _request: Request) -> Response:
        """Respond with a line for each retained generation, the newest first."""
        return json_response(200, {"generations": [each.as_dict() for each in reversed(self._daemon.retained())]})

    def show(self, request: Request) -> Response | Awaitable[Response]:
        """Respond with one generation in full."""
        text = request.segments[-1]
        if not NUMBER.fullmatch(text):
            return problem(NoSuchGeneration.code, f"{text!r} is not the number of a generation")
        return self._respond(request.peer, describe_retained, int(text))

    def compare(self, request: Request) -> Response | Awaitable[Response]:
        """Respond with the difference of two generations."""
        old, new = _number(request, "from"), _number(request, "to")
        if isinstance(old, Response):
            return old
        if isinstance(new, Response):
            return new
        return self._respond(request.peer, compare_retained, old, new)

    def timeline(self, request: Request) -> Response | Awaitable[Response]:
        """Respond with the generations and their events since a time."""
        since = request.query.get("since", "0")
        if not _SECONDS.fullmatch(since):
            return problem("bad-query", f"since is {since!r}; expected seconds since the epoch")
        return self._daemon.in_data_root(request.peer, self._render_timeline, float(since))

    def _render_timeline(self, since_s: float) -> Response:
        timeline = make_timeline(self._daemon.retained(), self._daemon.read_events, since_s)
        return large_json_response(timeline)

    async def _respond(self, peer: Peer, describe: Callable[..., object], *numbers: int) -> Response:
        """Return what ``describe`` returns for the generations, or the problem that they cannot be read."""

        def read() -> Response:
            return large_json_response(describe(*map(self._daemon.read_generation, numbers)))

        try:
            response: Response = await self._daemon.in_data_root(peer, read)
        except _UNREADABLE as error:
            return problem(error.code, str(error))
        return response

    async def _resolve(self, request: Request, number: int) -> Response:
        name, digest = request.query.get("runtime", ""), request.query.get("digest")
        try:
            retained = await self._daemon.in_data_root(request.peer, self._daemon.read_generation, number)
        except _UNREADABLE as error:
            return problem(error.code, str(error))
        try:
            answer, files = resolve_retained(retained, name, digest)
        except (UnknownRuntime, InvalidRuntimeName) as error:
            return bad_name(error, retained.manifest.answers, 400)
        except DigestMismatch as error:
            return problem(error.code, str(error), digest=error.found)
        if (obstacle := await self._daemon.lookup(files).wait()) is not None:
            return unavailable(answer["runtime"], obstacle)
        return Response(200, json.dumps(answer, separators=(",", ":")).encode() + b"\n")


def _number(request: Request, key: str) -> int | Response:
    text = request.query.get(key, "")
    if NUMBER.fullmatch(text):
        return int(text)
    found = f"is {text!r}" if key in request.query else "is missing"
    return problem("bad-query", f"{key} {found}; expected the number of a generation")
