"""What binaries that hang when they are asked for their features cost a reload, beside binaries that answer."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping

from bench.budget import Budget
from bench.machine import on_server_cpu
from bench.rounds import OURS, interleave, of_ratio
from bench.rows import Row
from harness.daemon import RunningDaemon, new_daemon

RUNTIMES = 100
PEER = "binaries answer"
BODIES = {OURS: "trap '' TERM; while :; do sleep 1; done", PEER: "echo '{}'"}


def prepare(daemon: RunningDaemon, body: str, runtimes: int) -> None:
    """Put so many executables with this body beside the daemon's configuration, and start it without them."""
    for number in range(runtimes):
        program = daemon.root / f"bin{number}"
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
    daemon.write({"runtimed": {"probe": {"timeout": "1s"}}})
    daemon.start()


def reload_ms(daemon: RunningDaemon, number: int, count: int) -> float:
    """Return how long a reload takes in which every runtime is new, in milliseconds, as its report has it."""
    runtimes = {f"r{n}-{number}": {"path": f"{daemon.root}/bin{n}", "runtimeArgs": ["x"]} for n in range(count)}
    daemon.write({"runtimed": {"probe": {"timeout": "1s"}}, "runtimes": runtimes})
    report = daemon.reload()
    # The watcher may have been first, and then the reload that was asked for finds nothing to do.
    if report["outcome"] == "unchanged":
        report = daemon.reloads("applied")[-1]
    return float(report["duration_ms"])


def measure(budget: Budget) -> Iterator[Row]:
    """Yield what hanging binaries cost a reload."""
    with new_daemon(on_server_cpu()) as hanging, new_daemon(on_server_cpu()) as prompt:
        daemons = {OURS: hanging, PEER: prompt}
        for size, until_s in budget.split(budget.sizes(RUNTIMES)):
            for name, daemon in daemons.items():
                prepare(daemon, BODIES[name], size)
            sides = {name: _side(daemon, size) for name, daemon in daemons.items()}
            rounds = interleave(sides, [of_ratio("reload", PEER)], until_s)
            yield rounds.compared(f"reload of {size} runtimes, all new, binaries hang", "ms", "reload", PEER)


def _side(daemon: RunningDaemon, size: int) -> Callable[[], Mapping[str, float]]:
    numbers = itertools.count()
    return lambda: {"reload": reload_ms(daemon, next(numbers), size)}
