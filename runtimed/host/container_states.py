"""Tells whether a container may still exist, by the state that its runtime keeps of it.

runc, crun and youki keep a directory ``<root>/<id>``; runsc keeps files ``<root>/<id>_sandbox:<sandbox>.state``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from runtimed.core.pins import Pin

# The default roots of runtimes, below /run and below $XDG_RUNTIME_DIR.
_RUNTIMES = ("runc", "crun", "runsc", "youki")
_SANDBOX = "_sandbox:"


def usual_roots(runtime_directory: str | None) -> tuple[str, ...]:
    """Return the directories in which runtimes keep states by default; ``runtime_directory`` is $XDG_RUNTIME_DIR."""
    parents = ["/run", *([runtime_directory] if runtime_directory else [])]
    return tuple(f"{parent}/{name}" for parent in parents for name in _RUNTIMES)


class ContainerStates:
    """The states of containers at one instant: each directory is listed at most once.

    ``roots`` are the directories to look into for a pin without a known one.
    """

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = roots
        # Directory -> the ids with a state in it; None: it cannot be listed.
        self._ids: dict[str, frozenset[str] | None] = {}

    def has_state(self, pin: Pin) -> bool | None:
        """Return whether the container of ``pin`` has a state; None if that cannot be known.

        A known root that does not exist may exist in the mount namespace of the engine, unless the directory above the
        bundle is there: then the runtime has never made its root.
        """
        if pin.state and not os.path.isabs(pin.state):
            return None
        found = [self._list(root) for root in ((pin.state,) if pin.state else self._roots)]
        if any(ids is not None and pin.id in ids for ids in found):
            return True
        parents = (pin.state, os.path.dirname(pin.bundle))
        if any(ids is None for ids in found) or (pin.state and not any(map(os.path.isdir, parents))):
            return None
        return False

    def _list(self, root: str) -> frozenset[str] | None:
        if root not in self._ids:
            try:
                names = os.listdir(root)
            except (FileNotFoundError, NotADirectoryError):
                names = []
            except (OSError, ValueError):
                self._ids[root] = None
                return None
            self._ids[root] = frozenset((*names, *(name.partition(_SANDBOX)[0] for name in names)))
        return self._ids[root]


def bundle_exists(pin: Pin) -> bool | None:
    """Return whether the bundle of ``pin`` exists; None if that cannot be known."""
    if not pin.bundle:
        return None
    try:
        os.lstat(pin.bundle)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return None
    return True
