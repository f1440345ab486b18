"""Serving: requests a second, processor time and latencies of resolve, beside a bare echo of the same bytes."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from contextlib import ExitStack

from bench.budget import Budget
from bench.machine import on_server_cpu
from bench.request_load import LATENCY_REQUESTS, BenchServer, asked, load, peer_server, rows
from bench.rounds import OURS, interleave, of_ratio
from bench.rows import Row
from harness.daemon import new_daemon

CONNECTIONS = (1, 16, 256)
# Runtime -> how a row calls it, and the goal for its requests a second at 16 connections beside the echo, and so for
# the processor time of each, the inverse: which other work on the machine does not change.
RUNTIMES = {"crun": ("", 0.80), "gvisor": ("of a wrapped runtime, ", 0.78)}
# At one connection, median and 99th percentile.
LATENCY_GOAL = 1.25
PEER = "echo"


def measure(budget: Budget) -> Iterator[Row]:
    """Yield rows for each kind of runtime and number of connections."""
    with new_daemon(command=on_server_cpu()) as daemon, ExitStack() as stack:
        daemon.write(asked())
        daemon.start()
        servers = {}
        for name in RUNTIMES:
            ours = BenchServer(daemon.pid, str(daemon.socket), f"http://x/v1/resolve?runtime={name}")
            servers[name] = ours, stack.enter_context(peer_server(daemon.root / name, PEER, ours))
        cases = list(itertools.product(RUNTIMES, budget.sizes(*CONNECTIONS)))
        for (name, connections), until_s in budget.split(cases):
            ours, theirs = servers[name]
            requests = LATENCY_REQUESTS // (10 if budget.small else 1)
            sides = {
                OURS: functools.partial(load, ours, connections, requests),
                PEER: functools.partial(load, theirs, connections, requests),
            }
            deciding = [of_ratio("rate", PEER), of_ratio("processor", PEER)]
            if connections == 1:
                deciding += [of_ratio("median", PEER), of_ratio("p99", PEER)]
            rounds = interleave(sides, deciding, until_s)
            kind, goal = RUNTIMES[name]
            yield from rows(
                rounds,
                f"resolve {kind}{connections} connection{'s' if connections > 1 else ''}",
                PEER,
                goal if connections == 16 else None,
                LATENCY_GOAL if connections == 1 and name == "crun" else None,
            )
