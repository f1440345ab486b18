"""Tests of the event log: batches, a disk that refuses, the end."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator, Sequence

import pytest
import structlog

from runtimed.core.errors import StoreFailed
from runtimed.daemon.event_log import EventLog
from runtimed.daemon.log import configure_log


class Files:
    """Records batches of lines, or refuses them."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.refuses = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def append(self, lines: Sequence[bytes]) -> None:
        await self.gate.wait()
        if self.refuses:
            raise StoreFailed("writing", "/data", "No space left on device")
        self.batches.append([json.loads(line)["number"] for line in lines])


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    made = io.StringIO()
    configure_log("info", "json", made)
    yield made
    structlog.reset_defaults()


def open_log(files: Files) -> EventLog:
    log = EventLog()
    log.open(files.append)
    return log


async def test_events_that_wait_for_the_disk_are_one_batch() -> None:
    files = Files()
    log = EventLog()
    log.record("health", {"number": 0})
    await asyncio.sleep(0)
    log.open(files.append)
    files.gate.clear()
    for number in range(1, 4):
        log.record("health", {"number": number})
    await asyncio.sleep(0)
    log.record("health", {"number": 4})
    files.gate.set()
    await log.close()
    assert files.batches == [[0, 1, 2, 3], [4]]


async def test_a_disk_that_refuses_is_logged_once_and_gets_the_events_later(stream: io.StringIO) -> None:
    files = Files()
    log = open_log(files)
    files.refuses = True
    for number in range(3):
        log.record("health", {"number": number})
        await log.close()
    files.refuses = False
    log.record("health", {"number": 3})
    await log.close()
    assert files.batches == [[0, 1, 2, 3]]
    files.refuses = True
    log.record("health", {"number": 4})
    await log.close()
    events = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert events == ["history.not_written"] * 2


async def test_only_the_newest_events_wait_for_a_disk_that_refuses_for_long(stream: io.StringIO) -> None:
    files = Files()
    log = open_log(files)
    files.refuses = True
    for number in range(500):
        log.record("health", {"number": number})
        await log.close()
    files.refuses = False
    log.record("health", {"number": 500})
    await log.close()
    assert files.batches == [list(range(301, 501))]
    assert stream.getvalue().count("history.not_written") == 1


async def test_events_that_are_dropped_while_a_batch_is_written_take_no_others_with_them() -> None:
    files = Files()
    log = open_log(files)
    files.gate.clear()
    for number in range(100):
        log.record("health", {"number": number})
    await asyncio.sleep(0)
    for number in range(100, 300):
        log.record("health", {"number": number})
    files.gate.set()
    await log.close()
    assert files.batches == [list(range(100)), list(range(100, 300))]


async def test_the_end_waits_for_a_disk_that_hangs_only_a_while() -> None:
    files = Files()
    log = open_log(files)
    files.gate.clear()
    log.record("health", {"number": 1})
    await log.close(timeout_s=0.01)
    assert files.batches == []


async def test_an_event_that_is_too_long_is_named_in_the_log(stream: io.StringIO) -> None:
    files = Files()
    log = open_log(files)
    log.record("health", {"number": 1, "x": "x" * 100_000})
    await log.close()
    assert files.batches == []
    assert json.loads(stream.getvalue())["event"] == "history.too_long"
