"""Finds the binary paths that engines, their containers and processes on this node refer to."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from runtimed.core.collection.references import Reference, ReferenceScan, binary_of_options
from runtimed.core.config import Engine
from runtimed.core.containerd.api import Container, ContainerdUnknown, UndecodableAnswer
from runtimed.core.containerd.options import UndecodableOptions
from runtimed.core.history.layout import RUNC_STATES
from runtimed.host.containers.bundles import LINUX_TASKS, TASKS, Bundles, read_bundles
from runtimed.host.containers.engine_files import search_engine_files
from runtimed.host.containers.processes import read_processes

__all__ = ["container_states", "scan_references"]

# Enough to understand what is wrong: a state directory of thousands may be unreadable as a whole.
_UNKNOWN_MAX = 50


def container_states(exec_root: str) -> Iterator[str]:
    """Yield the directories of container states that runc trusts, relative to ``exec_root``: one for each namespace.

    The directory of them all comes first, and is listed only after the caller has taken its name. runc gives the
    directories below them to root itself.
    """
    yield RUNC_STATES
    with contextlib.suppress(OSError):
        yield from (f"{RUNC_STATES}/{name}" for name in sorted(os.listdir(f"{exec_root}/{RUNC_STATES}")))


def scan_references(
    engines: Sequence[Engine],
    *,
    below: str,
    list_containers: Callable[[str], Iterable[Container]],
    proc: str = "/proc",
    root: str = "",
) -> ReferenceScan:
    """Return every reference to a binary that this node's containers and processes hold, and what is not known.

    ``below`` is the real path of the data root; ``list_containers`` returns the containers of the containerd at an
    address, or raises ContainerdUnknown; ``root`` is put before the paths of the engines' files. Blocks for as long as
    the file systems of all of these do.
    """
    references: list[Reference] = []
    unknown: list[str] = []
    for engine in engines:
        found, faults = _scan_engine(engine, below, list_containers)
        references += found
        unknown += faults
    addresses = {spelling for engine in engines for spelling in (engine.address, os.path.realpath(engine.address))}
    found, faults, places = read_processes(below, addresses, proc)
    references += found
    unknown += faults
    found, faults = search_engine_files(places, root)
    references += found
    unknown += faults
    return ReferenceScan(tuple(dict.fromkeys(references)), _shortened(unknown))


def _scan_engine(
    engine: Engine, below: str, list_containers: Callable[[str], Iterable[Container]]
) -> tuple[list[Reference], list[str]]:
    try:
        if _is_absent(engine):
            return [], []
    except OSError as error:
        return [], [f"containerd at {engine.address}: {error.filename}: {error.strerror}"]
    listed: list[Container] = []
    unknown: list[str] = []
    # The list first: what is created after it has its bundle read, and is younger than any grace time anyway.
    try:
        listed += list_containers(engine.address)
    except ContainerdUnknown as error:
        unknown.append(str(error))
    bundles = read_bundles(f"{engine.state}/{TASKS}")
    if os.path.lexists(f"{engine.state}/{LINUX_TASKS}"):
        linux = read_bundles(f"{engine.state}/{LINUX_TASKS}")
        unknown += linux.unknown
        for key, paths in linux.paths.items():
            bundles.paths.setdefault(key, set()).update(paths)
    references = [Reference(path, _holder(key, bundles)) for key, paths in bundles.paths.items() for path in paths]
    for container in listed:
        found, fault = _judge(container, below)
        holder = _holder((container.namespace, container.id), bundles)
        references += (Reference(path, holder) for path in found)
        if fault is not None:
            unknown.append(f"{holder}: {fault}")
    return references, [*unknown, *bundles.unknown]


def _is_absent(engine: Engine) -> bool:
    """Return whether there is nothing of ``engine`` on this node: not running, no tasks, no memory of containers.

    After a reboot the state directory is empty and the socket is not there yet, but containers are: only
    the metadata tells such an engine from one that was never there, and only where they are is known.

    Raises:
        OSError: that cannot be known.
    """
    if engine.metadata is None:
        return False
    places = (engine.address, f"{engine.state}/{TASKS}", f"{engine.state}/{LINUX_TASKS}", engine.metadata)
    return not any(_exists(path) for path in places)


def _exists(path: str) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _judge(container: Container, below: str) -> tuple[list[str], str | None]:
    """Return the paths that ``container`` was given, and why there may be more, None where there are not."""
    try:
        binary = binary_of_options(container.type_url, container.value)
    except (UndecodableOptions, UndecodableAnswer) as error:
        return [], str(error)
    # A shim may be given as a path too. Bare names are looked up on containerd's PATH.
    paths = [path for path in (binary, container.runtime_name) if path and "/" in path]
    if binary is None and f"{below}/".encode(errors="surrogateescape") in container.value:
        # Some shim's own message or configuration: there is a path in it, but not where it ends.
        return paths, f"options of type {container.type_url or 'none'} name something below {below}"
    return paths, None


def _holder(key: tuple[str, str], bundles: Bundles) -> str:
    namespace, identifier = key
    return f"container {namespace}/{identifier} ({'task' if key in bundles.paths else 'stopped'})"


def _shortened(unknown: list[str]) -> tuple[str, ...]:
    more = len(unknown) - _UNKNOWN_MAX
    return tuple(unknown) if more <= 0 else (*unknown[:_UNKNOWN_MAX], f"and {more} more")
