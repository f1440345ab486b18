"""The v1 API: which path and method is answered by which function, and with what."""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from runtimed.api.describe import describe_runtime, describe_table
from runtimed.api.messages import Request, Response, problem
from runtimed.api.sockets import Peer
from runtimed.core.answer import render_answer
from runtimed.core.errors import BinaryUnavailable, InvalidRuntimeName, UnknownRuntime
from runtimed.core.generation import Generation, Runtime
from runtimed.core.report import Report
from runtimed.core.resolve import resolve

# How many known names an error lists: enough to see what there is, whatever the size of the table.
_LISTED = 50


class Service(Protocol):
    """What the routes need of the daemon."""

    def current(self) -> Generation:
        """Return the current generation."""

    def status(self) -> Mapping[str, object]:
        """Return what /v1/status says."""

    def ailments(self) -> Mapping[str, str]:
        """Return why the process itself is unwell, by subject: what /healthz says."""

    def look_up(self, path: str) -> str:
        """Return the binary that ``path`` leads to, or raise BinaryUnavailable."""

    def may_change(self, peer: Peer) -> bool:
        """Return whether ``peer`` may make the daemon work."""

    def reload(self, peer: Peer, *, dry_run: bool) -> Awaitable[Report]:
        """Reload for ``peer``."""

    def in_thread(self, function: Callable[..., Any], *args: object) -> Awaitable[Any]:
        """Return the result of a function that looks at the disk."""


Answer = Response | Awaitable[Response]


@dataclass(frozen=True, slots=True)
class Route:
    """A function for each method of one path, and the query keys it takes."""

    methods: Mapping[str, Callable[[Request], Answer]]
    query: frozenset[str] = frozenset()


