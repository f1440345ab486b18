"""The announcer: events in the log, to subscribers, in the metrics, to the service manager."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import structlog
from harness.description import check_event
from harness.generation import generation_of

from runtimed.core import shapes
from runtimed.core.containers import Kept
from runtimed.core.drift import Drift
from runtimed.core.errors import Problem
from runtimed.core.history.trigger import Actor, Trigger
from runtimed.core.proof.record import Proof, judge_proof
from runtimed.core.report import Report
from runtimed.daemon.announcer import Announcer
from runtimed.daemon.log import configure_log
from runtimed.host.systemd import Notifier


class RecordingNotifier(Notifier):
    """Records the messages to the service manager."""

    def __init__(self) -> None:
        super().__init__({})
        self.messages: list[tuple[str, ...]] = []

    def ready(self, status: str) -> None:
        self.messages.append(("ready", status))

    def reloading(self) -> None:
        self.messages.append(("reloading",))

    def status(self, status: str) -> None:
        self.messages.append(("status", status))


class Announced:
    """An announcer, and everything that it has announced."""

    def __init__(self) -> None:
        self.notifier = RecordingNotifier()
        self.kept: list[tuple[str, Mapping[str, Any]]] = []
        self.announcer = Announcer(self.notifier, lambda kind, fields: self.kept.append((kind, fields)))
        self._stream = io.StringIO()
        configure_log("info", "json", self._stream)

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]

    def events(self) -> list[dict[str, Any]]:
        events = [json.loads(line) for _, line in self.announcer.events._kept]
        for event in events:
            check_event(event)
        return events


@pytest.fixture
def announced() -> Iterator[Announced]:
    handlers = logging.root.handlers.copy()
    yield Announced()
    structlog.reset_defaults()
    logging.root.handlers = handlers


def test_a_reload_is_an_event_and_a_new_generation_is_another(announced: Announced) -> None:
    announced.announcer.reloaded(Report("applied", 1, "start", duration_ms=5.0, time_s=7.0), generation_of({}))
    announced.announcer.reloaded(Report("unchanged", 1, "api", time_s=8.0), generation_of({}))
    announced.announcer.reloaded(Report("rejected", 1, "api", problems=(Problem("no"),), time_s=9.0), generation_of({}))
    assert [event["type"] for event in announced.events()] == ["reload", "generation", "reload", "reload"]
    assert [event["event"] for event in announced.log()] == ["reload.applied", "reload.unchanged", "reload.rejected"]
    assert announced.events()[3]["problems"][0]["message"] == "no"
    counters = announced.announcer.counters
    assert counters.reloads == {("applied", "start"): 1, ("unchanged", "api"): 1, ("rejected", "api"): 1}
    assert (counters.last_successful, counters.last_success_s) == (False, 8.0)
    announced.announcer.reloaded(Report("unchanged", 1, "repair", time_s=10.0), generation_of({}))
    assert (counters.last_successful, counters.last_success_s) == (False, 8.0)
    announced.announcer.reloaded(Report("unchanged", 1, "file-change", time_s=11.0), generation_of({}))
    assert (counters.last_successful, counters.last_success_s) == (True, 11.0)


def test_the_service_manager_gets_every_reload_after_the_first_ready(announced: Announced) -> None:
    announcer = announced.announcer
    announcer.reloading()
    announcer.reloaded(Report("applied", 1, "start"), generation_of({}))
    assert announced.notifier.messages == []
    announcer.ready()
    announcer.reloading()
    announcer.reloaded(Report("rejected", 1, "api", problems=(Problem("no"),)), generation_of({}))
    announcer.health({"configuration": "d.json:4: no"})
    announcer.health({})
    assert announced.notifier.messages == [
        ("ready", "generation 1, 2 runtimes"),
        ("reloading",),
        ("ready", "generation 1, 2 runtimes"),
        ("status", "degraded: configuration: d.json:4: no; generation 1, 2 runtimes"),
        ("status", "generation 1, 2 runtimes"),
    ]


def test_an_event_stays_small_whatever_the_size_of_the_table(announced: Announced) -> None:
    names = tuple(f"runtime{number}" for number in range(10_000))
    kept = tuple(Kept(name, 1, 1, "/bin/x") for name in names)
    announced.announcer.reloaded(Report("applied", 1, "api", added=names, kept=kept), generation_of({}))
    reload = announced.events()[0]
    assert (len(reload["kept"]), reload["kept_total"], reload["kept_count"]) == (50, 1000, 10_000)
    assert len(reload["added"]) == 50
    assert reload["added_total"] == 10_000


def test_health_is_announced_when_it_changes(announced: Announced) -> None:
    with structlog.testing.capture_logs() as logged:
        for faults in ({}, {"configuration": "bad"}, {"configuration": "bad"}, {"store": "x"}, {}):
            announced.announcer.health(faults)
    assert [line["event"] for line in logged] == ["degraded", "degraded", "health.ok"]
    assert [(event["status"], event["reasons"]) for event in announced.events()] == [
        ("degraded", {"configuration": "bad"}),
        ("degraded", {"store": "x"}),
        ("ok", {}),
    ]


def test_drift_is_announced_with_its_runtimes(announced: Announced) -> None:
    drift = Drift("/bin/x", "removed", reason="no such file")
    announced.announcer.drifted({"/bin/x": drift}, {}, lambda _binary: ("a", "b"), loaded=False)
    announced.announcer.drifted({}, {"/bin/x": drift}, lambda _binary: ("a", "b"), loaded=False)
    announced.announcer.drifted({}, {"/bin/x": drift}, lambda _binary: ("a", "b"), loaded=True)
    first, second, third = announced.events()
    assert (first["kind"], first["runtimes"]) == ("removed", ["a", "b"])
    assert (second["binary"], second["kind"], third["kind"]) == ("/bin/x", "back", "loaded")
    assert [event["event"] for event in announced.log()] == ["drift", "drift.over", "drift.over"]


def test_drift_of_everything_at_once_is_few_events(announced: Announced) -> None:
    drifts = {f"/bin/{number}": Drift(f"/bin/{number}", "removed") for number in range(3000)}
    announced.announcer.drifted(drifts, {}, lambda _binary: ("a",), loaded=False)
    assert len(announced.events()) == 51
    assert announced.events()[-1]["count"] == 2950


def test_polling_is_announced_when_it_begins_and_when_it_ends(announced: Announced) -> None:
    for polled in ({}, {"/nfs": "on nfs"}, {"/nfs": "on nfs"}, {}):
        announced.announcer.watching(polled)
    assert [event["mode"] for event in announced.events()] == ["polling", "inotify"]


def test_proofs_are_announced_where_their_state_or_detail_changed_and_at_most_fifty_at_once(
    announced: Announced,
) -> None:
    def proofs(detail: str, identity: str, count: int = 1) -> dict[str, shapes.Proof]:
        proof = Proof("", "passed", "direct", "d", "i", 3, 1.5, detail)
        return {f"r{number}": judge_proof(proof, "d", identity) for number in range(count)}

    announced.announcer.proved({}, proofs("x", "i"))
    announced.announcer.proved(proofs("x", "i"), proofs("x", "i"))
    announced.announcer.proved(proofs("x", "i"), proofs("y", "i"))
    announced.announcer.proved(proofs("y", "i"), proofs("y", "other"))
    outdated = "a binary changed after the test"
    assert [(each["runtime"], each["state"], each["detail"]) for each in announced.events()] == [
        ("r0", "proved", "x"),
        ("r0", "proved", "y"),
        ("r0", "outdated", outdated),
    ]
    assert [(each["level"], each["state"], each["detail"]) for each in announced.log()] == [
        ("info", "proved", "x"),
        ("info", "proved", "y"),
        ("warning", "outdated", outdated),
    ]
    announced.announcer.proved(proofs("y", "i", 200), proofs("y", "other", 200))
    assert len(announced.events()) == 3 + 50


def test_the_verification_of_an_engine_is_announced_where_its_outcome_changes(announced: Announced) -> None:
    verify = announced.announcer.verified
    verify("docker", "follows", "")
    first = verify("docker", "follows", "")
    verify("docker", "differs", "x has another path")
    verify("docker", "differs", "y has another path")
    verify("containerd", "follows", "")
    assert [(each["engine"], each["state"], each["detail"]) for each in announced.events()] == [
        ("docker", "follows", ""),
        ("docker", "differs", "x has another path"),
        ("docker", "differs", "y has another path"),
        ("containerd", "follows", ""),
    ]
    assert [each["level"] for each in announced.log()] == ["info", "warning", "warning", "info"]
    docker, containerd = announced.announcer.engines.values()
    assert (docker["state"], docker["detail"], containerd["state"]) == ("differs", "y has another path", "follows")
    assert docker["time"] >= first["time"]


def test_a_removed_wrapper_is_announced_and_counted(announced: Announced) -> None:
    announced.announcer.collected("x-1", "uid 0")
    assert announced.events()[0]["wrapper"] == "x-1"
    assert announced.announcer.counters.wrappers_collected == 1


def test_a_reload_with_several_triggers_is_counted_under_the_first(announced: Announced) -> None:
    for reason in ("api", "api, signal", "signal, api, file-change"):
        announced.announcer.reloaded(Report("unchanged", 1, reason), generation_of({}))
    assert announced.announcer.counters.reloads == {("unchanged", "api"): 2, ("unchanged", "signal"): 1}


def test_rejections_starts_and_repairs_are_kept_and_other_reloads_are_not(announced: Announced) -> None:
    trigger = Trigger(("api",), (Actor(0, 7),))
    for report in (
        Report("applied", 1, "start"),
        Report("unchanged", 1, "api"),
        Report("applied", 2, "file-change"),
        Report("rejected", 2, "api", problems=tuple(Problem(f"{n}") for n in range(9)), trigger=trigger),
        Report("unchanged", 2, "repair", repaired=tuple(f"{n}" for n in range(99))),
    ):
        announced.announcer.reloaded(report, generation_of({}, report.generation))
    (_, start), (_, rejected), (_, repair) = announced.kept
    assert [kind for kind, _ in announced.kept] == ["reload"] * 3
    assert (start["reason"], start["trigger"]) == ("start", None)
    assert [problem["message"] for problem in rejected["problems"]] == ["0", "1", "2"]
    assert (rejected["problem_count"], rejected["trigger"]) == (9, trigger.as_dict())
    assert len(repair["repaired"]) == 10


def test_events_that_matter_are_kept_as_they_are_sent(announced: Announced) -> None:
    announcer = announced.announcer
    announcer.health({"store": "full"})
    announcer.drifted({"/x": Drift("/x", "removed")}, {}, lambda _binary: ("x",), loaded=False)
    announcer.watching({"/d": "no inotify"})
    announcer.collected("x-1", "uid 0, pid 7")
    announcer.verified("docker", "follows", "")
    assert [kind for kind, _ in announced.kept] == ["health", "drift", "gc", "engine"]
    for kind, fields in announced.kept:
        (event,) = (each for each in announced.events() if each["type"] == kind)
        assert {key: event[key] for key in event if key not in ("seq", "time", "type")} == fields
