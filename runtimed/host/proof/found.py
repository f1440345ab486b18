"""Defines the result of a search for leftovers: a thing, and the function that removes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runtimed.core.proof.engine import Leftover, LeftoverKind


@dataclass(frozen=True, slots=True)
class Found:
    """A leftover; ``remove`` removes it, or raises OSError."""

    kind: LeftoverKind
    name: str
    remove: Callable[[], object]
    # Others may end or be removed with it, so it is removed first.
    is_alive: bool = False
    is_removable: bool = True

    @property
    def leftover(self) -> Leftover:
        """The JSON shape."""
        return {"kind": self.kind, "name": self.name}
