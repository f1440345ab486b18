"""Drift: what has become of a runtime's binary since the configuration was loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from runtimed.core import shapes


# available: it could be executed. missing: there is none. unusable: something stands in the way.
State = Literal["available", "missing", "unusable"]

# Device, inode, size in bytes, time of the last change in ns.
Identity = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class BinaryState:
    """What was found when a binary was looked for: where, which file, or why it cannot be executed.

    An unusable one has a ``path`` and an ``identity`` where the file looks executable and the kernel refuses it.
    """

    state: State
    path: str | None = None
    identity: Identity | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Drift:
    """What is different about ``binary``, a path or a name as configured; ``path`` is where it is now."""

    binary: str
    # replaced: another file, or the same one written again. removed, unusable: it was available. installed: it was not.
    kind: shapes.DriftKind
    path: str | None = None
    reason: str | None = None
    # Tells one replacement from the next; of no interest to clients.
    identity: Identity | None = None

    def as_dict(self) -> shapes.Drift:
        """Return the JSON shape."""
        return {"binary": self.binary, "kind": self.kind, "path": self.path, "reason": self.reason}


def compare_states(loaded: Mapping[str, BinaryState], now: Mapping[str, BinaryState]) -> Mapping[str, Drift]:
    """Return what is different in ``now`` from when it was ``loaded``, by binary; those of only one are left out."""
    found = {}
    for binary, seen in now.items():
        before = loaded.get(binary)
        kind = _kind(before, seen) if before is not None else None
        if kind is not None:
            found[binary] = Drift(binary, kind, seen.path, seen.reason, seen.identity)
    return MappingProxyType(found)


def _kind(before: BinaryState, now: BinaryState) -> shapes.DriftKind | None:
    # A probe may learn after the load that the kernel refuses a file: that is no change of the file.
    if now.identity is not None and (now.path, now.identity) == (before.path, before.identity):
        return None
    if now.state == before.state == "available":
        return "replaced"
    if now.state == "available":
        return "installed"
    if before.state == "available":
        return "removed" if now.state == "missing" else "unusable"
    # It could not be used, and cannot: why not may have changed.
    return None
