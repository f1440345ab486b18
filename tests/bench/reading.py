"""Reading: a resolution from the table file, beside a request on the socket and a look-up in /etc/passwd."""

from __future__ import annotations

import pwd
import time
from collections.abc import Callable, Iterator, Mapping

from bench.budget import Budget
from bench.machine import on_server_cpu
from bench.rounds import OURS, interleave, of_ratio
from bench.rows import Row
from bench.tables import table
from harness.daemon import new_daemon

from runtimed.client import Client
from runtimed.client.table_file import resolve_in_file

SIZES = (10, 1000, 10_000)
READS = 200
SOCKET = "the socket"
# The C library reads and searches a file, too.
LIBRARY = "getpwnam, /etc/passwd"


def measure(budget: Budget) -> Iterator[Row]:
    """Yield rows for each size: what a read takes beside a request of the same client, and beside getpwnam(3)."""
    last = pwd.getpwall()[-1].pw_name
    for size, until_s in budget.split(budget.sizes(*SIZES)):
        with new_daemon(command=on_server_cpu()) as daemon:
            daemon.write(table(size, 0, all_new=True))
            daemon.start()
            name, socket = f"runtime{size // 2}", str(daemon.socket)
            client = Client(socket)
            sides = {
                OURS: _mean_us(lambda name=name, socket=socket: resolve_in_file([socket], name, None, None)),  # type: ignore[misc]
                SOCKET: _mean_us(lambda name=name, client=client: client.resolve(name)),  # type: ignore[misc]
                LIBRARY: _mean_us(lambda: pwd.getpwnam(last)),
            }
            rounds = interleave(sides, [of_ratio("mean", SOCKET)], until_s)
        what = f"resolution from the table file, {size} runtimes"
        yield rounds.compared(what, "us", "mean", SOCKET, 1.0 if size == SIZES[0] else None)
        yield rounds.compared(what, "us", "mean", LIBRARY)


def _mean_us(call: Callable[[], object]) -> Callable[[], Mapping[str, float]]:
    def measured() -> Mapping[str, float]:
        begun_s = time.perf_counter()
        for _ in range(READS):
            call()
        return {"mean": (time.perf_counter() - begun_s) / READS * 1e6}

    return measured
