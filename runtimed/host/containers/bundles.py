"""Tasks' state directories (bundles): what the shims of running containers wrote down of their binaries."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field

from runtimed.core.collection.references import DamagedBundle, binary_of_options_json

# Below an engine's state directory. The second is containerd 1's first shim, gone in containerd 2; its bundles
# hold less, but its containers are in the API's list like all others.
TASKS = "io.containerd.runtime.v2.task"
LINUX_TASKS = "io.containerd.runtime.v1.linux"

# A path is 4,096 bytes at most, an options.json a few of them.
_FILE_MAX = 1 << 20
# How often a directory is listed to find out where a bundle went that was listed and cannot be found.
_LOOKS = 3


@dataclass(slots=True)
class Bundles:
    """What was found: (namespace, container id) -> the paths its bundle names, and what cannot be known."""

    paths: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def read_bundles(tasks: str) -> Bundles:
    """Return what the bundles below the directory ``tasks`` say, in every namespace.

    A bundle that containerd is deleting has a dot before its name; it counts like any other.
    """
    found = Bundles()
    try:
        namespaces = os.listdir(tasks)
    except OSError as error:
        found.unknown.append(_unreadable(tasks, error))
        return found
    for namespace in namespaces:
        try:
            _read_namespace(f"{tasks}/{namespace}", namespace, found)
        except NotADirectoryError:
            continue  # containerd passes over what is no directory, too
        except FileNotFoundError as error:
            if os.path.lexists(f"{tasks}/{namespace}"):
                found.unknown.append(_unreadable(f"{tasks}/{namespace}", error))
        except OSError as error:
            found.unknown.append(_unreadable(f"{tasks}/{namespace}", error))
    return found


def _read_namespace(directory: str, namespace: str, found: Bundles) -> None:
    wanted = os.listdir(directory)
    for _ in range(_LOOKS):
        lost = _read_all(directory, namespace, wanted, found)
        if not lost:
            return
        # Gone, or about to be gone and renamed: only a second look at the directory tells.
        there = set(os.listdir(directory))
        wanted = [name for lost_one in lost for name in (lost_one, f".{lost_one}") if name in there]
    found.unknown.extend(f"{directory}/{name} is listed but cannot be found" for name in wanted)


def _read_all(directory: str, namespace: str, names: Iterable[str], found: Bundles) -> list[str]:
    """Read the bundles ``names``; return those that are not there."""
    lost = []
    for name in names:
        try:
            paths = read_bundle(f"{directory}/{name}")
        except NotADirectoryError:
            continue
        except FileNotFoundError:
            lost.append(name)
        except (OSError, DamagedBundle) as error:
            found.unknown.append(_unreadable(f"{directory}/{name}", error))
        else:
            found.paths.setdefault((namespace, name.removeprefix(".")), set()).update(paths)
    return lost


def read_bundle(directory: str) -> set[str]:
    """Return the paths that the bundle ``directory`` names: its runtime's binary and its shim's.

    Bare names, which are looked up on containerd's PATH, are left out. A file that is not there names none: other
    shims than runc's write none, and the runc shim writes them when it creates the container.

    Raises:
        OSError: it cannot be read; FileNotFoundError where the directory itself is not there.
        DamagedBundle: a file in it is not what it should be.
    """
    bundle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        options = _read_file(bundle, "options.json")
        named = [binary_of_options_json(options) if options is not None else None]
        for file in ("runtime", "shim-binary-path"):
            content = _read_file(bundle, file)
            named.append(os.fsdecode(content) if content is not None else None)
    finally:
        os.close(bundle)
    return {path for path in named if path and "/" in path}


def _read_file(bundle: int, name: str) -> bytes | None:
    # A bundle holds pipes as well: nothing here may wait for a writer.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=bundle)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise DamagedBundle(name, "is no regular file")
        data = os.read(descriptor, _FILE_MAX)
    finally:
        os.close(descriptor)
    if len(data) == _FILE_MAX:
        raise DamagedBundle(name, f"has {_FILE_MAX} bytes or more")
    return data


def _unreadable(path: str, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else None
    return f"{path}: {reason or error}"
