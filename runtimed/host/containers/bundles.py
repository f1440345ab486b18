"""Reads from the state directories of tasks (bundles) the binaries that shims of running containers recorded."""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field

from runtimed.core.collection.references import DamagedBundle, binary_of_options_json, runc_options_of_json

# Below an engine's state directory. The second is that of containerd 1's first shim, which containerd 2 does not have.
# Its bundles hold less, but its containers are in the API's list.
TASKS = "io.containerd.runtime.v2.task"
LINUX_TASKS = "io.containerd.runtime.v1.linux"
# The bundles of sandboxes that a shim controls: those of containerd 2's sandbox API.
SANDBOXES = "io.containerd.sandbox.controller.v1.shim"
# The root below which runc's shim keeps the states of containers, unless its options name another.
_RUNC_ROOT = "/run/containerd/runc"

# A path is 4,096 bytes at most, and an options.json holds a few.
_FILE_MAX = 1 << 20
# How often a namespace is listed to find a bundle that was renamed after it had been listed.
_LISTINGS = 3


@dataclass(slots=True)
class Bundles:
    """The paths in bundles by (namespace, container id), and the bundles that cannot be read, with the reason."""

    paths: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Task:
    """A container that runc's shim has created, with the path of its binary."""

    namespace: str
    id: str
    binary: str
    # The `--root` that the shim passes to the binary.
    root: str
    bundle: str
    # In seconds since the epoch.
    created_s: float


def read_tasks(state: str, skip: Container[str]) -> Iterator[Task]:
    """Yield the tasks below an engine's state directory whose binary is a path, without the bundles in ``skip``.

    A bundle that cannot be read is left out; `read_bundles` reports it.
    """
    directory = f"{state}/{TASKS}"
    for namespace in _list(directory):
        for name in _list(f"{directory}/{namespace}"):
            bundle = f"{directory}/{namespace}/{name}"
            # A dot: containerd is deleting it.
            if name.startswith(".") or bundle in skip:
                continue
            try:
                # The shim writes this file once. The time of the directory changes with each exec.
                created_s = os.lstat(f"{bundle}/options.json").st_mtime
                binary, root = _read_runc_options(bundle)
            except (OSError, DamagedBundle):
                continue
            if "/" in binary:
                root = os.path.normpath(f"{root or _RUNC_ROOT}/{namespace}")
                yield Task(namespace, name, binary, root, bundle, created_s)


def _list(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _read_runc_options(directory: str) -> tuple[str, str]:
    bundle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return runc_options_of_json(_read_file(bundle, "options.json") or b"{}")
    finally:
        os.close(bundle)


def read_bundles(state: str) -> Bundles:
    """Return the content of all bundles below an engine's state directory, in every namespace.

    A bundle that containerd is deleting has a dot before its name; it counts like any other.
    """
    found = Bundles()
    _read_tasks(f"{state}/{TASKS}", found)
    for optional in (LINUX_TASKS, SANDBOXES):
        if os.path.lexists(f"{state}/{optional}"):
            _read_tasks(f"{state}/{optional}", found)
    return found


def _read_tasks(directory: str, found: Bundles) -> None:
    try:
        namespaces = os.listdir(directory)
    except OSError as error:
        found.unknown.append(f"{directory}: {error.strerror}")
        return
    for namespace in namespaces:
        path = f"{directory}/{namespace}"
        try:
            _read_namespace(path, namespace, found)
        except NotADirectoryError:
            continue  # containerd ignores it too
        except OSError as error:
            if not isinstance(error, FileNotFoundError) or os.path.lexists(path):
                found.unknown.append(f"{path}: {error.strerror}")


def _read_namespace(directory: str, namespace: str, found: Bundles) -> None:
    names = os.listdir(directory)
    for _ in range(_LISTINGS):
        missing = _read_all(directory, namespace, names, found)
        if not missing:
            return
        # Deleted, or renamed because it is about to be deleted: only another listing tells.
        listed = set(os.listdir(directory))
        names = [name for old in missing for name in (old, f".{old}") if name in listed]
    found.unknown.extend(f"{directory}/{name} is listed but cannot be found" for name in names)


def _read_all(directory: str, namespace: str, names: Iterable[str], found: Bundles) -> list[str]:
    """Read the bundles ``names``; return those that do not exist."""
    missing = []
    for name in names:
        try:
            paths = read_bundle(f"{directory}/{name}")
        except NotADirectoryError:
            continue
        except FileNotFoundError:
            missing.append(name)
        except OSError as error:
            found.unknown.append(f"{directory}/{name}: {error.strerror}")
        except DamagedBundle as error:
            found.unknown.append(f"{directory}/{name}: {error}")
        else:
            found.paths.setdefault((namespace, name.removeprefix(".")), set()).update(paths)
    return missing


def read_bundle(directory: str) -> set[str]:
    """Return the paths of the runtime's binary and of the shim in the bundle ``directory``.

    Bare names, which containerd looks up on its PATH, are left out. A file that does not exist contributes no path:
    only runc's shim writes these files, when it creates the container.

    Raises:
        OSError: the bundle cannot be read; FileNotFoundError if it does not exist.
        DamagedBundle: the content of a file is not valid.
    """
    bundle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        options = _read_file(bundle, "options.json")
        paths = [None if options is None else binary_of_options_json(options)]
        for file in ("runtime", "shim-binary-path"):
            content = _read_file(bundle, file)
            paths.append(None if content is None else os.fsdecode(content))
    finally:
        os.close(bundle)
    return {path for path in paths if path and "/" in path}


def _read_file(bundle: int, name: str) -> bytes | None:
    # O_NONBLOCK: a bundle holds pipes too, and an open must not wait for a writer.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=bundle)
    except FileNotFoundError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DamagedBundle(name, "is not a regular file")
        data = os.read(descriptor, _FILE_MAX)
    finally:
        os.close(descriptor)
    if len(data) == _FILE_MAX:
        raise DamagedBundle(name, f"has {_FILE_MAX} bytes or more")
    return data
