"""Tests that the description of the API is valid, true, complete, and imported late."""

from __future__ import annotations

import ast
import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from api.test_routes import FakeService
from harness.description import check_answer, check_body, description, find_path
from harness.parts import whole
from harness.server import read_reply, running
from openapi_spec_validator import OpenAPIV31SpecValidator

from runtimed.api import openapi
from runtimed.api.connections import HttpLimits
from runtimed.api.messages import Request, Response, parse_target
from runtimed.api.openapi import codes_by_status
from runtimed.api.operations import OPERATIONS, Operation
from runtimed.api.sockets import Peer
from runtimed.api.stream import Channel, Stream
from runtimed.api.subscribers import SUBSCRIBERS_OF_ONE
from runtimed.core import errors, shapes
from runtimed.core.collection.collect import Collection
from runtimed.core.config import Limits
from runtimed.core.containers import PinnedContainer
from runtimed.core.errors import DamagedManifest, Problem, StoreFailed, TooManyWaiting
from runtimed.core.history.retained import RetainedGeneration
from runtimed.core.problem_codes import EVERY, PROBLEM_CODES
from runtimed.core.report import Report
from runtimed.core.table.generation import Generation

API = Path(openapi.__file__).parent


@pytest.fixture
def node() -> FakeService:
    return FakeService()


class FaultyFakeService(FakeService):
    """A node whose disk fails on request."""

    fault: Exception | None = None

    def read_generation(self, number: int) -> RetainedGeneration:
        if self.fault is not None:
            raise self.fault
        return super().read_generation(number)

    def containers(self, generation: Generation) -> tuple[PinnedContainer, ...]:
        if self.fault is not None:
            raise self.fault
        return super().containers(generation)

    async def collect(self, peer: Peer, *, dry_run: bool) -> Collection:
        if self.fault is not None:
            raise self.fault
        return await super().collect(peer, dry_run=dry_run)


def reject(node: FaultyFakeService) -> None:
    node.report = Report("rejected", 5, "api", problems=(Problem("bad", "/f", 3),))


def damage(node: FaultyFakeService) -> None:
    node.fault = DamagedManifest(3, "its checksum does not match")


def fail_disk(node: FaultyFakeService) -> None:
    node.fault = StoreFailed("reading", "/data", "Input/output error")


def hang_disk(node: FaultyFakeService) -> None:
    node.disk_hangs = True


def crowd_disk(node: FaultyFakeService) -> None:
    node.crowded = 0


def lose_binaries(node: FaultyFakeService) -> None:
    node.binaries = {}


def fall_ill(node: FaultyFakeService) -> None:
    node.unwell = {"watcher": "dead"}


def fill_events(node: FaultyFakeService) -> None:
    for number in range(SUBSCRIBERS_OF_ONE):
        node.events.subscribers.add(cast("Channel", number), 0)


@dataclass(frozen=True, slots=True)
class Case:
    """A request, and the expected response once ``prepare`` has changed the node."""

    target: str
    status: int = 200
    code: str | None = None
    prepare: Callable[[FaultyFakeService], None] = field(default=lambda _node: None)
    method: str = "GET"
    uid: int = 0


def post(target: str, status: int, code: str | None = None, **more: Any) -> Case:
    return Case(target, status, code, method="POST", **more)


def disk(target: str) -> Iterator[Case]:
    """Yield the cases of a request that needs a disk."""
    yield Case(target, 503, "disk-timeout", hang_disk)
    yield Case(target, 503, "too-many-waiting", crowd_disk)


def readings(target: str) -> Iterator[Case]:
    """Yield the cases of a request for a generation; ``target`` has braces for its number."""
    yield Case(target.format(6), 404, "no-such-generation")
    yield Case(target.format(4), 410, "generation-gone")
    yield Case(target.format(3), 500, "damaged-manifest", damage)
    yield Case(target.format(3), 500, "store-failed", fail_disk)
    yield from disk(target.format(3))


def fail_proof(error: Exception) -> Callable[[FaultyFakeService], None]:
    return lambda node: setattr(node, "proof_fault", error)


