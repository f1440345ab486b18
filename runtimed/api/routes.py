"""The v1 API: which path and method is answered by which function, and with what."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Protocol

from runtimed.api.describe import Inspector, describe_runtime, describe_table
from runtimed.api.events import Events
from runtimed.api.history import NUMBER, Archive, History
from runtimed.api.messages import Answer, Request, Response, problem
from runtimed.api.metrics import CONTENT_TYPE as METRICS_TYPE
from runtimed.api.metrics import Figures, render_metrics
from runtimed.api.problems import bad_name, bad_query, json_response, unavailable
from runtimed.api.sockets import Peer
from runtimed.api.stream import Stream
from runtimed.api.tally import Tally
from runtimed.core.answer import render_answer
from runtimed.core.collect import Collection
from runtimed.core.errors import BinaryUnavailable, InvalidRuntimeName, StoreFailed, TooManyWaiting, UnknownRuntime
from runtimed.core.generation import Generation, Runtime
from runtimed.core.report import Report
from runtimed.core.resolve import resolve


class Service(Archive, Inspector, Protocol):
    """What the routes need of the daemon."""

    def current(self) -> Generation:
        """Return the current generation."""

    def status(self) -> Mapping[str, object]:
        """Return what /v1/status says."""

    def ailments(self) -> Mapping[str, str]:
        """Return why the process itself is unwell, by subject: what /healthz says."""

    def may_change(self, peer: Peer) -> bool:
        """Return whether ``peer`` may make the daemon work."""

    def reload(self, peer: Peer, *, dry_run: bool) -> Awaitable[Report]:
        """Reload for ``peer``."""

    def collect(self, peer: Peer, *, dry_run: bool) -> Awaitable[Collection]:
        """Judge wrappers for ``peer``, and collect those that may go."""

    def figures(self) -> Figures:
        """Return what /metrics says besides what was counted; reads the data root."""


@dataclass(frozen=True, slots=True)
class Route:
    """A function for each method of one path, and the query keys it takes."""

    methods: Mapping[str, Callable[[Request], Answer]]
    query: frozenset[str] = frozenset()
    # What it is called where requests are counted.
    label: str = "none"


_NO_ROUTE = Route({})


class Routes:
    """Answers requests, and counts them in ``tally``: the handler that connections call."""

    def __init__(self, service: Service, events: Events, tally: Tally) -> None:
        self._service = service
        self._events = events
        self._tally = tally
        self._history = History(service)
        routes = {
            ("v1", "resolve"): Route({"GET": self._resolve}, frozenset({"runtime", "generation", "digest"})),
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
        }
        self._routes = {path: replace(route, label=_label(path)) for path, route in routes.items()}
        # Finished answers of one generation, by the name that was asked for; each with what to look up first.
        self._answers: dict[str, tuple[Response, str | None]] = {}
        self._answers_of: Generation | None = None

    def __call__(self, request: Request) -> Answer:
        """Return the answer to ``request``."""
        begun_s = perf_counter()
        segments = request.segments
        route = self._routes.get(segments)
        if route is None:
            route = self._routes.get((*segments[:-1], "*"), _NO_ROUTE) if segments and segments[-1] else _NO_ROUTE
        try:
            answer = self._answer(request, route)
        except Exception:
            self._tally.count_request(route.label, 500, perf_counter() - begun_s)
            raise
        if isinstance(answer, Response):
            self._tally.count_request(route.label, answer.status, perf_counter() - begun_s)
        elif isinstance(answer, Stream):
            self._tally.count_request(route.label, 200, perf_counter() - begun_s)
        else:
            return self._counted(route, begun_s, answer)
        return answer

    def _answer(self, request: Request, route: Route) -> Answer:
        """Return the answer: the only function here that chooses by path and method."""
        if route is _NO_ROUTE:
            detail = f"{request.path} is not served here; there are {', '.join(map(_label, self._routes))}"
            return problem(404, "no-such-path", "No such path", detail)
        function = route.methods.get("GET" if request.method == "HEAD" else request.method)
        if function is None:
            return _method_not_allowed(request, route)
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
            self._tally.count_request(route.label, status, perf_counter() - begun_s)
        return response

    def _resolve(self, request: Request) -> Answer:
        if "generation" in request.query or "digest" in request.query:
            return self._history.resolve(request)
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
                return bad_name(error, generation.runtimes, 400)
            known = Response(200, found.answer.at(found.generation) + b"\n"), found.preflight
            # Implicit names are without number, so they are not kept.
            if not name or name in generation.runtimes:
                self._answers[name] = known
        response, preflight = known
        if preflight is not None:
            try:
                self._service.look_up(preflight)
            except BinaryUnavailable as error:
                return unavailable(name or generation.config.default_runtime, error)
        return response

    async def _runtimes(self, request: Request) -> Response:
        generation = self._service.current()
        table: Response = await self._service.looking(request.peer, _render_table, generation, self._service)
        return table

    def _runtime(self, request: Request) -> Answer:
        generation = self._service.current()
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
        found = await self._service.looking(peer, describe_runtime, generation, runtime, self._service)
        return json_response(200, found)

    def _status(self, _request: Request) -> Response:
        return json_response(200, self._service.status())

    def _subscribe(self, request: Request) -> Answer:
        since = request.query.get("since")
        if since is not None and not NUMBER.fullmatch(since):
            return bad_query(f"since is {since!r}; expected the seq of an event")
        if self._events.is_full(request.peer.uid):
            detail = f"{len(self._events)} clients listen to events, and one user may be only so many; end some of them"
            return problem(503, "too-many-subscribers", "Too many subscribers", detail)
        return self._events.stream(None if since is None else int(since), request.peer.uid)

    async def _metrics(self, request: Request) -> Response:
        body: bytes = await self._service.reading(request.peer, self._rendered_metrics)
        return Response(200, body, METRICS_TYPE)

    def _rendered_metrics(self) -> bytes:
        return render_metrics(self._service.figures(), self._tally)

    def _healthz(self, _request: Request) -> Response:
        ailments = self._service.ailments()
        if not ailments:
            return json_response(200, {"status": "ok"})
        detail = "; ".join(f"{subject}: {reason}" for subject, reason in ailments.items())
        return problem(503, "unhealthy", "The daemon is unwell", detail, ailments=dict(ailments))

    def _reload(self, request: Request) -> Answer:
        return self._refusal(request) or self._reloaded(request.peer, dry_run=_is_dry_run(request))

    async def _reloaded(self, peer: Peer, *, dry_run: bool) -> Response:
        report = await self._service.reload(peer, dry_run=dry_run)
        return json_response(422 if report.outcome == "rejected" else 200, report.as_dict())

    def _collect(self, request: Request) -> Answer:
        return self._refusal(request) or self._collected(request.peer, dry_run=_is_dry_run(request))

    async def _collected(self, peer: Peer, *, dry_run: bool) -> Response:
        try:
            collection = await self._service.collect(peer, dry_run=dry_run)
        except StoreFailed as error:
            return problem(500, error.code, "The wrappers cannot be looked at", str(error))
        return json_response(200, collection.as_dict())

    def _refusal(self, request: Request) -> Response | None:
        """Return why this request, which would make the daemon work, is refused; None if it is not."""
        given = request.query.get("dry_run", "false")
        if given not in ("true", "false"):
            return bad_query(f"dry_run is {given!r}; expected true or false")
        if not self._service.may_change(request.peer):
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
