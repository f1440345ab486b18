"""A generation as it lies on disk: what was answered under its number, and what it was built from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtimed.core.containerd.names import is_implicit
from runtimed.core.errors import DamagedManifest, DigestMismatch, UnknownRuntime
from runtimed.core.history.changes import describe_changes
from runtimed.core.history.manifest import Manifest, checksum
from runtimed.core.message_text import nearest
from runtimed.core.table.answer import render_answer
from runtimed.core.table.availability import named_files
from runtimed.core.table.generation import Difference

if TYPE_CHECKING:
    from runtimed.core import shapes


@dataclass(frozen=True, slots=True)
class RetainedGeneration:
    """A retained generation; ``config`` is its merged configuration, a daemon.json document."""

    manifest: Manifest
    config: Mapping[str, Any]

    @property
    def definitions(self) -> Mapping[str, shapes.Definition]:
        """The entries of ``runtimes`` by name."""
        entries: Mapping[str, shapes.Definition] = self.config["runtimes"]
        return entries

    def definition(self, name: str) -> shapes.Definition | None:
        """Return the entry of ``runtimes`` that ``name`` had; None for a stock or implicit one."""
        return self.definitions.get(name)


def read_retained(manifest: Manifest, config_text: bytes) -> RetainedGeneration:
    """Return the generation of ``manifest`` and of the bytes of the ``config.json`` beside it.

    Raises:
        DamagedManifest: the two do not belong together.
    """
    if checksum(config_text) != manifest.config_checksum:
        raise DamagedManifest(manifest.number, "config.json beside it is damaged")
    try:
        return RetainedGeneration(manifest, json.loads(config_text))
    except (ValueError, RecursionError) as error:
        raise DamagedManifest(manifest.number, f"config.json beside it cannot be read: {error!r}") from error


def resolve_retained(
    retained: RetainedGeneration, name: str, digest: str | None = None
) -> tuple[shapes.Resolution, tuple[str, ...]]:
    """Return the answer that was given for ``name`` in ``retained``, and the files that have to be executable for it.

    With a ``digest`` only the answer that has it will do.

    Raises:
        UnknownRuntime, InvalidRuntimeName: the name meant nothing in that generation.
        DigestMismatch: the answer has another digest.
    """
    name = name or retained.manifest.default_runtime
    answer = retained.manifest.answers.get(name)
    if answer is None:
        answer = _implicit(retained, name)
    if digest is not None and digest != answer["digest"]:
        raise DigestMismatch(name, retained.manifest.number, digest, answer["digest"])
    definition = retained.definition(name)
    if definition is None:
        return answer, ()
    options = answer["options"]
    binary_name = str(options["fields"].get("binary_name", "")) if options is not None else ""
    path = definition["path"] if "path" in definition else None  # noqa: SIM401 - only one of the two kinds has it
    return answer, named_files(answer["shim"], binary_name, path)


@dataclass(frozen=True, slots=True)
class Summary:
    """A line of the list of generations; ``created_s`` is in seconds since the epoch."""

    number: int
    created_s: float
    digest: str
    default_runtime: str
    runtimes: int

    def as_dict(self) -> shapes.GenerationSummary:
        """Return the JSON shape."""
        return {
            "generation": self.number,
            "created": self.created_s,
            "digest": self.digest,
            "default_runtime": self.default_runtime,
            "runtime_count": self.runtimes,
        }


def describe_retained(retained: RetainedGeneration) -> shapes.GenerationDetail:
    """Return everything that is known of ``retained`` as a JSON object."""
    manifest = retained.manifest
    return {
        **summarise_retained(manifest).as_dict(),
        "configuration": manifest.configuration,
        "sources": list(manifest.sources),
        "config": dict(retained.config),
        "runtimes": dict(manifest.answers),
    }


def summarise_retained(manifest: Manifest) -> Summary:
    """Return the line of the generation of ``manifest``."""
    runtimes = len(manifest.answers)
    return Summary(manifest.number, manifest.created_s, manifest.digest, manifest.default_runtime, runtimes)


def compare_retained(old: RetainedGeneration, new: RetainedGeneration) -> shapes.GenerationsDiff:
    """Return what a client finds different in ``new``: runtimes by their answers, with both definitions."""
    before, after = old.manifest.answers, new.manifest.answers
    defaults = old.manifest.default_runtime, new.manifest.default_runtime
    difference = Difference(
        added=tuple(sorted(after.keys() - before.keys())),
        changed=tuple(n for n in sorted(after.keys() & before.keys()) if after[n]["digest"] != before[n]["digest"]),
        removed=tuple(sorted(before.keys() - after.keys())),
        default_runtime=None if defaults[0] == defaults[1] else defaults,
    )
    return describe_changes((old.manifest.number, new.manifest.number), difference, old.definition, new.definition)


def _implicit(retained: RetainedGeneration, name: str) -> shapes.Resolution:
    if is_implicit(name):
        answer: shapes.Resolution = json.loads(render_answer(name, "implicit", name, None).at(retained.manifest.number))
        return answer
    known = tuple(retained.manifest.answers)
    raise UnknownRuntime(name, known, nearest(name, known[:128]))
