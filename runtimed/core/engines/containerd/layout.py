"""Defines where containerd's configuration lists runtimes, by the version of the file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType

# Version of a file -> the plugin whose section lists them (containerd's docs/PLUGINS.md and docs/cri/config.md).
PLUGINS: Mapping[int, str] = MappingProxyType({2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime"})

_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def dotted(*keys: str) -> str:
    """Return the path of a value as TOML writes it: ``plugins."io.containerd.grpc.v1.cri".containerd``."""
    return ".".join(key if _BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False) for key in keys)
