"""Other servers: resolve beside aiohttp and uvicorn with a constant, and beside dockerd."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from importlib.util import find_spec

from bench.budget import Budget
from bench.dockerd import new_dockerd
from bench.machine import on_server_cpu
from bench.request_load import LATENCY_REQUESTS, BenchServer, asked, load, peer_server, rows
from bench.rounds import OURS, interleave, of_ratio
from bench.rows import Row
from harness.daemon import new_daemon

CONNECTIONS = (1, 16, 256)
# Peer -> the goal for the ratio of requests a second at 16 connections.
GOALS = {"uvicorn": 2.5, "dockerd /_ping": 3.0}
# dockerd's only request that lists runtimes takes milliseconds.
SLOW = "dockerd /info"


def measure(budget: Budget) -> Iterator[Row]:
    """Yield rows for each number of connections and each peer that is installed."""
    with new_daemon(command=on_server_cpu()) as daemon, ExitStack() as stack:
        daemon.write(asked())
        daemon.start()
        ours = BenchServer(daemon.pid, str(daemon.socket), "http://x/v1/resolve?runtime=crun")
        peers = {
            kind: stack.enter_context(peer_server(daemon.root / "peers", kind, ours))
            for kind in ("aiohttp", "uvicorn")
            if find_spec(kind)
        }
        cases: list[tuple[int, dict[str, BenchServer]]] = []
        dockerd = stack.enter_context(new_dockerd(daemon.root / "docker"))
        if dockerd is not None:
            pid, at = dockerd.process.pid, str(dockerd.socket)
            peers["dockerd /_ping"] = BenchServer(pid, at, "http://x/_ping")
            cases.append((1, {SLOW: BenchServer(pid, at, "http://x/info")}))
        if peers:
            cases += ((connections, peers) for connections in budget.sizes(*CONNECTIONS))
        for (connections, others), until_s in budget.split(cases):
            yield from _compare(ours, others, connections, until_s, small=budget.small)


def _compare(
    ours: BenchServer, peers: Mapping[str, BenchServer], connections: int, until_s: float, *, small: bool
) -> Iterator[Row]:
    requests = LATENCY_REQUESTS // (10 if small else 1)
    sides = {
        name: functools.partial(load, server, connections, LATENCY_REQUESTS // 100 if name == SLOW else requests)
        for name, server in {OURS: ours, **peers}.items()
    }
    rounds = interleave(sides, [of_ratio("rate", name) for name in peers], until_s)
    for name in peers:
        goal = GOALS.get(name) if connections == 16 else None
        yield from rows(rounds, f"resolve {connections} connection{'s' if connections > 1 else ''}", name, goal)
