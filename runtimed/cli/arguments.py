"""Defines the arguments of verbs, and reads their values: numbers, names, durations, and times as people write them."""

from __future__ import annotations

import re
import time
from argparse import ArgumentTypeError

from runtimed.core.message_text import printable

TYPE_CHECKING = False  # as in runtimed.client
if TYPE_CHECKING:
    from runtimed.cli.parser import Parser

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


def add_resolve(parser: Parser) -> None:
    """Add the arguments of resolve."""
    text = "the runtime (default: the default runtime)"
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help=text)
    text = "resolve in generation N, also a name that newer generations do not have"
    parser.add_argument("--generation", type=number, metavar="N", help=text)
    text = "with --generation: only if the resolution still has this digest"
    parser.add_argument("--digest", metavar="DIGEST", help=text)
    text = (
        "ctr, nerdctl: the flags of their command run; any: type_url and base64 of the options; path: the stable path, "
        "for the configuration of an engine; json: as --json"
    )
    parser.add_argument("--format", choices=("ctr", "nerdctl", "json", "any", "path"), help=text)


def add_explain(parser: Parser) -> None:
    """Add the arguments of explain."""
    parser.add_argument("name", type=name, metavar="NAME", help="the runtime")


def add_watch(parser: Parser) -> None:
    """Add the arguments of watch."""
    text = "begin with the events after number SEQ; 0: with all that the daemon has kept since its start"
    parser.add_argument("--since", type=number, metavar="SEQ", help=text)


def add_metrics(parser: Parser) -> None:
    """Add the arguments of metrics."""
    text = "replace PATH, which ends in .prom; it has runtimed_up 1, or only runtimed_up 0 where no daemon answers"
    parser.add_argument("--textfile", metavar="PATH", help=text)


def add_history(parser: Parser) -> None:
    """Add the arguments of history."""
    text = "begin at WHEN: today, yesterday, an age (2h, 3d), a date, or a date and a time"
    parser.add_argument("--since", type=when, metavar="WHEN", help=text)


def add_check(parser: Parser) -> None:
    """Add the arguments of check."""
    text = "main file, then drop-ins; - is standard input (default: those in place)"
    parser.add_argument("files", nargs="*", metavar="FILE", help=text)
    _add_verbose(parser)


def add_plan(parser: Parser) -> None:
    """Add the arguments of plan."""
    parser.add_argument("--exit-code", action="store_true", help="exit with 3 if it would change something")
    _add_verbose(parser)


def add_reload(parser: Parser) -> None:
    """Add the arguments of reload."""
    parser.add_argument(
        "--dry-run", action="store_true", help="only print a short plan (runtimectl plan prints all changes)"
    )
    _add_verbose(parser)


def add_diff(parser: Parser) -> None:
    """Add the arguments of diff."""
    parser.add_argument("old", type=number, metavar="G1", help="the number of a generation")
    parser.add_argument("new", type=number, metavar="G2", help="the number of another")
    parser.add_argument("--exit-code", action="store_true", help="exit with 3 if something differs")


def add_gc(parser: Parser) -> None:
    """Add the arguments of gc."""
    parser.add_argument("--dry-run", action="store_true", help="only show which wrappers would be removed")


def add_completion(parser: Parser) -> None:
    """Add the arguments of completion."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell")


def _add_verbose(parser: Parser) -> None:
    parser.add_argument("--verbose", action="store_true", help="name every key that is ignored")
