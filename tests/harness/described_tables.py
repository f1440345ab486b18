"""Makes tables for engines that need the real paths of binaries."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from harness.engine_tables import EveryBinary, node_generation, table_of

from runtimed.core.errors import BinaryUnavailable


class PathedBinaries(EveryBinary):
    """A host on which a path leads to itself, and a name to a file in /usr/bin unless it is one of ``missing``."""

    def __init__(self, missing: Collection[str]) -> None:
        self._missing = missing

    def look_up(self, path: str) -> str:
        if path in self._missing:
            raise BinaryUnavailable(path, "is not on PATH")
        return path if "/" in path else f"/usr/bin/{path}"


def described_table(document: Mapping[str, object], missing: Collection[str] = ()) -> dict[str, Any]:
    """Return the table of a daemon.json whose data root is /data, on a host without the binaries ``missing``."""
    return table_of(node_generation(document), PathedBinaries(missing))
