"""What happened, told to the log, to subscribers and to the metrics."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from harness.description import check_event

from runtimed.core.config import Config, Settings
from runtimed.core.drift import Drift
from runtimed.core.errors import Problem
from runtimed.core.report import Report
from runtimed.core.table.facts import Facts
from runtimed.core.table.generation import Generation, Host, build_generation
from runtimed.daemon.announcer import Announcer
from runtimed.daemon.log import configure_log


class Manager:
    """Notes what the service manager is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    def ready(self, status: str) -> None:
        self.told.append(("ready", status))

    def reloading(self) -> None:
        self.told.append(("reloading",))

    def status(self, status: str) -> None:
        self.told.append(("status", status))


class Told:
    """An announcer, and what it has told by now."""

    def __init__(self) -> None:
        self.manager = Manager()
        self.announcer = Announcer(self.manager)
        self._stream = io.StringIO()
        configure_log("info", "json", self._stream)

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]

    def events(self) -> list[dict[str, Any]]:
        told = [json.loads(line) for _, line in self.announcer.events._kept]
        for event in told:
            check_event(event)
        return told


@pytest.fixture
def told() -> Iterator[Told]:
    handlers = logging.root.handlers.copy()
    yield Told()
    structlog.reset_defaults()
    logging.root.handlers = handlers


def generation(number: int) -> Generation:
    config = Config("/d.json", Settings("/data", "/exec", ()), {})
    return build_generation(config, Host(Facts(cgroup2=False, systemd=False, ramdisk=False), "/data", "/exec"), number)


def test_a_reload_is_told_and_the_generation_only_when_it_is_another(told: Told) -> None:
    told.announcer.reloaded(Report("applied", 1, "start", duration_ms=5.0, time_s=7.0), generation(1))
    told.announcer.reloaded(Report("unchanged", 1, "api", time_s=8.0), generation(1))
    told.announcer.reloaded(Report("rejected", 1, "api", problems=(Problem("no"),), time_s=9.0), generation(1))
    assert [event["type"] for event in told.events()] == ["reload", "generation", "reload", "reload"]
    assert [event["event"] for event in told.log()] == ["reload.applied", "reload.unchanged", "reload.rejected"]
    assert told.events()[3]["problems"][0]["message"] == "no"
    counters = told.announcer.counters
    assert counters.reloads == {("applied", "start"): 1, ("unchanged", "api"): 1, ("rejected", "api"): 1}
    assert counters.last_success_s == 8.0


def test_the_service_manager_is_told_of_every_reload_once_it_knows_that_we_serve(told: Told) -> None:
    announcer = told.announcer
    announcer.reloading()
    announcer.reloaded(Report("applied", 1, "start"), generation(1))
    assert told.manager.told == []
    announcer.ready()
    announcer.reloading()
    announcer.reloaded(Report("rejected", 1, "api", problems=(Problem("no"),)), generation(1))
    announcer.health({"configuration": "d.json:4: no"})
    announcer.health({})
    assert told.manager.told == [
        ("ready", "generation 1, 2 runtimes"),
        ("reloading",),
        ("ready", "generation 1, 2 runtimes"),
        ("status", "degraded: configuration: d.json:4: no; generation 1, 2 runtimes"),
        ("status", "generation 1, 2 runtimes"),
    ]


def test_an_event_stays_small_whatever_the_size_of_the_table(told: Told) -> None:
    names = tuple(f"runtime{number}" for number in range(10_000))
    told.announcer.reloaded(Report("applied", 1, "api", added=names), generation(1))
    reload = told.events()[0]
    assert len(reload["added"]) == 50
    assert reload["added_total"] == 10_000


def test_health_is_told_when_it_changes(told: Told) -> None:
    for faults in ({}, {"configuration": "bad"}, {"configuration": "bad"}, {"store": "x"}, {}):
        told.announcer.health(faults)
    assert [(event["status"], event["reasons"]) for event in told.events()] == [
        ("degraded", {"configuration": "bad"}),
        ("degraded", {"store": "x"}),
        ("ok", {}),
    ]


def test_drift_is_told_with_the_runtimes_that_it_concerns(told: Told) -> None:
    drift = Drift("/bin/x", "removed", reason="no such file")
    told.announcer.drifted({"/bin/x": drift}, {}, lambda _binary: ("a", "b"), loaded=False)
    told.announcer.drifted({}, {"/bin/x": drift}, lambda _binary: ("a", "b"), loaded=False)
    told.announcer.drifted({}, {"/bin/x": drift}, lambda _binary: ("a", "b"), loaded=True)
    first, second, third = told.events()
    assert (first["kind"], first["runtimes"]) == ("removed", ["a", "b"])
    assert (second["binary"], second["kind"], third["kind"]) == ("/bin/x", "back", "loaded")
    assert [event["event"] for event in told.log()] == ["drift", "drift.over", "drift.over"]


def test_drift_of_everything_at_once_is_few_events(told: Told) -> None:
    drifts = {f"/bin/{number}": Drift(f"/bin/{number}", "removed") for number in range(3000)}
    told.announcer.drifted(drifts, {}, lambda _binary: ("a",), loaded=False)
    assert len(told.events()) == 51
    assert told.events()[-1]["count"] == 2950


def test_polling_is_told_when_it_begins_and_when_it_ends(told: Told) -> None:
    for polled in ({}, {"/nfs": "on nfs"}, {"/nfs": "on nfs"}, {}):
        told.announcer.watching(polled)
    assert [event["mode"] for event in told.events()] == ["polling", "inotify"]


def test_a_wrapper_that_is_gone_is_told_and_counted(told: Told) -> None:
    told.announcer.collected("x-1", "uid 0")
    assert told.events()[0]["wrapper"] == "x-1"
    assert told.announcer.counters.wrappers_collected == 1


def test_a_reload_with_several_triggers_is_counted_under_the_first(told: Told) -> None:
    for reason in ("api", "api, signal", "signal, api, file-change"):
        told.announcer.reloaded(Report("unchanged", 1, reason), generation(1))
    assert told.announcer.counters.reloads == {("unchanged", "api"): 2, ("unchanged", "signal"): 1}
