"""Reads the arguments of runtimectl: numbers, names, durations, and times as people write them."""

from __future__ import annotations

import re
import time
from argparse import ArgumentTypeError

from runtimed.core.message_text import printable

_NUMBER_MAX_DIGITS = 15
_SECONDS_MAX = 86_400
_UNITS_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
# Days before the current one.
_DAYS = {"today": 0, "yesterday": 1}


def number(text: str) -> int:
    """Return the whole number in ``text``."""
    # As strict as the daemon: int() also takes blanks, signs and underscores.
    if text.isascii() and text.isdigit() and len(text) <= _NUMBER_MAX_DIGITS:
        return int(text)
    raise ArgumentTypeError(f"{printable(repr(text))} is not a whole number")


def name(text: str) -> str:
    """Return ``text``, which must not be empty."""
    if text:
        return text
    raise ArgumentTypeError("the name is empty")


def seconds(text: str) -> float:
    """Return the number of seconds in ``text``, more than 0 and at most a day."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if 0 < found <= _SECONDS_MAX:
        return found
    raise ArgumentTypeError(f"{printable(repr(text))} is not a number of seconds above 0, up to {_SECONDS_MAX}")


def when(text: str) -> float:
    """Return the time that ``text`` names now, in seconds since the epoch."""
    try:
        return read_time(text, time.time())
    except (ValueError, OverflowError):
        expected = "today, yesterday, an age such as 2h or 3d, a date, or a date and a time"
        raise ArgumentTypeError(f"{printable(repr(text))} is not a time; expected {expected}") from None


def read_time(text: str, now_s: float) -> float:
    """Return the time that ``text`` names at the time ``now_s``, both in seconds since the epoch.

    A day begins at midnight, and a time without a zone is in the local one.

    Raises:
        ValueError, OverflowError: the text names no time.
    """
    from datetime import datetime  # noqa: PLC0415 - only one verb needs it

    if (days := _DAYS.get(text)) is not None:
        year, month, day, *_ = time.localtime(now_s)
        # Days may have 23 or 25 hours; mktime() also takes the day before the first of a month.
        return time.mktime((year, month, day - days, 0, 0, 0, 0, 0, -1))
    if (age := re.fullmatch(f"([0-9]{{1,9}})({'|'.join(_UNITS_S)})", text, re.ASCII)) is not None:
        return max(0.0, now_s - int(age[1]) * _UNITS_S[age[2]])
    return max(0.0, datetime.fromisoformat(text).timestamp())