PROOF = "/v1/proofs/{}?outcome=passed&engine=direct&digest=sha256:1&identity=sha256:{}"
# Each described response, once.
CASES = [
    Case("/v1/resolve"),
    Case("/v1/resolve?runtime=nix", 400, "unknown-runtime"),
    Case("/v1/resolve?runtime=a/b", 400, "invalid-runtime-name"),
    Case("/v1/resolve?generation=3&digest=x", 409, "digest-mismatch"),
    Case("/v1/resolve?runtime=gvisor", 503, "runtime-unavailable", lose_binaries),
    *readings("/v1/resolve?generation={}"),
    Case("/v1/runtimes"),
    *disk("/v1/runtimes"),
    Case("/v1/runtimes/gvisor"),
    Case("/v1/runtimes/nix", 404, "unknown-runtime"),
    Case("/v1/runtimes/a%2Fb", 404, "invalid-runtime-name"),
    *disk("/v1/runtimes/gvisor"),
    Case("/v1/generations"),
    Case("/v1/generations/3"),
    *readings("/v1/generations/{}"),
    Case("/v1/diff?from=3&to=5"),
    *readings("/v1/diff?from={}&to=5"),
    Case("/v1/history?since=1.5"),
    *disk("/v1/history"),
    Case("/v1/containers"),
    *disk("/v1/containers"),
    Case("/v1/status"),
    post("/v1/reload", 200),
    post("/v1/reload?dry_run=true", 422, prepare=reject),
    post("/v1/reload", 403, "forbidden", uid=1000),
    post("/v1/gc", 200),
    post("/v1/gc", 403, "forbidden", uid=1000),
    post("/v1/gc", 500, "store-failed", prepare=fail_disk),
    post("/v1/engines/docker?state=not-told&detail=restart%20it", 200),
    post("/v1/engines/dockr?state=follows", 404, "unknown-engine"),
    post("/v1/engines/docker?state=follows", 403, "forbidden", uid=1000),
    *(
        post(PROOF.format(name, identity), status, code, **more)
        for name, identity, status, code, more in (
            ("gvisor", "now", 200, None, {}),
            ("gvisor", "old", 409, "proof-outdated", {}),
            ("nix", "now", 404, "unknown-runtime", {}),
            ("a%2Fb", "now", 404, "invalid-runtime-name", {}),
            ("gvisor", "now", 403, "forbidden", {"uid": 1000}),
            ("gvisor", "now", 507, "store-failed", {"prepare": fail_proof(StoreFailed("writing", "/d", "full"))}),
            ("gvisor", "now", 503, "disk-timeout", {"prepare": fail_proof(TimeoutError())}),
            ("gvisor", "now", 503, "too-many-waiting", {"prepare": fail_proof(TooManyWaiting(0, 256))}),
        )
    ),
    Case("/v1/events?since=0"),
    Case("/v1/events", 503, "too-many-subscribers", fill_events),
    Case("/metrics"),
    *disk("/metrics"),
    Case("/healthz"),
    Case("/healthz", 503, "unhealthy", fall_ill),
    Case("/openapi.json"),
]
# Problems with which the connection itself responds, and the bytes that cause them.
REFUSED = {
    "malformed-request": b"nonsense\r\n\r\n",
    "malformed-target": b"GET /%% HTTP/1.1\r\nHost: x\r\n\r\n",
    "request-timeout": b"GET / HTTP/1.1\r\n",
    "body-not-accepted": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n",
    "target-too-long": b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * 10_000),
    "expectation-failed": b"GET / HTTP/1.1\r\nHost: x\r\nExpect: more\r\n\r\n",
    "headers-too-large": b"GET / HTTP/1.1\r\nHost: x\r\nX: %b\r\n\r\n" % (b"x" * 20_000),
    "internal-error": b"GET /fail HTTP/1.1\r\nHost: x\r\n\r\n",
    "version-not-supported": b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
}


def described() -> Iterator[tuple[str, str, int, str | None]]:
    """Yield every described response other than the problems of every request."""
    for (method, path), operation in OPERATIONS.items():
        yield from ((method, path, status, None) for status in operation.responses)
        problems = codes_by_status(operation.name)
        yield from ((method, path, status, code) for status, codes in problems.items() for code in codes)


