"""Describes the operations of the API for `/openapi.json`: parameters, and responses other than problems.

The problem codes of each operation are in `runtimed.core.problem_codes`. A test compares both with the routes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

from runtimed.core import shapes
from runtimed.core.engines import NAMES

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
class Success:
    """A response that is no problem; ``shape`` is None for text."""

    text: str
    shape: object = None
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    name: str
    group: str
    summary: str
    text: str
    responses: Mapping[int, Success]
    parameters: tuple[Parameter, ...] = ()


_NOT_EMPTY = MappingProxyType({"type": "string", "minLength": 1})
_NUMBER = MappingProxyType({"type": "integer", "minimum": 0, "maximum": 10**15 - 1})
# A pattern, because a number may be written with an exponent.
_SECONDS = MappingProxyType({"type": "string", "pattern": r"^[0-9]{1,15}(\.[0-9]{1,9})?$", "examples": ["1764158400"]})


def _generation(name: str, text: str, example: int, place: Literal["query", "path"] = "query") -> Parameter:
    return Parameter(name, text, {**_NUMBER, "examples": [example]}, place, required=True)


def _runtime(name: str) -> Parameter:
    text, schema = "name of the runtime, a slash in it as `%2F`", {**_NOT_EMPTY, "examples": ["gvisor"]}
    return Parameter(name, text, schema, "path", required=True)


_DRY_RUN = Parameter("dry_run", "whether only to report what would be done", {"type": "boolean", "default": False})

OPERATIONS: Mapping[tuple[str, str], Operation] = MappingProxyType(
    {
        ("GET", "/v1/resolve"): Operation(
            "resolve",
            "runtimes",
            "Resolve the name of a runtime",
            "Returns everything needed to start a container with the runtime: the shim, and the options message as "
            "containerd takes it. A name that is not configured resolves to itself if it is the name of a shim, such "
            "as `io.containerd.kata.v2`. The files that the resolution of a configured runtime names are looked up "
            "first.",
            {200: Success("The resolution.", shapes.Resolution)},
            (
                Parameter(
                    "runtime",
                    "name of the runtime; empty for the default one",
                    {"type": "string", "examples": ["gvisor"]},
                ),
                Parameter(
                    "generation",
                    "resolve as in this generation, which must be retained",
                    {**_NUMBER, "examples": [1]},
                ),
                Parameter("digest", "with `generation`: the digest that the resolution must have", {"type": "string"}),
            ),
        ),
        ("GET", "/v1/runtimes"): Operation(
            "listRuntimes",
            "runtimes",
            "The table of all runtimes",
            "Returns all runtimes of the current generation, the stock ones included, each with its description. "
            "A large table is sent in chunks.",
            {200: Success("The table.", shapes.RuntimeTable)},
        ),
        ("GET", "/v1/runtimes/{name}"): Operation(
            "describeRuntime",
            "runtimes",
            "The description of one runtime",
            "Returns where the runtime is defined, how it resolves, whether its binary can be executed, the features "
            "and the drift of the binary, and lint. A name that is not configured is described if it is the name of a "
            "shim.",
            {200: Success("The runtime.", shapes.RuntimeDescription)},
            (_runtime("name"),),
        ),
        ("GET", "/v1/generations"): Operation(
            "listGenerations",
            "generations",
            "The retained generations",
            "Returns a summary of each retained generation, the newest, which is the current one, first.",
            {200: Success("The list.", shapes.Generations)},
        ),
        ("GET", "/v1/generations/{number}"): Operation(
            "describeGeneration",
            "generations",
            "One retained generation",
            "Returns the configuration that the generation was built from, and every resolution in it.",
            {200: Success("The generation.", shapes.GenerationDetail)},
            (_generation("number", "number of the generation", 1, "path"),),
        ),
        ("GET", "/v1/diff"): Operation(
            "compareGenerations",
            "generations",
            "The difference of two generations",
            "Returns the runtimes that differ between two retained generations, in their resolutions or in the keys "
            "that they carry for engines, with both definitions of each.",
            {200: Success("The difference.", shapes.GenerationsDiff)},
            (_generation("from", "the generation before", 1), _generation("to", "the generation after", 2)),
        ),
        ("GET", "/v1/history"): Operation(
            "listHistory",
            "generations",
            "The history of the table",
            "Returns the retained generations and the events that are kept with them on disk, by time: rejected "
            "reloads, starts, repairs, removed wrappers, changes of the health, of binaries, engines and proofs.",
            {200: Success("The history.", shapes.History)},
            (Parameter("since", "only entries from this time on, in seconds since the epoch", {**_SECONDS}),),
        ),
        ("GET", "/v1/containers"): Operation(
            "listContainers",
            "containers",
            "The containers with a pin",
            "Returns the containers that were started through the stable path of a runtime, each with the binary that "
            "it keeps, and whether the stable path leads to another one now.",
            {200: Success("The list.", shapes.Containers)},
        ),
        ("GET", "/v1/status"): Operation(
            "status",
            "daemon",
            "The status of the daemon",
            "Returns its health, the report of the last reload, its settings, and how it watches files.",
            {200: Success("The status, also of a degraded daemon.", shapes.Status)},
        ),
        ("POST", "/v1/reload"): Operation(
            "reload",
            "daemon",
            "Reload the configuration",
            "Returns when a reload that began after the request has ended. Several requests may share one reload.",
            {
                200: Success("The report of a reload that was applied, or changed nothing.", shapes.Report),
                422: Success("The report of a reload that was rejected and changed nothing.", shapes.Report),
            },
            (_DRY_RUN,),
        ),
        ("POST", "/v1/gc"): Operation(
            "collectWrappers",
            "daemon",
            "Remove unreferenced wrappers",
            "Returns a verdict on every wrapper, after removing those to which no retained generation and no container "
            "has referred throughout the grace time.",
            {200: Success("The verdicts.", shapes.Collection)},
            (_DRY_RUN,),
        ),
        ("POST", "/v1/engines/{engine}"): Operation(
            "recordVerification",
            "daemon",
            "Record the verification of an engine",
            "Returns the outcome with its time. The daemon itself asks no engine: `runtimectl sync` does, and records "
            "the outcome here. The daemon keeps the last one of each engine until it stops: in the status, the events "
            "and the metrics. Its health does not depend on it.",
            {200: Success("The recorded outcome.", shapes.EngineStatus)},
            (
                Parameter(
                    "engine",
                    "name of the engine",
                    {"type": "string", "enum": list(NAMES), "examples": ["docker"]},
                    "path",
                    required=True,
                ),
                Parameter(
                    "state",
                    "the outcome",
                    {"type": "string", "enum": list(get_args(shapes.EngineState)), "examples": ["follows"]},
                    required=True,
                ),
                Parameter(
                    "detail",
                    "the reason, and the command that changes the state",
                    {"type": "string", "maxLength": 1000, "default": ""},
                ),
            ),
        ),
        ("POST", "/v1/proofs/{runtime}"): Operation(
            "recordProof",
            "runtimes",
            "Record the test of a runtime",
            "Returns the proof. The daemon itself tests no runtime: `runtimectl test` does, and records the outcome "
            "here. The daemon keeps the last proof of each runtime in the data root. The request is refused if the "
            "runtime has another resolution or other binaries than those of the test.",
            {200: Success("The recorded proof.", shapes.RecordedProof)},
            (
                _runtime("runtime"),
                Parameter(
                    "outcome",
                    "whether the test passed",
                    {"type": "string", "enum": list(get_args(shapes.ProofOutcome)), "examples": ["passed"]},
                    required=True,
                ),
                Parameter(
                    "engine",
                    "how the container was started",
                    {"type": "string", "enum": list(get_args(shapes.ProofEngine)), "examples": ["direct"]},
                    required=True,
                ),
                Parameter("digest", "digest of the tested resolution", dict(_NOT_EMPTY), required=True),
                Parameter(
                    "identity",
                    "`identity` of the runtime before the test, as `GET /v1/runtimes/{name}` returned it",
                    dict(_NOT_EMPTY),
                    required=True,
                ),
                Parameter(
                    "detail",
                    "the reason of a failure, or a summary of the test",
                    {"type": "string", "maxLength": 1000, "default": ""},
                ),
            ),
        ),
        ("GET", "/v1/events"): Operation(
            "listen",
            "daemon",
            "The stream of events",
            "Returns a stream that ends with the connection: one JSON object a line. A client that leaves too much "
            "unread is dropped.",
            {
                200: Success(
                    "Events, one a line; the first line is sent at once.",
                    shapes.Event,
                    "application/x-ndjson",
                    {"Cache-Control": "`no-store`"},
                )
            },
            (
                Parameter(
                    "since",
                    "begin after the event with this number, as far as the last thousand are kept; by default with "
                    "the next event",
                    dict(_NUMBER),
                ),
            ),
        ),
        ("GET", "/metrics"): Operation(
            "metrics",
            "daemon",
            "Metrics for Prometheus",
            "Returns the metrics in the text exposition format.",
            {200: Success("The metrics.", media_type="text/plain")},
        ),
        ("GET", "/healthz"): Operation(
            "health",
            "daemon",
            "The health of the process",
            "A rejected configuration does not make the process unhealthy, since a restart would not cure it.",
            {200: Success("The process is healthy.", shapes.Health)},
        ),
        ("GET", "/openapi.json"): Operation(
            "describeApi",
            "daemon",
            "This description",
            "Returns the description of the API, for the version of the daemon that is running.",
            {200: Success("OpenAPI 3.1.", dict[str, object])},
        ),
    }
)
