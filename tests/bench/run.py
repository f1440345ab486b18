"""Runs groups of measurements, prints their rows, the changes since an earlier run, and the verdict."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

from bench import machine
from bench.budget import Budget
from bench.comparison import changes
from bench.rows import Row, Verdict, from_json, render, summary

# Group -> module and function.
GROUPS = {
    "serving": ("serving", "measure"),
    "servers": ("servers", "measure"),
    "reading": ("reading", "measure"),
    "stalls": ("stalls", "measure"),
    "reloading": ("reloading", "measure"),
    "reloading-1000": ("reloading", "measure_thousand"),
    "reloading-10000": ("reloading", "measure_large"),
    "features": ("features", "measure"),
    "launching": ("launching", "measure"),
    "footprint": ("footprint", "measure"),
    "commands": ("commands", "measure"),
}
# A group begins no round that would end after the first time, and is ended at the second. What is left of four minutes
# is for the removal of its files.
GROUP_S, GROUP_END_S = 180.0, 210
SMOKE_S, SMOKE_END_S = 0.0, 120
# The load average of a machine on which a start and a look at it were the last work.
_IDLE_LOAD = 0.5
# Exit statuses; 2 is that of a wrong command line.
FALLS_SHORT, INCOMPLETE, TOO_NOISY = 1, 3, 4


class GroupTooLongError(Exception):
    """A group did not end in time."""


def main(argv: Sequence[str]) -> int:
    """Measure and print; return 0, or what is wrong: a goal that is not reached, a failure, or a noisy machine."""
    arguments = _arguments(argv)
    before = json.loads(arguments.compare.read_text()) if arguments.compare else None
    about = machine.description()
    os.sched_setaffinity(0, {machine.CLIENT_CPU})
    rows, failures = _measure_all(arguments.groups or list(GROUPS), smoke=arguments.smoke)
    words: list[str] = []
    if about["load"] > _IDLE_LOAD:
        words.append(f"the machine was not idle: its load was {about['load']:g} before")
    if before is not None:
        if any(before["machine"].get(key) != about[key] for key in ("model", "processors", "python")):
            words.append("the earlier run was on another machine or Python: only ratios can be compared")
        words += [f"changed: {line}" for line in changes(list(map(from_json, before["rows"])), rows)] or ["no change"]
    if arguments.smoke:
        words += ["no verdict: each figure is of one round", *(f"failed: {failure}" for failure in failures)]
    else:
        words.append(summary(rows, failures))
    if arguments.json:
        print(json.dumps({"machine": about, "rows": [row.as_json() for row in rows]}, indent=1))
    else:
        print(", ".join(f"{name}: {value}" for name, value in about.items()), render(rows), sep="\n")
    print(*words, sep="\n", file=sys.stderr if arguments.json else sys.stdout)
    return _status(rows, failures)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python tests/bench", description="Measures runtimed beside peers and limits."
    )
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"all by default: {', '.join(GROUPS)}")
    parser.add_argument("--json", action="store_true", help="print JSON, which --compare reads")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="print what changed since an earlier --json")
    parser.add_argument("--smoke", action="store_true", help="one round of what is small, without a verdict")
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.groups) - set(GROUPS):
        parser.error(f"no such group: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    return arguments


def _measure_all(groups: Sequence[str], *, smoke: bool) -> tuple[list[Row], list[str]]:
    """Return all rows, and what failed; a group that fails keeps its earlier rows."""
    rows: list[Row] = []
    failures: list[str] = []
    for group in groups:
        print(f"{group} …", file=sys.stderr, flush=True)
        begun_s = time.monotonic()
        try:
            for row in _measure(group, smoke=smoke):
                # One round is enough for no verdict.
                rows.append(replace(row, goal=None) if smoke else row)
                print(f"  {row.measure}", file=sys.stderr, flush=True)
        except (GroupTooLongError, AssertionError, OSError, subprocess.SubprocessError) as error:
            traceback.print_exc()
            failures.append(f"{group}: {str(error).partition(chr(10))[0]}")
        print(f"  {time.monotonic() - begun_s:.0f} s", file=sys.stderr, flush=True)
    return rows, failures


def _measure(group: str, *, smoke: bool) -> Iterator[Row]:
    """Yield the rows of a group, which is ended when it takes too long: a disk or a peer may hang."""
    end_s = SMOKE_END_S if smoke else GROUP_END_S

    def end(_number: int, _frame: FrameType | None) -> None:
        raise GroupTooLongError(f"not over after {end_s} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(end_s)
    try:
        yield from load_group(group)(Budget(SMOKE_S if smoke else GROUP_S, small=smoke))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def load_group(group: str) -> Callable[[Budget], Iterator[Row]]:
    """Return the function that measures a group."""
    module, function = GROUPS[group]
    measure: Callable[[Budget], Iterator[Row]] = getattr(importlib.import_module(f"bench.{module}"), function)
    return measure


def _status(rows: Sequence[Row], failures: Sequence[str]) -> int:
    verdicts = {row.verdict for row in rows}
    if Verdict.FALLS_SHORT in verdicts:
        return FALLS_SHORT
    if failures:
        return INCOMPLETE
    return TOO_NOISY if Verdict.TOO_NOISY in verdicts else 0
