"""Compares rows with those of an earlier run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.intervals import NARROW, Figure
from bench.rows import Row, figure_text


def changes(before: Sequence[Row], now: Sequence[Row]) -> Iterator[str]:
    """Yield a line for each row whose deciding figure changed beyond both intervals, and for each new row."""
    earlier = {_key(row): row for row in before}
    for row in now:
        old = earlier.get(_key(row))
        if old is None:
            yield f"{_name(row)}: new, {_text(row)}"
        elif _differ(old.deciding, row.deciding):
            yield f"{_name(row)}: {_text(old)} -> {_text(row)}{_share(old, row)}, {_direction(old, row)}"


def _key(row: Row) -> tuple[str, str, str]:
    return row.measure, row.peer, row.unit


def _differ(old: Figure, new: Figure) -> bool:
    if not old.rounds and not new.rounds:
        return abs(new.value - old.value) > NARROW * abs(old.value)
    if old.low is None or old.high is None or new.low is None or new.high is None:
        # A series that is too short says nothing.
        return False
    return new.low > old.high or new.high < old.low


def _direction(old: Row, new: Row) -> str:
    return "better" if (new.deciding.value < old.deciding.value) is new.most else "worse"


def _share(old: Row, new: Row) -> str:
    if not old.deciding.value:
        return ""
    return f" ({new.deciding.value / old.deciding.value - 1:+.0%})"


def _name(row: Row) -> str:
    return f"{row.measure}, ratio to {row.peer}" if row.ratio is not None else row.measure


def _text(row: Row) -> str:
    return figure_text(row.deciding, "" if row.ratio is not None else row.unit)
