"""Makes tables for engines that need the real paths of binaries."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from harness.engine_tables import EveryBinary, node_generation, table_of


def described_table(document: Mapping[str, object], missing: Collection[str] = ()) -> dict[str, Any]:
    """Return the table of a daemon.json whose data root is /data, on a host without the binaries ``missing``."""
    return table_of(node_generation(document), EveryBinary(missing))