async def answer(node: FakeService, case: Case) -> tuple[str, str, int, str | None]:
    """Return the described response to ``case``."""
    found = node.routes(Request(case.method, parse_target(case.target.encode()), Peer(1, case.uid, case.uid)))
    path = case.target.partition("?")[0]
    if isinstance(found, Stream):
        return check_answer(case.method, path, 200, found.content_type, ["Cache-Control"], b"")
    found = await whole(found if isinstance(found, Response) else await found)
    return check_answer(case.method, path, found.status, found.content_type, dict(found.headers), found.body)


def title(code: str | None) -> str | None:
    return None if code is None else PROBLEM_CODES[code].title


def test_an_independent_validator_accepts_the_description() -> None:
    assert list(OpenAPIV31SpecValidator(openapi.describe_api()).iter_errors()) == []


async def test_the_served_description_is_made_once(node: FakeService) -> None:
    both = await asyncio.gather(node.response("/openapi.json"), node.response("/openapi.json"))
    assert both[0] is both[1] is await node.response("/openapi.json")
    assert json.loads(both[0].body) == openapi.describe_api()


def test_paths_methods_and_query_keys_are_those_that_are_served(node: FakeService) -> None:
    served = {
        (route.method, *("*" if part[0] == "{" else part for part in path)): set(route.query)
        | ({"*"} if "{name}" in path else set())
        for path, route in node.routes._routes.items()
    }
    found = {
        (method, *("*" if part[0] == "{" else part for part in path[1:].split("/"))): {
            "*" if parameter.place == "path" else parameter.name for parameter in operation.parameters
        }
        for (method, path), operation in OPERATIONS.items()
    }
    assert found == served
    for (_, path), operation in OPERATIONS.items():
        in_path = {f"{{{parameter.name}}}" for parameter in operation.parameters if parameter.place == "path"}
        assert in_path == {part for part in path.split("/") if part.startswith("{")}


def test_there_is_a_case_for_each_described_response_and_for_no_other() -> None:
    tried = [(c.method, find_path(description(), c.target.partition("?")[0]), c.status, c.code) for c in CASES]
    assert sorted(tried, key=str) == sorted(described(), key=str)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.method} {case.target} {case.code or case.status}")
async def test_each_described_response_is_as_described(case: Case) -> None:
    node = FaultyFakeService()
    case.prepare(node)
    assert (await answer(node, case))[2:] == (case.status, case.code)


@pytest.mark.parametrize("code", REFUSED)
async def test_a_refusal_by_the_connection_is_described_for_every_path(code: str) -> None:
    limits = HttpLimits(head_s=0.15, sweep_s=0.02) if code == "request-timeout" else HttpLimits()
    async with running(limits) as run:
        reader, writer = await run.connect()
        writer.write(REFUSED[code])
        reply = await read_reply(reader)
        writer.close()
        await writer.wait_closed()
    found = check_answer("GET", "/v1/status", reply.status, reply.headers["Content-Type"], (), reply.body)
    assert found == ("GET", "/v1/status", reply.status, code)
    assert json.loads(reply.body)["title"] == title(code)


async def test_a_refused_connection_is_described() -> None:
    async with running(admission=Limits(1, 1)) as run:
        _, first = await run.connect()
        reader, second = await run.connect()
        reply = await read_reply(reader)
        for writer in (first, second):
            writer.close()
            await writer.wait_closed()
    found = check_answer("GET", "/v1/status", reply.status, reply.headers["Content-Type"], (), reply.body)
    assert found[3] == "too-many-connections"


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
async def test_each_path_refuses_other_methods_and_unknown_query_keys_as_described(
    node: FakeService, method: str, path: str
) -> None:
    target = path.format(name="gvisor", number=3, engine="docker", runtime="gvisor")
    assert (await node.ask(f"{target}?nonsense=1", method))[1]["code"] == "bad-query"
    status, body = await node.ask(target, "PUT")
    assert (status, body["title"]) == (405, title("method-not-allowed"))
    assert {found[2:] for found in node.seen} == {(400, "bad-query"), (405, "method-not-allowed")}


