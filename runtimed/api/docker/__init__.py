"""Serves the read-only part of the Docker Engine API that shows Docker's clients the table and its reloads.

A path may begin with any version (``/v1.44/info``). Responses to Docker's other paths explain that this is runtimed.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping

from runtimed import __version__
from runtimed.api.docker.events import BadEventQuery, Reloads, make_event, parse_event_query
from runtimed.api.docker.node import API_VERSION, describe_node, describe_version, render_runtimes
from runtimed.api.functions import DaemonFunctions
from runtimed.api.messages import Answer, Request, Response
from runtimed.api.sockets import Peer
from runtimed.api.subscribers import Subscribers
from runtimed.core.errors import TooManyWaiting
from runtimed.core.table.generation import Generation

__all__ = ["LABELS", "PATHS", "Docker", "docker_label", "refuse_body"]

_VERSIONED = re.compile(r"v([0-9]{1,4})\.([0-9]{1,6})", re.ASCII)
_TARGET = re.compile(rb"/(?:v[0-9]+\.[0-9]+/)?([a-z_]+)(?:[/?]|$)")
# /info has features from this version on.
_WITH_FEATURES = (1, 44)

_SERVED = ("_ping", "version", "info", "events")
# The first segments of dockerd's other paths; dockerd knows no others, with or without a version.
_DOCKERDS = frozenset(
    {
        *("auth", "build", "commit", "configs", "containers", "distribution", "exec", "grpc", "images", "networks"),
        *("nodes", "plugins", "secrets", "services", "session", "swarm", "system", "tasks", "volumes"),
    }
)
PATHS = tuple(f"/{name}" for name in _SERVED)
_OTHER = "docker"
# The labels under which requests are counted.
LABELS = (*PATHS, _OTHER)

_HEADERS = (
    ("Api-Version", API_VERSION),
    ("Docker-Experimental", "false"),
    ("Ostype", "linux"),
    ("Server", f"runtimed/{__version__} (linux)"),
)
_PING_HEADERS = (
    ("Cache-Control", "no-cache, no-store, must-revalidate"),
    ("Pragma", "no-cache"),
    ("Swarm", "inactive"),
)
_JSON = "application/json"
_ABOUT = (
    "this is runtimed, which describes the container runtimes of this node and runs no containers; "
    f"of the Docker Engine API it serves GET {', '.join(PATHS)}"
)


class Docker:
    """Responds to requests for Docker's paths; the limits of ``subscribers`` hold for its streams as well."""

    def __init__(self, daemon: DaemonFunctions, subscribers: Subscribers) -> None:
        self._daemon = daemon
        self._subscribers = subscribers
        self._reloads = Reloads(subscribers)
        self._rendered: tuple[tuple[int, str], bytes] | None = None
        pong = Response(200, b"OK", "text/plain; charset=utf-8", _HEADERS + _PING_HEADERS)
        self._functions: Mapping[str, Callable[[Request], Answer]] = {
            "_ping": lambda _: pong,
            "version": self._version,
            "info": self._info,
            "events": self._events,
        }

    def __call__(self, request: Request) -> Answer:
        """Return the response to a request that has a `docker_label`."""
        path = _unversioned(request.segments)
        function = self._functions.get(path[0]) if len(path) == 1 else None
        if function is None:
            return _not_served(path)
        if request.method not in ("GET", "HEAD"):
            response = _failure(405, f"/{path[0]} takes GET and HEAD, not {request.method}: {_ABOUT}")
            response.headers += (("Allow", "GET, HEAD"),)
            return response
        return function(request)

    def reloaded(self, generation: Generation, outcome: str) -> None:
        """Send the event of a reload that left ``generation`` current; dockerd has none for a rejected reload."""
        name = self._daemon.machine().name
        self._reloads.publish(make_event(generation, outcome, self._daemon.identity(), name, time.time_ns()))

    def _version(self, _request: Request) -> Response:
        return _json(json.dumps(describe_version(self._daemon.machine())).encode())

    def _info(self, request: Request) -> Answer:
        generation = self._daemon.current()
        versioned = _VERSIONED.fullmatch(request.segments[0])
        if versioned is not None and (int(versioned[1]), int(versioned[2])) < _WITH_FEATURES:
            return self._node(generation, self._without_features(generation))
        return self._with_features(request.peer, generation)

    async def _with_features(self, peer: Peer, generation: Generation) -> Response:
        try:
            runtimes = await self._daemon.in_binaries(peer, render_runtimes, generation, self._daemon)
        except (TimeoutError, TooManyWaiting):
            # Only the features need the disk.
            runtimes = self._without_features(generation)
        return self._node(generation, runtimes)

    def _without_features(self, generation: Generation) -> bytes:
        # Kept: rendering a large table takes milliseconds, on the event loop. With four runtimes it saves 14 %.
        if self._rendered is None or self._rendered[0] != generation.key:
            self._rendered = generation.key, render_runtimes(generation, None)
        return self._rendered[1]

    def _node(self, generation: Generation, runtimes: bytes) -> Response:
        daemon = self._daemon
        node = describe_node(
            generation, daemon.machine(), daemon.identity(), daemon.faults(), listeners=len(self._subscribers)
        )
        return _json(json.dumps(node).encode()[:-1] + b', "Runtimes": ' + runtimes + b"}")

    def _events(self, request: Request) -> Answer:
        try:
            query = parse_event_query(request.query)
        except BadEventQuery as error:
            return _failure(400, str(error))
        if query.until_ns is not None and query.until_ns <= time.time_ns():
            return Response(200, self._reloads.earlier(query), _JSON, _HEADERS)
        if self._subscribers.is_full(request.peer.uid):
            number = len(self._subscribers)
            limit = f"{number} clients listen to events, and the limit, in all or for one user, is reached"
            return _failure(503, f"{limit}; end some of them")
        return self._reloads.stream(query, request.peer.uid, _JSON)


def docker_label(segments: tuple[str, ...]) -> str | None:
    """Return the label under which requests for a path are counted, None if the path is not one of Docker's."""
    path = _unversioned(segments)
    name = path[0] if path else ""
    if len(path) == 1 and name in _SERVED:
        return f"/{name}"
    return _OTHER if path is not segments or name in _DOCKERDS or name in _SERVED else None


def refuse_body(target: bytes) -> Response | None:
    """Return the response to a request with a body, which no path takes; None if the path is not dockerd's.

    A client that tries to run a container learns where dockerd is, rather than how to form a request.
    """
    found = _TARGET.match(target)
    name = found[1].decode() if found is not None else ""
    return _not_served((name,)) if name in _DOCKERDS else None


def _unversioned(segments: tuple[str, ...]) -> tuple[str, ...]:
    return segments[1:] if segments and _VERSIONED.fullmatch(segments[0]) else segments


def _not_served(path: tuple[str, ...]) -> Response:
    if path and path[0] in _DOCKERDS:
        return _failure(501, f"{_ABOUT}; ask dockerd for /{path[0]}")
    return _failure(404, f"page not found: {_ABOUT}")


def _failure(status: int, message: str) -> Response:
    return _json(json.dumps({"message": message}).encode(), status)


def _json(body: bytes, status: int = 200) -> Response:
    return Response(status, body + b"\n", _JSON, _HEADERS)
