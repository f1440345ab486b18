"""Tests of points in time as people write them."""

from __future__ import annotations

import time
from argparse import ArgumentTypeError
from collections.abc import Iterator

import pytest

from runtimed.cli.arguments import read_time, when

# Sunday 2026-03-29 12:00 in Berlin, where the night before had no hour from 2 to 3.
NOW_S = 1774778400.0


@pytest.fixture(autouse=True)
def _berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("today", "2026-03-29 00:00:00 +0100"),
        ("yesterday", "2026-03-28 00:00:00 +0100"),
        ("90s", "2026-03-29 11:58:30 +0200"),
        ("30m", "2026-03-29 11:30:00 +0200"),
        ("30min", "2026-03-29 11:30:00 +0200"),
        ("2h", "2026-03-29 10:00:00 +0200"),
        # Three times 24 hours, across the lost hour.
        ("3d", "2026-03-26 11:00:00 +0100"),
        ("1w", "2026-03-22 11:00:00 +0100"),
        ("2026-03-01", "2026-03-01 00:00:00 +0100"),
        ("2026-03-29 11:00", "2026-03-29 11:00:00 +0200"),
        ("2026-03-29T11:00:30", "2026-03-29 11:00:30 +0200"),
        ("2026-03-29T11:00:30Z", "2026-03-29 13:00:30 +0200"),
    ],
)
def test_a_time_is_local_and_days_begin_at_midnight(text: str, expected: str) -> None:
    found = time.localtime(read_time(text, NOW_S))
    assert time.strftime("%Y-%m-%d %H:%M:%S %z", found) == expected


def test_the_day_before_the_first_of_a_month_is_the_last_of_the_month_before() -> None:
    first_s = read_time("2026-03-01 08:00", NOW_S)
    assert read_time("yesterday", first_s) == read_time("2026-02-28", NOW_S)


def test_an_age_from_before_the_epoch_is_the_epoch() -> None:
    assert read_time("999999999w", NOW_S) == 0


@pytest.mark.parametrize("text", ["", "tomorrow", "2", "-2h", "2 hours", "2h ", "2026-13-01", "\u0662h", "x\x1b"])
def test_anything_else_is_an_error_that_names_what_is_possible(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="expected today, yesterday, an age such as 2h") as caught:
        when(text)
    assert str(caught.value).isprintable()
