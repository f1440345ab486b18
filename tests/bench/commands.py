"""One question from a shell: a whole process of `runtimectl resolve`, beside curl and docker."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack

from bench.budget import Budget
from bench.dockerd import new_dockerd
from bench.installed import new_installation
from bench.machine import on_server_cpu
from bench.rounds import OURS, interleave, of_ratio
from bench.rows import Row
from bench.tables import table
from harness.daemon import new_daemon

GOALS = {"curl": 3.0}


def measure(budget: Budget) -> Iterator[Row]:
    """Yield rows beside each command that is installed."""
    with new_installation() as installed, new_daemon(command=on_server_cpu()) as daemon, ExitStack() as stack:
        daemon.write(table(10, 0, all_new=True))
        daemon.start()
        target = "http://x/v1/resolve?runtime=runtime1"
        commands = {
            OURS: [installed.runtimectl, "--socket", str(daemon.socket), "resolve", "runtime1"],
            "curl": ["curl", "-s", "--unix-socket", str(daemon.socket), target],
        }
        dockerd = stack.enter_context(new_dockerd(daemon.root / "docker"))
        if dockerd is not None and shutil.which("docker"):
            info = ["docker", "-H", f"unix://{dockerd.socket}", "info", "-f", "{{json .Runtimes}}"]
            commands["docker info"] = info
        sides = {name: _run_ms(command) for name, command in commands.items()}
        for measure, until_s in budget.split(["runtimectl resolve"]):
            rounds = interleave(sides, [of_ratio("run", name) for name in commands if name != OURS], until_s)
            for name in commands:
                if name != OURS:
                    yield rounds.compared(measure, "ms", "run", name, GOALS.get(name))


def _run_ms(command: Sequence[str]) -> Callable[[], Mapping[str, float]]:
    def measured() -> Mapping[str, float]:
        begun_s = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return {"run": (time.perf_counter() - begun_s) * 1000}

    return measured
