"""Bounds the time of a group of measurements, and their size."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

_Case = TypeVar("_Case")
# Sizes of tables, and numbers of connections, that are small.
_SMALL = 16


class Budget:
    """Time for one group: ``seconds`` from now on. A ``small`` one also leaves out what is large."""

    def __init__(self, seconds: float, *, small: bool = False) -> None:
        self._until_s = time.monotonic() + seconds
        self.small = small

    def split(self, cases: Sequence[_Case]) -> Iterator[tuple[_Case, float]]:
        """Yield each case with the time at which it ends; what one leaves over is shared by those after it."""
        for done, case in enumerate(cases):
            now_s = time.monotonic()
            yield case, now_s + max(0.0, self._until_s - now_s) / (len(cases) - done)

    def sizes(self, *sizes: int) -> tuple[int, ...]:
        """Return the sizes to measure, at least one."""
        return (tuple(size for size in sizes if size <= _SMALL) or (_SMALL,)) if self.small else sizes

    def seconds(self, seconds: float) -> float:
        """Return how long to wait where a wait is measured."""
        return min(seconds, 1.0) if self.small else seconds
