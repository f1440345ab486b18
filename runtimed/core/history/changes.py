"""What changes from one table of runtimes to another, with the definitions of before and after: /v1/diff's shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from runtimed.core.table.generation import Difference

if TYPE_CHECKING:
    from runtimed.core import shapes

    # The entry of daemon.json's `runtimes` that a name has; None for a stock one, and for one that is not there.
    Define = Callable[[str], shapes.Definition | None]


def describe_changes(
    numbers: tuple[int, int], difference: Difference, before: Define, after: Define
) -> shapes.GenerationsDiff:
    """Return the JSON shape of ``difference`` between two generations of these ``numbers``."""

    def both(name: str) -> shapes.RuntimeChange:
        return {"name": name, "from": before(name), "to": after(name)}

    default = difference.default_runtime
    return {
        "from": numbers[0],
        "to": numbers[1],
        "added": [both(name) for name in difference.added],
        "changed": [both(name) for name in difference.changed],
        "removed": [both(name) for name in difference.removed],
        "default_runtime": None if default is None else {"from": default[0], "to": default[1]},
    }
