"""Counts requests, reloads and other events for /metrics."""

from __future__ import annotations

from bisect import bisect_left

REQUEST_BOUNDS_S = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.025, 0.1, 1.0, 10.0)
TRIGGERS = frozenset({"start", "file-change", "retry", "repair", "signal", "api"})
RELOAD_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Histogram:
    """Number of values in each bucket, whose upper bounds are ``bounds`` and infinity, and the sum of the values."""

    __slots__ = ("_least", "bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self._least = bounds[0]
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    @property
    def count(self) -> int:
        """Number of values."""
        return sum(self.counts)

    def observe(self, value: float) -> None:
        """Count ``value``."""
        # Most requests take less than the least bound. Skipping bisect_left saves 0.6 % of a repeated request.
        self.counts[bisect_left(self.bounds, value) if value > self._least else 0] += 1
        self.total += value


class Counters:
    """Counts since the process started."""

    def __init__(self) -> None:
        # Durations in seconds, by route and status.
        self.requests: dict[tuple[str, int], Histogram] = {}
        # By outcome and trigger, without dry runs.
        self.reloads: dict[tuple[str, str], int] = {}
        self.reload_s = Histogram(RELOAD_BOUNDS_S)
        # Whether the last reload succeeded; and when one last did, in seconds since the epoch, 0 before the first.
        self.last_successful = False
        self.last_success_s = 0.0
        self.wrappers_collected = 0
        self.subscribers_dropped = 0

    def requests_of(self, route: str, status: int) -> Histogram:
        """Return the histogram of the durations of requests to ``route`` that were answered with ``status``."""
        key = route, status
        histogram = self.requests.get(key)
        if histogram is None:
            histogram = self.requests[key] = Histogram(REQUEST_BOUNDS_S)
        return histogram

    def count_reload(self, outcome: str, reason: str, duration_s: float, time_s: float) -> None:
        """Count a reload, other than a dry run, that ended at ``time_s`` (since the epoch).

        ``reason`` joins the reload's triggers, of which the first is the label: labels take values of a fixed set.
        """
        first = reason.partition(", ")[0]
        key = outcome, first if first in TRIGGERS else "other"
        self.reloads[key] = self.reloads.get(key, 0) + 1
        self.reload_s.observe(duration_s)
        # A repair of published files does not read the configuration: a rejected one is still rejected after it.
        if reason == "repair":
            return
        self.last_successful = outcome != "rejected"
        if self.last_successful:
            self.last_success_s = time_s
