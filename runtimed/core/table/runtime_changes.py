"""Finds the runtimes that changed from one generation to the next, by the identity of the objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtimed.core.table.generation import Runtime


@dataclass(frozen=True, slots=True)
class RuntimeChanges:
    """The runtimes that only the old generation has, and those that only the new one has; a changed one is in both."""

    old: Sequence[Runtime]
    new: Sequence[Runtime]

    @property
    def names(self) -> set[str]:
        """The names of the runtimes."""
        return {runtime.name for runtime in (*self.old, *self.new)}


def find_changes(old: Mapping[str, Runtime], new: Mapping[str, Runtime]) -> RuntimeChanges:
    """Return the changes from ``old`` to ``new``. A runtime that did not change is the same object in both."""
    get = old.get
    changed = [runtime for name, runtime in new.items() if get(name) is not runtime]
    replaced = [old[runtime.name] for runtime in changed if runtime.name in old]
    return RuntimeChanges([*replaced, *(old[name] for name in sorted(old.keys() - new.keys()))], changed)
