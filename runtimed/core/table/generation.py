"""Defines generations, the immutable and numbered tables of runtimes, and compares them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtimed.core.config import Config, Definition
from runtimed.core.configuration.rendering import definition_document
from runtimed.core.containerd.names import RUNC_NAME
from runtimed.core.containerd.options import RUNC_SHIMS, Options
from runtimed.core.table.answer import Answer
from runtimed.core.table.facts import Facts
from runtimed.core.table.script import Script

if TYPE_CHECKING:
    from runtimed.core import shapes

    # Maps a name to its entry of daemon.json's `runtimes`; None for a stock runtime and for an unknown name.
    Define = Callable[[str], shapes.Definition | None]

# A runtime has changed when one of these has: the digest of its resolution, and its carried keys.
Identity = tuple[str, str]
# Names in each list of a summary of changes, which the list of generations repeats for each generation.
_SUMMARISED_MAX = 50


@dataclass(frozen=True, slots=True)
class Host:
    """The facts of the node, and the absolute paths of the daemon's data root and exec root."""

    facts: Facts
    data_root: str
    exec_root: str


@dataclass(frozen=True, slots=True)
class Runtime:
    """An entry of the table with its resolution; ``definition`` and ``text`` are empty for a stock runtime."""

    name: str
    source: shapes.Provenance
    shim: str
    options: Options | None
    answer: Answer
    definition: Definition | None = None
    wrapper: Script | None = None
    # The script at the stable path, None where the runtime has no `path`.
    launcher: Script | None = None
    # The definition as a line of the merged daemon.json: `"name": {…}`.
    text: bytes = b""

    @property
    def binary(self) -> str | None:
        """The binary of the OCI runtime behind any wrapper, a path or a name; None where the shim needs none."""
        if self.definition is not None and self.definition.path is not None:
            return self.definition.path
        named = self.options.binary_name if self.options is not None else ""
        return named or (RUNC_NAME if self.shim in RUNC_SHIMS else None)

    @property
    def identity(self) -> Identity:
        """A value that differs where two versions of a runtime differ."""
        return self.answer.digest, self.definition.engines if self.definition is not None else ""

    @property
    def target(self) -> str | None:
        """The wrapper or the binary that a pin of the launcher names; None where there is no launcher."""
        return self.options.binary_name if self.launcher is not None and self.options is not None else None


def scripts_of(runtimes: Iterable[Runtime]) -> Iterator[Script]:
    """Yield the wrappers and launchers of ``runtimes``."""
    return (each for runtime in runtimes for each in (runtime.wrapper, runtime.launcher) if each is not None)


def links_of(runtimes: Iterable[Runtime]) -> dict[str, str]:
    """Return the stable paths of ``runtimes`` with the files that they lead to."""
    return {r.launcher.link: r.launcher.file for r in runtimes if r.launcher is not None}


def targets_of(runtimes: Iterable[Runtime]) -> Iterator[tuple[str, str]]:
    """Yield the stable paths of ``runtimes`` with the targets of their pins."""
    return ((r.launcher.link, r.target or "") for r in runtimes if r.launcher is not None)


