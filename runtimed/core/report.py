"""The reload report: what became of one attempt to reload, told to whoever asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from runtimed.core.errors import Problem
from runtimed.core.table.availability import Unavailable

if TYPE_CHECKING:
    from runtimed.core import shapes

_UNAVAILABLE_MOST = 1000


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one reload; ``generation`` is the one that is current after it.

    ``restart_required`` names boot-only settings that differ from those the daemon runs with,
    ``ignored`` dockerd's keys that mean nothing here, ``overridden`` keys that a flag wins over, ``remarks`` unknown
    keys that are ignored.
    ``cause`` tells whether a rejection is due to the configuration or to the data root.
    """

    outcome: shapes.Outcome
    generation: int
    reason: str
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    default_runtime: tuple[str, str] | None = None
    # The first 1,000, and how many there are besides.
    problems: tuple[Problem, ...] = ()
    untold: int = 0
    remarks: tuple[Problem, ...] = ()
    cause: shapes.Cause | None = None
    # What the reload found damaged among the published files, in words, each with the repair.
    repaired: tuple[str, ...] = ()
    restart_required: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    overridden: tuple[str, ...] = ()
    # Those of the table that the reload leads to, and the number of all in it; 0 where it was not looked at.
    unavailable: tuple[Unavailable, ...] = ()
    runtimes: int = 0
    duration_ms: float = 0.0
    # Seconds since the epoch at which the attempt ended.
    time_s: float = 0.0
    dry_run: bool = False
    # What a dry run would change, with definitions, in the shape of /v1/diff.
    changes: shapes.GenerationsDiff | None = None

    @property
    def fault(self) -> str | None:
        """What is wrong, in one line; None unless it is a rejection."""
        if self.outcome != "rejected":
            return None
        first, more = self.problems[0], self.problem_count - 1
        return f"{first}" + (f" (and {more} more)" if more else "")

    @property
    def problem_count(self) -> int:
        """How many problems there are."""
        return len(self.problems) + self.untold

    def as_dict(self) -> shapes.Report:
        """Return the JSON shape of the report: the first 1,000 problems and unavailable runtimes, and their numbers."""
        default = self.default_runtime
        report: shapes.Report = {
            "outcome": self.outcome,
            "generation": self.generation,
            "reason": self.reason,
            "added": list(self.added),
            "changed": list(self.changed),
            "removed": list(self.removed),
            "default_runtime": None if default is None else {"from": default[0], "to": default[1]},
            "problems": [problem.as_dict() for problem in self.problems],
            "problem_count": self.problem_count,
            "cause": self.cause,
            "repaired": list(self.repaired),
            "remarks": [remark.as_dict() for remark in self.remarks],
            "restart_required": list(self.restart_required),
            "ignored": list(self.ignored),
            "overridden": list(self.overridden),
            "unavailable": [each.as_dict() for each in self.unavailable[:_UNAVAILABLE_MOST]],
            "unavailable_count": len(self.unavailable),
            "runtime_count": self.runtimes,
            "duration_ms": self.duration_ms,
            "time": self.time_s,
            "dry_run": self.dry_run,
        }
        if self.changes is not None:
            report["changes"] = self.changes
        return report


def shorten(report: shapes.Report, most: int) -> shapes.ShortReport:
    """Return ``report`` with the first ``most`` entries of each list, and the whole length of one that is cut."""
    short: dict[str, object] = {}
    for key, value in report.items():
        if isinstance(value, list) and len(value) > most:
            short[key] = value[:most]
            short[f"{key}_total"] = len(value)
        else:
            short[key] = value
    return cast("shapes.ShortReport", short)
