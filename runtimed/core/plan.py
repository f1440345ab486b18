"""Documents -> generation: the pure half of every start, reload and validation."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from runtimed.core.config import BOOT_ONLY, Documents, Flags, Settings, definition_document
from runtimed.core.configuration.parse import parse_configuration
from runtimed.core.errors import ConfigurationRejected
from runtimed.core.history.changes import describe_changes
from runtimed.core.history.manifest import Manifest, restore_config
from runtimed.core.report import Report
from runtimed.core.table.generation import Difference, Generation, Host, build_generation, compare_generations

if TYPE_CHECKING:
    from runtimed.core import shapes

# More than anybody reads; rendering the definitions of ten thousand would hold up the event loop.
_DEFINED_MOST = 1000


@dataclass(frozen=True, slots=True)
class Frame:
    """What stays the same for as long as the process runs, and decides together with the documents."""

    config_path: str
    flags: Flags
    defaults: Settings
    host: Host
    # The settings the daemon was started with.
    boot: Settings
    # Why a main file that is missing is an error from the start; None where it is not.
    main_required: str | None = None

    def requires_main(self, sources: Collection[str]) -> str | None:
        """Return why a missing main file is an error when the current generation came from ``sources``, or None."""
        if self.main_required is None and self.config_path in sources:
            return "the current generation came from it; write {} to it to empty the table"
        return self.main_required

    def restart_required(self, settings: Settings) -> tuple[str, ...]:
        """Return the keys of those of ``settings`` that only a restart brings into effect."""
        return tuple(key for key, name in BOOT_ONLY.items() if getattr(settings, name) != getattr(self.boot, name))


@dataclass(frozen=True, slots=True)
class Plan:
    """The generation that documents mean, and what it changes for a client of the previous one."""

    generation: Generation
    difference: Difference


def plan(
    documents: Documents, frame: Frame, number: int, previous: Generation | None, main_required: str | None
) -> Plan:
    """Return what ``documents`` mean as generation ``number`` after ``previous``.

    Raises:
        ConfigurationRejected: with everything that is wrong with them.
    """
    config = parse_configuration(documents, frame.flags, frame.defaults, main_required=main_required)
    generation = build_generation(config, frame.host, number, previous)
    return Plan(generation, compare_generations(previous, generation))


def restore_generation(manifest: Manifest, config_text: bytes, frame: Frame, number: int) -> Generation:
    """Return the generation of ``manifest`` and of the ``config_text`` beside it, built anew as ``number``.

    Raises:
        ConfigurationRejected: this version of the program no longer takes ``config_text``.
    """
    return build_generation(restore_config(manifest, config_text, frame.defaults, frame.flags), frame.host, number)


def report_on(examined: Plan | ConfigurationRejected, frame: Frame, reason: str, published: str | None) -> Report:
    """Return the report of ``examined`` as far as it follows from that, given the digest that is ``published``."""
    if isinstance(examined, ConfigurationRejected):
        problems, untold, remarks = examined.problems, examined.untold, examined.remarks
        return Report("rejected", 0, reason, problems=problems, untold=untold, remarks=remarks, cause="configuration")
    difference, config = examined.difference, examined.generation.config
    return Report(
        "unchanged" if examined.generation.digest == published else "applied",
        0,
        reason,
        added=difference.added,
        changed=difference.changed,
        removed=difference.removed,
        default_runtime=difference.default_runtime,
        restart_required=frame.restart_required(config.settings),
        ignored=config.ignored,
        overridden=config.overridden,
        remarks=config.remarks,
    )


def describe_plan(planned: Plan, previous: Generation, number: int) -> shapes.GenerationsDiff:
    """Return the JSON shape of what ``planned``, as generation ``number``, changes after ``previous``.

    That of /v1/diff, but with no more runtimes than anybody reads: removed ones first, then changed, then added.
    """
    found, left = planned.difference, _DEFINED_MOST
    removed, left = found.removed[:left], left - len(found.removed[:left])
    changed, left = found.changed[:left], left - len(found.changed[:left])
    bounded = Difference(found.added[:left], changed, removed, found.default_runtime)
    before, after = (partial(_define, generation) for generation in (previous, planned.generation))
    return describe_changes((previous.number, number), bounded, before, after)


def _define(generation: Generation, name: str) -> shapes.Definition | None:
    runtime = generation.runtimes.get(name)
    return None if runtime is None or runtime.definition is None else definition_document(runtime.definition)
