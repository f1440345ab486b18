"""Defines the report of a reload."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from runtimed.core.containers import Kept, describe_kept
from runtimed.core.errors import Problem
from runtimed.core.history.trigger import Trigger
from runtimed.core.table.availability import Unavailable

if TYPE_CHECKING:
    from runtimed.core import shapes

_UNAVAILABLE_MAX = 1000
# Bounds of the lists of a report that is kept on disk.
_KEPT_PROBLEMS = 3
_KEPT_REPAIRS = 10


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one reload or dry run."""

    outcome: shapes.Outcome
    # The current generation after the reload.
    generation: int
    # The trigger.
    reason: str
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    default_runtime: tuple[str, str] | None = None
    # The first 1,000 problems, and the number of the others.
    problems: tuple[Problem, ...] = ()
    omitted: int = 0
    # Unknown keys, which are ignored.
    remarks: tuple[Problem, ...] = ()
    # Whether the configuration or the data root is the cause of a rejection.
    cause: shapes.Cause | None = None
    # Messages about damaged published files that the reload repaired.
    repaired: tuple[str, ...] = ()
    # Boot-only settings that differ from those at the start of the daemon.
    restart_required: tuple[str, ...] = ()
    # dockerd's keys that have no effect here, and keys that a flag overrides.
    ignored: tuple[str, ...] = ()
    overridden: tuple[str, ...] = ()
    # The unavailable runtimes in the new table, and the number of all runtimes in it; 0 if it was not examined.
    unavailable: tuple[Unavailable, ...] = ()
    runtimes: int = 0
    # The older definitions that containers keep, compared with the new table.
    kept: tuple[Kept, ...] = ()
    duration_ms: float = 0.0
    # The end of the reload in seconds since the epoch.
    time_s: float = 0.0
    dry_run: bool = False
    # The users who requested it and the files that changed; None for a dry run. It is no part of the JSON shape.
    trigger: Trigger | None = None
    # The changes that a dry run would make.
    changes: shapes.GenerationsDiff | None = None

    @property
    def fault(self) -> str | None:
        """The first problem of a rejection and the number of the others in one line, None for other outcomes."""
        if self.outcome != "rejected":
            return None
        more = self.problem_count - 1
        return str(self.problems[0]) + (f" (and {more} more)" if more else "")

    @property
    def problem_count(self) -> int:
        """The number of all problems."""
        return len(self.problems) + self.omitted

    def as_dict(self) -> shapes.Report:
        """Return the JSON shape, with at most 1,000 entries in the lists that also have a count."""
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
            "unavailable": [each.as_dict() for each in self.unavailable[:_UNAVAILABLE_MAX]],
            "unavailable_count": len(self.unavailable),
            "runtime_count": self.runtimes,
            "kept": describe_kept(self.kept),
            "kept_count": len(self.kept),
            "duration_ms": self.duration_ms,
            "time": self.time_s,
            "dry_run": self.dry_run,
        }
        if self.changes is not None:
            report["changes"] = self.changes
        return report

    def as_kept(self) -> shapes.KeptReload:
        """Return the JSON shape that is kept on disk."""
        return {
            "outcome": self.outcome,
            "generation": self.generation,
            "reason": self.reason,
            "cause": self.cause,
            "problems": [problem.as_dict() for problem in self.problems[:_KEPT_PROBLEMS]],
            "problem_count": self.problem_count,
            "repaired": list(self.repaired[:_KEPT_REPAIRS]),
            "trigger": None if self.trigger is None else self.trigger.as_dict(),
        }


def shorten(report: shapes.Report, most: int) -> shapes.ShortReport:
    """Return ``report`` with at most ``most`` entries in each list, and the full length of each shortened list."""
    short: dict[str, object] = {}
    for key, value in report.items():
        if isinstance(value, list) and len(value) > most:
            short[key] = value[:most]
            short[f"{key}_total"] = len(value)
        else:
            short[key] = value
    return cast("shapes.ShortReport", short)
