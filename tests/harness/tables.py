"""Builds tables as ``GET /v1/runtimes`` returns them: whole, or with what the engines without binaries read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from harness.generation import generation_of
from harness.lookup import look_up_each

from runtimed.api.describe import describe_table
from runtimed.core.errors import BinaryUnavailable
from runtimed.core.features import PENDING, Features


class _AllBinaries:
    """A host on which every binary is where it is said to be."""

    def look_up_all(self, files: Iterable[str]) -> Mapping[str, str | BinaryUnavailable]:
        return look_up_each(self.look_up, files)

    def look_up(self, path: str) -> str:
        return path

    def replaceable(self, binary: str) -> None:
        return None

    def features(self, binary: str) -> Features:
        return PENDING

    def drift(self, binary: str) -> None:
        return None


def table_of(document: Mapping[str, object]) -> dict[str, Any]:
    """Return the table of a daemon whose configuration is ``document`` and whose data root is /data."""
    generation = generation_of(document)
    runtimes = list(describe_table(generation, _AllBinaries()))
    table = {"generation": 1, "default_runtime": generation.config.default_runtime, "runtimes": runtimes}
    return dict(json.loads(json.dumps(table)))


def row(
    name: str, definition: Mapping[str, object] | None = None, features: object = None, reason: str | None = None
) -> dict[str, Any]:
    """Return a runtime, available if there is no ``reason`` against it; ``features`` is a Features structure."""
    probed = {"status": "known", "features": features, "version": None, "reason": None}
    return {
        "name": name,
        "definition": definition,
        "available": reason is None,
        "reason": reason,
        "features": None if features is None else probed,
    }


def table(*runtimes: dict[str, Any], default: str = "runc") -> dict[str, Any]:
    """Return a table of ``runtimes`` and the two stock runtimes, sorted by name."""
    rows = {row["name"]: row for row in (row("runc"), row("io.containerd.runc.v2"), *runtimes)}
    return {"generation": 1, "default_runtime": default, "runtimes": [rows[name] for name in sorted(rows)]}
