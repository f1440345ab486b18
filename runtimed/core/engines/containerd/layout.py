"""Defines where containerd's configuration lists runtimes, by the version of the file, and the keys of a runtime."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_RUNTIME = "io.containerd.cri.v1.runtime"
# Version of a file -> the plugin whose section lists them (containerd's docs/PLUGINS.md and docs/cri/config.md).
# Version 4, the default of containerd 2.3, has moved sections of the server only.
PLUGINS: Mapping[int, str] = MappingProxyType({2: "io.containerd.grpc.v1.cri", 3: _RUNTIME, 4: _RUNTIME})
# The name under which an entry of runtimed's table carries the keys that only containerd knows.
NAME = "containerd"
# The runtime that containerd has without any configuration.
BUILT_IN = "runc"

# Default values that containerd writes out and that are not empty, 0 or false.
_DEFAULTS = frozenset({("sandboxer", "podsandbox"), ("sandbox_mode", "podsandbox"), ("io_type", "fifo")})


def is_default(key: str, value: object) -> bool:
    """Return whether ``value`` is containerd's default for a key of a runtime, or a table of defaults."""
    if isinstance(value, dict):
        return all(is_default(inner, item) for inner, item in value.items())
    return not value or (isinstance(value, str) and (key, value) in _DEFAULTS)


def table_at(document: object, *keys: str) -> Mapping[str, object]:
    """Return the table to which ``keys`` lead in ``document``; an empty one if it is missing or something else."""
    for key in keys:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document if isinstance(document, Mapping) else {}


def section_of(document: Mapping[str, object]) -> Mapping[str, object]:
    """Return the table in ``document``, a file or dump of a known version, that has the runtimes and the default."""
    version = document.get("version")
    plugin = PLUGINS.get(version) if isinstance(version, int) else None
    return table_at(document, "plugins", plugin, "containerd") if plugin else {}
