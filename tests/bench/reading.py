"""Reading: a resolution from the table file, beside a request on the socket and a look-up in /etc/passwd."""

from __future__ import annotations

import pwd
import time
from collections.abc import Callable, Iterator

from harness.daemon import new_daemon
from table import Row, compared
from tables import table

from runtimed.client import Client
from runtimed.client.table_file import resolve_in_file

SIZES = (10, 1000, 10_000)
ROUNDS = 7
READS = 200
# The C library reads and searches a file, too.
PEER = "getpwnam, /etc/passwd"


def measure() -> Iterator[Row]:
    """Yield rows for each size: what a read takes beside a request of the same client, and beside getpwnam(3)."""
    last = pwd.getpwall()[-1].pw_name
    for size in SIZES:
        with new_daemon() as daemon:
            daemon.write(table(size, 0, all_new=True))
            daemon.start()
            name, socket = f"runtime{size // 2}", str(daemon.socket)
            client = Client(socket)
            calls: tuple[Callable[[], object], ...] = (
                lambda name=name, socket=socket: resolve_in_file([socket], name, None, None),  # type: ignore[misc]
                lambda name=name, client=client: client.resolve(name),  # type: ignore[misc]
                lambda: pwd.getpwnam(last),
            )
            rounds = [[_mean_us(call) for call in calls] for _ in range(ROUNDS)]
            ours, requests, lookups = (list(series) for series in zip(*rounds, strict=True))
            what = f"resolution from the table file, {size} runtimes"
            yield compared(what, "us", ours, "the socket", requests, 1.0 if size == SIZES[0] else None)
            yield compared(what, "us", ours, PEER, lookups)


def _mean_us(call: Callable[[], object]) -> float:
    begun_s = time.perf_counter()
    for _ in range(READS):
        call()
    return (time.perf_counter() - begun_s) / READS * 1e6
