"""What the API can be asked, and what each question may be answered with: the table behind `/openapi.json`.

A test compares it with the routes: paths, methods, query keys, and every status and code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from runtimed.core import shapes

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value in the query or in the path, whose ``schema`` is JSON Schema."""

    name: str
    text: str
    schema: Mapping[str, Any]
    place: Literal["query", "path"] = "query"
    required: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer that is no problem; ``shape`` is None for what is not JSON."""

    text: str
    shape: object = None
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Operation:
    """One question. ``problems`` are codes by status, without those that may come whatever is asked."""

    name: str
    group: str
    summary: str
    text: str
    answers: Mapping[int, Answered]
    parameters: tuple[Parameter, ...] = ()
    problems: Mapping[int, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))


# What may come whatever is asked.
ALWAYS: Mapping[int, tuple[str, ...]] = MappingProxyType(
    {
        400: ("bad-query", "malformed-request", "malformed-target"),
        405: ("method-not-allowed",),
        408: ("request-timeout",),
        413: ("body-not-accepted",),
        414: ("target-too-long",),
        417: ("expectation-failed",),
        431: ("headers-too-large",),
        500: ("internal-error",),
        503: ("too-many-connections",),
        505: ("version-not-supported",),
    }
)

# What comes of a path that is not among these.
NO_PATH = ("no-such-path",)

_NUMBER = MappingProxyType({"type": "integer", "minimum": 0, "maximum": 10**15 - 1})


def _generation(name: str, text: str, example: int, place: Literal["query", "path"] = "query") -> Parameter:
    return Parameter(name, text, {**_NUMBER, "examples": [example]}, place, required=True)


_DRY_RUN = Parameter("dry_run", "whether only to say what would be done", {"type": "boolean", "default": False})
_READING = {404: ("no-such-generation",), 410: ("generation-gone",), 500: ("damaged-manifest", "store-failed")}
_CHANGING = {403: ("forbidden",)}
# Of whatever looks at a disk, in a thread.
_DISK = ("disk-timeout", "too-many-waiting")

_RESOLVE = Operation(
    "resolve",
    "runtimes",
    "What a runtime's name means",
    "Returns all that it takes to start a container with the runtime: the shim, and the options message as containerd "
    "takes it. A name that nobody configured is answered as it is if it is that of a shim, such as "
    "`io.containerd.kata.v2`. Before a runtime with arguments is answered, its binary is looked for.",
    {200: Answered("The resolution.", shapes.Resolution)},
    (
        Parameter(
            "runtime", "name of the runtime; empty for the default one", {"type": "string", "examples": ["gvisor"]}
        ),
        Parameter(
            "generation",
            "answer as it was answered in this generation, which must be retained",
            {**_NUMBER, "examples": [1]},
        ),
        Parameter("digest", "with `generation`: answer only if the answer has this digest", {"type": "string"}),
    ),
    {
        400: ("unknown-runtime", "invalid-runtime-name"),
        409: ("digest-mismatch",),
        **_READING,
        503: ("runtime-unavailable", *_DISK),
    },
)
_DIFF = Operation(
    "compareGenerations",
    "generations",
    "What changed from one generation to another",
    "Returns the runtimes whose answers differ between two retained generations, with both definitions of each.",
    {200: Answered("What is different.", shapes.GenerationsDiff)},
    (_generation("from", "the generation before", 1), _generation("to", "the generation after", 2)),
    {**_READING, 503: _DISK},
)
_EVENTS = Operation(
    "listen",
    "daemon",
    "What happens, as it happens",
    "Returns a stream that ends with the connection: one JSON object a line. Whoever leaves much unread is given up.",
    {
        200: Answered(
            "Events, one a line; the first line is there at once.",
            shapes.Event,
            "application/x-ndjson",
            {"Cache-Control": "`no-store`"},
        )
    },
    (
        Parameter(
            "since",
            "begin after the event with this number, as far as the last thousand are kept; without it, with what "
            "happens from now on",
            dict(_NUMBER),
        ),
    ),
    {503: ("too-many-subscribers",)},
)

OPERATIONS: Mapping[tuple[str, str], Operation] = MappingProxyType(
    {
        ("GET", "/v1/resolve"): _RESOLVE,
        ("GET", "/v1/runtimes"): Operation(
            "listRuntimes",
            "runtimes",
            "The table of all runtimes",
            "Returns all runtimes of the current generation with all that is known of each, the stock ones included.",
            {200: Answered("The table.", shapes.RuntimeTable)},
            problems={503: _DISK},
        ),
        ("GET", "/v1/runtimes/{name}"): Operation(
            "describeRuntime",
            "runtimes",
            "All that is known of one runtime",
            "Returns where its definition stands, what it means, whether its binary is there, what that says of itself "
            "and has become since, and what is most likely not meant. A name that is not configured is described if "
            "it is that of a shim.",
            {200: Answered("The runtime.", shapes.RuntimeDescription)},
            (
                Parameter(
                    "name",
                    "name of the runtime, a slash in it as `%2F`",
                    {"type": "string", "minLength": 1, "examples": ["gvisor"]},
                    "path",
                    required=True,
                ),
            ),
            {404: ("unknown-runtime", "invalid-runtime-name"), 503: _DISK},
        ),
        ("GET", "/v1/generations"): Operation(
            "listGenerations",
            "generations",
            "The retained generations",
            "Returns a line for each generation that can be asked, the newest, which is the current one, first.",
            {200: Answered("The list.", shapes.Generations)},
        ),
        ("GET", "/v1/generations/{number}"): Operation(
            "describeGeneration",
            "generations",
            "One retained generation",
            "Returns what it was built from, and every answer that was given in it.",
            {200: Answered("The generation.", shapes.GenerationDetail)},
            (_generation("number", "number of the generation", 1, "path"),),
            {**_READING, 503: _DISK},
        ),
        ("GET", "/v1/diff"): _DIFF,
        ("GET", "/v1/status"): Operation(
            "status",
            "daemon",
            "How the daemon is",
            "Returns its health, the last reload's report, what it serves from, and how it notices changes.",
            {200: Answered("The status, `degraded` ones as well.", shapes.Status)},
        ),
        ("POST", "/v1/reload"): Operation(
            "reload",
            "daemon",
            "Read the configuration again",
            "Returns when it has happened: a reload that began after the request, which may be shared with others.",
            {
                200: Answered("The report of a reload that was applied, or changed nothing.", shapes.Report),
                422: Answered("The report of a reload that was rejected: all is as it was.", shapes.Report),
            },
            (_DRY_RUN,),
            _CHANGING,
        ),
        ("POST", "/v1/gc"): Operation(
            "collectWrappers",
            "daemon",
            "Remove the wrappers that nothing needs",
            "Judges every wrapper, and removes those that no retained generation and no container has referred to "
            "throughout the grace time.",
            {200: Answered("What became of each.", shapes.Collection)},
            (_DRY_RUN,),
            {**_CHANGING, 500: ("store-failed",)},
        ),
        ("GET", "/v1/events"): _EVENTS,
        ("GET", "/metrics"): Operation(
            "metrics",
            "daemon",
            "Figures for Prometheus",
            "Returns them in the text exposition format.",
            {200: Answered("The figures.", media_type="text/plain")},
            problems={503: _DISK},
        ),
        ("GET", "/healthz"): Operation(
            "health",
            "daemon",
            "Whether the process is well",
            "A configuration that was refused is no reason to be unwell, since a restart would not cure it.",
            {200: Answered("It is.", shapes.Health)},
            problems={503: ("unhealthy",)},
        ),
        ("GET", "/openapi.json"): Operation(
            "describeApi",
            "daemon",
            "This description",
            "Returns the description of the API of the version that runs.",
            {200: Answered("OpenAPI 3.1.", dict[str, object])},
        ),
    }
)
