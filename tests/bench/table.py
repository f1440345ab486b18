"""What was measured: rows with a figure, what it stands beside, and the goal; as text and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One measure. ``ratio`` is ours to the peer's; ``goal`` is of the ratio where there is a peer, else of ``ours``.

    A goal is a bound: ``most`` says whether it is one from above. None: nothing was promised.
    """

    measure: str
    ours: float
    unit: str
    peer: str = ""
    theirs: float | None = None
    ratio: float | None = None
    goal: float | None = None
    most: bool = True
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the goal is reached."""
        if self.goal is None:
            return None
        value = self.ours if self.ratio is None else self.ratio
        return value <= self.goal if self.most else value >= self.goal


def compared(
    measure: str,
    unit: str,
    ours: Sequence[float],
    peer: str,
    theirs: Sequence[float],
    goal: float | None = None,
    *,
    most: bool = True,
) -> Row:
    """Return the row of two series that were measured in turn: medians, and the median of the pairs' ratios."""
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    return Row(measure, statistics.median(ours), unit, peer, statistics.median(theirs), ratio, goal, most)


def render(rows: Iterable[Row]) -> str:
    """Return the rows as a table for people."""
    cells = [("measure", "ours", "peer", "theirs", "ratio", "goal", "")]
    for row in rows:
        goal = "" if row.goal is None else f"{'<=' if row.most else '>='} {row.goal:g}"
        theirs = "" if row.theirs is None else _figure(row.theirs, row.unit)
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        verdict = {True: "holds", False: "FALLS SHORT", None: ""}[row.holds]
        cells.append((row.measure, _figure(row.ours, row.unit), row.peer, theirs, ratio, goal, verdict or row.note))
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells)


def _figure(value: float, unit: str) -> str:
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.3g} {unit}"
