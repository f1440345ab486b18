"""Compares the published files on disk with the files that the store has published."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from runtimed.core.history.layout import LOCK, VERSION, current_target, generation_number, link_target, view_target
from runtimed.core.history.manifest import checksum, is_sealed
from runtimed.core.history.parts import is_part
from runtimed.host.store.disk import leads_to, read_file
from runtimed.host.store.lock import DataRootLock
from runtimed.host.store.marks import Mark, mark_of
from runtimed.host.store.paths import Paths
from runtimed.host.store.wrappers import is_intact_file, noexec_reason

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
# A file that changed so recently may change again without a new time stamp; the next look reads it again.
_SETTLED_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Expected:
    """The published files while generation ``number`` is current (0: none is known to be whole)."""

    number: int
    # Its link directory and the links in it.
    directory: str
    links: Mapping[str, str]
    # The digests of its parts.
    parts: Sequence[str]
    # The targets of the links, and the wrappers that resolutions of retained generations name.
    wrappers: Collection[str]
    retained: frozenset[int]
    config_checksum: str
    # Whether a resolution names a wrapper, which must be executable.
    must_execute: bool


@dataclass(slots=True)
class Damage:
    """The differences between the disk and the expected files; false if there are none."""

    # Why the daemon must not write to the data root.
    refusal: str = ""
    # Why wrappers cannot be executed.
    noexec: str = ""
    # Which of VERSION and lock are missing or damaged.
    root_files: tuple[str, ...] = ()
    # Directories and files that other users can write.
    writable: tuple[str, ...] = ()
    wrappers: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    # Descriptions of damage to the link `runtimes` and to the directory of the current generation.
    current: str = ""
    generation: str = ""
    # Retained generations, except the current one, whose directory is missing.
    lost: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return self != Damage()


class PublishedFiles:
    """The files of a data root. Remembers intact files, so that a later look costs one stat for each."""

    def __init__(self, paths: Paths, lock: DataRootLock) -> None:
        self._paths = paths
        self._lock = lock
        # The files that the last look found intact, by name.
        self._intact: Mapping[str, Mark] = {}

    def find_damage(self, expected: Expected) -> Damage:
        """Return the damage. Safe to call from any thread."""
        intact: dict[str, Mark] = {}
        try:
            damage = self._foreign_changes(expected)
            if refusal := self._lock.refusal() or damage.refusal:
                return Damage(refusal=refusal)
            if expected.must_execute:
                reasons = (noexec_reason(view, self._paths.root) for view in self._lock.views)
                damage.noexec = next(filter(None, reasons), "")
            damage.root_files = self._bad_root_files()
            damage.wrappers = tuple(sorted(self._bad_wrappers(expected, intact)))
            if expected.number:
                damage.current = self._bad_current(expected)
                damage.generation = self._bad_generation(expected, intact)
                damage.links = () if damage.generation else self._bad_links(expected, intact)
            damage.lost = self._lost(expected)
        except OSError as error:
            return Damage(refusal=f"{error.filename or self._paths.root} cannot be read: {error.strerror or error}")
        self._intact = intact
        return damage

    def _foreign_changes(self, expected: Expected) -> Damage:
        """Return the paths that other users can write, or a refusal if one belongs to another user."""
        at, number = self._paths, expected.number
        paths = [at.root, at.version, at.wrappers, at.generations, at.links, at.parts]
        if number:
            paths += [at.generation(number), at.view(number), at.config(number), at.manifest(number)]
            paths.append(at.link_directory(expected.directory))
        writable = []
        for path in paths:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                state = os.lstat(path)
                if state.st_uid != os.geteuid():
                    advice = "runtimed does not write to the data root until the owner is corrected"
                    return Damage(refusal=f"{path} belongs to user id {state.st_uid}; {advice}")
                if state.st_mode & OTHERS_WRITE and not stat.S_ISLNK(state.st_mode):
                    writable.append(path)
        return Damage(writable=tuple(writable))

    def _bad_root_files(self) -> tuple[str, ...]:
        bad = [VERSION]
        with contextlib.suppress(FileNotFoundError):
            if read_file(self._paths.version) == self._lock.version:
                bad.clear()
        return tuple(bad) if self._lock.is_held() else (*bad, LOCK)

    def _bad_wrappers(self, expected: Expected, intact: dict[str, Mark]) -> Iterable[str]:
        # Not sorted: with 16 generations of 10,000 runtimes that holds the interpreter's lock for a tenth of a second.
        for file in expected.wrappers:
            path = self._paths.wrapper(file)
            try:
                state = os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                yield file
                continue
            if self._is_unchanged(file, state) or is_intact_file(path, file):
                _remember(file, state, intact)
            else:
                yield file

    def _bad_current(self, expected: Expected) -> str:
        path = self._paths.current
        try:
            target = os.readlink(path)
        except FileNotFoundError:
            return f"{path} is missing"
        except OSError:
            return f"{path} is no symbolic link"
        return "" if target == current_target(expected.number) else f"{path} leads to {target}"

    def _bad_generation(self, expected: Expected, intact: dict[str, Mark]) -> str:
        for path, is_whole in self._checks(expected):
            try:
                state = os.lstat(path)
                if not self._is_unchanged(path, state) and not (
                    stat.S_ISREG(state.st_mode) and is_whole(read_file(path))
                ):
                    return f"{path} is damaged"
            except (FileNotFoundError, NotADirectoryError):
                return f"{path} is missing"
            _remember(path, state, intact)
        view, directory = self._paths.view(expected.number), self._paths.link_directory(expected.directory)
        if not leads_to(view, view_target(expected.directory)):
            return f"{view} is missing"
        return "" if os.path.isdir(directory) and not os.path.islink(directory) else f"{directory} is missing"

    def _checks(self, expected: Expected) -> Iterator[tuple[str, Callable[[bytes], bool]]]:
        """Yield the files that describe the current generation, each with the check of its content."""
        yield self._paths.config(expected.number), lambda data: checksum(data) == expected.config_checksum
        yield self._paths.manifest(expected.number), is_sealed
        for digest in expected.parts:
            yield self._paths.part(digest), partial(is_part, digest=digest)

    def _bad_links(self, expected: Expected, intact: dict[str, Mark]) -> tuple[str, ...]:
        directory = self._paths.link_directory(expected.directory)
        # A link cannot be changed, only replaced, which changes the directory.
        state = os.lstat(directory)
        if self._is_unchanged(directory, state):
            bad: tuple[str, ...] = ()
        else:
            links = expected.links.items()
            bad = tuple(link for link, file in links if not leads_to(f"{directory}/{link}", link_target(file)))
        if not bad:
            _remember(directory, state, intact)
        return bad

    def _lost(self, expected: Expected) -> tuple[int, ...]:
        names: list[str] = []
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            names = os.listdir(self._paths.generations)
        return tuple(sorted(expected.retained - {generation_number(name) for name in names} - {expected.number}))

    def _is_unchanged(self, name: str, state: os.stat_result) -> bool:
        """Return whether the last look found the file intact, and it has not changed since."""
        return self._intact.get(name) == mark_of(state)


def _remember(name: str, state: os.stat_result, intact: dict[str, Mark]) -> None:
    if state.st_ctime_ns < time.time_ns() - _SETTLED_NS:
        intact[name] = mark_of(state)
