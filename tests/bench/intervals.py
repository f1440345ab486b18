"""Computes medians and their intervals by order statistics, which assume no distribution."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
# An interval is narrow if it is not wider than this share of its median.
NARROW = 0.1


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with its interval. ``rounds`` is the number of figures that it is the median of; 0: a single value.

    A single value and a series that is too short for the confidence have no interval.
    """

    value: float
    low: float | None = None
    high: float | None = None
    rounds: int = 0

    @property
    def narrow(self) -> bool:
        """Whether there is an interval, and it is narrow."""
        if self.low is None or self.high is None:
            return False
        return self.high - self.low <= NARROW * abs(self.value)


def median_figure(values: Sequence[float]) -> Figure:
    """Return the median of a series with the narrowest interval of its order statistics that has the confidence."""
    ascending = sorted(values)
    median = statistics.median(ascending)
    left_out = _left_out(len(ascending))
    if left_out is None:
        return Figure(median, rounds=len(ascending))
    return Figure(median, ascending[left_out], ascending[-1 - left_out], len(ascending))


@functools.cache
def _left_out(count: int) -> int | None:
    """Return how many of ``count`` figures lie outside of the interval on each side; None: ``count`` is too small.

    The true median lies below the figure with the index k if at most k figures lie below the median. The probability of
    that is the binomial distribution's, with 1/2.
    """
    most = (1 - CONFIDENCE) / 2
    outside = 0.0
    for index in range(count // 2 + 1):
        outside += math.comb(count, index) / 2**count
        if outside > most:
            return index - 1 if index else None
    return None
