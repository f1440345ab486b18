"""Builds tables as ``GET /v1/runtimes`` returns them, with the fields that the engines without binaries read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
