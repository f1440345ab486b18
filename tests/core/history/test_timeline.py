"""Tests of the history that is made of generations and the lines of their events."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from runtimed.core.errors import StoreFailed
from runtimed.core.history import timeline
from runtimed.core.history.event_lines import render_event
from runtimed.core.history.retained import Summary


def line(number: float) -> bytes:
    return render_event("health", number, {"number": number}) or b""


def generation(number: int, created_s: float) -> Summary:
    return Summary(number, created_s, "sha256:0", "runc", 2)


def told(
    since_s: float, files: dict[int, bytes], read: Callable[[int], bytes] | None = None
) -> tuple[list[tuple[str, Any]], bool]:
    generations = [generation(number, number * 10.0) for number in files]
    found = timeline.make_timeline(generations, read or files.__getitem__, since_s)
    return [(entry["type"], entry.get("number", entry["time"])) for entry in found["entries"]], found["truncated"]


def test_the_history_is_in_the_order_of_time_also_where_an_event_was_written_late() -> None:
    files = {1: line(10) + line(11), 2: line(19) + line(20), 3: b""}
    order = [("generation", 10), ("health", 10), ("health", 11), ("health", 19), ("generation", 20), ("health", 20)]
    assert told(0, files) == ([*order, ("generation", 30)], False)
    assert told(19, files) == ([*order[3:], ("generation", 30)], False)
    assert told(99, files) == ([], False)


def test_generations_that_end_before_the_time_are_not_read() -> None:
    read: list[int] = []

    def note(number: int) -> bytes:
        read.append(number)
        return b""

    told(25, dict.fromkeys((1, 2, 3), b""), note)
    assert read == [3, 2]


def test_a_file_that_cannot_be_read_is_a_gap_and_the_others_are_told() -> None:
    def read(number: int) -> bytes:
        if number == 1:
            raise StoreFailed("reading", "/data", "Input/output error")
        return line(21)

    assert told(0, {1: b"", 2: b""}, read)[0] == [("generation", 10), ("gap", 10), ("generation", 20), ("health", 21)]


def test_a_history_that_is_too_long_begins_later_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "ENTRIES_MAX", 3)
    entries, truncated = told(0, {1: line(11), 2: line(21), 3: b""})
    assert (entries, truncated) == ([("generation", 20), ("health", 21), ("generation", 30)], True)
    assert json.dumps(entries)
