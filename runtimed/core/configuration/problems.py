"""Collects the problems of a configuration up to a limit and counts the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Self

from runtimed.core.errors import ConfigurationRejected, Problem

MAX_PROBLEMS = 1000


class Problems(list[Problem]):
    """A list of at most 1,000 problems; ``omitted`` counts those that came after them.

    A problem takes about a kilobyte and a file can have millions, so a loop over something long uses :meth:`add`.
    """

    __slots__ = ("omitted",)

    def __init__(self, problems: Iterable[Problem] = ()) -> None:
        super().__init__()
        self.omitted = 0
        self.extend(problems)

    @property
    def full(self) -> bool:
        """Whether further problems are only counted."""
        return len(self) >= MAX_PROBLEMS

    @property
    def total(self) -> int:
        """Number of problems, including those that are only counted."""
        return len(self) + self.omitted

    def append(self, problem: Problem) -> None:
        """Add ``problem``, or count it."""
        if self.full:
            self.omitted += 1
        else:
            super().append(problem)

    def add(self, make: Callable[[], Problem]) -> None:
        """Add the problem that ``make`` returns, or count it without calling ``make``."""
        if self.full:
            self.omitted += 1
        else:
            super().append(make())

    def extend(self, problems: Iterable[Problem]) -> None:
        """Add each of ``problems``, or count it; those that ``problems`` has only counted are counted here too."""
        for problem in problems:
            self.append(problem)
        if isinstance(problems, Problems):
            self.omitted += problems.omitted

    def __iadd__(self, problems: Iterable[Problem]) -> Self:  # type: ignore[override, misc]  # list takes more kinds
        self.extend(problems)
        return self

    def rejection(self) -> ConfigurationRejected:
        """Return the error that carries these problems."""
        return ConfigurationRejected(tuple(self), self.omitted)
