"""Reloads of tables of all sizes, all new and with one changed, beside dockerd's under equal conditions.

Both get SIGHUP when their new file is in place and all data is on disk, and end with the event that a subscriber gets.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from bench.budget import Budget
from bench.disk import disk_ms, disk_rows
from bench.dockerd import Dockerd, new_dockerd
from bench.machine import on_server_cpu
from bench.reload_event import Peer, reload_ms
from bench.rounds import OURS, Rounds, interleave, of_ratio, of_value
from bench.rows import Row
from bench.tables import table
from harness.daemon import new_daemon, short_directory

SMALL = (10, 100)
LARGE = 10_000
# (size, all new) -> the goals for the ratio to dockerd, which syncs nothing, and for the milliseconds.
GOALS: dict[tuple[int, bool], tuple[float | None, float | None]] = {
    (1000, True): (2.5, None),
    (1000, False): (0.7, 25.0),
    (LARGE, False): (0.5, 150.0),
}
# Linear, and a tenth for caches that no longer hold all of it.
GROWTH_GOAL = 11.0
# Before and after each case: 1,000 links may take longer than a reload.
DISK_ROUNDS = 3


def measure(budget: Budget) -> Iterator[Row]:
    """Yield rows for 10 and 100 runtimes, and what the disk did."""
    return _measure(budget, budget.sizes(*SMALL), grown=False)


def measure_thousand(budget: Budget) -> Iterator[Row]:
    """Yield rows for 1,000 runtimes, and what the disk did."""
    return _measure(budget, budget.sizes(1000), grown=False)


def measure_large(budget: Budget) -> Iterator[Row]:
    """Yield rows for 10,000 runtimes, beside a tenth of them as well, and what the disk did."""
    return _measure(budget, budget.sizes(LARGE), grown=True)


def _measure(budget: Budget, sizes: tuple[int, ...], *, grown: bool) -> Iterator[Row]:
    disk: list[Mapping[str, float]] = []
    disk_rounds = 1 if budget.small else DISK_ROUNDS
    with short_directory() as directory, new_dockerd(directory / "docker") as dockerd:
        for (size, all_new), until_s in budget.split(list(itertools.product(sizes, (True, False)))):
            smaller = size // 10 if grown else None
            disk += (disk_ms(directory) for _ in range(disk_rounds))
            rounds = _rounds(directory, dockerd, size, smaller, until_s, all_new=all_new)
            disk += (disk_ms(directory) for _ in range(disk_rounds))
            yield from _rows(rounds, dockerd, size, smaller, all_new=all_new)
    yield from disk_rows(disk, f"reloads of {' and '.join(map(str, sizes))} runtimes")


def _rounds(
    directory: Path, dockerd: Dockerd | None, size: int, smaller: int | None, until_s: float, *, all_new: bool
) -> Rounds:
    with ExitStack() as stack:
        peers: dict[str, tuple[Peer, int]] = {}
        for side, runtimes in ((OURS, size), *([] if smaller is None else [(_peer(smaller), smaller)])):
            daemon = stack.enter_context(new_daemon(command=on_server_cpu()))
            daemon.write(table(runtimes, 0, all_new=all_new))
            daemon.start()
            mark = b'"type": "reload", "outcome": "applied"'
            peers[side] = Peer(daemon.pid, daemon.socket, daemon.config, b"/v1/events", mark), runtimes
        deciding = []
        if smaller is not None:
            deciding.append(of_ratio("reload", _peer(smaller)))
        if dockerd is not None:
            name, mark = f"dockerd {dockerd.version}", b'"Action":"reload"'
            peers[name] = Peer(dockerd.process.pid, dockerd.socket, dockerd.config, b"/events", mark), size
            deciding.append(of_ratio("reload", name))
        pids = [peer.pid for peer, _ in peers.values()]
        sides = {
            name: _side(peer, runtimes, pids, directory, all_new=all_new) for name, (peer, runtimes) in peers.items()
        }
        return interleave(sides, deciding or [of_value("reload")], until_s)


def _side(
    peer: Peer, size: int, pids: list[int], directory: Path, *, all_new: bool
) -> Callable[[], Mapping[str, float]]:
    marks = itertools.count(1)

    def measured() -> Mapping[str, float]:
        document = table(size, next(marks), all_new=all_new)
        # dockerd rejects keys that it does not know.
        if peer.events == b"/events":
            document = {"runtimes": document["runtimes"]}
        return {"reload": reload_ms(peer, document, pids, directory)}

    return measured


def _rows(rounds: Rounds, dockerd: Dockerd | None, size: int, smaller: int | None, *, all_new: bool) -> Iterator[Row]:
    kind = "all new" if all_new else "one changed"
    what = f"reload of {size} runtimes, {kind}"
    ratio_goal, goal = GOALS.get((size, all_new), (None, None))
    if dockerd is not None:
        yield rounds.compared(what, "ms", "reload", f"dockerd {dockerd.version}", ratio_goal)
    if dockerd is None or goal is not None:
        yield rounds.single(what, "ms", "reload", goal)
    if smaller is not None:
        yield rounds.compared(f"growth of a reload, {kind}", "ms", "reload", _peer(smaller), GROWTH_GOAL)


def _peer(size: int) -> str:
    return f"{size} runtimes"
