"""What binaries that hang when they are asked for their features cost a reload: 100 of them beside 100 that do not."""

from __future__ import annotations

from collections.abc import Iterator

from harness.daemon import RunningDaemon, new_daemon
from table import Row, compared

RUNTIMES = 100
ROUNDS = 20
BODIES = {"prompt": "echo '{}'", "hanging": "trap '' TERM; while :; do sleep 1; done"}


def prepare(daemon: RunningDaemon, body: str) -> None:
    """Put RUNTIMES executables with this body beside the daemon's configuration, and start it without them."""
    for number in range(RUNTIMES):
        program = daemon.root / f"bin{number}"
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
    daemon.write({"runtimed": {"probe": {"timeout": "1s"}}})
    daemon.start()


def reload_ms(daemon: RunningDaemon, number: int) -> float:
    """Return how long a reload takes in which every runtime is new, in milliseconds, as its report has it."""
    runtimes = {f"r{n}-{number}": {"path": f"{daemon.root}/bin{n}", "runtimeArgs": ["x"]} for n in range(RUNTIMES)}
    daemon.write({"runtimed": {"probe": {"timeout": "1s"}}, "runtimes": runtimes})
    report = daemon.reload()
    # The watcher may have been first, and then the reload that was asked for finds nothing to do.
    if report["outcome"] == "unchanged":
        report = daemon.reloads("applied")[-1]
    return float(report["duration_ms"])


def measure() -> Iterator[Row]:
    """Yield what hanging binaries cost a reload."""
    found: dict[str, list[float]] = {name: [] for name in BODIES}
    with new_daemon() as prompt, new_daemon() as hanging:
        daemons = {"prompt": prompt, "hanging": hanging}
        for name, daemon in daemons.items():
            prepare(daemon, BODIES[name])
        for number in range(ROUNDS):
            for name, daemon in daemons.items():
                found[name].append(reload_ms(daemon, number))
    measure = f"reload of {RUNTIMES} runtimes, all new, binaries hang"
    yield compared(measure, "ms", found["hanging"], "binaries answer", found["prompt"])
