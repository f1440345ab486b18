"""Finds the binary paths that engines, their containers and processes on this node refer to."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from runtimed.core.collection.references import Reference, ReferenceScan, binary_of_options
from runtimed.core.config import Engine
from runtimed.core.containerd.api import Container, ContainerdUnknown, UndecodableMessage
from runtimed.core.containerd.options import UndecodableOptions
from runtimed.core.history.layout import RUNC_STATES
from runtimed.host.containers.bundles import LINUX_TASKS, SANDBOXES, TASKS, Bundles, Task, read_bundles, read_tasks
from runtimed.host.containers.engine_files import search_engine_files
from runtimed.host.containers.processes import read_processes

__all__ = ["Task", "container_states", "read_tasks", "scan_references"]

# A state directory of thousands may be unreadable as a whole.
_UNKNOWN_MAX = 50
_NONE = ReferenceScan((), ())


def container_states(exec_root: str) -> Iterator[str]:
    """Yield the directories of container states that runc trusts, relative to ``exec_root``: one for each namespace.

    Their parent directory comes first, and is listed only after the caller has secured it. runc gives the directories
    below them to root itself.
    """
    yield RUNC_STATES
    with contextlib.suppress(OSError):
        yield from (f"{RUNC_STATES}/{name}" for name in sorted(os.listdir(f"{exec_root}/{RUNC_STATES}")))


def scan_references(
    engines: Sequence[Engine],
    *,
    below: str,
    list_containers: Callable[[str], Iterable[Container]],
    pins: ReferenceScan = _NONE,
    proc: str = "/proc",
    root: str = "",
) -> ReferenceScan:
    """Return every reference to a binary that this node's containers and processes hold, and the faults.

    ``below`` is the real path of the data root; ``list_containers`` returns the containers of the containerd at an
    address, or raises ContainerdUnknown; ``pins`` are those of pins; ``root`` is put before the paths of the engines'
    files. Blocks while a file system or a containerd does not respond.
    """
    addresses = {os.path.realpath(engine.address) for engine in engines}
    found_in_processes, faults, locations = read_processes(below, addresses, proc)
    scans = [
        (pins.references, pins.unknown),
        *(_scan_engine(engine, below, list_containers) for engine in engines),
        (found_in_processes, faults),
        search_engine_files(locations, root),
    ]
    references = dict.fromkeys(reference for found, _ in scans for reference in found)
    unknown = [reason for _, reasons in scans for reason in reasons]
    if (more := len(unknown) - _UNKNOWN_MAX) > 0:
        unknown[_UNKNOWN_MAX:] = [f"and {more} more"]
    return ReferenceScan(tuple(references), tuple(unknown))


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
    # The list comes first: a container that is created after it is found by its bundle, and is younger than any grace
    # time.
    try:
        listed += list_containers(engine.address)
    except ContainerdUnknown as error:
        unknown.append(str(error))
    bundles = read_bundles(engine.state)
    references = [Reference(path, _holder(key, bundles)) for key, paths in bundles.paths.items() for path in paths]
    for container in listed:
        holder = _holder((container.namespace, container.id), bundles, is_sandbox=container.is_sandbox)
        paths, fault = _container_paths(container, below)
        references += (Reference(path, holder) for path in paths)
        if fault is not None:
            unknown.append(f"{holder}: {fault}")
    return references, [*unknown, *bundles.unknown]


def _is_absent(engine: Engine) -> bool:
    """Return whether ``engine`` does not exist on this node: it has no socket, no tasks and no metadata.

    After a reboot the state directory is empty and the socket does not exist yet, but there may be containers. Only
    the metadata tells such an engine from an absent one, and only if its directory is known.

    Raises:
        OSError: a directory cannot be searched.
    """
    if engine.metadata is None:
        return False
    below_state = (f"{engine.state}/{name}" for name in (TASKS, LINUX_TASKS, SANDBOXES))
    paths = (engine.address, *below_state, engine.metadata)
    return not any(_exists(path) for path in paths)


def _exists(path: str) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _container_paths(container: Container, below: str) -> tuple[list[str], str | None]:
    """Return the paths in the options of ``container``, and the reason if there may be more."""
    try:
        binary = binary_of_options(container.type_url, container.value)
    except (UndecodableOptions, UndecodableMessage) as error:
        return [], str(error)
    # The shim may be a path too. containerd looks bare names up on its PATH.
    paths = [path for path in (binary, container.runtime_name) if path and "/" in path]
    if binary is None and f"{below}/".encode(errors="surrogateescape") in container.value:
        # The message of another shim: it contains a path, whose end is not known.
        return paths, f"options of type {container.type_url or 'none'} name something below {below}"
    return paths, None


def _holder(key: tuple[str, str], bundles: Bundles, *, is_sandbox: bool = False) -> str:
    namespace, identifier = key
    if is_sandbox:
        return f"sandbox {namespace}/{identifier}"
    return f"container {namespace}/{identifier} ({'task' if key in bundles.paths else 'stopped'})"
