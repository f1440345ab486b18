"""Looks at the published files on disk, and repairs those that were damaged or removed."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from runtimed.core.history.layout import (
    CONFIG,
    CURRENT,
    GENERATIONS,
    LINKS,
    LOCK,
    MANIFEST,
    VERSION,
    WRAPPERS,
    current_target,
    generation_directory,
    generation_number,
    link_target,
)
from runtimed.core.history.manifest import checksum, is_whole_manifest
from runtimed.core.table.wrapper import is_intact
from runtimed.host.store.disk import (
    FILE_MODE,
    SYNC_MOST,
    WRAPPER_MODE,
    make_directory,
    read_file,
    replace_file,
    replace_link,
)
from runtimed.host.store.lock import parse_version
from runtimed.host.store.wrappers import is_intact_file, noexec_reason

# A file that changed so recently may change again without another time stamp; it is read again at the next look.
_SETTLED_NS = 2_000_000_000
_NAMED_MOST = 20
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
# More than any wrapper has: arguments of about 2 MB, each byte of which may need four for the shell.
WRAPPER_MOST = 16 << 20
_OTHER_ROOT = "unmount it, or restart runtimed to take it as it is; until then runtimed writes nothing there"

_Mark = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Expected:
    """The published files while generation ``number`` is current (0: none is known to be whole)."""

    number: int
    links: Mapping[str, str]
    # Those that the links lead to, and those that the answers of retained generations name.
    wrappers: frozenset[str]
    retained: frozenset[int]
    config_checksum: str


@dataclass(frozen=True, slots=True)
class Damage:
    """The differences between the disk and what is expected there; false when there are none."""

    # Why the data root must not be written to, and why its wrappers cannot be executed; in words.
    refusal: str = ""
    noexec: str = ""
    # VERSION and lock, where they have to be written again.
    claim: tuple[str, ...] = ()
    # Directories and files that other users may write.
    writable: tuple[str, ...] = ()
    wrappers: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    # The link `runtimes`, and the directory of the current generation; in words.
    current: str = ""
    generation: str = ""
    # Retained generations, other than the current one, whose directory is gone.
    lost: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return any(getattr(self, name) for name in self.__slots__)


@dataclass(slots=True)
class Repairs:
    """The outcome of a repair, in words: what was repaired, what could not be, what nobody knows the text of."""

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    # Wrapper files whose links were removed.
    unlinked: list[str] = field(default_factory=list)


class PublishedFiles:
    """The files below the claimed data root ``root``. Remembers what it saw, so that a look costs a stat for each."""

    def __init__(self, root: str, lock: int) -> None:
        self._root = root
        self._lock = lock
        self._identity = _identify(root)
        self._version = read_file(f"{root}/{VERSION}")
        # The same directory as the first process of the host sees it: under a unit the daemon has mounts of its own.
        self._views = (root, *_view_of_host(root, self._identity))
        # The file systems that the directories below the root lie on; the root's own where one is not there yet.
        self._devices = {name: _device(f"{root}/{name}") or self._identity[0] for name in (WRAPPERS, GENERATIONS)}
        # The files that were found good, by name, each with the marks that it had.
        self._good: Mapping[str, _Mark] = {}

    def relock(self, lock: int) -> None:
        """Take ``lock`` for the descriptor of the lock."""
        self._lock = lock

    def holds_lock(self) -> bool:
        """Return whether the lock file is the one that this daemon has locked. Raises: OSError."""
        held = os.fstat(self._lock)
        try:
            return _identify(f"{self._root}/{LOCK}") == (held.st_dev, held.st_ino)
        except FileNotFoundError:
            return False

    def refusal(self) -> str | None:
        """Return in words why nothing may be written to the data root; None if it is the one that was claimed."""
        for view in self._views:
            try:
                is_other = _identify(view) != self._identity or self._is_covered(view)
            except FileNotFoundError:
                return f"the data root {self._root} is missing; restart runtimed to make it anew"
            except OSError as error:
                return f"the data root {self._root} cannot be looked at ({error.strerror}); is its disk there?"
            if is_other:
                where = "" if view == self._root else ", as the host's processes see it,"
                return f"another directory lies at {self._root}{where} or is mounted over it; {_OTHER_ROOT}"
        try:
            if self._has_other_version():
                return f"{self._root}/{VERSION} is that of another data root; {_OTHER_ROOT}"
        except OSError as error:
            return f"{self._root}/{VERSION} cannot be read: {error.strerror or error}"
        return None

    def _is_covered(self, view: str) -> bool:
        """Return whether another file system is mounted over a directory of the data root."""
        return any(_device(f"{view}/{name}") not in (None, device) for name, device in self._devices.items())

    def look(self, expected: Expected) -> Damage:
        """Return the damage. May be called from any thread."""
        try:
            writable, foreign = self._bad_owners(expected)
            if refusal := self.refusal() or foreign:
                return Damage(refusal=refusal)
            good: dict[str, _Mark] = {}
            damage = Damage(
                noexec=self._noexec() if expected.wrappers else "",
                claim=self._claim(),
                writable=writable,
                wrappers=tuple(self._bad_wrappers(expected, good)),
                current=self._bad_current(expected),
                generation=(generation := self._bad_generation(expected, good)),
                links=() if generation else self._bad_links(expected, good),
                lost=tuple(sorted(self._lost(expected))),
            )
        except OSError as error:
            return Damage(refusal=f"{error.filename or self._root} cannot be looked at: {error.strerror or error}")
        self._good = good
        return damage

    def _noexec(self) -> str:
        return next((reason for view in self._views if (reason := noexec_reason(view, self._root))), "")

    def _claim(self) -> tuple[str, ...]:
        found = []
        with contextlib.suppress(FileNotFoundError):
            if read_file(f"{self._root}/{VERSION}") == self._version:
                found.append(VERSION)
        if self.holds_lock():
            found.append(LOCK)
        return tuple(name for name in (VERSION, LOCK) if name not in found)

    def _has_other_version(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            data = read_file(f"{self._root}/{VERSION}")
            if data != self._version:
                ours, theirs = parse_version(self._version), parse_version(data)
                return any(key in theirs and theirs[key] != ours.get(key) for key in ("layout", "id"))
        return False

    def _bad_wrappers(self, expected: Expected, good: dict[str, _Mark]) -> Iterable[str]:
        directory = f"{self._root}/{WRAPPERS}"
        try:
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            yield from sorted(expected.wrappers)
            return
        try:
            for file in sorted(expected.wrappers):
                try:
                    state = os.stat(file, dir_fd=fd, follow_symlinks=False)
                except FileNotFoundError:
                    yield file
                    continue
                if self._is_known(f"w/{file}", state) or is_intact_file(f"{directory}/{file}", file):
                    _note(f"w/{file}", state, good)
                else:
                    yield file
        finally:
            os.close(fd)

    def _bad_current(self, expected: Expected) -> str:
        if not expected.number:
            return ""
        path = f"{self._root}/{CURRENT}"
        try:
            target = os.readlink(path)
        except FileNotFoundError:
            return f"{path} is missing"
        except OSError:
            return f"{path} is no symbolic link"
        return "" if target == current_target(expected.number) else f"{path} leads to {target}"

    def _bad_generation(self, expected: Expected, good: dict[str, _Mark]) -> str:
        if not expected.number:
            return ""
        directory = f"{self._root}/{generation_directory(expected.number)}"
        checks = ((CONFIG, lambda data: checksum(data) == expected.config_checksum), (MANIFEST, is_whole_manifest))
        for name, is_whole in checks:
            path = f"{directory}/{name}"
            try:
                state = os.lstat(path)
                known = self._is_known(path, state)
                if not (known or (stat.S_ISREG(state.st_mode) and is_whole(read_file(path)))):
                    return f"{path} is damaged"
                _note(path, state, good)
            except (FileNotFoundError, NotADirectoryError):
                return f"{path} is missing"
        links = f"{directory}/{LINKS}"
        return "" if os.path.isdir(links) and not os.path.islink(links) else f"{links} is missing"

    def _bad_links(self, expected: Expected, good: dict[str, _Mark]) -> tuple[str, ...]:
        if not expected.number:
            return ()
        directory = f"{self._root}/{generation_directory(expected.number)}/{LINKS}"
        # A link cannot be changed, only replaced, which changes the directory.
        state = os.lstat(directory)
        bad: tuple[str, ...] = ()
        if not self._is_known(directory, state):
            bad = tuple(
                link for link, file in expected.links.items() if not _leads(f"{directory}/{link}", link_target(file))
            )
        if not bad:
            _note(directory, state, good)
        return bad

    def _lost(self, expected: Expected) -> Iterable[int]:
        names: list[str] = []
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            names = os.listdir(f"{self._root}/{GENERATIONS}")
        return expected.retained - {generation_number(name) for name in names} - {expected.number}

    def _is_known(self, name: str, state: os.stat_result) -> bool:
        """Return whether a look before this one found the file good, and it has not changed since."""
        return self._good.get(name) == _mark(state)

    def _bad_owners(self, expected: Expected) -> tuple[tuple[str, ...], str]:
        """Return what others may write below the data root, and why nothing there can be trusted, in words."""
        names = ["", VERSION, WRAPPERS, GENERATIONS]
        if expected.number:
            current = generation_directory(expected.number)
            names += [current, f"{current}/{LINKS}", f"{current}/{CONFIG}", f"{current}/{MANIFEST}"]
        writable = []
        for path in (f"{self._root}/{name}" if name else self._root for name in names):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                state = os.lstat(path)
                if state.st_uid != os.geteuid():
                    return (), f"{path} belongs to user id {state.st_uid}; until that is mended runtimed writes nothing"
                if state.st_mode & _OTHERS_WRITE and not stat.S_ISLNK(state.st_mode):
                    writable.append(path)
        return tuple(writable), ""

    def repair(self, damage: Damage, expected: Expected, text_of: Callable[[str], bytes | None]) -> Repairs:
        """Repair what can be repaired in place, by rename; ``text_of`` returns the text of a wrapper, None if unknown.

        The file VERSION, wrappers, links of the current generation, and the link to it. A reader sees a path as it
        was or as it must be, never a missing one in between.
        """
        repairs = Repairs()
        for path in damage.writable:
            with _telling(repairs, f"{path} could be written by other users: no longer"):
                os.chmod(path, stat.S_IMODE(os.lstat(path).st_mode) & ~_OTHERS_WRITE)
        if VERSION in damage.claim:
            path = f"{self._root}/{VERSION}"
            with _telling(repairs, f"{path} was missing or damaged: written again"):
                replace_file(self._root, VERSION, self._version, FILE_MODE, sync=True)
        for file in damage.wrappers:
            self._repair_wrapper(file, text_of(file), expected, repairs, sync=len(damage.wrappers) <= SYNC_MOST)
        links = f"{self._root}/{generation_directory(expected.number)}/{LINKS}"
        for link in damage.links:
            if expected.links[link] not in repairs.unlinked:
                with _telling(repairs, f"{links}/{link} was missing or wrong: made anew"):
                    replace_link(links, link, link_target(expected.links[link]))
        if damage.current and not damage.generation:
            with _telling(repairs, f"{damage.current}: made anew"):
                replace_link(self._root, CURRENT, current_target(expected.number))
        return repairs

    def _repair_wrapper(
        self, file: str, text: bytes | None, expected: Expected, repairs: Repairs, *, sync: bool
    ) -> None:
        directory = f"{self._root}/{WRAPPERS}"
        if text is None:
            # Only its mode or its owner may be wrong.
            with contextlib.suppress(OSError):
                text = read_file(f"{directory}/{file}", WRAPPER_MOST)
        if text is not None and is_intact(file, text):
            with _telling(repairs, f"{directory}/{file} was missing or damaged: written again"):
                make_directory(directory)
                replace_file(directory, file, text, WRAPPER_MODE, sync=sync)
            return
        state = "damaged" if os.path.lexists(f"{directory}/{file}") else "missing"
        # A link that leads nowhere, or to a text that is not the daemon's, is worse than none: an engine is told that
        # there is no such runtime.
        for link in (link for link, target in expected.links.items() if target == file):
            path = f"{self._root}/{generation_directory(expected.number)}/{LINKS}/{link}"
            with _telling(repairs, f"{directory}/{file} is {state}, and its text is not known: {path} removed"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                repairs.unlinked.append(file)
        if file not in repairs.unlinked:
            advice = "restore it from a backup, or configure its runtime as it was"
            repairs.unknown.append(f"{directory}/{file} is {state}, and no retained generation has its text; {advice}")


def shortened(words: list[str]) -> tuple[str, ...]:
    """Return the first of ``words``, and how many more there are: a whole table may be lost at once."""
    more = len(words) - _NAMED_MOST
    return tuple(words) if more <= 0 else (*words[:_NAMED_MOST], f"and {more} more")


@contextlib.contextmanager
def _telling(repairs: Repairs, done: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = error.filename or ""
        repairs.failed.append(f"{done.partition(': ')[0]}, and cannot be repaired: {place}: {error.strerror or error}")
    else:
        repairs.done.append(done)


def _mark(state: os.stat_result) -> _Mark:
    return (state.st_dev, state.st_ino, state.st_ctime_ns, state.st_size, state.st_mode, state.st_uid)


def _note(name: str, state: os.stat_result, good: dict[str, _Mark]) -> None:
    """Have later looks take the file as good for as long as it does not change."""
    if state.st_ctime_ns < time.time_ns() - _SETTLED_NS:
        good[name] = _mark(state)


def _device(path: str) -> int | None:
    try:
        return os.lstat(path).st_dev
    except FileNotFoundError:
        return None


def _identify(path: str) -> tuple[int, int]:
    state = os.stat(path)
    return state.st_dev, state.st_ino


def _view_of_host(root: str, identity: tuple[int, int]) -> tuple[str, ...]:
    """Return the path of ``root`` in the mount namespace of process 1, where that is another one; none if unknown."""
    path = f"/proc/1/root{root}"
    with contextlib.suppress(OSError):
        if os.readlink("/proc/1/ns/mnt") != os.readlink("/proc/self/ns/mnt") and _identify(path) == identity:
            return (path,)
    return ()


def _leads(link: str, target: str) -> bool:
    try:
        return os.readlink(link) == target
    except OSError:
        return False
