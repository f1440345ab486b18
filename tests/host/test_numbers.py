"""Tests of event numbers, which grow across restarts and clock changes, and with a damaged file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.daemon import new_daemon

from runtimed.host.store.numbers import reserve_event_numbers


def test_numbers_are_above_those_of_the_last_process_after_a_clock_change(tmp_path: Path) -> None:
    first = reserve_event_numbers(str(tmp_path), 5000)
    assert first == 5000
    second = reserve_event_numbers(str(tmp_path), 10)
    assert second >= first + 10**6
    assert reserve_event_numbers(str(tmp_path), 10) >= second + 10**6
    assert reserve_event_numbers(str(tmp_path), 10**14) == 10**14


@pytest.mark.parametrize(
    "put",
    [
        lambda path: path.write_text("nonsense"),
        lambda path: path.write_text("9" * 100),
        lambda path: path.write_text(""),
        os.mkfifo,
        lambda path: path.symlink_to("/dev/zero"),
    ],
)
def test_a_damaged_record_is_replaced_and_the_clock_decides(tmp_path: Path, put: Callable[[Path], None]) -> None:
    put(tmp_path / "event-number")
    assert reserve_event_numbers(str(tmp_path), 7) == 7
    assert (tmp_path / "event-number").read_text() == f"{7 + 10**6}\n"


def test_the_clock_decides_where_the_record_cannot_be_written(tmp_path: Path) -> None:
    assert reserve_event_numbers(str(tmp_path / "missing"), 7) == 7


def test_after_a_restart_with_the_clock_set_back_every_event_has_a_higher_number() -> None:
    with new_daemon() as daemon:
        daemon.write({})
        with daemon.running():
            daemon.reload()
            seen = daemon.status()["events"]["seq"]
            daemon.kill()
        # A test cannot set the clock back, so it writes a record from a later clock.
        (daemon.root / "run" / "event-number").write_text(f"{seen + 10**12}\n")
        with daemon.running():
            assert daemon.status()["events"]["seq"] > seen + 10**12
            assert daemon.stop() == 0
        with daemon.running():
            assert daemon.status()["events"]["seq"] > seen + 10**12 + 10**6
            assert daemon.stop() == 0
