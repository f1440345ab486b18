"""Searches the files of dockerd, podman, CRI-O and containerd for the paths of wrappers.

dockerd and CRI-O write only a runtime's name into the state of a container; their configuration files map the name to
a path. podman writes the path or the name into its database. Hence one rule for all of these files: a file that
contains the path of a wrapper, or a stable path, refers to it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from urllib.parse import quote

from runtimed.core.collection.references import Reference, engine_paths_in_text, wrappers_in_text

# Files and whole directories. The second list is below the home directory of the daemon's user: the engines of other
# users cannot execute the wrappers, which only the daemon's user can read.
_CONFIGURATION = (
    "/etc/docker/daemon.json",
    "/etc/containerd",
    "/etc/containers",
    "/usr/share/containers",
    "/etc/crio",
    "/var/lib/rancher/k3s/agent/etc/containerd",
    "/var/lib/rancher/rke2/agent/etc/containerd",
    "/etc/k0s",
    # The command lines of services: dockerd --add-runtime, podman --runtime.
    "/etc/systemd/system",
    "/etc/default/docker",
    "/etc/sysconfig/docker",
)
_USER_CONFIGURATION = (".config/docker/daemon.json", ".config/containers", ".config/systemd/user")
# Where dockerd and podman keep their containers, unless their configuration files name another directory.
_STATE = ("/var/lib/docker", "/var/lib/containers/storage")
_USER_STATE = (".local/share/docker", ".local/share/containers/storage")

# The files of a container of dockerd; its log is beside them.
_DOCKER_STATE = ("config.v2.json", "hostconfig.json")

_SQLITE = b"SQLite format 3\0"
_FILE_MAX = 256 << 20
_CHUNK = 256 << 10
# Longer than the last two components of a wrapper's path.
_OVERLAP = 512
# How often a file is read that changes while it is being read.
_ATTEMPTS = 5
# How long podman may keep its database locked.
_LOCKED_S = 5.0


def search_engine_files(locations: Collection[str], root: str = "") -> tuple[list[Reference], list[str]]:
    """Return the references in the engines' files, and the files that cannot be read.

    ``locations`` are files and directories that the arguments of running engines name; ``root`` is put before every
    path.
    """
    search = _Search(root)
    home = os.path.expanduser("~")
    for path in (*_CONFIGURATION, *(f"{home}/{path}" for path in _USER_CONFIGURATION)):
        search.search_configuration(path)
    search.locations |= {*locations, *_STATE, *(f"{home}/{path}" for path in _USER_STATE)}
    searched: set[str] = set()
    # A file in such a location may name a further location.
    while left := sorted(search.locations - searched):
        for path in left:
            search.search_location(path)
        searched.update(left)
    return list(search.references), search.unknown


class _Search:
    """The results of a search."""

    def __init__(self, root: str) -> None:
        self.references: dict[Reference, None] = {}
        self.unknown: list[str] = []
        # The locations of containers that configuration files name.
        self.locations: set[str] = set()
        self._root = root
        self._seen: set[tuple[int, int]] = set()

    def search_configuration(self, path: str) -> None:
        """Search a configuration file, or all files in a directory of them."""
        self._search_files(self._files(f"{self._root}{path}"), is_configuration=True)

    def search_location(self, path: str) -> None:
        """Search the state of a dockerd or a podman in the directory ``path``; or a configuration file."""
        directory = f"{self._root}{path}"
        if os.path.isfile(directory):
            self.search_configuration(path)
            return
        self.search_configuration(f"{path}/runtimes")
        # A static_dir in containers.conf is the directory of bolt_state.db itself.
        files = [f"{directory}/libpod/bolt_state.db", f"{directory}/bolt_state.db", f"{directory}/db.sql"]
        with self._recording_faults(f"{directory}/containers"):
            for container in os.listdir(f"{directory}/containers"):
                files += [f"{directory}/containers/{container}/{name}" for name in _DOCKER_STATE]
        self._search_files(files, is_configuration=False)

    @contextlib.contextmanager
    def _recording_faults(self, path: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            self.unknown.append(f"{error.filename or path}: {error.strerror or error}")

    def _files(self, path: str) -> Iterator[str]:
        with self._recording_faults(path):
            status = os.stat(path)
            if stat.S_ISREG(status.st_mode):
                yield path
            elif stat.S_ISDIR(status.st_mode) and (status.st_dev, status.st_ino) not in self._seen:
                self._seen.add((status.st_dev, status.st_ino))
                for name in os.listdir(path):
                    yield from self._files(f"{path}/{name}")

    def _search_files(self, paths: Iterable[str], *, is_configuration: bool) -> None:
        for path in paths:
            with self._recording_faults(path):
                for text in _read_texts(path):
                    self.references.update((Reference(name, path), None) for name in sorted(wrappers_in_text(text)))
                    if is_configuration:
                        self.locations |= engine_paths_in_text(text)


def _read_texts(path: str) -> Iterator[bytes]:
    """Yield the content of a regular file in overlapping parts, or the values in a SQLite database.

    Raises:
        OSError: the file cannot be read, is too large or changes all the time.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            return
        if before.st_size > _FILE_MAX:
            raise OSError(0, f"has more than {_FILE_MAX >> 20} MiB", path)
        if os.pread(descriptor, len(_SQLITE), 0) == _SQLITE:
            yield from _database_values(path)
            return
        for _ in range(_ATTEMPTS):
            yield from _chunks(descriptor)
            after = os.fstat(descriptor)
            if (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size):
                return
            before = after
    finally:
        os.close(descriptor)
    raise OSError(0, "changes too often to be read", path)


def _chunks(descriptor: int) -> Iterator[bytes]:
    os.lseek(descriptor, 0, os.SEEK_SET)
    end = b""
    while chunk := os.read(descriptor, _CHUNK):
        text = end + chunk
        yield text
        end = text[-_OVERLAP:]


def _database_values(path: str) -> Iterator[bytes]:
    """Yield every value in a SQLite database, whose file may split a value over several pages. Raises: OSError."""
    # Only podman 4.8 and later needs it.
    import sqlite3  # noqa: PLC0415

    try:
        with contextlib.closing(
            sqlite3.connect(f"file:{quote(path)}?mode=ro", timeout=_LOCKED_S, uri=True)
        ) as database:
            database.text_factory = bytes
            for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                name = table.decode(errors="surrogateescape").replace('"', '""')
                for row in database.execute(f'SELECT * FROM "{name}"'):  # noqa: S608 - quoted
                    yield from (value for value in row if isinstance(value, bytes))
    except sqlite3.Error as error:
        raise OSError(0, str(error), path) from error
