"""Lists the files that a runtime needs, and the runtimes that lack one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from runtimed.core.containerd.names import shim_binary_name

if TYPE_CHECKING:
    from runtimed.core import shapes
    from runtimed.core.table.generation import Generation, Runtime

# A summary names this many runtimes and counts the others.
_SUMMARISED_MAX = 5


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A runtime that cannot be used, the file in its resolution that is the cause, and the reason."""

    runtime: str
    path: str
    reason: str

    def as_dict(self) -> shapes.UnavailableRuntime:
        """Return the JSON shape."""
        return {"runtime": self.runtime, "path": self.path, "reason": self.reason}


def named_files(shim: str, binary_name: str, path: str | None) -> tuple[str, ...]:
    """Return the files that a configured runtime needs: paths, or names to look up on PATH.

    ``binary_name`` is the one of its options, "" for none; ``path`` is None for a runtimeType. The shim of a ``path``
    runtime is not included: podman and CRI-O need none, and containerd has its own PATH.
    """
    if path is not None:
        return (path,) if binary_name == path else (path, binary_name)
    return tuple(file for file in (shim_binary_name(shim), binary_name) if file)


def files_of(runtime: Runtime) -> tuple[str, ...]:
    """Return the files that must be executable before ``runtime`` is resolved, the wrapper included.

    Stock and implicit runtimes have none: their resolutions hold only names that containerd looks up.
    """
    if runtime.definition is None:
        return ()
    binary_name = runtime.options.binary_name if runtime.options is not None else ""
    return named_files(runtime.shim, binary_name, runtime.definition.path)


def binaries_of(runtime: Runtime) -> tuple[str, ...]:
    """Return the same files as `files_of`, but not the wrapper: the files that the administrator installs."""
    files = files_of(runtime)
    return files[:1] if runtime.wrapper is not None else files


def watched_binaries(runtime: Runtime) -> tuple[str, ...]:
    """Return the binaries, paths or names, that ``runtime`` needs: those of its answer, and the one that is executed.

    The latter is its shim's for a runtime without a binary, if containerd derives one.
    """
    if runtime.definition is not None and runtime.definition.path is not None:
        return (runtime.definition.path,)
    executed = runtime.binary or shim_binary_name(runtime.shim)
    return tuple(dict.fromkeys(binary for binary in (*binaries_of(runtime), executed) if binary))


def executed_binaries(generation: Generation) -> list[str]:
    """Return the binaries, paths or names, that the runtimes of ``generation`` execute: not those of shims alone."""
    runtimes = generation.runtimes
    return [
        binary
        for binary, names in generation.binaries.items()
        if any(runtimes[name].binary == binary for name in names)
    ]


def index_binaries(
    runtimes: Mapping[str, Runtime],
    touched: Iterable[str],
    before: Mapping[str, Runtime],
    index: Mapping[str, tuple[str, ...]],
) -> Mapping[str, tuple[str, ...]]:
    """Return each of the `watched_binaries` of ``runtimes`` with the sorted names of the runtimes that need it.

    ``index`` is the result for ``before``, which has the same runtimes except for the names in ``touched``.
    """
    lost: dict[str, set[str]] = {}
    gained: dict[str, set[str]] = {}
    for name in touched:
        old = watched_binaries(before[name]) if name in before else ()
        new = watched_binaries(runtimes[name]) if name in runtimes else ()
        if old != new:
            for binary in old:
                lost.setdefault(binary, set()).add(name)
            for binary in new:
                gained.setdefault(binary, set()).add(name)
    if not lost and not gained:
        return index
    found = dict(index)
    for binary in {**lost, **gained}:
        names = (set(found.pop(binary, ())) - lost.get(binary, set())) | gained.get(binary, set())
        if names:
            found[binary] = tuple(sorted(names))
    return MappingProxyType(found)


def find_unavailable(generation: Generation, obstacles: Mapping[str, str]) -> tuple[Unavailable, ...]:
    """Return the runtimes that need one of the binaries in ``obstacles``, which maps a binary to the reason."""
    found = []
    for name in sorted({name for binary in obstacles for name in generation.binaries.get(binary, ())}):
        # A binary that only the shim looks up is in no resolution.
        file = next((file for file in files_of(generation.runtimes[name]) if file in obstacles), None)
        if file is not None:
            found.append(Unavailable(name, file, obstacles[file]))
    return tuple(found)


def summarise_unavailable(unavailable: tuple[Unavailable, ...], total: int) -> str:
    """Return one line with the number of available runtimes out of ``total`` and the first unavailable ones."""
    # The reason ends in the PATH that was searched, which is long; runtimectl explain shows it.
    named = [f"{each.runtime}: {each.path}: {each.reason.partition(' (')[0]}" for each in unavailable[:_SUMMARISED_MAX]]
    if (more := len(unavailable) - _SUMMARISED_MAX) > 0:
        named.append(f"and {more} more")
    return "; ".join((f"{total - len(unavailable)} of {total} available", *named))
