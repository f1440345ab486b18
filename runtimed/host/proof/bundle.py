"""Makes and removes the directory of a test's bundle, and finds those that killed tests have left.

A test holds a lock on the directory while it runs. The kernel drops the lock when the process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from runtimed.core.mounts import is_below, parse_mounts
from runtimed.core.proof.bundle import ID, ID_DIGITS, PREFIX, Node, is_shared, make_config, make_root_directory
from runtimed.core.proof.engine import Traces, read_traces

RUN = "/run"
_CONFIG = "config.json"
_TRACES = "traces.json"
# A file in a bundle that is kept for a later run, because not everything could be removed.
KEPT = "kept"
_ROOT = "rootfs"
# Virtual machines look at the directories in it as another user, whatever the umask is.
_MODE = 0o755
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Bundle:
    """The bundle of the test ``id`` in the directory ``path``; ``config`` is the content of its config.json."""

    id: str
    path: str
    config: dict[str, Any]

    def record(self, traces: Traces) -> None:
        """Write down where the test leaves traces, for a later run in case that this process is killed."""
        with open(f"{self.path}/{_TRACES}", "wb") as file:
            file.write(traces.to_json())


def inspect_node(root: str = "/", proc: str = "/proc", cgroup: str = "/sys/fs/cgroup") -> Node:
    """Return the facts of this node that a bundle depends on."""
    entries: dict[str, str | None] = {}
    for name in os.listdir(root):
        path = os.path.join(root, name)
        if not is_shared(name):
            continue
        if os.path.islink(path):
            entries[name] = os.readlink(path)
        elif os.path.isdir(path):
            entries[name] = None
    return Node(entries, frozenset(_controllers(proc, cgroup)))


def _controllers(proc: str, cgroup: str) -> Iterator[str]:
    """Yield the controllers of both versions of cgroups: a kernel may list in /proc only those of version 1."""
    with contextlib.suppress(OSError), open(f"{cgroup}/cgroup.controllers", encoding="ascii") as file:
        yield from file.read().split()
    with contextlib.suppress(OSError), open(f"{proc}/cgroups", encoding="ascii") as file:
        for line in file:
            name, *_, enabled = line.split()
            if enabled == "1":
                yield name


@contextlib.contextmanager
def new_bundle(node: Node, *, systemd_cgroup: bool, directory: str = RUN) -> Iterator[Bundle]:
    """Yield the bundle of a new test, below ``directory``; remove it at the end, unless it is to be kept.

    Raises:
        OSError: the bundle cannot be written.
    """
    with _new_directory(directory) as path:
        identifier, root = os.path.basename(path), f"{path}/{_ROOT}"
        _fill(root, node)
        config = make_config(identifier, root, node, systemd_cgroup=systemd_cgroup)
        with open(f"{path}/{_CONFIG}", "w", encoding="utf-8") as file:
            json.dump(config, file)
        yield Bundle(identifier, path, config)


@contextlib.contextmanager
def _new_directory(directory: str) -> Iterator[str]:
    """Yield the path of a new directory with a lock on it; remove it at the end, unless it is to be kept."""
    with contextlib.ExitStack() as stack:
        while True:
            path = f"{directory}/{PREFIX}{secrets.token_hex(ID_DIGITS // 2)}"
            os.mkdir(path, 0o700)
            # Another process may take it for one of a killed test before it is locked, and remove it.
            with contextlib.suppress(BlockingIOError, FileNotFoundError):
                stack.enter_context(_lock(path))
                break
        try:
            yield path
        finally:
            if not os.path.lexists(f"{path}/{KEPT}"):
                remove_bundle(path)


def _fill(root: str, node: Node) -> None:
    os.mkdir(root)
    os.chmod(root, _MODE)
    content = make_root_directory(node)
    for name in content.directories:
        os.mkdir(f"{root}/{name}")
        os.chmod(f"{root}/{name}", _MODE)
    for name, target in content.links.items():
        os.symlink(target, f"{root}/{name}")


def remove_bundle(path: str) -> bool:
    """Remove the bundle at ``path`` unless something is mounted in it; return whether it is gone."""
    if not has_mounts(path):
        shutil.rmtree(path, ignore_errors=True)
    return not os.path.lexists(path)


def has_mounts(path: str) -> bool:
    """Return whether something is mounted on the directory ``path`` or in it: its removal could remove host files."""
    directory = os.fsencode(os.path.realpath(path))
    with open("/proc/self/mountinfo", "rb") as file:
        return any(is_below(mount.point, directory) for mount in parse_mounts(file.read()))


@contextlib.contextmanager
def _lock(path: str) -> Iterator[None]:
    """Hold the lock on a bundle. Raises: BlockingIOError: its test runs; FileNotFoundError: it is gone."""
    fd = os.open(path, _OPEN_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_nlink == 0:
            raise FileNotFoundError(path)
        yield
    finally:
        os.close(fd)


def abandoned_bundles(directory: str = RUN) -> Iterator[Traces]:
    """Yield the traces of each test below ``directory`` that was killed, with the lock on its bundle.

    The caller removes all traces, and the bundle last. A bundle without traces is removed here: its test has made no
    container, and may be about to lock the bundle.
    """
    for name in sorted(os.listdir(directory)):
        if ID.fullmatch(name) is None:
            continue
        path = f"{directory}/{name}"
        with contextlib.suppress(BlockingIOError, FileNotFoundError, NotADirectoryError), _lock(path):
            if data := _read(f"{path}/{_TRACES}"):
                yield read_traces(name, path, data)
            else:
                remove_bundle(path)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""
