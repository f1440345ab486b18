"""Dispatches requests by path and method, and responds with the state of the daemon."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import get_args

from runtimed.api import docker
from runtimed.api.counters import Counters
from runtimed.api.describe import Inspector, describe_runtime, describe_table
from runtimed.api.description import Description
from runtimed.api.events import Events
from runtimed.api.functions import DaemonFunctions
from runtimed.api.history import NUMBER, History
from runtimed.api.large import call_in_loop, json_pieces, large_json_response, respond_in_parts
from runtimed.api.messages import Answer, Request, Response, problem
from runtimed.api.metrics import CONTENT_TYPE as METRICS_TYPE
from runtimed.api.metrics import render_metrics
from runtimed.api.parts import PartedResponse
from runtimed.api.problems import bad_name, json_response
from runtimed.api.proofs import PROOF_KEYS, record_proof
from runtimed.api.resolutions import Resolutions
from runtimed.api.stream import Stream
from runtimed.core.engines import NAMES as ENGINES
from runtimed.core.errors import InvalidRuntimeName, StoreFailed, TooManyWaiting, UnknownRuntime
from runtimed.core.message_text import called
from runtimed.core.table.generation import Generation, Runtime
from runtimed.core.table.resolve import find_runtime

_DETAIL_MAX = 1000


@dataclass(frozen=True, slots=True)
class Route:
    """The method of one path, the function that responds to it, and the keys that its query may have.

    ``path`` is also the label under which requests are counted.
    """

    path: str
    method: str
    function: Callable[[Request], Answer]
    query: frozenset[str] = frozenset()


class Routes:
    """Responds to requests, and counts them in ``counters``: the handler that connections call."""

    def __init__(self, daemon: DaemonFunctions, events: Events, counters: Counters) -> None:
        self._daemon = daemon
        self._events = events
        self._counters = counters
        history = History(daemon)
        resolutions = Resolutions(daemon.current, daemon.lookup, history.resolve, counters)
        self.again = resolutions.again
        self.docker = docker.Docker(daemon, events.subscribers)
        routes = (
            Route("/v1/resolve", "GET", resolutions.answer, frozenset({"runtime", "generation", "digest"})),
            Route("/v1/runtimes", "GET", self._runtimes),
            Route("/v1/runtimes/{name}", "GET", self._runtime),
            Route("/v1/status", "GET", self._status),
            Route("/v1/reload", "POST", self._reload, frozenset({"dry_run"})),
            Route("/v1/gc", "POST", self._collect, frozenset({"dry_run"})),
            Route("/v1/engines/{name}", "POST", self._record_verification, frozenset({"state", "detail"})),
            Route("/v1/proofs/{name}", "POST", self._record_proof, PROOF_KEYS),
            Route("/v1/generations", "GET", history.list),
            Route("/v1/generations/{name}", "GET", history.show),
            Route("/v1/history", "GET", history.timeline, frozenset({"since"})),
            Route("/v1/containers", "GET", self._containers),
            Route("/v1/diff", "GET", history.compare, frozenset({"from", "to"})),
            Route("/v1/events", "GET", self._subscribe, frozenset({"since"})),
            Route("/metrics", "GET", self._metrics),
            Route("/healthz", "GET", self._healthz),
            Route("/openapi.json", "GET", Description().answer),
        )
        self._routes = {tuple(route.path[1:].split("/")): route for route in routes}

    def __call__(self, request: Request) -> Answer:
        """Return the response to ``request``."""
        begun_s = perf_counter()
        segments = request.segments
        route = self._routes.get(segments)
        if route is None and segments and segments[-1]:
            route = self._routes.get((*segments[:-1], "{name}"))
        label = (docker.docker_label(segments) or "none") if route is None else route.path
        try:
            answer = self._dispatch(request, route, label)
        except Exception:
            self._count(label, 500, begun_s)
            raise
        if isinstance(answer, Response):
            self._count(label, answer.status, begun_s)
        elif isinstance(answer, Stream):
            self._count(label, 200, begun_s)
        else:
            return self._finish(label, begun_s, answer)
        return answer

    def _dispatch(self, request: Request, route: Route | None, label: str) -> Answer:
        if route is None:
            return self.docker(request) if label in docker.LABELS else self._no_such_path(request)
        if request.method != route.method and (request.method, route.method) != ("HEAD", "GET"):
            return _method_not_allowed(request, route)
        if not route.query.issuperset(request.query):
            unknown = ", ".join(sorted(set(request.query) - route.query))
            takes = ", ".join(sorted(route.query)) or "none"
            return problem("bad-query", f"unknown query keys: {unknown}; {request.path} takes: {takes}")
        return route.function(request)

    async def _finish(
        self, label: str, begun_s: float, answer: Awaitable[Response | PartedResponse]
    ) -> Response | PartedResponse:
        """Await and count the response: a 503 if a file system hangs or too many calls wait for it."""
        response: Response | PartedResponse | None = None
        try:
            response = await answer
        except TimeoutError:
            response = problem("disk-timeout")
        except TooManyWaiting as error:
            response = problem(error.code, str(error))
        finally:
            self._count(label, 500 if response is None else response.status, begun_s)
        return response

    def _count(self, label: str, status: int, begun_s: float) -> None:
        self._counters.requests_of(label, status).observe(perf_counter() - begun_s)

    def _no_such_path(self, request: Request) -> Response:
        paths = ", ".join((*(route.path for route in self._routes.values()), *docker.PATHS))
        return problem("no-such-path", f"{request.path} is not served here; there are {paths}")

    def _runtimes(self, request: Request) -> Answer:
        in_binaries = partial(self._daemon.in_binaries, request.peer)
        return respond_in_parts(in_binaries, partial(_render_table, self._daemon.current(), self._daemon))

    def _runtime(self, request: Request) -> Answer:
        generation = self._daemon.current()
        name = request.segments[-1]
        try:
            runtime = find_runtime(generation, name)
        except (UnknownRuntime, InvalidRuntimeName) as error:
            return bad_name(error, generation.runtimes, 404)
        return self._daemon.in_binaries(request.peer, _render_runtime, generation, runtime, self._daemon)

    def _containers(self, request: Request) -> Answer:
        return self._daemon.in_data_root(request.peer, _render_containers, self._daemon.current(), self._daemon)

    def _status(self, _request: Request) -> Response:
        return json_response(200, self._daemon.status())

    def _subscribe(self, request: Request) -> Answer:
        since = request.query.get("since")
        if since is not None and not NUMBER.fullmatch(since):
            return problem("bad-query", f"since is {since!r}; expected the seq of an event")
        subscribers = self._events.subscribers
        if subscribers.is_full(request.peer.uid):
            detail = f"{len(subscribers)} clients listen to events, and the limit, in all or for one user, is reached"
            return problem("too-many-subscribers", detail)
        return self._events.stream(None if since is None else int(since), request.peer.uid)

    def _metrics(self, request: Request) -> Answer:
        return self._daemon.in_data_root(request.peer, self._render_metrics)

    def _render_metrics(self) -> Response:
        return Response(200, render_metrics(self._daemon.figures(), self._counters), METRICS_TYPE)

    def _healthz(self, _request: Request) -> Response:
        faults = self._daemon.process_faults()
        if not faults:
            return json_response(200, {"status": "ok"})
        detail = "; ".join(f"{subject}: {reason}" for subject, reason in faults.items())
        return problem("unhealthy", detail, ailments=dict(faults))

    async def _reload(self, request: Request) -> Response | PartedResponse:
        if (refusal := self._refuse_change(request)) is not None:
            return refusal
        report = await self._daemon.reload(request.peer, dry_run=_is_dry_run(request))
        if report.outcome == "rejected":
            return json_response(422, report.as_dict())
        # Not in a thread, whose disk may hang: the requester is to learn the outcome.
        return await respond_in_parts(call_in_loop, lambda: json_pieces(report.as_dict()))

    async def _collect(self, request: Request) -> Response:
        if (refusal := self._refuse_change(request)) is not None:
            return refusal
        try:
            collection = await self._daemon.collect(request.peer, dry_run=_is_dry_run(request))
        except StoreFailed as error:
            return problem(error.code, str(error))
        return json_response(200, collection.as_dict())

    def _record_verification(self, request: Request) -> Response:
        from runtimed.core import shapes  # noqa: PLC0415 - few daemons need them, and only for this request

        if (refusal := self._refuse_change(request)) is not None:
            return refusal
        engine, given = request.segments[-1], request.query.get("state")
        detail = request.query.get("detail", "")
        states: tuple[shapes.EngineState, ...] = get_args(shapes.EngineState)
        state = next((each for each in states if each == given), None)
        if engine not in ENGINES:
            return problem("unknown-engine", f"unknown engine: {called(engine)}; known are {', '.join(ENGINES)}")
        if state is None:
            return problem("bad-query", f"state is {given!r}; expected one of {', '.join(states)}")
        if len(detail) > _DETAIL_MAX:
            return problem("bad-query", f"detail has {len(detail)} characters; it may have {_DETAIL_MAX}")
        return json_response(200, self._daemon.record_verification(engine, state, detail))

    def _record_proof(self, request: Request) -> Answer:
        return self._refuse_change(request) or record_proof(self._daemon, request)

    def _refuse_change(self, request: Request) -> Response | None:
        """Return the problem of a request to change something, None if the daemon may obey it."""
        given = request.query.get("dry_run", "false")
        if given not in ("true", "false"):
            return problem("bad-query", f"dry_run is {given!r}; expected true or false")
        if not self._daemon.may_change(request.peer):
            return problem("forbidden", "permission denied: only root may do this")
        return None


def _is_dry_run(request: Request) -> bool:
    return request.query.get("dry_run") == "true"


def _method_not_allowed(request: Request, route: Route) -> Response:
    allowed = ("GET", "HEAD") if route.method == "GET" else (route.method,)
    response = problem("method-not-allowed", f"{request.path} takes {' and '.join(allowed)}, not {request.method}")
    response.headers = (("Allow", ", ".join(allowed)),)
    return response


def _render_runtime(generation: Generation, runtime: Runtime, inspector: Inspector) -> Response:
    # In a thread: options and arguments may have megabytes.
    return json_response(200, describe_runtime(generation, runtime, inspector))


def _render_containers(generation: Generation, daemon: DaemonFunctions) -> Response:
    containers = [each.as_dict() for each in daemon.containers(generation)]
    return large_json_response({"generation": generation.number, "containers": containers})


def _render_table(generation: Generation, inspector: Inspector) -> Iterator[bytes]:
    default = json.dumps(generation.config.default_runtime).encode()
    yield b'{"generation": %d, "default_runtime": %b, "runtimes": [' % (generation.number, default)
    separator = b"\n"
    for entry in describe_table(generation, inspector):
        yield separator + json.dumps(entry).encode()
        separator = b",\n"
    yield b"\n]}\n"
