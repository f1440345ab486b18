"""Describes the difference between two generations, with the definitions of both, in the shape of /v1/diff."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from runtimed.core.table.generation import Difference

if TYPE_CHECKING:
    from runtimed.core import shapes

    # Maps a name to its entry of daemon.json's `runtimes`; None for a stock runtime and for an unknown name.
    Define = Callable[[str], shapes.Definition | None]


def describe_changes(
    numbers: tuple[int, int], difference: Difference, before: Define, after: Define
) -> shapes.GenerationsDiff:
    """Return the JSON shape of ``difference`` between the two generations ``numbers``."""

    def describe(names: tuple[str, ...]) -> list[shapes.RuntimeChange]:
        return [{"name": name, "from": before(name), "to": after(name)} for name in names]

    default = difference.default_runtime
    return {
        "from": numbers[0],
        "to": numbers[1],
        "added": describe(difference.added),
        "changed": describe(difference.changed),
        "removed": describe(difference.removed),
        "default_runtime": None if default is None else {"from": default[0], "to": default[1]},
    }
