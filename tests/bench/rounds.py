"""Measures several sides in turn until the figures that decide are narrow, or the time is over."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from bench.intervals import median_figure
from bench.rows import Row

OURS = "ours"
# Looks at the intervals after each round would stop at the first lucky one; so there are few, each after half as many
# rounds again.
_FIRST_LOOK = 8
_GROWTH = 1.5

# One measurement of one side: a value for each kind of figure.
Measure = Callable[[], Mapping[str, float]]


class Rounds:
    """The figures of all sides, round by round."""

    def __init__(self, sides: Iterable[str]) -> None:
        self._found: dict[str, list[Mapping[str, float]]] = {side: [] for side in sides}

    def __len__(self) -> int:
        return min(map(len, self._found.values()))

    def add(self, side: str, figures: Mapping[str, float]) -> None:
        """Add what was measured of a side in this round."""
        self._found[side].append(figures)

    def values(self, figure: str, side: str = OURS) -> list[float]:
        """Return one figure of one side, in the order of rounds."""
        return [figures[figure] for figures in self._found[side]]

    def ratios(self, figure: str, peer: str) -> list[float]:
        """Return the ratios of ours to the peer's, each of one round, which drifts of the machine hit alike."""
        return [a / b for a, b in zip(self.values(figure), self.values(figure, peer), strict=True)]

    def differences(self, figure: str, peer: str) -> list[float]:
        """Return what ours is more than the peer's, each of one round."""
        return [a - b for a, b in zip(self.values(figure), self.values(figure, peer), strict=True)]

    def single(self, measure: str, unit: str, figure: str, goal: float | None = None, *, side: str = OURS) -> Row:
        """Return the row of one side alone."""
        return Row(measure, median_figure(self.values(figure, side)), unit, goal=goal)

    def compared(
        self, measure: str, unit: str, figure: str, peer: str, goal: float | None = None, *, most: bool = True
    ) -> Row:
        """Return the row of ours beside a peer: the medians, and the median of the ratios."""
        ours, theirs = median_figure(self.values(figure)), median_figure(self.values(figure, peer))
        return Row(measure, ours, unit, peer, theirs, median_figure(self.ratios(figure, peer)), goal, most)


def interleave(
    sides: Mapping[str, Measure],
    deciding: Sequence[Callable[[Rounds], Sequence[float]]],
    until_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> Rounds:
    """Return the rounds until each series of ``deciding`` is narrow, or the next one would not end before ``until_s``.

    The first round warms up and does not count, unless there is no time at all. At least one counts. Each round has
    the reverse order of the one before, because whichever comes second may find warmer caches.
    """
    if clock() < until_s:
        for measure in sides.values():
            measure()
    rounds = Rounds(sides)
    order = list(sides)
    look_at, longest_s = _FIRST_LOOK, 0.0
    while True:
        begun_s = clock()
        for side in order:
            rounds.add(side, sides[side]())
        order.reverse()
        longest_s = max(longest_s, clock() - begun_s)
        if len(rounds) >= look_at:
            if all(median_figure(series(rounds)).narrow for series in deciding):
                break
            look_at = math.ceil(len(rounds) * _GROWTH)
        if clock() + longest_s > until_s:
            break
    return rounds


def of_ratio(figure: str, peer: str) -> Callable[[Rounds], Sequence[float]]:
    """Return the series of ratios to a peer as one that decides."""
    return lambda rounds: rounds.ratios(figure, peer)


def of_value(figure: str) -> Callable[[Rounds], Sequence[float]]:
    """Return a series of our own figures as one that decides."""
    return lambda rounds: rounds.values(figure)
