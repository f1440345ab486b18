"""The log: one line an event, readable on a terminal, JSON elsewhere."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from runtimed.core.containers import Kept
from runtimed.core.errors import Problem
from runtimed.core.features import Features
from runtimed.core.report import Report
from runtimed.daemon.log import configure_log, log_features, log_report


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    handlers = logging.root.handlers.copy()
    yield
    structlog.reset_defaults()
    logging.root.handlers = handlers


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_journal_gets_a_priority_the_event_and_its_fields_and_no_time() -> None:
    stream = io.StringIO()
    configure_log("info", "auto", stream, journal=True)
    problem = Problem('found "x y"', file="/etc/d.json", line=4)
    log_report(Report("rejected", 7, "file-change", problems=(problem,), duration_ms=1.5))
    structlog.get_logger().info("ready", generation=1, version="0.1", reason="two words", empty="", equals="a=b\n<0>c")
    structlog.get_logger().error("broken", exc_info=ValueError("first\nsecond"))
    rejected, ready, *broken = stream.getvalue().splitlines()
    assert rejected == (
        r'<3>reload.rejected generation=7 reason=file-change problems=["/etc/d.json:4: found \"x y\""] duration_ms=1.5'
    )
    assert ready == '<6>ready generation=1 version=0.1 reason="two words" empty="" equals="a=b\\n<0>c"'
    assert all(line.startswith("<3>") for line in broken)
    assert broken == ["<3>broken", "<3>ValueError: first", "<3>second"]


def test_json_for_the_journal_is_one_line_an_event_behind_its_priority() -> None:
    stream = io.StringIO()
    configure_log("debug", "json", stream, journal=True)
    log = structlog.get_logger()
    for level, priority in (("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2)):
        getattr(log, level)("said", reason="two\n<0>lines", path=Path("/x"))
        prefix, _, text = stream.getvalue().splitlines()[-1].partition("{")
        assert prefix == f"<{priority}>"
        event = json.loads("{" + text)
        assert (event["event"], event["level"], event["reason"]) == ("said", level, "two\n<0>lines")
        assert event["path"] == "PosixPath('/x')"
        assert event["timestamp"].endswith("Z")
    assert len(stream.getvalue().splitlines()) == 5


def test_a_traceback_in_json_is_a_text_of_its_event() -> None:
    stream = io.StringIO()
    configure_log("info", "json", stream, journal=True)
    structlog.get_logger().error("broken", exc_info=ValueError("first\nsecond"))
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line.removeprefix("<3>"))["exception"] == "ValueError: first\nsecond"


def test_text_is_the_same_in_the_journal_as_elsewhere() -> None:
    stream = io.StringIO()
    configure_log("info", "text", stream, journal=True)
    structlog.get_logger().info("ready")
    assert re.match(r"\d{4}-\d\d-\d\dT\S+Z \[info.*\] ready", stream.getvalue())


def test_records_of_libraries_are_events_as_well() -> None:
    stream = io.StringIO()
    configure_log("info", "json", stream)
    logging.getLogger("asyncio").error("Task %s was never retrieved", "x")
    logging.getLogger("asyncio").info("of no interest")
    (event,) = lines(stream)
    assert (event["event"], event["level"], event["logger"]) == ("library", "error", "asyncio")
    assert event["message"] == "Task x was never retrieved"


def test_off_a_terminal_an_event_is_a_json_object_with_level_and_time() -> None:
    stream = io.StringIO()
    configure_log("info", "auto", stream)
    log_report(Report("applied", 7, "api", added=("a",), duration_ms=1.5))
    (event,) = lines(stream)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "reload.applied",
        "level": "info",
        "generation": 7,
        "reason": "api",
        "added": ["a"],
        "duration_ms": 1.5,
    }


def test_on_a_terminal_an_event_is_a_readable_line() -> None:
    stream = Terminal()
    configure_log("info", "auto", stream)
    log_report(Report("unchanged", 7, "signal"))
    assert "reload.unchanged" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_a_rejection_is_an_error_with_every_problem_in_words() -> None:
    stream = io.StringIO()
    configure_log("info", "json", stream)
    log_report(Report("rejected", 7, "api", problems=(Problem("bad", "/f", 3, 4, "/x"), Problem("worse"))))
    (event,) = lines(stream)
    assert (event["event"], event["level"]) == ("reload.rejected", "error")
    assert event["problems"] == ["/f:3:4: /x: bad", "worse"]


def test_a_line_stays_readable_whatever_the_size_of_the_table() -> None:
    stream = io.StringIO()
    configure_log("info", "json", stream)
    log_report(Report("applied", 1, "start", added=tuple(f"r{n}" for n in range(1000))))
    (event,) = lines(stream)
    assert event["added"] == [*(f"r{n}" for n in range(20)), "and 980 more"]


def test_a_reload_is_logged_with_the_definitions_that_containers_keep() -> None:
    stream = io.StringIO()
    configure_log("info", "json", stream)
    log_report(Report("applied", 8, "api", kept=tuple(Kept(f"r{n}", 1, 7, "/bin/x") for n in range(22))))
    (event,) = lines(stream)
    assert event["kept"][:1] == ["r0: 1 container keeps generation 7's /bin/x"]
    assert event["kept"][20:] == ["and 2 more"]


def test_events_below_the_level_are_not_written_and_the_level_can_change() -> None:
    stream = io.StringIO()
    configure_log("info", "json", stream)
    log_features("/bin/a", Features("known", features={}))
    assert lines(stream) == []
    configure_log("debug", "json", stream)
    log_features("/bin/a", Features("known", features={}))
    assert [event["event"] for event in lines(stream)] == ["features.known"]


def test_a_binary_without_features_is_logged_with_the_reason() -> None:
    stream = io.StringIO()
    configure_log("info", "json", stream)
    log_features("/bin/a", Features("unknown", version="crun 1.8.1", reason="unknown command features"))
    (event,) = lines(stream)
    assert (event["event"], event["binary"], event["version"]) == ("features.unknown", "/bin/a", "crun 1.8.1")
    assert event["reason"] == "unknown command features"
