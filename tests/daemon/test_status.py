"""The status of a daemon with large, broken tables: bounded in size, and cheap to request again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from harness.generation import SETTINGS, generation_of

from runtimed.core.containers import ContainersSummary, Kept
from runtimed.core.drift import BinaryState
from runtimed.core.errors import ConfigurationRejected
from runtimed.core.pins import Pin
from runtimed.core.report import Report
from runtimed.core.table.generation import Generation
from runtimed.daemon.status import Status
from runtimed.inspection.drift_watch import DriftWatch
from runtimed.inspection.proofs import Proofs


def generation(count: int) -> Generation:
    return generation_of({"runtimes": {f"runtime-{n}": {"path": f"/usr/bin/runtime-{n}"} for n in range(count)}})


def states(current: Generation, state: Any) -> Mapping[str, BinaryState]:
    return {
        runtime.binary: BinaryState(
            state, None, None, f"{runtime.binary}: no such file" if state == "missing" else None
        )
        for runtime in current.runtimes.values()
        if runtime.binary
    }


class StatusParts:
    """The parts of a daemon that its status is made of."""

    def __init__(self, current: Generation, last: Report | None = None) -> None:
        self.reloader = SimpleNamespace(current=current, last=last, faults={})
        self.pinned = SimpleNamespace(pins=(), unpinned=(), faults=())
        self.compared = 0
        self.drift = DriftWatch(self._look, lambda *_: None, lambda _states: True)
        self.drift.apply(current)
        self.status = Status(
            reloader=self.reloader,  # type: ignore[arg-type]
            store=SimpleNamespace(retained=SimpleNamespace(name_of=self.name_of, generation_of=lambda *_: 7)),  # type: ignore[arg-type]
            watcher=SimpleNamespace(mode="inotify", alive=True, faults={}),  # type: ignore[arg-type]
            drift=self.drift,
            announcer=SimpleNamespace(events=Events(), engines=ENGINES),  # type: ignore[arg-type]
            boot=SETTINGS,
            connections=lambda: 1,
            exhausted=lambda: None,
            published_faults=dict,
            pinned=self.pinned,  # type: ignore[arg-type]
            proofs=Proofs({}, lambda _binaries: {}, lambda _proofs: None),
        )

    def name_of(self, link: str) -> str:
        self.compared += 1
        return link

    async def _look(self, _: object) -> Mapping[str, BinaryState]:
        raise TimeoutError

    def look(self, state: str) -> None:
        self.drift._compare(states(self.reloader.current, state))


ENGINES = {"docker": {"engine": "docker", "state": "differs", "detail": "x", "time": 7.0}}


class Events:
    last = 7

    def __len__(self) -> int:
        return 0


def rejection() -> Report:
    """Return the report on 2,000 problems, each at a pointer of many kilobytes."""
    with pytest.raises(ConfigurationRejected) as caught:
        generation_of({"runtimes": {f"{'k' * 4000}{n}": {"path": 1} for n in range(2000)}})
    return Report("rejected", 1, "api", problems=caught.value.problems, omitted=caught.value.omitted)


def test_a_status_is_bounded_whatever_is_wrong() -> None:
    report = rejection()
    assert (len(report.problems), report.problem_count) == (1000, 2000)
    node = StatusParts(generation(3000), report)
    node.look("available")
    node.look("missing")
    found = node.status.as_dict()
    assert (len(found["unavailable"]), found["unavailable_count"]) == (1000, 3000)
    assert (len(found["drift"]), found["drift_count"]) == (1000, 3001), "with the stock runtime's"
    last = found["last_reload"]
    assert last is not None
    assert (len(last["problems"]), last["problems_total"], last["problem_count"]) == (100, 1000, 2000)
    assert len(json.dumps(found)) < 350_000


def test_a_status_names_fifty_of_the_runtimes_that_execute_a_binary_and_counts_them() -> None:
    runtimes = {f"runtime-{n}": {"path": "/usr/bin/crun", "runtimeArgs": [f"--{n}"]} for n in range(200)}
    node = StatusParts(generation_of({"runtimes": runtimes}))
    node.look("available")
    node.look("missing")
    (drift,) = (each for each in node.status.as_dict()["drift"] if each["binary"] == "/usr/bin/crun")
    assert (len(drift["runtimes"]), drift["runtime_count"]) == (50, 200)


def test_unavailable_runtimes_are_searched_once_for_each_generation_and_after_a_look_that_differs() -> None:
    node = StatusParts(generation(3))
    found = []
    for state in ("missing", "missing", "unusable", "unusable"):
        node.look(state)
        found.append(node.status.unavailable())
        assert node.status.unavailable() is found[-1]
    node.reloader.current = generation(2)
    assert [len(each) for each in found] == [3, 3, 3, 3]
    assert [found[0] is found[1], found[1] is found[2], found[2] is found[3]] == [True, False, True]
    assert len(node.status.unavailable()) == 2


def test_a_status_shows_the_report_of_the_last_reload() -> None:
    node = StatusParts(generation(3))
    assert node.status.as_dict()["last_reload"] is None
    for reason in ("api", "signal"):
        node.reloader.last = Report("unchanged", 1, reason)
        for _ in "ab":
            last = node.status.as_dict()["last_reload"]
            assert last is not None
            assert last["reason"] == reason


def test_an_engine_that_does_not_follow_is_in_the_status_and_no_fault_of_the_daemon() -> None:
    status = StatusParts(generation(1)).status
    assert status.as_dict()["engines"] == [ENGINES["docker"]]
    assert status.faults() == {}


def test_a_status_compares_the_containers_of_the_last_look_once_for_each_generation() -> None:
    node = StatusParts(generation(1))
    assert node.status.as_dict()["containers"] == ContainersSummary().as_dict()
    node.pinned.pins = (Pin("runtime-0", "", "a", "", "", "/usr/bin/runtime-0"),)
    node.pinned.unpinned, node.pinned.faults = ("db", "web"), ("x: denied",)
    kept = Kept("runtime-0", 1, 7, "/usr/bin/runtime-0")
    for count, found in ((1, ()), (0, (kept,))):
        node.reloader.current = generation(count)
        summary = ContainersSummary(1, 2, found, ("x: denied",))
        assert node.status.as_dict()["containers"] == summary.as_dict()
        assert node.status.containers() is node.status.containers()
    assert node.compared == 2
