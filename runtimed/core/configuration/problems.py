"""Collects the problems of a configuration up to a bound, and counts the rest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from runtimed.core.errors import ConfigurationRejected, Problem

MAX_PROBLEMS = 1000


class Problems(list[Problem]):
    """A list of at most 1,000 problems; ``untold`` counts those that came after them.

    A problem takes about a kilobyte and a file can have millions, so a loop over something long asks ``full`` first.
    """

    __slots__ = ("untold",)

    def __init__(self, problems: Iterable[Problem] = ()) -> None:
        super().__init__()
        self.untold = 0
        self.extend(problems)

    @property
    def full(self) -> bool:
        """Whether further problems are only counted."""
        return len(self) >= MAX_PROBLEMS

    @property
    def total(self) -> int:
        """How many problems there are, those that were only counted included."""
        return len(self) + self.untold

    def append(self, problem: Problem) -> None:
        """Add ``problem``, or count it."""
        if self.full:
            self.untold += 1
        else:
            super().append(problem)

    def extend(self, problems: Iterable[Problem]) -> None:
        """Add each of ``problems``, or count it; what ``problems`` has counted itself is added to the count."""
        for problem in problems:
            self.append(problem)
        if isinstance(problems, Problems):
            self.untold += problems.untold

    def __iadd__(self, problems: Iterable[Problem]) -> Self:  # type: ignore[override, misc]  # list takes more kinds
        self.extend(problems)
        return self

    def rejection(self) -> ConfigurationRejected:
        """Return the error that carries these problems."""
        return ConfigurationRejected(tuple(self), self.untold)


@dataclass(slots=True)
class Findings:
    """What reading a configuration finds: problems, which reject it, and remarks on what has no effect."""

    problems: Problems = field(default_factory=Problems)
    remarks: Problems = field(default_factory=Problems)
