"""How long a client waits at the longest while a large table is reloaded; and while nothing happens, for comparison."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from harness.daemon import new_daemon
from table import Row
from tables import longest_wait_ms, table, watch_reload

ROUNDS = 5
# Goals in milliseconds, by the size of the table.
GOALS_MS = {1000: 5.0, 10_000: 40.0}
_QUIET_S = 1.0


def measure() -> Iterator[Row]:
    """Yield a row for each size and kind of reload."""
    for size, goal in GOALS_MS.items():
        for all_new in (True, False):
            with new_daemon() as daemon:
                daemon.write(table(size, 0, all_new=all_new))
                daemon.start()
                waits, quiet = [], []
                for mark in range(1, ROUNDS + 1):
                    quiet.append(longest_wait_ms(daemon, _QUIET_S))
                    waits.append(watch_reload(daemon, table(size, mark, all_new=all_new), 0.0).longest_wait_ms)
            what = f"longest wait, reload of {size} {'all new' if all_new else 'one changed'}"
            note = f"at worst {max(waits):.1f}; with nothing going on {statistics.median(quiet):.1f}"
            yield Row(what, statistics.median(waits), "ms", goal=goal, note=note)
