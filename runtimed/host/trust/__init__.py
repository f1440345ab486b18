"""Follows a path and checks that only trusted users can change where it leads.

Every name is looked up relative to the directory before it and without following links, and its target is checked
before the next name is looked up. A user who can change a directory or link on the way could substitute another file;
for a process of root that would mean root rights.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from runtimed.core.configuration.watched_names import WatchedName
from runtimed.core.errors import PathMissing, PathRefused
from runtimed.core.message_text import printable
from runtimed.host.trust.refusals import Trust

__all__ = ["Trust", "Walk", "secure_below", "secure_directory", "walk"]

# The limit of Linux (path_resolution(7)).
_MAX_LINKS = 40
_OPEN_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Walk:
    """The end of a path. Close it after use, or use it as a context manager.

    Without an ``error`` there are ``fd``, an O_PATH descriptor of the file (never a link), its ``status`` and its
    ``real_path``. ``watched_names`` are all names that were looked up, with an error too: when one of them
    changes, the path may lead elsewhere.
    """

    watched_names: frozenset[WatchedName]
    error: PathRefused | PathMissing | None = None
    fd: int = -1
    status: os.stat_result | None = None
    real_path: str = ""

    def close(self) -> None:
        """Close the descriptor; a second call does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def walk(path: str, trust: Trust) -> Walk:
    """Return the end of ``path``, or in its ``error`` why it may not or cannot be followed.

    A relative path starts at the current directory, whose path is checked as well. Never raises OSError.
    """
    return _Walker(path, trust).run()


def secure_directory(path: str, trust: Trust, mode: int = 0o755, *, create: bool = True) -> str:
    """Return the real path of the directory ``path``, after a check that only trusted users can change it.

    Missing components are made if ``create``: the last one with ``mode``, its parents with 0755, whatever the
    umask. The mode of an existing directory is not changed. No directory is made through a dangling link.

    Raises:
        PathRefused: a component is not trusted, cannot be reached or made, or is not a directory.
        PathMissing: it does not exist and must not be made, or a link leads nowhere.
    """
    with _Walker(path, trust, mode if create else None).run() as found:
        if found.error is not None:
            raise found.error
        if found.status is None or not stat.S_ISDIR(found.status.st_mode):
            raise PathRefused(printable(found.real_path), "is not a directory", "move it away or name another path")
        return found.real_path


def secure_below(directory: str, names: Iterable[str], trust: Trust) -> None:
    """Check that only trusted users can change the files ``names``, relative paths below ``directory``.

    It ignores a name that does not exist or cannot be followed. It checks each name before it takes the next one, so
    ``names`` may be a generator that yields a directory, and lists it once it is known to be safe.

    Raises: PathRefused: a component of a path is not trusted.
    """
    for name in names:
        with walk(f"{directory}/{name}", trust) as found:
            if isinstance(found.error, PathRefused) and found.error.owner is not None:
                raise found.error


