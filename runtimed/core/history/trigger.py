"""Defines the trigger of a reload: its reasons, the requests for it, and the configuration files that changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runtimed.core.configuration.inputs import Documents, FileStatus

if TYPE_CHECKING:
    from runtimed.core import shapes

# Bounds of the lists in a trigger, which the list of generations repeats for each generation.
ACTORS_MAX = 16
SOURCES_MAX = 50


@dataclass(frozen=True, slots=True)
class Actor:
    """The process that requested a reload; its command line is None if it cannot be read, as after its end."""

    uid: int
    pid: int
    command: str | None = None

    def as_dict(self) -> shapes.Actor:
        """Return the JSON shape."""
        return {"uid": self.uid, "pid": self.pid, "command": self.command}


@dataclass(frozen=True, slots=True)
class ChangedSource:
    """A configuration file that changed; its status is None if it was removed or is not known."""

    path: str
    change: shapes.SourceChange
    status: FileStatus | None = None

    def as_dict(self) -> shapes.ChangedSource:
        """Return the JSON shape."""
        found = self.status
        return {
            "path": self.path,
            "change": self.change,
            "owner": None if found is None else found.owner,
            "mtime": None if found is None else found.mtime_s,
            "inode": None if found is None else found.inode,
        }


@dataclass(frozen=True, slots=True)
class Trigger:
    """The trigger of one reload, which several requests may share.

    ``actors`` are the first of the processes that requested it, ``sources`` the first of the files that changed since
    the generation before; ``more_actors`` and ``more_sources`` are the numbers of the others.
    """

    reasons: tuple[str, ...]
    actors: tuple[Actor, ...] = ()
    sources: tuple[ChangedSource, ...] = ()
    more_actors: int = 0
    more_sources: int = 0

    @property
    def reason(self) -> str:
        """The reasons in one text, as reports have them."""
        return ", ".join(self.reasons)

    def joined_with(self, other: Trigger) -> Trigger:
        """Return the trigger of the reload that both requests share. The files are compared only when it runs."""
        actors = tuple(dict.fromkeys((*self.actors, *other.actors)))
        return Trigger(
            tuple(dict.fromkeys((*self.reasons, *other.reasons))),
            actors[:ACTORS_MAX],
            more_actors=self.more_actors + other.more_actors + len(actors[ACTORS_MAX:]),
        )

    def with_sources(self, before: Mapping[str, str], documents: Documents) -> Trigger:
        """Return this trigger with the files of ``documents`` that differ from ``before``, path -> checksum."""
        found = _changed_sources(before, documents)
        return replace(self, sources=found[:SOURCES_MAX], more_sources=len(found[SOURCES_MAX:]))

    def as_dict(self) -> shapes.Trigger:
        """Return the JSON shape."""
        return {
            "reason": self.reason,
            "actors": [actor.as_dict() for actor in self.actors],
            "actor_count": len(self.actors) + self.more_actors,
            "sources": [source.as_dict() for source in self.sources],
            "source_count": len(self.sources) + self.more_sources,
        }


def _changed_sources(before: Mapping[str, str], documents: Documents) -> tuple[ChangedSource, ...]:
    sources = {source.path: source for source in documents.sources}
    changed = [
        ChangedSource(path, "changed" if path in before else "added", source.status)
        for path, source in sources.items()
        # An earlier version kept no checksums: then a change is not known.
        if before.get(path) not in ("", source.checksum)
    ]
    # A file that cannot be read is a problem, and not removed.
    if not documents.problems:
        changed += [ChangedSource(path, "removed") for path in before if path not in sources]
    return tuple(changed)
