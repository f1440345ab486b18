"""Runs runtimectl as a process, for tests that read its output."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from harness.daemon import PATIENCE_S, RunningDaemon, wait_until

COMMAND = (sys.executable, "-m", "runtimed.cli.ctl")

Run = subprocess.CompletedProcess[str]
T = TypeVar("T")


def runtimectl(*args: str, on: RunningDaemon | str | None = None, command: Sequence[str] = COMMAND, **more: Any) -> Run:
    """Run runtimectl as a process; ``on`` is the daemon, or the socket, that RUNTIMED_SOCKET names.

    Lines have any length unless ``environ`` has COLUMNS.
    """
    path = str(on.socket) if isinstance(on, RunningDaemon) else on or "/nowhere/s"
    environ = {**os.environ, "RUNTIMED_SOCKET": path, "COLUMNS": "0", **more.pop("environ", {})}
    return subprocess.run(
        [*command, *args], check=False, capture_output=True, text=True, env=environ, timeout=PATIENCE_S, **more
    )


def run_between_equal_responses(run: Callable[[], Run], request: Callable[[], T]) -> tuple[Run, T]:
    """Return a run of runtimectl and the response before it, which the daemon also gave after it.

    A look at the node or a probe of a binary may end at any time, and with it the response changes.
    """

    def compared() -> tuple[Run, T] | None:
        before = request()
        found = run()
        return (found, before) if request() == before else None

    found: tuple[Run, T] = wait_until(compared, "two equal responses")
    return found


def columns(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def fields_of(text: str) -> dict[str, list[str]]:
    """Return the values after each name at the start of a line; a name on several lines has the values of all."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, *values = columns(line)
        found.setdefault(name, []).extend(values)
    return found