class Routes:
    """Answers requests: the handler that connections call."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._routes: Mapping[tuple[str, ...], Route] = {
            ("v1", "resolve"): Route({"GET": self._resolve}, frozenset({"runtime"})),
            ("v1", "runtimes"): Route({"GET": self._runtimes}),
            ("v1", "runtimes", "*"): Route({"GET": self._runtime}),
            ("v1", "status"): Route({"GET": self._status}),
            ("v1", "reload"): Route({"POST": self._reload}, frozenset({"dry_run"})),
            ("healthz",): Route({"GET": self._healthz}),
        }
        # Finished answers of one generation, by the name that was asked for; each with what to look up first.
        self._answers: dict[str, tuple[Response, str | None]] = {}
        self._answers_of: Generation | None = None

    def __call__(self, request: Request) -> Answer:
        """Return the answer to ``request``: the only function here that chooses by path and method."""
        segments = request.segments
        route = self._routes.get(segments)
        if route is None and segments and segments[-1]:
            route = self._routes.get((*segments[:-1], "*"))
        if route is None:
            paths = ["/" + "/".join(path).replace("*", "{name}") for path in self._routes]
            detail = f"{request.path} is not served here; there are {', '.join(paths)}"
            return problem(404, "no-such-path", "No such path", detail)
        method = "GET" if request.method == "HEAD" else request.method
        function = route.methods.get(method)
        if function is None:
            return _method_not_allowed(request, route)
        if not route.query.issuperset(request.query):
            return _unknown_query(request, route)
        return function(request)

    def _resolve(self, request: Request) -> Answer:
        generation = self._service.current()
        if generation is not self._answers_of:
            self._answers = {}
            self._answers_of = generation
        name = request.query.get("runtime", "")
        known = self._answers.get(name)
        if known is None:
            try:
                found = resolve(generation, name)
            except (UnknownRuntime, InvalidRuntimeName) as error:
                return _bad_name(error, generation, 400)
            known = _json_bytes(200, found.answer.at(found.generation)), found.preflight
            # Implicit names are without number, so they are not kept.
            if not name or name in generation.runtimes:
                self._answers[name] = known
        response, preflight = known
        if preflight is not None:
            try:
                self._service.look_up(preflight)
            except BinaryUnavailable as error:
                return _unavailable(name, error)
        return response

    async def _runtimes(self, _request: Request) -> Response:
        table = await self._service.in_thread(describe_table, self._service.current(), self._service.look_up)
        return _json(200, table)

    def _runtime(self, request: Request) -> Answer:
        generation = self._service.current()
        name = request.segments[-1]
        runtime = generation.runtimes.get(name)
        if runtime is None:
            try:
                resolve(generation, name)
            except (UnknownRuntime, InvalidRuntimeName) as error:
                return _bad_name(error, generation, 404)
            runtime = Runtime(name, "implicit", name, None, render_answer(name, "implicit", name, None))
        return self._described(generation, runtime)

    async def _described(self, generation: Generation, runtime: Runtime) -> Response:
        found = await self._service.in_thread(describe_runtime, generation, runtime, self._service.look_up)
        return _json(200, found)

    def _status(self, _request: Request) -> Response:
        return _json(200, self._service.status())

    def _healthz(self, _request: Request) -> Response:
        ailments = self._service.ailments()
        if not ailments:
            return _json(200, {"status": "ok"})
        detail = "; ".join(f"{subject}: {reason}" for subject, reason in ailments.items())
        return problem(503, "unhealthy", "The daemon is unwell", detail, ailments=dict(ailments))

    def _reload(self, request: Request) -> Answer:
        given = request.query.get("dry_run", "false")
        if given not in ("true", "false"):
            return problem(400, "bad-query", "Bad query", f"dry_run is {given!r}; expected true or false")
        if not self._service.may_change(request.peer):
            detail = f"user {request.peer.uid} may ask but not reload; ask root, or the user the daemon runs as"
            return problem(403, "forbidden", "Not yours to change", detail)
        return self._reloaded(request.peer, dry_run=given == "true")

    async def _reloaded(self, peer: Peer, *, dry_run: bool) -> Response:
        report = await self._service.reload(peer, dry_run=dry_run)
        return _json(422 if report.outcome == "rejected" else 200, report.as_dict())


def _json(status: int, body: object) -> Response:
    return _json_bytes(status, json.dumps(body).encode())


def _json_bytes(status: int, body: bytes) -> Response:
    # A line break at the end, for whoever reads it on a terminal.
    return Response(status, body + b"\n")


def _bad_name(error: UnknownRuntime | InvalidRuntimeName, generation: Generation, status: int) -> Response:
    known = list(itertools.islice(generation.runtimes, _LISTED))
    more = {"runtime": error.name, "known": known, "known_total": len(generation.runtimes)}
    if isinstance(error, InvalidRuntimeName):
        detail = f"{error}; a name that is not configured must be a shim name such as io.containerd.kata.v2"
        return problem(status, error.code, "Invalid runtime name", detail, **more)
    hint = f"did you mean {error.nearest}?" if error.nearest else f"known are {', '.join(known)}"
    return problem(status, error.code, "Unknown runtime", f"{error}; {hint}", nearest=error.nearest, **more)


def _unavailable(name: str, error: BinaryUnavailable) -> Response:
    detail = f"{error}; install it, or correct the runtime's path in the configuration"
    return problem(503, error.code, "The runtime's binary is not there", detail, runtime=name, path=error.path)


def _method_not_allowed(request: Request, route: Route) -> Response:
    allowed = sorted({*route.methods, *(("HEAD",) if "GET" in route.methods else ())})
    detail = f"{request.path} takes {' and '.join(allowed)}, not {request.method}"
    answer = problem(405, "method-not-allowed", "Method not allowed", detail)
    answer.headers = (("Allow", ", ".join(allowed)),)
    return answer


def _unknown_query(request: Request, route: Route) -> Response:
    unknown = ", ".join(sorted(set(request.query) - route.query))
    takes = ", ".join(sorted(route.query)) or "none"
    return problem(400, "bad-query", "Bad query", f"unknown query keys: {unknown}; {request.path} takes: {takes}")
