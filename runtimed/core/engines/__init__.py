"""Lists the engines. Each has a module or package here, which defines `ENGINE`, an `Engine` of the module `engine`."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # as in runtimed.client
if TYPE_CHECKING:
    from runtimed.core.engines.engine import Engine

# A new engine is a module or package of its name, and its name here.
NAMES = ("docker", "containerd", "podman", "crio", "kubernetes", "nfd")


def load_engine(name: str) -> Engine:
    """Return the engine ``name``, one of `NAMES`."""
    # Imported here, because most commands need no engine.
    engine: Engine = import_module(f"{__name__}.{name}").ENGINE
    return engine
