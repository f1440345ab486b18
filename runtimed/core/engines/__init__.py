"""Knows the engines of a node: each has a module here, which defines `ENGINE` with the face that `engine` describes."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # as in runtimed.client
if TYPE_CHECKING:
    from runtimed.core.engines.engine import Engine

# A new engine is its module, or package, of this name, and this line.
NAMES = ("docker", "containerd", "podman", "crio", "kubernetes", "nfd")


def load_engine(name: str) -> Engine:
    """Return the engine ``name``, one of `NAMES`."""
    # Imported by name, because a command line needs one of them, and most need none.
    engine: Engine = import_module(f"{__name__}.{name}").ENGINE
    return engine
