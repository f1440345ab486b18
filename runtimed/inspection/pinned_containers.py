"""Keeps the pins in step with the containers: removes those of gone containers, and pins containers that have none."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from runtimed.core.collection.references import ReferenceScan, references_of_pins
from runtimed.core.config import Engine
from runtimed.core.pins import Pin
from runtimed.host.container_states import ContainerStates, bundle_exists, usual_roots
from runtimed.host.containers import Task, read_tasks
from runtimed.host.pins import Mark, PinDirectory, PinFile

log = structlog.get_logger()

# Time for which a container that had a state must be without one, unless its bundle is gone: it may be restarting.
ABSENT_S = 30.0
# Age at which a container without a pin is given one, or counts as one without: it may just be recording it.
ADOPT_AGE_S = 60.0
# The most containers that one line of the log names.
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Swept:
    """The outcome of a sweep: the pins that are left, the number of pins that were removed, and the faults."""

    pins: tuple[Pin, ...]
    removed: int
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unpinned:
    """A container that uses a stable path and has no pin. ``id`` is ``<namespace>/<id>``."""

    id: str
    path: str


class PinnedContainers:
    """The containers that use a stable path. Its methods block.

    ``stable`` is the directory of the stable paths. ``target_at`` returns the target that the stable path with a file
    name had at a time in seconds since the epoch, None if that is not known.
    """

    def __init__(
        self,
        directory: PinDirectory,
        *,
        stable: str,
        target_at: Callable[[str, float], str | None],
        roots: Sequence[str] | None = None,
        clock_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._stable = stable
        self._target_at = target_at
        self._roots = usual_roots(os.environ.get("XDG_RUNTIME_DIR")) if roots is None else roots
        self._clock_s = clock_s
        self._monotonic_s = monotonic_s
        # The pins whose containers have had a state since this process started.
        self._seen: set[Pin] = set()
        # File, and its pin without a state, or None for a file without a pin -> the time of the first look that found
        # it so. A launcher changes the file when it is about to create the container again.
        self._absent_since_s: dict[tuple[Mark, Pin | None], float] = {}
        # As of the last look. Read in other threads.
        self.pins: tuple[Pin, ...] = ()
        self.unpinned: tuple[Unpinned, ...] = ()
        self.faults: tuple[str, ...] = ()

    def take_over(self, earlier: str | None, engines: Sequence[Engine]) -> None:
        """Make the directory of pins, with those of an ``earlier`` exec root, before launchers are published.

        Containers that use a stable path without a pin get one while the path still leads where it did.
        """
        faults = [fault for fault in (self._directory.make(),) if fault is not None]
        if earlier is not None and earlier != self._directory.path:
            faults += self._directory.take_over(earlier)
        for fault in faults:
            log.error("pins.unusable", fault=fault)
        self.adopt(engines, age_s=0.0)

    def look(self, engines: Sequence[Engine], adopt_age_s: float = ADOPT_AGE_S) -> ReferenceScan:
        """Sweep and adopt; return the references of the pins, and the faults as ``unknown``.

        ``engines`` are the configured containerds.
        """
        swept = self.sweep(self._monotonic_s())
        self.adopt(engines, adopt_age_s)
        return references_of_pins(self.pins, swept.faults)

    def read(self) -> tuple[Pin, ...]:
        """Return the pins that are recorded now."""
        self.pins = tuple(self._directory.read().pins)
        return self.pins

    def references(self) -> ReferenceScan:
        """Return the references of the pins that are recorded now."""
        found = self._directory.read()
        return references_of_pins(found.pins, found.faults)

    def sweep(self, now_s: float) -> Swept:
        """Remove the files whose containers are all gone, as of ``now_s`` on a monotonic clock."""
        fault = self._directory.make()
        found = self._directory.read()
        states = ContainerStates(self._roots)
        left: list[Pin] = []
        marks: list[Mark] = []
        removed = 0
        for name, file in found.files.items():
            if self._is_gone(file, states, now_s) and self._directory.remove_gone(
                name, file, partial(self._is_still_gone, file, now_s)
            ):
                removed += len(file.pins)
            else:
                left += file.pins
                marks.append(file.mark)
        self._seen &= set(left)
        known = set(marks)
        self._absent_since_s = {key: since_s for key, since_s in self._absent_since_s.items() if key[0] in known}
        self.pins = tuple(left)
        self.faults = found.faults if fault is None else (fault, *found.faults)
        return Swept(self.pins, removed, self.faults)

    def adopt(self, engines: Sequence[Engine], age_s: float = ADOPT_AGE_S) -> tuple[Pin, ...]:
        """Pin the containers that use a stable path without a pin, are older than ``age_s``, and have a known target.

        Return the new pins; ``unpinned`` are the containers that remain without one.
        """
        adopted: list[Pin] = []
        unpinned: list[Unpinned] = []
        # The last reading of the pins must not be older than that of the containers: an id may be used again.
        tasks = [task for task in self._tasks_on_stable_paths(engines) if self._clock_s() - task.created_s >= age_s]
        pinned = {(pin.root, pin.id) for pin in self._directory.read().pins} if tasks else set()
        for task in tasks:
            if (task.root, task.id) in pinned:
                continue
            link = os.path.basename(task.binary)
            target = self._target_at(link, task.created_s)
            pin = Pin(link, task.root, task.id, task.root, task.bundle, target or "")
            fault = "its generation is not known" if target is None else self._directory.add(pin)
            if fault is None:
                adopted.append(pin)
            else:
                unpinned.append(Unpinned(f"{task.namespace}/{task.id}", task.binary))
        if adopted:
            log.info("pins.adopted", containers=len(adopted))
        if unpinned and tuple(unpinned) != self.unpinned:
            named = [f"{each.id} of {each.path}" for each in unpinned[:_SHOWN]]
            log.warning("pins.missing", containers=len(unpinned), first=named)
        self.pins = (*self.pins, *adopted)
        self.unpinned = tuple(unpinned)
        return tuple(adopted)

    def _is_gone(self, file: PinFile, states: ContainerStates, now_s: float) -> bool:
        if not file.pins:
            # A launcher may be about to write its first line.
            return self._is_absent_long((file.mark, None), now_s)
        # Each pin is looked at, also after one that is not gone, because states are remembered.
        gone = [self._is_container_gone(pin, file.mark, states, now_s) for pin in file.pins]
        return all(gone)

    def _is_still_gone(self, file: PinFile, now_s: float) -> bool:
        return self._is_gone(file, ContainerStates(self._roots), now_s)

    def _is_container_gone(self, pin: Pin, mark: Mark, states: ContainerStates, now_s: float) -> bool:
        state = states.has_state(pin)
        if state is not False:
            self._absent_since_s.pop((mark, pin), None)
            if state:
                self._seen.add(pin)
            return False
        # A bundle is there before its container is created, and until it is deleted.
        if bundle_exists(pin) is False:
            return True
        return pin in self._seen and self._is_absent_long((mark, pin), now_s)

    def _is_absent_long(self, key: tuple[Mark, Pin | None], now_s: float) -> bool:
        return now_s - self._absent_since_s.setdefault(key, now_s) >= ABSENT_S

    def _tasks_on_stable_paths(self, engines: Sequence[Engine]) -> Iterator[Task]:
        bundles = frozenset(pin.bundle for pin in self.pins)
        # Each directory is compared once; links and bind mounts give the data root other paths.
        is_stable: dict[str, bool] = {}
        for task in (task for engine in engines for task in read_tasks(engine.state, bundles)):
            directory = os.path.dirname(task.binary)
            if directory not in is_stable:
                is_stable[directory] = directory == self._stable or _is_same(directory, self._stable)
            if is_stable[directory]:
                yield task


def _is_same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return False
