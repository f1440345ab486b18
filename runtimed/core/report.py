"""The reload report: what became of one attempt to reload, told to whoever asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtimed.core.availability import Unavailable
from runtimed.core.errors import Problem

if TYPE_CHECKING:
    from runtimed.core import news, shapes

# More than anybody reads; rendering a hundred thousand would hold up the event loop.
_PROBLEMS_MOST = 1000
_UNAVAILABLE_MOST = 1000


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one reload; ``generation`` is the one that is current after it.

    ``restart_required`` names boot-only settings that differ from those the daemon runs with,
    ``ignored`` dockerd's keys that mean nothing here, ``overridden`` keys that a flag wins over.
    """

    outcome: news.Outcome
    generation: int
    reason: str
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    default_runtime: tuple[str, str] | None = None
    problems: tuple[Problem, ...] = ()
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
        first, more = self.problems[0], len(self.problems) - 1
        return f"{first}" + (f" (and {more} more)" if more else "")

    def as_dict(self) -> news.Report:
        """Return the JSON shape of the report: the first 1,000 problems and unavailable runtimes, and their numbers."""
        default = self.default_runtime
        report: news.Report = {
            "outcome": self.outcome,
            "generation": self.generation,
            "reason": self.reason,
            "added": list(self.added),
            "changed": list(self.changed),
            "removed": list(self.removed),
            "default_runtime": None if default is None else {"from": default[0], "to": default[1]},
            "problems": [problem.as_dict() for problem in self.problems[:_PROBLEMS_MOST]],
            "problem_count": len(self.problems),
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
