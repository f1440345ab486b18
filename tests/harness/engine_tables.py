"""Makes the table of ``GET /v1/runtimes`` from a configuration, as an export reads it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from harness.lookup import look_up_each
from harness.proofs import NoProofs

from runtimed.api.describe import describe_table
from runtimed.core.config import Settings
from runtimed.core.configuration.inputs import Documents, Flags, Source
from runtimed.core.configuration.parse import parse_configuration
from runtimed.core.errors import BinaryUnavailable
from runtimed.core.features import PENDING, Features
from runtimed.core.table.build import build_generation
from runtimed.core.table.facts import Facts
from runtimed.core.table.generation import Generation, Host

# Not the default data root: an import leaves out the runtimes whose binaries lie below that one.
DATA = "/data"


class EveryBinary(NoProofs):
    """A host on which a path leads to itself, and a name to a file in /usr/bin, except for the ``missing`` ones."""

    def __init__(self, missing: Collection[str] = ()) -> None:
        self._missing = missing

    def look_up_all(self, files: Iterable[str]) -> Mapping[str, str | BinaryUnavailable]:
        return look_up_each(self.look_up, files)

    def look_up(self, path: str) -> str:
        if path in self._missing:
            raise BinaryUnavailable(path, "is not on PATH")
        return path if "/" in path else f"/usr/bin/{path}"

    def replaceable(self, _binary: str) -> None:
        return None

    def features(self, _binary: str) -> Features:
        return PENDING

    def drift(self, _binary: str) -> None:
        return None


def node_generation(document: object, *, unified: bool = False, data_root: str = DATA) -> Generation:
    """Return the generation of a main file with this content; ``unified``: systemd on a unified cgroup hierarchy."""
    main = Source("/d.json", json.dumps(document).encode())
    config = parse_configuration(Documents(main.path, main), Flags(), Settings(data_root, "/run/runtimed", ()))
    host = Host(Facts(cgroup2=unified, systemd=unified, ramdisk=False), data_root, "/run/runtimed")
    return build_generation(config, host, 1)


def table_of(generation: Generation, host: EveryBinary | None = None) -> dict[str, Any]:
    """Return the response to ``GET /v1/runtimes``."""
    runtimes = list(describe_table(generation, host or EveryBinary()))
    table = {"generation": 1, "default_runtime": generation.config.default_runtime, "runtimes": runtimes}
    return dict(json.loads(json.dumps(table)))


def described_table(document: Mapping[str, object], missing: Collection[str] = ()) -> dict[str, Any]:
    """Return the table of a daemon.json whose data root is `DATA`, on a host without the binaries ``missing``."""
    return table_of(node_generation(document), EveryBinary(missing))
