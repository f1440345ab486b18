"""Decides which files a runtime's answer names, and which runtimes cannot be used without them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtimed.core.containerd.names import shim_binary_name
from runtimed.core.table.generation import Generation, Runtime

if TYPE_CHECKING:
    from runtimed.core import shapes

# A message names this many runtimes and counts the others.
_NAMED_MOST = 5


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A runtime that cannot be used: ``path`` is the file that its answer names, ``reason`` why it cannot run."""

    runtime: str
    path: str
    reason: str

    def as_dict(self) -> shapes.UnavailableRuntime:
        """Return the JSON shape."""
        return {"runtime": self.runtime, "path": self.path, "reason": self.reason}


def named_files(shim: str, binary_name: str, path: str | None) -> tuple[str, ...]:
    """Return the files that the answer for a configured runtime names: paths, or names that PATH leads to.

    ``binary_name`` is that of its options, "" for none; ``path`` the configured one, None for a runtime that names
    its shim. A wrapper is named as well as the binary behind it. The shim of a ``path`` runtime is not among the
    files: podman and CRI-O need none, and containerd has its own PATH.
    """
    if path is not None:
        return (path,) if binary_name == path else (path, binary_name)
    files = (shim_binary_name(shim), binary_name)
    return tuple(file for file in files if file)


def files_of(runtime: Runtime) -> tuple[str, ...]:
    """Return the files that have to be executable for ``runtime`` to be answered.

    None for a stock or implicit runtime: its answer names no file of this node, only names that containerd looks up.
    """
    definition = runtime.definition
    if definition is None:
        return ()
    options = dict(runtime.options.fields) if runtime.options is not None else {}
    return named_files(runtime.shim, str(options.get("binary_name", "")), definition.path)


def binaries_of(runtime: Runtime) -> tuple[str, ...]:
    """Return `files_of` a runtime without its wrapper: the files that the node's administrator installs."""
    files = files_of(runtime)
    return files[:1] if runtime.wrapper is not None else files


def find_unavailable(generation: Generation, obstacles: Mapping[str, str]) -> tuple[Unavailable, ...]:
    """Return the runtimes of ``generation`` that cannot be used; ``obstacles`` has the reason for each such file."""
    found = []
    for name, runtime in generation.runtimes.items():
        file = next((file for file in files_of(runtime) if file in obstacles), None)
        if file is not None:
            found.append(Unavailable(name, file, obstacles[file]))
    return tuple(found)


def summarise_unavailable(unavailable: tuple[Unavailable, ...], total: int) -> str:
    """Return in one line how many of ``total`` runtimes can be used, and which ones cannot."""
    # The PATH that was searched is long, and runtimectl explain has it.
    named = [f"{each.runtime}: {each.path}: {each.reason.partition(' (')[0]}" for each in unavailable[:_NAMED_MOST]]
    if (more := len(unavailable) - _NAMED_MOST) > 0:
        named.append(f"and {more} more")
    return "; ".join((f"{total - len(unavailable)} of {total} available", *named))
