"""The routes that look at retained generations: pinned answers, the list, one of them, what changed."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from runtimed.api.functions import DaemonFunctions
from runtimed.api.large import large_json_response
from runtimed.api.messages import Request, Response, problem
from runtimed.api.problems import bad_name, bad_query, json_response, unavailable, unreadable
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

if TYPE_CHECKING:
    from runtimed.core import shapes

T = TypeVar("T")
NUMBER = re.compile(r"[0-9]{1,15}", re.ASCII)


class History:
    """Answers from generations other than the current one. All of it may take a thread."""

    def __init__(self, daemon: DaemonFunctions) -> None:
        self._daemon = daemon

    def resolve(self, request: Request) -> Response | Awaitable[Response]:
        """Answer from the generation that the request is pinned to."""
        number = _number(request, "generation")
        if isinstance(number, Response):
            return number
        name, digest = request.query.get("runtime", ""), request.query.get("digest")
        return self._resolve(request.peer, number, name, digest)

    def list(self, _request: Request) -> Response:
        """Answer with a line for each retained generation, the newest first."""
        found: shapes.Generations = {"generations": [each.as_dict() for each in reversed(self._daemon.retained())]}
        return json_response(200, found)

    def show(self, request: Request) -> Response | Awaitable[Response]:
        """Answer with all of one generation."""
        text = request.segments[-1]
        if not NUMBER.fullmatch(text):
            return problem(404, NoSuchGeneration.code, "No such generation", f"{text!r} is no generation's number")
        return self._read(request.peer, self._show, int(text))

    def compare(self, request: Request) -> Response | Awaitable[Response]:
        """Answer with what changed between two generations."""
        old, new = _number(request, "from"), _number(request, "to")
        if isinstance(old, Response):
            return old
        if isinstance(new, Response):
            return new
        return self._read(request.peer, self._compare, old, new)

    async def _read(self, peer: Peer, function: Callable[..., T], *args: object) -> T | Response:
        """Return what ``function`` returns, which reads generations, or the answer that tells why they cannot be."""
        try:
            found: T = await self._daemon.in_data_root(peer, function, *args)
        except NoSuchGeneration as error:
            return problem(404, error.code, "No such generation", f"{error}; /v1/generations lists those there are")
        except GenerationGone as error:
            detail = f"{error}; /v1/generations lists those there are, and runtimed.retain says how many are kept"
            return problem(410, error.code, "No longer retained", detail)
        except DamagedManifest as error:
            return problem(500, error.code, "The generation cannot be read", str(error))
        except StoreFailed as error:
            return unreadable(error)
        return found

    async def _resolve(self, peer: Peer, number: int, name: str, digest: str | None) -> Response:
        retained = await self._read(peer, self._daemon.read_generation, number)
        if isinstance(retained, Response):
            return retained
        try:
            answer, files = resolve_retained(retained, name, digest)
        except (UnknownRuntime, InvalidRuntimeName) as error:
            return bad_name(error, retained.manifest.answers, 400)
        except DigestMismatch as error:
            detail = f"{error}; ask without a digest, or start anew from the current answer"
            more: shapes.MismatchMembers = {"digest": error.found}
            return problem(409, error.code, "Another answer", detail, **more)
        if (obstacle := await self._daemon.lookup(files).wait()) is not None:
            return unavailable(answer["runtime"], obstacle)
        return Response(200, json.dumps(answer, separators=(",", ":")).encode() + b"\n")

    def _show(self, number: int) -> Response:
        return large_json_response(200, describe_retained(self._daemon.read_generation(number)))

    def _compare(self, old: int, new: int) -> Response:
        return large_json_response(
            200, compare_retained(self._daemon.read_generation(old), self._daemon.read_generation(new))
        )


def _number(request: Request, key: str) -> int | Response:
    text = request.query.get(key, "")
    if NUMBER.fullmatch(text):
        return int(text)
    return bad_query(f"{key} is {text!r}; expected the number of a generation")
