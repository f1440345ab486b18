"""Describes the containers that have a pin, and finds those that keep an older definition of their runtime."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from runtimed.core.message_text import kept_text
from runtimed.core.table.generation import targets_of

if TYPE_CHECKING:
    from runtimed.core import shapes
    from runtimed.core.pins import Pin
    from runtimed.core.table.generation import Generation

# The most entries of a list that the API shows.
_SHOWN_MAX = 1000


@dataclass(frozen=True, slots=True)
class PinnedContainer:
    """A container with a pin: the ``target`` with which it was created through the stable path of ``runtime``."""

    id: str
    # The `--root` that the engine gave, "" for none.
    root: str
    # The file name of the stable path, and the name of the runtime that has it.
    link: str
    runtime: str
    # The wrapper or the binary.
    target: str
    # The newest retained generation in which the stable path leads to the target, None if there is none.
    generation: int | None
    # Whether the stable path leads to another target now, or to none.
    outdated: bool
    # The directory of the OCI bundle, "" if it is unknown.
    bundle: str

    def as_dict(self) -> shapes.PinnedContainer:
        """Return the JSON shape."""
        return {
            "id": self.id,
            "root": self.root or None,
            "runtime": self.runtime,
            "generation": self.generation,
            "binary": self.target,
            "outdated": self.outdated,
            "bundle": self.bundle or None,
        }


@dataclass(frozen=True, slots=True)
class Kept:
    """A number of containers that keep the same older definition of a runtime."""

    runtime: str
    containers: int
    # The newest retained generation with this definition, None if there is none.
    generation: int | None
    binary: str

    def __str__(self) -> str:
        return kept_text(self.runtime, self.containers, self.generation, self.binary)

    def as_dict(self) -> shapes.KeptDefinition:
        """Return the JSON shape."""
        return {
            "runtime": self.runtime,
            "containers": self.containers,
            "generation": self.generation,
            "binary": self.binary,
        }


@dataclass(frozen=True, slots=True)
class ContainersSummary:
    """The numbers of containers that use a stable path, as of the last look at them."""

    pinned: int = 0
    # Those that were created without a pin.
    unpinned: int = 0
    kept: tuple[Kept, ...] = ()
    # The files of pins that could not be read, as messages: a launcher refuses the calls for their containers.
    unknown: tuple[str, ...] = ()

    @property
    def outdated(self) -> int:
        """The number of containers that keep an older definition."""
        return sum(each.containers for each in self.kept)

    def as_dict(self) -> shapes.ContainersStatus:
        """Return the JSON shape."""
        return {
            "pinned": self.pinned,
            "unpinned": self.unpinned,
            "outdated": self.outdated,
            "kept": describe_kept(self.kept),
            "unknown": list(self.unknown[:_SHOWN_MAX]),
        }


def describe_containers(
    pins: Iterable[Pin],
    generation: Generation,
    name_of: Callable[[str], str],
    generation_of: Callable[[str, str], int | None],
) -> tuple[PinnedContainer, ...]:
    """Return the containers of ``pins``, sorted by runtime and id; ``generation`` decides which are outdated.

    ``name_of`` returns the name of the runtime whose stable path has a file name. ``generation_of`` returns the newest
    retained generation in which that stable path leads to a target, None if there is none.
    """
    pins = tuple(pins)
    targets = _targets(generation, {pin.link for pin in pins})
    containers = [
        PinnedContainer(
            pin.id,
            pin.root,
            pin.link,
            name_of(pin.link),
            pin.target,
            # The definition may hold a name that the launcher searches on PATH.
            generation_of(pin.link, pin.target) or generation_of(pin.link, posixpath.basename(pin.target)),
            not _leads_to(targets.get(pin.link, ""), pin.target),
            pin.bundle,
        )
        for pin in pins
    ]
    # One key after the other: to compare tuples would hold the interpreter's lock for twice as long.
    for key in ("root", "id", "runtime"):
        containers.sort(key=attrgetter(key))
    return tuple(containers)


def summarise_kept(containers: Iterable[PinnedContainer]) -> tuple[Kept, ...]:
    """Return the older definitions that ``containers`` keep, each with the number of these containers."""
    outdated = [each for each in containers if each.outdated]
    generations = {(each.runtime, each.target): each.generation for each in outdated}
    counts = Counter((each.runtime, each.target) for each in outdated)
    return tuple(Kept(key[0], counts[key], generations[key], key[1]) for key in sorted(counts))


def summarise_containers(
    containers: Sequence[PinnedContainer], unpinned: int, unknown: tuple[str, ...] = ()
) -> ContainersSummary:
    """Return the summary of ``containers``, of a number of containers without a pin, and of unreadable pins."""
    return ContainersSummary(len(containers), unpinned, summarise_kept(containers), unknown)


def describe_kept(kept: Sequence[Kept]) -> list[shapes.KeptDefinition]:
    """Return the JSON shape of the first 1,000 of ``kept``."""
    return [each.as_dict() for each in kept[:_SHOWN_MAX]]


def _targets(generation: Generation, links: Collection[str]) -> Mapping[str, str]:
    """Return the target of each stable path in ``links``: an absolute path, or a name for a search on PATH."""
    if not links:
        return {}
    return {link: target for link, target in targets_of(generation.runtimes.values()) if link in links}


def _leads_to(target: str, pinned: str) -> bool:
    """Return whether a stable path with ``target`` would execute ``pinned``, as far as that is known without I/O."""
    return pinned == target or ("/" not in target and posixpath.basename(pinned) == target)
