"""Builds tables as ``GET /v1/runtimes`` returns them, from configuration documents, and from them again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from harness.generation import generation_of
from harness.lookup import look_up_each

from runtimed.api.describe import describe_table
from runtimed.core.errors import BinaryUnavailable
from runtimed.core.features import PENDING, Features


class Node:
    """A node that has every binary: a path is itself, and a name is in /usr/bin, except for the ``missing`` ones."""

    def __init__(self, missing: tuple[str, ...] = ()) -> None:
        self._missing = missing

    def look_up_all(self, files: Iterable[str]) -> Mapping[str, str | BinaryUnavailable]:
        return look_up_each(self._look_up, files)

    def _look_up(self, path: str) -> str:
        if path in self._missing:
            raise BinaryUnavailable(path, "is not on PATH")
        return path if "/" in path else f"/usr/bin/{path}"

    def replaceable(self, binary: str) -> None:
        return None

    def features(self, binary: str) -> Features:
        return PENDING

    def drift(self, binary: str) -> None:
        return None


def described_table(document: Mapping[str, object], missing: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the table of a daemon.json whose data root is /data, on a node without the binaries ``missing``."""
    generation = generation_of(document)
    runtimes = list(describe_table(generation, Node(missing)))
    table = {"generation": 1, "default_runtime": generation.config.default_runtime, "runtimes": runtimes}
    return dict(json.loads(json.dumps(table)))
