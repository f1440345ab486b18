"""Defines the rows of the benchmark: a figure, its peer or limit, the goal, and the verdict; as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from bench.intervals import Figure


class Verdict(StrEnum):
    """Whether a row reaches its goal."""

    HOLDS = "holds"
    FALLS_SHORT = "FALLS SHORT"
    TOO_NOISY = "too noisy"


@dataclass(frozen=True, slots=True)
class Row:
    """One measure. ``ratio`` is ours to the peer's; ``goal`` is of the ratio where there is a peer, else of ``ours``.

    A goal is a bound: ``most`` says whether it is one from above. None: nothing was promised.
    """

    measure: str
    ours: Figure
    unit: str
    peer: str = ""
    theirs: Figure | None = None
    ratio: Figure | None = None
    goal: float | None = None
    most: bool = True
    note: str = ""

    @property
    def deciding(self) -> Figure:
        """The figure that the goal is of."""
        return self.ours if self.ratio is None else self.ratio

    @property
    def verdict(self) -> Verdict | None:
        """Whether the goal is reached: a wide interval that has the goal inside, or none of a series, says nothing."""
        if self.goal is None:
            return None
        figure = self.deciding
        if figure.low is None or figure.high is None:
            clear = not figure.rounds
        else:
            clear = figure.narrow or self._reached(figure.low) == self._reached(figure.high)
        if not clear:
            return Verdict.TOO_NOISY
        return Verdict.HOLDS if self._reached(figure.value) else Verdict.FALLS_SHORT

    def _reached(self, value: float) -> bool:
        assert self.goal is not None
        return value <= self.goal if self.most else value >= self.goal

    def as_json(self) -> dict[str, Any]:
        """Return the row for `from_json` and for programs, which need not repeat the verdict."""
        return asdict(self) | {"verdict": self.verdict}


def from_json(row: Mapping[str, Any]) -> Row:
    """Return the row of a document that an earlier ``--json`` printed."""
    fields = {name: value for name, value in row.items() if name != "verdict"}
    figures = {name: Figure(**row[name]) for name in ("ours", "theirs", "ratio") if row[name] is not None}
    return Row(**(fields | figures))


def render(rows: Iterable[Row]) -> str:
    """Return the rows as a table for people."""
    cells = [("measure", "ours", "peer", "theirs", "ratio", "goal", "")]
    for row in rows:
        goal = "" if row.goal is None else f"{'<=' if row.most else '>='} {row.goal:g}"
        theirs = "" if row.theirs is None else figure_text(row.theirs, row.unit)
        ratio = "" if row.ratio is None else figure_text(row.ratio)
        last = "; ".join(word for word in (row.verdict, row.note) if word)
        cells.append((row.measure, figure_text(row.ours, row.unit), row.peer, theirs, ratio, goal, last))
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells)


def summary(rows: Sequence[Row], failures: Sequence[str]) -> str:
    """Return the verdict on all goals, and the groups that failed, in one line."""
    of = {verdict: [row for row in rows if row.verdict is verdict] for verdict in Verdict}
    words = [f"{len(of[Verdict.HOLDS])} of {sum(map(len, of.values()))} goals hold"]
    if short := of[Verdict.FALLS_SHORT]:
        words.append(f"short of the goal: {' | '.join(map(_name, short))}")
    if noisy := of[Verdict.TOO_NOISY]:
        words.append(f"the machine is too noisy for: {' | '.join(map(_name, noisy))}")
    if failures:
        words.append(f"incomplete: {' | '.join(failures)}")
    return f"verdict: {'; '.join(words)}"


def _name(row: Row) -> str:
    return f"{row.measure} ({row.peer})" if row.peer else row.measure


def figure_text(figure: Figure, unit: str = "") -> str:
    """Return a value with its unit and interval."""
    text = _number(figure.value) + (f" {unit}" if unit else "")
    if figure.low is None or figure.high is None:
        return text
    return f"{text} ({_number(figure.low)} to {_number(figure.high)})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
