"""Walking a path so that nobody but its owners can have had a say in where it leads (design, section 8).

Every name is looked up by hand, relative to the directory before it and without following links, and what
it leads to is judged before the next step is taken. Whoever could change one of the directories or
links on the way could put something else there; as root that would make them root.
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

__all__ = ["MAX_LINKS", "Trust", "Walk", "secure_below", "secure_directory", "walk"]

# As many as Linux itself follows (path_resolution(7)).
MAX_LINKS = 40

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Walk:
    """Where a path led, to be closed after use (it is a context manager).

    Without an ``error`` there are ``fd``, an O_PATH descriptor of what was reached (never a link), its
    ``status`` and its ``real_path``. ``watched_names`` are all names that were looked up on the way, with
    an error too: when one of them changes, the path may lead elsewhere.
    """

    path: str
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
    """Return where ``path`` leads, or in its ``error`` why it may not or cannot be followed.

    A relative path starts at the current directory, which is walked to as well. Never raises OSError.
    """
    return _Walker(path, trust).run()


def secure_directory(path: str, trust: Trust, mode: int = 0o755, *, create: bool = True) -> str:
    """Return the real path of the directory ``path``, on whose every component only trusted users have a say.

    Missing components are made if ``create``: the last one with ``mode``, its parents with 0755, whatever the
    umask. The mode of a directory that exists is left as it is. A dangling link is not created through.

    Raises:
        PathRefused: a component is not trusted, cannot be reached or made, or is no directory.
        PathMissing: it does not exist and is not to be made, or a link leads to nowhere.
    """
    with _Walker(path, trust, mode if create else None).run() as found:
        if found.error is not None:
            raise found.error
        if found.status is None or not stat.S_ISDIR(found.status.st_mode):
            raise PathRefused(printable(found.real_path), "is not a directory", "move it away or name another path")
        return found.real_path


def secure_below(directory: str, names: Iterable[str], trust: Trust) -> None:
    """Check that only trusted users have a say in what lies at ``names``, relative paths below ``directory``.

    A name that does not exist or cannot be followed is damage, not danger, and left to the caller. A name is checked
    before the next one is taken, so ``names`` may list a directory that it has yielded.

    Raises:
        PathRefused: a component of a path is not trusted.
    """
    for name in names:
        with walk(f"{directory}/{name}", trust) as found:
            if isinstance(found.error, PathRefused) and found.error.owner is not None:
                raise found.error


class _Walker:
    """One walk: the directory reached so far, and the names still to come."""

    def __init__(self, path: str, trust: Trust, make_mode: int | None = None) -> None:
        self.path = path
        self.trust = trust
        self.make_mode = make_mode
        self.watched_names: set[WatchedName] = set()
        self.links = 0
        self.fd = -1
        self.real = "/"
        # Each name with the link whose target it stands in.
        self.names: deque[tuple[str, str | None]] = deque()

    def run(self) -> Walk:
        try:
            status = self._arrive()
        except (PathRefused, PathMissing) as error:
            self._stand_at(-1, self.real)
            return Walk(self.path, frozenset(self.watched_names), error)
        return Walk(self.path, frozenset(self.watched_names), None, self.fd, status, self.real)

    def _arrive(self) -> os.stat_result:
        """Go all the way and return the status of what is there."""
        try:
            absolute = self.path if self.path.startswith("/") else f"{os.getcwd()}/{self.path}"
            self._queue(absolute, None)
            status = self._restart()
            while self.names:
                if not stat.S_ISDIR(status.st_mode):
                    raise PathRefused(
                        printable(self.real), "is not a directory, though the path goes on below it", "correct the path"
                    )
                status = self._step(*self.names.popleft())
            self._judge(self.real, self.fd, status, last=True)
        except OSError as exc:
            raise _unreachable(exc, self.real) from exc
        except ValueError as exc:  # a NUL byte, or text that no file name can hold
            raise PathRefused(printable(self.path), f"is not a path: {exc}", "correct the path") from exc
        else:
            return status

    def _step(self, name: str, link: str | None) -> os.stat_result:
        if name == ".":
            return os.fstat(self.fd)
        there = os.path.dirname(self.real) if name == ".." else os.path.join(self.real, name)
        if name != "..":
            self.watched_names.add(WatchedName(self.real, name))
        fd = self._open(name, there, link)
        try:
            status = os.fstat(fd)
            self._judge(there, fd, status, last=False)
            if stat.S_ISLNK(status.st_mode):
                return self._follow(there, os.readlink("", dir_fd=fd))
            self._stand_at(fd, there)
            fd = -1
            return status
        finally:
            if fd >= 0:
                os.close(fd)

    def _open(self, name: str, there: str, link: str | None) -> int:
        try:
            return _look(name, self.fd)
        except FileNotFoundError:
            if link is not None:
                # The whole of where the link leads tells more than the first directory that is missing on the way.
                there = "/".join((there, *(rest for rest, of in self.names if of == link)))
                raise PathMissing(printable(there), printable(link)) from None
            if self.make_mode is None:
                raise PathMissing(printable(there)) from None
        last = all(rest == "." for rest, _ in self.names)
        _make_directory(name, self.make_mode if last else 0o755, self.fd, there)
        return _look(name, self.fd)

    def _follow(self, link: str, target: str) -> os.stat_result:
        self.links += 1
        if self.links > MAX_LINKS:
            raise PathRefused(
                printable(self.path),
                f"leads through more than {MAX_LINKS} symbolic links, perhaps in a circle",
                f"see where with: namei -l {shlex.quote(printable(self.path))}",
            )
        self._queue(target, link)
        return self._restart() if target.startswith("/") else os.fstat(self.fd)

    def _queue(self, path: str, link: str | None) -> None:
        # A slash at the end asks for a directory, as "/." does.
        names = [name for name in path.split("/") if name] + (["."] if path.endswith("/") else [])
        self.names.extendleft((name, link) for name in reversed(names))

    def _restart(self) -> os.stat_result:
        self._stand_at(os.open("/", _LOOK), "/")
        status = os.fstat(self.fd)
        self._judge("/", self.fd, status, last=False)
        return status

    def _stand_at(self, fd: int, real: str) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd, self.real = fd, real

    def _judge(self, path: str, fd: int, status: os.stat_result, *, last: bool) -> None:
        refusal = self.trust.refusal(path, fd, status, last=last)
        if refusal is not None:
            raise refusal


def _look(name: str, directory_fd: int) -> int:
    """Return an O_PATH descriptor of ``name`` itself, link or not."""
    try:
        # O_PATH alone would stop in front of an automount, whose directory looks empty (open(2)).
        return os.open(name, _LOOK | os.O_DIRECTORY, dir_fd=directory_fd)
    except NotADirectoryError:
        return os.open(name, _LOOK, dir_fd=directory_fd)


def _make_directory(name: str, mode: int, parent_fd: int, path: str) -> None:
    """Make a directory of exactly this mode; one that has appeared meanwhile is judged like any other."""
    try:
        os.mkdir(name, mode, dir_fd=parent_fd)
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
        try:
            os.fchmod(fd, mode)  # what the umask took away
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
        return PathRefused(
            shown,
            f"may not be searched by user id {os.geteuid()} (permission denied)",
            f"see who may with: ls -ld {shlex.quote(shown)}",
        )
    reason = f"a name below it cannot be looked up: {(exc.strerror or str(exc)).lower()}"
    return PathRefused(shown, reason, "correct the path, or look for a broken file system in the kernel's log")
