"""The v1 API: which path and method is answered by which function, and with what."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

from runtimed.api import docker
from runtimed.api.counters import Counters
from runtimed.api.describe import Inspector, describe_runtime, describe_table
from runtimed.api.description import Description
from runtimed.api.events import Events
from runtimed.api.functions import DaemonFunctions
from runtimed.api.history import NUMBER, History
from runtimed.api.messages import Answer, Request, Response, problem
from runtimed.api.metrics import CONTENT_TYPE as METRICS_TYPE
from runtimed.api.metrics import render_metrics
from runtimed.api.problems import bad_name, bad_query, json_response, unreadable
from runtimed.api.resolutions import Resolutions
from runtimed.api.sockets import Peer
from runtimed.api.stream import Stream
from runtimed.core.errors import InvalidRuntimeName, StoreFailed, TooManyWaiting, UnknownRuntime
from runtimed.core.table.answer import render_answer
from runtimed.core.table.generation import Generation, Runtime
from runtimed.core.table.resolve import resolve

if TYPE_CHECKING:
    from runtimed.core import shapes


@dataclass(frozen=True, slots=True)
class Route:
    """A function for each method of one path, and the query keys it takes."""

    methods: Mapping[str, Callable[[Request], Answer]]
    query: frozenset[str] = frozenset()
    # What it is called where requests are counted.
    label: str = "none"


_NO_ROUTE = Route({})


class Routes:
    """Answers requests, and counts them in ``counters``: the handler that connections call."""

    def __init__(self, daemon: DaemonFunctions, events: Events, counters: Counters) -> None:
        self._daemon = daemon
        self._events = events
        self._counters = counters
        self._history = History(daemon)
        self._resolutions = Resolutions(daemon.current, daemon.lookup, self._history.resolve, counters)
        # A GET that was answered before, answered again: see Resolutions.
        self.again = self._resolutions.again
        self.docker = docker.Docker(daemon, events.subscribers)
        routes = {
            ("v1", "resolve"): Route({"GET": self._resolutions.answer}, frozenset({"runtime", "generation", "digest"})),
            ("v1", "runtimes"): Route({"GET": self._runtimes}),
            ("v1", "runtimes", "*"): Route({"GET": self._runtime}),
            ("v1", "status"): Route({"GET": self._status}),
            ("v1", "reload"): Route({"POST": self._reload}, frozenset({"dry_run"})),
            ("v1", "gc"): Route({"POST": self._collect}, frozenset({"dry_run"})),
            ("v1", "generations"): Route({"GET": self._history.list}),
            ("v1", "generations", "*"): Route({"GET": self._history.show}),
            ("v1", "diff"): Route({"GET": self._history.compare}, frozenset({"from", "to"})),
            ("v1", "events"): Route({"GET": self._subscribe}, frozenset({"since"})),
            ("metrics",): Route({"GET": self._metrics}),
            ("healthz",): Route({"GET": self._healthz}),
            ("openapi.json",): Route({"GET": Description().answer}),
        }
        self._routes = {path: replace(route, label=_label(path)) for path, route in routes.items()}
        # By label, and without methods: which there are for a path of Docker's, and what the others get, is its own.
        self._docker_routes = {label: Route({}, label=label) for label in docker.LABELS}

    def __call__(self, request: Request) -> Answer:
        """Return the answer to ``request``."""
        begun_s = perf_counter()
        segments = request.segments
        route = self._routes.get(segments)
        if route is None:
            route = self._routes.get((*segments[:-1], "*"), _NO_ROUTE) if segments and segments[-1] else _NO_ROUTE
            if route is _NO_ROUTE:
                route = self._docker_routes.get(docker.docker_label(segments) or "", _NO_ROUTE)
        try:
            answer = self._answer(request, route)
        except Exception:
            self._count(route, 500, begun_s)
            raise
        if isinstance(answer, Response):
            self._count(route, answer.status, begun_s)
        elif isinstance(answer, Stream):
            self._count(route, 200, begun_s)
        else:
            return self._counted(route, begun_s, answer)
        return answer

    def _answer(self, request: Request, route: Route) -> Answer:
        """Return the answer: the only function here that chooses by path and method."""
        if route is _NO_ROUTE:
            served = ", ".join((*map(_label, self._routes), *docker.PATHS))
            detail = f"{request.path} is not served here; there are {served}"
            return problem(404, "no-such-path", "No such path", detail)
        function = route.methods.get("GET" if request.method == "HEAD" else request.method)
        if function is None:
            return _method_not_allowed(request, route) if route.methods else self.docker(request)
        if not route.query.issuperset(request.query):
            return _unknown_query(request, route)
        return function(request)

    async def _counted(self, route: Route, begun_s: float, answer: Awaitable[Response]) -> Response:
        """Return the answer that is still being made, and count it then."""
        status = 500
        try:
            response = await _in_time(answer)
            status = response.status
        finally:
            self._count(route, status, begun_s)
        return response

    def _count(self, route: Route, status: int, begun_s: float) -> None:
        self._counters.requests_of(route.label, status).observe(perf_counter() - begun_s)

    async def _runtimes(self, request: Request) -> Response:
        generation = self._daemon.current()
        table: Response = await self._daemon.in_binaries(request.peer, _render_table, generation, self._daemon)
        return table

    def _runtime(self, request: Request) -> Answer:
        generation = self._daemon.current()
        name = request.segments[-1]
        runtime = generation.runtimes.get(name)
        if runtime is None:
            try:
                resolve(generation, name)
            except (UnknownRuntime, InvalidRuntimeName) as error:
                return bad_name(error, generation.runtimes, 404)
            runtime = Runtime(name, "implicit", name, None, render_answer(name, "implicit", name, None))
        return self._described(request.peer, generation, runtime)

    async def _described(self, peer: Peer, generation: Generation, runtime: Runtime) -> Response:
        found: Response = await self._daemon.in_binaries(peer, _render_runtime, generation, runtime, self._daemon)
        return found

    def _status(self, _request: Request) -> Response:
        return json_response(200, self._daemon.status())

    def _subscribe(self, request: Request) -> Answer:
        since = request.query.get("since")
        if since is not None and not NUMBER.fullmatch(since):
            return bad_query(f"since is {since!r}; expected the seq of an event")
        if self._events.is_full(request.peer.uid):
            detail = f"{len(self._events)} clients listen to events, and one user may be only so many; end some of them"
            return problem(503, "too-many-subscribers", "Too many subscribers", detail)
        return self._events.stream(None if since is None else int(since), request.peer.uid)

    async def _metrics(self, request: Request) -> Response:
        body: bytes = await self._daemon.in_data_root(request.peer, self._rendered_metrics)
        return Response(200, body, METRICS_TYPE)

    def _rendered_metrics(self) -> bytes:
        return render_metrics(self._daemon.figures(), self._counters)

    def _healthz(self, _request: Request) -> Response:
        process_faults = self._daemon.process_faults()
        if not process_faults:
            well: shapes.Health = {"status": "ok"}
            return json_response(200, well)
        detail = "; ".join(f"{subject}: {reason}" for subject, reason in process_faults.items())
        more: shapes.UnhealthyMembers = {"ailments": dict(process_faults)}
        return problem(503, "unhealthy", "The daemon is unwell", detail, **more)

    def _reload(self, request: Request) -> Answer:
        return self._refusal(request) or self._reloaded(request.peer, dry_run=_is_dry_run(request))

    async def _reloaded(self, peer: Peer, *, dry_run: bool) -> Response:
        report = await self._daemon.reload(peer, dry_run=dry_run)
        return json_response(422 if report.outcome == "rejected" else 200, report.as_dict())

    def _collect(self, request: Request) -> Answer:
        return self._refusal(request) or self._collected(request.peer, dry_run=_is_dry_run(request))

    async def _collected(self, peer: Peer, *, dry_run: bool) -> Response:
        try:
            collection = await self._daemon.collect(peer, dry_run=dry_run)
        except StoreFailed as error:
            return unreadable(error)
        return json_response(200, collection.as_dict())

    def _refusal(self, request: Request) -> Response | None:
        """Return why this request, which would make the daemon work, is refused; None if it is not."""
        given = request.query.get("dry_run", "false")
        if given not in ("true", "false"):
            return bad_query(f"dry_run is {given!r}; expected true or false")
        if not self._daemon.may_change(request.peer):
            detail = f"user {request.peer.uid} may ask and change nothing; ask root, or the user the daemon runs as"
            return problem(403, "forbidden", "Not yours to change", detail)
        return None


async def _in_time(answer: Awaitable[Response]) -> Response:
    try:
        return await answer
    except TimeoutError:
        detail = "a file system that had to be looked at does not answer; see whether all of them are there, and retry"
        return problem(503, "disk-timeout", "The disk does not answer", detail)
    except TooManyWaiting as error:
        return problem(503, error.code, "Too many requests wait", f"{error}; wait for some of them, then try again")


def _label(path: tuple[str, ...]) -> str:
    return "/" + "/".join(path).replace("*", "{name}")


def _render_runtime(generation: Generation, runtime: Runtime, inspector: Inspector) -> Response:
    # In a thread: options and arguments may be megabytes.
    return json_response(200, describe_runtime(generation, runtime, inspector))


def _render_table(generation: Generation, inspector: Inspector) -> Response:
    # Entry by entry, in a thread: one json.dumps of a large table would hold up the event loop all the same.
    entries = b",\n".join(json.dumps(entry).encode() for entry in describe_table(generation, inspector))
    default = json.dumps(generation.config.default_runtime).encode()
    head = b'{"generation": %d, "default_runtime": %b, "runtimes": [\n' % (generation.number, default)
    return Response(200, head + entries + b"\n]}\n")


def _is_dry_run(request: Request) -> bool:
    return request.query.get("dry_run") == "true"


def _method_not_allowed(request: Request, route: Route) -> Response:
    allowed = sorted({*route.methods, *(("HEAD",) if "GET" in route.methods else ())})
    detail = f"{request.path} takes {' and '.join(allowed)}, not {request.method}"
    answer = problem(405, "method-not-allowed", "Method not allowed", detail)
    answer.headers = (("Allow", ", ".join(allowed)),)
    return answer


def _unknown_query(request: Request, route: Route) -> Response:
    unknown = ", ".join(sorted(set(request.query) - route.query))
    takes = ", ".join(sorted(route.query)) or "none"
    return bad_query(f"unknown query keys: {unknown}; {request.path} takes: {takes}")
