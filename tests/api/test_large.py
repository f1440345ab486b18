"""Tests of how the routes respond with large documents, without a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from harness.functions import functions_of
from harness.generation import generation_of, manifest_of
from harness.parts import whole

from runtimed.api.counters import Counters
from runtimed.api.events import Events
from runtimed.api.large import call_in_loop, json_pieces, large_json_response
from runtimed.api.messages import Request, Response, parse_target
from runtimed.api.parts import PART_BYTES, PartedResponse
from runtimed.api.routes import Routes
from runtimed.api.sockets import Peer
from runtimed.core.containers import PinnedContainer
from runtimed.core.errors import GenerationGone
from runtimed.core.history.event_lines import render_event
from runtimed.core.history.retained import (
    RetainedGeneration,
    Summary,
    compare_retained,
    describe_retained,
    read_retained,
    summarise_retained,
)
from runtimed.core.history.timeline import make_timeline
from runtimed.core.report import Report
from runtimed.core.table.generation import Generation

MANY = 1000
EVENT = render_event("gc", 3, {"wrapper": "x-1", "asked_by": "uid 0, pid 7"}) or b""


def retained(mark: str, number: int, runtimes: int) -> RetainedGeneration:
    """Return a generation with so many runtimes, whose arguments have the ``mark``."""
    table = {f"runtime{n:04}": {"path": "/bin/sh", "runtimeArgs": ["-e", mark]} for n in range(runtimes)}
    generation = generation_of({"runtimes": table}, number)
    return read_retained(manifest_of(generation), generation.config_text)


class Node:
    """A daemon with generations of so many runtimes, containers and events."""

    def __init__(self, entries: int) -> None:
        self.generation = generation_of({})
        self.read = {1: retained("old", 1, entries), 2: retained("new", 2, entries)}
        self.pinned = tuple(
            PinnedContainer(f"{n:064}", "/run/moby", "l", "r", "/bin/sh", 1, outdated=True, bundle="/b")
            for n in range(entries)
        )
        self.lines = EVENT * entries
        compared = compare_retained(self.read[1], self.read[2])
        self.report = Report("unchanged", 2, "api", changed=tuple(self.read[1].manifest.answers), changes=compared)
        self.fault: Exception | None = None
        self.routes = Routes(functions_of(self), Events(lambda _reason: None), Counters())
        self.expected: dict[str, object] = {
            "/v1/generations/1": describe_retained(self.read[1]),
            "/v1/diff?from=1&to=2": compared,
            "/v1/history": make_timeline(self.retained(), self.read_events, 0),
            "/v1/containers": {"generation": 1, "containers": [each.as_dict() for each in self.pinned]},
            RELOAD: self.report.as_dict(),
        }

    def current(self) -> Generation:
        return self.generation

    def read_generation(self, number: int) -> RetainedGeneration:
        if number not in self.read:
            raise GenerationGone(number, "is no longer retained")
        return self.read[number]

    def retained(self) -> tuple[Summary, ...]:
        return tuple(summarise_retained(each.manifest) for each in self.read.values())

    def read_events(self, number: int) -> bytes:
        return self.lines if number == 2 else b""

    def containers(self, _generation: Generation) -> tuple[PinnedContainer, ...]:
        return self.pinned

    async def in_data_root(self, _peer: Peer, function: Callable[..., Any], *args: object) -> Any:
        if self.fault is not None:
            raise self.fault
        return function(*args)

    async def reload(self, _peer: Peer, *, dry_run: bool) -> Report:
        assert dry_run
        return self.report

    def may_change(self, _peer: Peer) -> bool:
        return True

    async def respond(self, target: str) -> Response | PartedResponse:
        method = "POST" if "reload" in target else "GET"
        answer = self.routes(Request(method, parse_target(target.encode()), Peer(1, 0, 0)))
        assert isinstance(answer, Awaitable)
        return await answer


@pytest.fixture(scope="module")
def many() -> Node:
    return Node(MANY)


@pytest.fixture(scope="module")
def few() -> Node:
    return Node(3)


TARGETS = ("/v1/generations/1", "/v1/diff?from=1&to=2", "/v1/history", "/v1/containers")
RELOAD = "/v1/reload?dry_run=true"


@pytest.mark.parametrize("target", TARGETS)
async def test_a_large_document_is_one_response(many: Node, target: str) -> None:
    response = await many.respond(target)
    assert isinstance(response, Response)
    assert response.body == json.dumps(many.expected[target]).encode() + b"\n"


async def test_a_large_report_is_sent_in_parts(many: Node) -> None:
    response = await many.respond(RELOAD)
    assert isinstance(response, PartedResponse)
    parts = [response.first]
    while part := await response.more():
        parts.append(part)
    assert b"".join(parts) == json.dumps(many.expected[RELOAD]).encode() + b"\n"
    assert all(PART_BYTES <= len(part) < 3 * PART_BYTES for part in parts[:-1])


@pytest.mark.parametrize("target", [*TARGETS, RELOAD])
async def test_a_small_document_is_one_response(few: Node, target: str) -> None:
    response = await few.respond(target)
    assert isinstance(response, Response)
    assert response.body == json.dumps(few.expected[target]).encode() + b"\n"


async def test_a_report_does_not_need_the_disk(many: Node) -> None:
    many.fault = TimeoutError()
    try:
        response = await whole(await many.respond(RELOAD))
    finally:
        many.fault = None
    assert json.loads(response.body)["changed"]


async def test_other_events_are_handled_before_the_event_loop_makes_a_part() -> None:
    order: list[str] = []
    asyncio.get_running_loop().call_soon(order.append, "another event")
    await call_in_loop(order.append, "a part")
    assert order == ["another event", "a part"]


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"a": {}, "b": []},
        {"config": {"runtimes": {f'n"{n}': {"path": "/é", "n": n} for n in range(1000)}, "x": None}},
        {"added": [{"name": str(n)} for n in range(130)], "removed": list(range(64)), "to": 2},
        [],
        list(range(65)),
    ],
)
def test_a_large_document_is_the_same_json_rendered_in_small_steps(document: object) -> None:
    assert large_json_response(document).body == json.dumps(document).encode() + b"\n"
    steps = [step for step in json_pieces(document) if step not in (b", ", b"{", b"}", b"[", b"]", b"\n")]
    assert max(map(_entries, steps)) <= 64


def test_a_step_has_fewer_entries_where_these_are_long() -> None:
    document = {str(n): "x" * 100_000 for n in range(70)}
    assert b"".join(json_pieces(document)) == json.dumps(document).encode() + b"\n"
    assert max(map(len, json_pieces(document))) < 200_000


def _entries(step: bytes) -> int:
    text = step.decode()
    for opening, closing in (("", ""), ("{", "}"), ("[", "]")):
        try:
            value = json.loads(opening + text + closing)
        except ValueError:
            continue
        return len(value) if isinstance(value, list | Mapping) else 1
    return 1  # a key and its colon
