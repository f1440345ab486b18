"""Tests of the lines of events: bounds, incomplete lines, lines of another version."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimed.core.history.event_lines import BYTES_MAX, LINES_MAX, add_lines, lack_of_room, read_lines, render_event


def line(number: float, padding: int = 0) -> bytes:
    return render_event("health", number, {"number": number, "padding": "x" * padding}) or b""


def write(content: bytes, *lines: bytes) -> bytes:
    data, appends = add_lines(content, lines)
    return content + data if appends else data


def numbers(content: bytes) -> list[float]:
    return [event["number"] for event in read_lines(content) if event["type"] != "gap"]


@given(st.lists(st.lists(st.integers(0, 9000), max_size=40), max_size=60))
def test_a_file_is_bounded_and_has_its_newest_events_in_order(batches: list[list[int]]) -> None:
    content, written = b"", 0
    for batch in batches:
        lines = [line(written + index, padding) for index, padding in enumerate(batch)]
        written += len(batch)
        content = write(content, *lines)
        assert len(content) <= BYTES_MAX
    kept = numbers(content)
    assert kept == list(range(written - len(kept), written))
    gaps = [event for event in read_lines(content) if event["type"] == "gap"]
    assert len(gaps) == (0 if len(kept) == written else 1)


def test_a_full_file_keeps_its_newer_half_and_says_so_first() -> None:
    content = b"".join(line(number) for number in range(LINES_MAX))
    content = write(content, line(LINES_MAX))
    first, second, *_ = read_lines(content)
    assert first["type"] == "gap"
    assert "earlier events are not kept" in first["reason"]
    assert first["time"] == second["time"] == LINES_MAX - LINES_MAX // 2 + 1
    assert numbers(content)[-1] == LINES_MAX
    assert content.count(b"\n") == LINES_MAX // 2 + 1


def test_a_file_of_long_events_is_full_before_it_has_a_thousand() -> None:
    content = b""
    for number in range(100):
        content = write(content, line(number, 9000))
        assert len(content) <= BYTES_MAX
    assert len(content) > BYTES_MAX // 2 - 20_000
    assert numbers(content)[-1] == 99
    full = b"".join(line(number, 9000) for number in range(28))
    assert len(write(full, line(28, 9000))) < BYTES_MAX // 2 + 1000


@given(st.integers(0, 200))
def test_a_torn_last_line_is_skipped_and_does_not_damage_the_next(cut: int) -> None:
    whole = line(1) + line(2)
    torn = whole[: len(whole) - cut] if cut < len(whole) else b""
    kept = numbers(torn)
    assert kept in ([1, 2], [1], [])
    # JSON without its newline is complete.
    assert numbers(write(torn, line(3))) == [*kept, 3]


@pytest.mark.parametrize(
    "strange",
    [
        b"", b"\0\0\0", b"[]", b"1", b"null", b"{}", b'{"type": "health"}', b'{"type": "health", "time": "x"}',
        b'{"type": "health", "time": NaN}', b'{"type": [], "time": 1}', b'{"type": "of-a-later-version", "time": 1}',
        b"\xff", b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_line_that_is_no_event_is_skipped(strange: bytes) -> None:
    assert numbers(line(1) + strange + b"\n" + line(2)) == [1, 2]


def test_an_event_that_is_too_long_has_no_line() -> None:
    assert render_event("health", 1.0, {"x": "x" * 40_000}) is None


@pytest.mark.parametrize(
    ("free_bytes", "free_files", "words"),
    [
        (2**20 - 1, 10**6, "less than 1,048,576 bytes are free"),
        (10**9, 63, "less than 64 inodes are free"),
        (2**20, 64, None),
        # tmpfs without a size, btrfs without a number of inodes.
        (None, None, None),
    ],
)
def test_the_last_room_of_a_disk_is_left_to_generations(
    free_bytes: int | None, free_files: int | None, words: str | None
) -> None:
    found = lack_of_room(free_bytes, free_files)
    assert found is None if words is None else found is not None and words in found