class _Walker:
    """One walk: the file reached so far (``fd``, ``real``), and the names that remain."""

    def __init__(self, path: str, trust: Trust, make_mode: int | None = None) -> None:
        self.path = path
        self.trust = trust
        self.make_mode = make_mode
        self.watched_names: set[WatchedName] = set()
        self.links = 0
        self.fd = -1
        self.real = "/"
        # Each name with the link whose target contains it.
        self.names: deque[tuple[str, str | None]] = deque()

    def run(self) -> Walk:
        try:
            status = self._follow_all()
        except (PathRefused, PathMissing) as error:
            self._move_to(-1, self.real)
            return Walk(frozenset(self.watched_names), error)
        return Walk(frozenset(self.watched_names), None, self.fd, status, self.real)

    def _follow_all(self) -> os.stat_result:
        """Follow all names and return the status of the last file."""
        try:
            self._queue(self.path if self.path.startswith("/") else f"{os.getcwd()}/{self.path}", None)
            status = self._move_to_root()
            while self.names:
                if not stat.S_ISDIR(status.st_mode):
                    reason = "is not a directory, though the path goes on below it"
                    raise PathRefused(printable(self.real), reason, "correct the path")
                status = self._follow_name(*self.names.popleft())
            self._check(self.real, self.fd, status, last=True)
        except OSError as exc:
            raise _unreachable(exc, self.real) from exc
        except ValueError as exc:  # a NUL byte, or text that no file name can hold
            raise PathRefused(printable(self.path), f"is not a path: {exc}", "correct the path") from exc
        else:
            return status

    def _follow_name(self, name: str, link: str | None) -> os.stat_result:
        if name == ".":
            return os.fstat(self.fd)
        if name == "..":
            path = os.path.dirname(self.real)
        else:
            path = os.path.join(self.real, name)
            self.watched_names.add(WatchedName(self.real, name))
        fd = self._open(name, path, link)
        try:
            status = os.fstat(fd)
            self._check(path, fd, status, last=False)
            if stat.S_ISLNK(status.st_mode):
                return self._follow_link(path, os.readlink("", dir_fd=fd))
            self._move_to(fd, path)
            fd = -1
            return status
        finally:
            if fd >= 0:
                os.close(fd)

    def _open(self, name: str, path: str, link: str | None) -> int:
        try:
            return _open_path(name, self.fd)
        except FileNotFoundError:
            if link is not None:
                # The whole target of the link says more than the first missing directory in it.
                path = "/".join((path, *(rest for rest, of in self.names if of == link)))
                raise PathMissing(printable(path), printable(link)) from None
            if self.make_mode is None:
                raise PathMissing(printable(path)) from None
        last = all(rest == "." for rest, _ in self.names)
        _make_directory(name, self.make_mode if last else 0o755, self.fd, path)
        return _open_path(name, self.fd)

    def _follow_link(self, link: str, target: str) -> os.stat_result:
        self.links += 1
        if self.links > _MAX_LINKS:
            raise PathRefused(
                printable(self.path),
                f"leads through more than {_MAX_LINKS} symbolic links, perhaps in a circle",
                f"see where with: namei -l {shlex.quote(printable(self.path))}",
            )
        self._queue(target, link)
        return self._move_to_root() if target.startswith("/") else os.fstat(self.fd)

    def _queue(self, path: str, link: str | None) -> None:
        # A slash at the end requires a directory, as "/." does.
        names = [name for name in path.split("/") if name] + (["."] if path.endswith("/") else [])
        self.names.extendleft((name, link) for name in reversed(names))

    def _move_to_root(self) -> os.stat_result:
        self._move_to(os.open("/", _OPEN_PATH), "/")
        status = os.fstat(self.fd)
        self._check("/", self.fd, status, last=False)
        return status

    def _move_to(self, fd: int, real: str) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd, self.real = fd, real

    def _check(self, path: str, fd: int, status: os.stat_result, *, last: bool) -> None:
        refusal = self.trust.refusal(path, fd, status, last=last)
        if refusal is not None:
            raise refusal


def _open_path(name: str, directory_fd: int) -> int:
    """Return an O_PATH descriptor of ``name``, also of a link."""
    try:
        # O_PATH alone would not trigger an automount, whose directory looks empty (open(2)).
        return os.open(name, _OPEN_PATH | os.O_DIRECTORY, dir_fd=directory_fd)
    except NotADirectoryError:
        return os.open(name, _OPEN_PATH, dir_fd=directory_fd)


def _make_directory(name: str, mode: int, parent_fd: int, path: str) -> None:
    """Make a directory with exactly this mode. The caller checks a directory that has appeared since."""
    try:
        os.mkdir(name, mode, dir_fd=parent_fd)
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
        try:
            os.fchmod(fd, mode)  # the umask may have cleared bits
        finally:
            os.close(fd)
    except FileExistsError:
        return
    except OSError as exc:
        reason = f"cannot be created: {(exc.strerror or str(exc)).lower()}"
        raise PathRefused(printable(path), reason, "create it by hand, or name another directory") from exc


def _unreachable(exc: OSError, reached: str) -> PathRefused:
    """Translate an error of a look-up below the directory ``reached``."""
    shown = printable(reached)
    if exc.errno == errno.EACCES:
        reason = f"may not be searched by user id {os.geteuid()} (permission denied)"
        return PathRefused(shown, reason, f"see who may with: ls -ld {shlex.quote(shown)}")
    reason = f"a name below it cannot be looked up: {(exc.strerror or str(exc)).lower()}"
    return PathRefused(shown, reason, "correct the path, or look for a broken file system in the kernel's log")
