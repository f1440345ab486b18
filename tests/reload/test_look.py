"""Tests of the looks at the node for a report: their results, their time-outs and their failures."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog
from harness.generation import generation_of

from runtimed.core.containers import Kept
from runtimed.core.report import Report
from runtimed.core.table.availability import Unavailable
from runtimed.core.table.generation import Generation
from runtimed.reload import look
from runtimed.reload.look import Looks

GENERATION = generation_of({"runtimes": {"x": {"path": "/x"}}})
UNAVAILABLE = (Unavailable("x", "/x", "no such file"),)
KEPT = (Kept("x", 1, None, "/old"),)


async def find_unavailable(generation: Generation) -> tuple[Unavailable, ...]:
    assert generation is GENERATION
    return UNAVAILABLE


async def find_kept(generation: Generation) -> tuple[Kept, ...]:
    assert generation is GENERATION
    return KEPT


async def fail(_generation: Generation) -> tuple[Kept, ...]:
    raise RuntimeError("a bug")


async def hang(_generation: Generation) -> tuple[Kept, ...]:
    await asyncio.sleep(10)
    return KEPT


@pytest.mark.parametrize("outcome", ["applied", "unchanged"])
async def test_a_report_gets_the_findings_and_the_number_of_runtimes(outcome: Any) -> None:
    report = await Looks(find_unavailable, find_kept).add_to(Report(outcome, 1, "api"), GENERATION)
    assert (report.unavailable, report.kept, report.runtimes) == (UNAVAILABLE, KEPT, len(GENERATION.runtimes))


async def test_a_rejection_is_returned_as_it_is() -> None:
    report = Report("rejected", 1, "api")
    assert await Looks(find_unavailable, fail).add_to(report, GENERATION) is report


@pytest.mark.parametrize(("find", "event"), [(fail, "reload.look_failed"), (hang, "reload.look_timed_out")])
async def test_a_look_that_fails_or_hangs_is_logged_and_does_not_affect_the_other(
    find: Any, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "LOOK_TIMEOUT_S", 0.05)
    with structlog.testing.capture_logs() as logged:
        report = await Looks(find_unavailable, find).add_to(Report("applied", 1, "api"), GENERATION)
    assert (report.unavailable, report.kept) == (UNAVAILABLE, ())
    assert [(each["event"], each["subject"]) for each in logged] == [(event, "containers")]
