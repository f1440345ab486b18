"""Compares the states of binaries with those at the load of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from runtimed.core import shapes


State = Literal["available", "missing", "unusable"]

# Device, inode, size in bytes, time of the last change in ns.
Identity = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class BinaryState:
    """The result of looking up a binary: the path and the identity of its file, or the reason why it cannot execute.

    An unusable binary has a ``path`` and an ``identity`` if its file is executable but the kernel refuses it.
    """

    state: State
    path: str | None = None
    identity: Identity | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Drift:
    """A change of ``binary``, a path or a name as configured; ``path`` is the current one."""

    binary: str
    # replaced: another or a rewritten file; removed, unusable: it was available; installed: it was not.
    kind: shapes.DriftKind
    path: str | None = None
    reason: str | None = None
    # Distinguishes two successive replacements.
    identity: Identity | None = None

    def as_dict(self) -> shapes.Drift:
        """Return the JSON shape."""
        return {"binary": self.binary, "kind": self.kind, "path": self.path, "reason": self.reason}


def compare_states(loaded: Mapping[str, BinaryState], now: Mapping[str, BinaryState]) -> Mapping[str, Drift]:
    """Return the drift from ``loaded`` to ``now`` by binary, for the binaries in both."""
    found = {}
    for binary, state in now.items():
        kind = _kind(loaded[binary], state) if binary in loaded else None
        if kind is not None:
            found[binary] = Drift(binary, kind, state.path, state.reason, state.identity)
    return MappingProxyType(found)


def _kind(before: BinaryState, now: BinaryState) -> shapes.DriftKind | None:
    # A probe may find after the load that the kernel refuses a file; the file has not changed then.
    if now.identity is not None and (now.path, now.identity) == (before.path, before.identity):
        return None
    if now.state == "available":
        return "replaced" if before.state == "available" else "installed"
    if before.state == "available":
        return "removed" if now.state == "missing" else "unusable"
    return None
