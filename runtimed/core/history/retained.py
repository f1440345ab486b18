"""Reads, resolves and compares retained generations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtimed.core.containerd.names import is_implicit
from runtimed.core.errors import DamagedManifest, DigestMismatch, UnknownRuntime
from runtimed.core.history.manifest import Manifest, checksum, read_entries
from runtimed.core.history.trigger import Trigger
from runtimed.core.message_text import nearest
from runtimed.core.table.answer import render_answer
from runtimed.core.table.availability import named_files
from runtimed.core.table.generation import Difference, Generation, compare_identities

if TYPE_CHECKING:
    from runtimed.core import shapes

_CANDIDATES_MAX = 128
# Begins the runtimes in config.json, where each has a line. No string has a line break.
_RUNTIMES = b',\n  "runtimes": {\n'


@dataclass(frozen=True, slots=True)
class RetainedGeneration:
    """A retained generation; ``config`` is its merged configuration, a daemon.json document."""

    manifest: Manifest
    config: Mapping[str, Any]

    def definition(self, name: str) -> shapes.Definition | None:
        """Return the entry of ``runtimes`` for ``name``; None for a stock or implicit runtime."""
        found: shapes.Definition | None = self.config["runtimes"].get(name)
        return found


@dataclass(frozen=True, slots=True)
class Summary:
    """A line of the list of generations; ``created_s`` is in seconds since the epoch.

    The trigger and the changes are None where an earlier version of the program published the generation.
    """

    number: int
    created_s: float
    digest: str
    default_runtime: str
    runtimes: int
    trigger: shapes.Trigger | None = None
    changes: shapes.Changes | None = None

    def as_dict(self) -> shapes.GenerationSummary:
        """Return the JSON shape."""
        return {
            "generation": self.number,
            "created": self.created_s,
            "digest": self.digest,
            "default_runtime": self.default_runtime,
            "runtime_count": self.runtimes,
            "trigger": self.trigger,
            "changes": self.changes,
        }


def read_retained(manifest: Manifest, config_text: bytes) -> RetainedGeneration:
    """Return the generation of ``manifest`` and of ``config_text``, the content of the ``config.json`` beside it.

    Raises:
        DamagedManifest: ``config_text`` is damaged.
    """
    if checksum(config_text) != manifest.config_checksum:
        raise DamagedManifest(manifest.number, "config.json beside it is damaged")
    return RetainedGeneration(manifest, _read_config(config_text))


def _read_config(text: bytes) -> dict[str, Any]:
    """Return the document in ``text``; read its runtimes as `read_entries` does, for the same reason."""
    settings, mark, runtimes = text.partition(_RUNTIMES)
    if not mark:
        return dict(json.loads(text))
    return {**json.loads(settings + b"\n}"), "runtimes": read_entries(runtimes.split(b"\n")[:-3])}


def resolve_retained(
    retained: RetainedGeneration, name: str, digest: str | None = None
) -> tuple[shapes.Resolution, tuple[str, ...]]:
    """Return the resolution of ``name`` in ``retained``, and the files that must be executable for it.

    Raises:
        UnknownRuntime, InvalidRuntimeName: the generation does not resolve the name.
        DigestMismatch: the resolution has another digest than ``digest``.
    """
    manifest = retained.manifest
    name = name or manifest.default_runtime
    answer = manifest.answers.get(name)
    if answer is None:
        if not is_implicit(name):
            known = tuple(manifest.answers)
            raise UnknownRuntime(name, known, nearest(name, known[:_CANDIDATES_MAX]))
        implicit: shapes.Resolution = json.loads(render_answer(name, "implicit", name, None).at(manifest.number))
        answer = implicit
    if digest is not None and digest != answer["digest"]:
        raise DigestMismatch(name, manifest.number, digest, answer["digest"])
    definition = retained.definition(name)
    if definition is None:
        return answer, ()
    options = answer["options"]
    binary_name = str(options["fields"].get("binary_name", "")) if options is not None else ""
    path = definition["path"] if "path" in definition else None  # noqa: SIM401 - only one of the two kinds has it
    return answer, named_files(answer["shim"], binary_name, path)


def describe_retained(retained: RetainedGeneration) -> shapes.GenerationDetail:
    """Return ``retained`` with its configuration and its resolutions as a JSON object."""
    manifest = retained.manifest
    return {
        **summarise_retained(manifest).as_dict(),
        "configuration": manifest.configuration,
        "sources": list(manifest.sources),
        "config": dict(retained.config),
        "runtimes": dict(manifest.answers),
    }


def summarise_retained(manifest: Manifest) -> Summary:
    """Return the summary of the generation of ``manifest``."""
    head = manifest.number, manifest.created_s, manifest.digest, manifest.default_runtime
    return Summary(*head, manifest.runtime_count, manifest.trigger, manifest.changes)


def summarise_generation(
    generation: Generation, created_s: float, trigger: Trigger | None, difference: Difference | None
) -> Summary:
    """Return the summary of ``generation``, which is about to be published."""
    return Summary(
        generation.number,
        created_s,
        generation.digest,
        generation.config.default_runtime,
        len(generation.runtimes),
        None if trigger is None else trigger.as_dict(),
        None if difference is None else difference.summarise(),
    )


def compare_retained(old: RetainedGeneration, new: RetainedGeneration) -> shapes.GenerationsDiff:
    """Return the difference from ``old`` to ``new`` as a JSON object, with the definitions of both."""
    before, after = old.manifest, new.manifest
    defaults = before.default_runtime, after.default_runtime
    difference = compare_identities(before.identities, after.identities, defaults)
    return difference.describe(before.number, after.number, old.definition, new.definition)