def test_each_problem_of_every_request_is_tested_here() -> None:
    tested = {*REFUSED, "too-many-connections", "bad-query", "method-not-allowed"}
    assert {code for code, row in PROBLEM_CODES.items() if EVERY in row.operations} == tested


def test_the_codes_are_those_that_the_source_uses() -> None:
    calls = [node for path in API.glob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    literal = {
        call.args[0].value
        for call in calls
        if isinstance(call, ast.Call)
        and ast.unparse(call.func).rpartition(".")[2] in ("problem", "_refuse", "_note_refusal")
        and isinstance(call.args[0], ast.Constant)
    }
    raised = {error.code for error in vars(errors).values() if isinstance(error, type) and hasattr(error, "code")}
    assert literal <= set(PROBLEM_CODES)
    assert set(PROBLEM_CODES) - literal <= raised


def test_each_operation_that_a_code_names_exists() -> None:
    named = {name for row in PROBLEM_CODES.values() for name in (*row.operations, *row.statuses)}
    assert named <= {EVERY, *(operation.name for operation in OPERATIONS.values())}
    assert [code for code, row in PROBLEM_CODES.items() if row.operations == ()] == ["no-such-path"]


async def test_a_title_is_the_same_wherever_its_code_comes() -> None:
    for case in CASES:
        if case.code is not None:
            node = FaultyFakeService()
            case.prepare(node)
            assert (await node.ask(case.target, case.method, case.uid))[1]["title"] == title(case.code)
    assert (await FakeService().ask("/nowhere"))[1]["title"] == title("no-such-path")


def test_each_problem_has_a_valid_example() -> None:
    document = description()
    answers = [
        answer
        for operations in document["paths"].values()
        for operation in operations.values()
        for answer in operation["responses"].values()
    ]
    checked = 0
    for answer in (*answers, *document["components"]["responses"].values()):
        for media_type, content in answer.get("content", {}).items():
            for name, example in content.get("examples", {}).items():
                assert media_type == "application/problem+json"
                value = document["components"]["examples"][example["$ref"].rpartition("/")[2]]["value"]
                assert value["code"] == name
                check_body(content["schema"], value, document)
                checked += 1
    assert checked > len(PROBLEM_CODES)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda operation: operation.name)
def test_each_success_has_a_valid_example(operation: Operation) -> None:
    document = description()
    (described,) = (
        found
        for operations in document["paths"].values()
        for found in operations.values()
        if found["operationId"] == operation.name
    )
    for status, success in operation.responses.items():
        content = described["responses"][str(status)]["content"][success.media_type]
        if operation.name == "describeApi":
            assert "example" not in content, "it is one itself"
        else:
            check_body(content["schema"], content["example"], document)


def test_the_example_of_a_stream_is_lines_of_events() -> None:
    content = description()["paths"]["/v1/events"]["get"]["responses"]["200"]["content"]["application/x-ndjson"]
    lines = content["example"].splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["heartbeat", "drift", "generation"]
    for line in lines:
        check_body(content["schema"]["contentSchema"]["items"], json.loads(line), description())


def test_each_parameter_has_a_schema_that_takes_its_examples() -> None:
    for operation in OPERATIONS.values():
        for parameter in operation.parameters:
            for example in parameter.schema.get("examples", ()):
                check_body(parameter.schema, example, description())


def test_each_shape_has_a_description() -> None:
    schemas = description()["components"]["schemas"]
    assert [name for name, schema in schemas.items() if not schema["description"]] == []
    assert {kind.__name__ for kind in shapes.Event.__args__} < set(schemas)


def test_the_description_is_not_imported_at_the_start() -> None:
    program = "import runtimed.daemon.main, sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "runtimed.api.description" in loaded
    assert not loaded & {f"runtimed.api.{name}" for name in ("openapi", "operations", "examples", "schemas")}
    # The shapes are for type checkers.
    assert not loaded & {"runtimed.core.shapes", "runtimed.core.shapes.daemon"}
