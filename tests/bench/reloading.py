"""Reloads of tables of all sizes, all new and with one changed, beside dockerd's: how long, and how that grows."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import ExitStack

from dockerd import Dockerd, new_dockerd
from harness.daemon import new_daemon, short_directory
from table import Row, compared
from tables import ReloadRound, table, watch_reload

SIZES = (10, 100, 1000, 10_000)
ROUNDS = 5
# How often the client looks whether the new answer is there: seldom enough not to slow the reload.
_PAUSE_S = 0.005
# Linear, and a tenth for caches that no longer hold all of it.
_GROWTH_SLACK = 1.1


def measure() -> Iterator[Row]:
    """Yield rows for each size, and how the time grows from the second largest to the largest."""
    medians: dict[tuple[int, bool], float] = {}
    with ExitStack() as stack:
        directory = stack.enter_context(short_directory())
        dockerd = stack.enter_context(new_dockerd(directory / "docker"))
        for size in SIZES:
            for all_new in (True, False):
                seen, theirs = _alternate(size, dockerd, all_new=all_new)
                medians[size, all_new] = statistics.median(each.reload_ms for each in seen)
                yield from _rows(size, seen, theirs, dockerd, all_new=all_new)
    smaller, larger = SIZES[-2:]
    for all_new in (True, False):
        growth = medians[larger, all_new] / medians[smaller, all_new]
        measure = f"growth of a reload, {_what(all_new=all_new)}, {smaller} -> {larger}"
        yield Row(measure, growth, "x", goal=larger / smaller * _GROWTH_SLACK)


def _alternate(size: int, dockerd: Dockerd | None, *, all_new: bool) -> tuple[list[ReloadRound], list[float]]:
    """Return what was seen of ROUNDS reloads of ours, and how long dockerd's in between took; each warmed up by one."""
    seen, theirs = [], []
    with new_daemon() as daemon:
        daemon.write(table(size, 0, all_new=all_new))
        daemon.start()
        for mark in range(1, ROUNDS + 2):
            document = table(size, mark, all_new=all_new)
            seen.append(watch_reload(daemon, document, _PAUSE_S))
            if dockerd is not None:
                theirs.append(dockerd.reload_ms({"runtimes": document["runtimes"]}))
    return seen[1:], theirs[1:]


def _rows(
    size: int, seen: list[ReloadRound], theirs: list[float], dockerd: Dockerd | None, *, all_new: bool
) -> Iterator[Row]:
    what = f"{size} runtimes, {_what(all_new=all_new)}"
    ours = [each.reload_ms for each in seen]
    if dockerd is None:
        yield Row(f"reload of {what}", statistics.median(ours), "ms")
    else:
        # What is aimed at: twice the time of a dockerd that writes all wrappers anew, and not more than its for one.
        goal = (2.0 if all_new else 1.0) if size == 1000 else None
        yield compared(f"reload of {what}", "ms", ours, f"dockerd {dockerd.version}", theirs, goal)
    yield Row(f"file replaced to new answer, {what}", statistics.median(each.until_new_ms for each in seen), "ms")


def _what(*, all_new: bool) -> str:
    return "all new" if all_new else "one changed"
