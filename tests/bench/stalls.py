"""The longest waits of a client: during reloads of large tables, beside a listing of one, and when all is quiet."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from bench.budget import Budget
from bench.machine import on_server_cpu, wait_until_quiet
from bench.rounds import OURS, interleave, of_value
from bench.rows import Row
from bench.tables import longest_wait_ms, table, wait_beside_listing_ms, watch_reload
from harness.daemon import RunningDaemon, new_daemon

SIZES = (1000, 10_000)
LISTED = 10_000
# Goals in milliseconds, by the size of the table.
GOALS_MS = {1000: 5.0, 10_000: 15.0}
QUIET = "quiet"
_QUIET_S = 0.3
# What a listing has of a runtime at least.
_LEAST_BYTES = 100
ALL_NEW, ONE, LIST = "all new", "one changed", "GET /v1/runtimes"


def measure(budget: Budget) -> Iterator[Row]:
    """Yield a row for each size and kind of reload, and one for a listing."""
    cases = [*itertools.product(budget.sizes(*SIZES), (ALL_NEW, ONE)), *((n, LIST) for n in budget.sizes(LISTED))]
    for (size, kind), until_s in budget.split(cases):
        with new_daemon(command=on_server_cpu()) as daemon:
            daemon.write(table(size, 0, all_new=kind == ALL_NEW))
            daemon.start()
            busy = _listing(daemon, size) if kind == LIST else _reload(daemon, size, all_new=kind == ALL_NEW)
            sides = {OURS: busy, QUIET: lambda daemon=daemon: {"wait": longest_wait_ms(daemon, _QUIET_S)}}  # type: ignore[misc]
            rounds = interleave(sides, [of_value("wait")], until_s)
        what = f"{kind} of {size} runtimes" if kind == LIST else f"reload of {size} runtimes, {kind}"
        waits, quiet = rounds.values("wait"), rounds.values("wait", QUIET)
        row = rounds.single(f"longest wait, {what}", "ms", "wait", GOALS_MS.get(size))
        yield replace(row, note=f"at worst {max(waits):.1f}; with nothing going on at worst {max(quiet):.1f}")
        if kind != LIST:
            yield rounds.single(f"file replaced to new answer, {size} runtimes, {kind}", "ms", "new")


def _reload(daemon: RunningDaemon, size: int, *, all_new: bool) -> Callable[[], Mapping[str, float]]:
    marks = itertools.count(1)

    def measured() -> Mapping[str, float]:
        wait_until_quiet(daemon.pid)
        found = watch_reload(daemon, table(size, next(marks), all_new=all_new))
        return {"wait": found.longest_wait_ms, "new": found.until_new_ms}

    return measured


def _listing(daemon: RunningDaemon, size: int) -> Callable[[], Mapping[str, float]]:
    return lambda: {"wait": wait_beside_listing_ms(daemon, size * _LEAST_BYTES)}