@dataclass(frozen=True, slots=True)
class Generation:
    """An immutable table of runtimes. ``digest`` covers everything except the number and the origins."""

    number: int
    digest: str
    config: Config
    host: Host
    # Sorted by name; stock runtimes included.
    runtimes: Mapping[str, Runtime]
    # The merged configuration as a daemon.json document, from which a degraded start rebuilds the generation.
    config_text: bytes
    # Each binary that a runtime needs, with the sorted names of the runtimes that need it (see `watched_binaries`).
    binaries: Mapping[str, tuple[str, ...]]
    # The sum of a checksum for each runtime, so that a change of one runtime needs no look at the others.
    checksum: int

    @property
    def key(self) -> tuple[int, str]:
        """The number and the digest, for values that are kept: one that held the generation would keep it in memory."""
        return self.number, self.digest

    @property
    def launchers(self) -> Mapping[str, Runtime]:
        """The runtimes that have a launcher, by the file names of their stable paths."""
        return {r.launcher.link: r for r in self.runtimes.values() if r.launcher is not None}

    @property
    def wrappers(self) -> Iterator[Script]:
        """Yield the wrappers, which resolutions name."""
        return (runtime.wrapper for runtime in self.runtimes.values() if runtime.wrapper is not None)

    @property
    def scripts(self) -> Iterator[Script]:
        """Yield the wrappers and launchers of this generation's runtimes."""
        return scripts_of(self.runtimes.values())

    def definition(self, name: str) -> shapes.Definition | None:
        """Return the entry of daemon.json's ``runtimes`` for ``name``; None for a stock runtime and an unknown name."""
        runtime = self.runtimes.get(name)
        return None if runtime is None or runtime.definition is None else definition_document(runtime.definition)

    @property
    def identities(self) -> Mapping[str, Identity]:
        """The identities of the runtimes, by name."""
        return {name: runtime.identity for name, runtime in self.runtimes.items()}


@dataclass(frozen=True, slots=True)
class Difference:
    """The changes between two generations: names of runtimes, and the old and new default where it changed."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    default_runtime: tuple[str, str] | None = None

    @property
    def changes_resolutions(self) -> bool:
        """Whether the resolution or the carried keys of a name differ; the default runtime does not count."""
        return bool(self.added or self.changed or self.removed)

    def summarise(self) -> shapes.Changes:
        """Return the JSON shape of the changes for the list of generations, without definitions."""
        default = self.default_runtime
        return {
            "added": list(self.added[:_SUMMARISED_MAX]),
            "added_count": len(self.added),
            "changed": list(self.changed[:_SUMMARISED_MAX]),
            "changed_count": len(self.changed),
            "removed": list(self.removed[:_SUMMARISED_MAX]),
            "removed_count": len(self.removed),
            "default_runtime": None if default is None else {"from": default[0], "to": default[1]},
        }

    def describe(self, old: int, new: int, before: Define, after: Define) -> shapes.GenerationsDiff:
        """Return the JSON shape of /v1/diff for the generations ``old`` and ``new``, with the definitions of both."""

        def describe(names: tuple[str, ...]) -> list[shapes.RuntimeChange]:
            return [{"name": name, "from": before(name), "to": after(name)} for name in names]

        default = self.default_runtime
        return {
            "from": old,
            "to": new,
            "added": describe(self.added),
            "changed": describe(self.changed),
            "removed": describe(self.removed),
            "default_runtime": None if default is None else {"from": default[0], "to": default[1]},
        }


def compare_generations(old: Generation | None, new: Generation) -> Difference:
    """Return the difference from ``old``, or from an empty table, to ``new``."""
    if old is None:
        return Difference(added=tuple(new.runtimes))
    before, after = old.runtimes, new.runtimes
    # Unchanged runtimes are the same objects, so only the others need a comparison.
    others = [name for name, runtime in after.items() if before.get(name) is not runtime]
    defaults = old.config.default_runtime, new.config.default_runtime
    return Difference(
        added=tuple(name for name in others if name not in before),
        changed=tuple(n for n in others if n in before and before[n].identity != after[n].identity),
        removed=tuple(sorted(before.keys() - after.keys())),
        default_runtime=None if defaults[0] == defaults[1] else defaults,
    )


def compare_identities(
    old: Mapping[str, Identity], new: Mapping[str, Identity], defaults: tuple[str, str]
) -> Difference:
    """Return the difference between two generations, from the identities of their runtimes and their defaults."""
    # Identities are in the order of the parts on disk.
    return Difference(
        added=tuple(sorted(new.keys() - old.keys())),
        changed=tuple(sorted(name for name in new if name in old and old[name] != new[name])),
        removed=tuple(sorted(old.keys() - new.keys())),
        default_runtime=None if defaults[0] == defaults[1] else defaults,
    )
