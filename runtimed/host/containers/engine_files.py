"""Searches the files of dockerd, podman, CRI-O and containerd for the paths of wrappers.

dockerd and CRI-O write only a runtime's name into the state of a container; their configuration files map the name to
a path. podman writes the path or the name into its database. Hence one rule for all of these files: a file that
contains the path of a wrapper, or a stable path, refers to it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection, Iterator
from urllib.parse import quote

from runtimed.core.collection.references import Reference, places_in_text, wrappers_in_text

# Files and whole directories. The daemon's own user has the second list below the home directory; other users'
# engines cannot execute the wrappers of this daemon, which only its own user can read.
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


def search_engine_files(places: Collection[str], root: str = "") -> tuple[list[Reference], list[str]]:
    """Return the references in the engines' files, and the files that cannot be read.

    ``places`` are files and directories that the arguments of running engines name; ``root`` is put before every path.
    """
    search = _Search(root)
    home = os.path.expanduser("~")
    for path in (*_CONFIGURATION, *(f"{home}/{path}" for path in _USER_CONFIGURATION)):
        search.configuration(path)
    search.places |= {*places, *_STATE, *(f"{home}/{path}" for path in _USER_STATE)}
    searched: set[str] = set()
    # A file that a running engine was given may name a directory in turn.
    while left := sorted(search.places - searched):
        for path in left:
            search.place(path)
        searched.update(left)
    return search.references, search.unknown


class _Search:
    """The results of a search."""

    def __init__(self, root: str) -> None:
        self.references: list[Reference] = []
        self.unknown: list[str] = []
        # The paths that configuration files name as the places of containers.
        self.places: set[str] = set()
        self._root = root
        self._seen: set[tuple[int, int]] = set()

    def configuration(self, path: str) -> None:
        """Search a configuration file, or all files in a directory of them."""
        with self._reporting(path):
            for file in self._files(f"{self._root}{path}"):
                with self._reporting(file):
                    self._file(file, is_configuration=True)

    def place(self, path: str) -> None:
        """Search the state of a dockerd or a podman in the directory ``path``; or a configuration file."""
        directory = f"{self._root}{path}"
        if os.path.isfile(directory):
            self.configuration(path)
            return
        self.configuration(f"{path}/runtimes")
        # A static_dir in containers.conf is the directory of bolt_state.db itself.
        files = [f"{directory}/libpod/bolt_state.db", f"{directory}/bolt_state.db", f"{directory}/db.sql"]
        with self._reporting(f"{directory}/containers"):
            for container in os.listdir(f"{directory}/containers"):
                files += [f"{directory}/containers/{container}/{name}" for name in _DOCKER_STATE]
        for file in files:
            with self._reporting(file):
                self._file(file, is_configuration=False)

    @contextlib.contextmanager
    def _reporting(self, path: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            self.unknown.append(f"{error.filename or path}: {error.strerror or error}")

    def _files(self, path: str) -> Iterator[str]:
        status = os.stat(path)
        if stat.S_ISREG(status.st_mode):
            yield path
        elif stat.S_ISDIR(status.st_mode) and (status.st_dev, status.st_ino) not in self._seen:
            self._seen.add((status.st_dev, status.st_ino))
            for name in os.listdir(path):
                with self._reporting(f"{path}/{name}"):
                    yield from self._files(f"{path}/{name}")

    def _file(self, path: str, *, is_configuration: bool) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                return None
            if before.st_size > _FILE_MAX:
                raise OSError(0, f"has more than {_FILE_MAX >> 20} MiB", path)
            if os.pread(descriptor, len(_SQLITE), 0) == _SQLITE:
                return self._texts(path, _rows(path), is_configuration=is_configuration)
            for _ in range(_ATTEMPTS):
                self._texts(path, _chunks(descriptor), is_configuration=is_configuration)
                after = os.fstat(descriptor)
                if (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size):
                    return None
                before = after
        finally:
            os.close(descriptor)
        raise OSError(0, "changes too often to be read", path)

    def _texts(self, path: str, texts: Iterator[bytes], *, is_configuration: bool) -> None:
        found: set[str] = set()
        for text in texts:
            found |= wrappers_in_text(text)
            if is_configuration:
                self.places |= places_in_text(text)
        self.references += (Reference(name, path) for name in sorted(found))


def _chunks(descriptor: int) -> Iterator[bytes]:
    os.lseek(descriptor, 0, os.SEEK_SET)
    end = b""
    while chunk := os.read(descriptor, _CHUNK):
        text = end + chunk
        yield text
        end = text[-_OVERLAP:]


def _rows(path: str) -> Iterator[bytes]:
    """Yield every value in a SQLite database, whose file may split a value over several pages.

    Raises:
        OSError: the database cannot be read.
    """
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
