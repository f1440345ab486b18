"""Plans a start, reload or validation: builds the generation of the configuration files and reports the changes."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runtimed.core.config import BOOT_ONLY, Config, Settings
from runtimed.core.configuration.inputs import Documents, Flags
from runtimed.core.configuration.parse import parse_configuration
from runtimed.core.configuration.position import render_pointer
from runtimed.core.errors import ConfigurationRejected, Problem
from runtimed.core.history.layout import CURRENT
from runtimed.core.history.manifest import Manifest, restore_config
from runtimed.core.report import Report
from runtimed.core.table.build import build_generation
from runtimed.core.table.generation import Difference, Generation, Host, compare_generations

if TYPE_CHECKING:
    from runtimed.core import shapes

# Rendering the definitions of ten thousand runtimes would block the event loop.
_DESCRIBED_MAX = 1000


@dataclass(frozen=True, slots=True)
class BootContext:
    """The inputs of a plan that stay the same while the process runs."""

    config_path: str
    flags: Flags
    defaults: Settings
    host: Host
    # The settings at the start of the daemon.
    boot: Settings
    # The problem of a missing main file at the start, None if it is none.
    main_required: str | None = None

    def requires_main(self, sources: Collection[str], number: int) -> str | None:
        """Return the problem of a missing main file if generation ``number`` is current and came from ``sources``."""
        if self.main_required is None and self.config_path in sources:
            return f"file missing; keeping generation {number}. To empty the table, create it containing {{}}"
        return self.main_required

    def restart_required(self, settings: Settings) -> tuple[str, ...]:
        """Return the keys of those ``settings`` that take effect only after a restart."""
        return tuple(key for key, name in BOOT_ONLY.items() if getattr(settings, name) != getattr(self.boot, name))


@dataclass(frozen=True, slots=True)
class Plan:
    """A new generation, and its difference from the previous one."""

    generation: Generation
    difference: Difference


def plan(
    documents: Documents,
    context: BootContext,
    number: int,
    previous: Generation | None,
    main_required: str | None,
    parsed: Config | None = None,
) -> Plan:
    """Return generation ``number`` of ``documents``, with the difference from ``previous``.

    Entries of ``parsed``, by default the configuration of ``previous``, are not parsed again where their text is the
    same.

    Raises:
        ConfigurationRejected: with all problems in the documents.
    """
    config = parse_configuration(
        documents,
        context.flags,
        context.defaults,
        main_required=main_required,
        previous=parsed if previous is None else previous.config,
    )
    if problems := tuple(_stable_paths(config, context.host, previous)):
        raise ConfigurationRejected(problems)
    generation = build_generation(config, context.host, number, previous)
    return Plan(generation, compare_generations(previous, generation))


def _data_roots(config: Config, host: Host) -> set[str]:
    """Return the data root, and the one that is configured now and in use after the next start."""
    return {host.data_root, config.settings.data_root}


def _stable_paths(config: Config, host: Host, previous: Generation | None) -> Iterator[Problem]:
    """Yield a problem for each runtime whose binary is a stable path: its launcher would execute itself for ever.

    Definitions that ``previous`` has as well were checked then, if the data roots are the same.
    """
    data_roots = _data_roots(config, host)
    same = previous is not None and _data_roots(previous.config, previous.host) == data_roots
    checked = previous.config.runtimes if previous is not None and same else {}
    directories = tuple(f"{data_root}/{CURRENT}/" for data_root in data_roots)
    for name, definition in config.runtimes.items():
        if checked.get(name) is definition:
            continue
        field = "options" if definition.path is None else "path"
        binary = definition.path or (definition.options.binary_name if definition.options is not None else "")
        # normpath() is slow, and adds no name. It keeps two leading slashes (POSIX).
        if CURRENT in binary and posixpath.normpath(binary).replace("//", "/").startswith(directories):
            origin = config.origins[name]
            pointer, line = render_pointer(("runtimes", name, field)), origin.fields.get(field, origin.line)
            text = (
                "a stable path of runtimed itself, which is for the configuration of engines; give the runtime's binary"
            )
            expected = "the binary of an OCI runtime, such as /usr/bin/runc"
            yield Problem(text, origin.file, line, pointer=pointer, found=json.dumps(binary), expected=expected)


def restore_generation(manifest: Manifest, config_text: bytes, context: BootContext, number: int) -> Generation:
    """Return the generation of ``manifest`` and of its ``config_text`` as generation ``number``.

    Raises:
        ConfigurationRejected: this version of the program does not accept ``config_text``.
    """
    return build_generation(
        restore_config(manifest, config_text, context.defaults, context.flags), context.host, number
    )


def report_on(
    examined: Plan | ConfigurationRejected, context: BootContext, reason: str, published: str | None
) -> Report:
    """Return the report on ``examined``, without a generation and times; ``published`` is the current digest."""
    if isinstance(examined, ConfigurationRejected):
        problems, omitted, remarks = examined.problems, examined.omitted, examined.remarks
        return Report("rejected", 0, reason, problems=problems, omitted=omitted, remarks=remarks, cause="configuration")
    difference, config = examined.difference, examined.generation.config
    return Report(
        "unchanged" if examined.generation.digest == published else "applied",
        0,
        reason,
        added=difference.added,
        changed=difference.changed,
        removed=difference.removed,
        default_runtime=difference.default_runtime,
        restart_required=context.restart_required(config.settings),
        ignored=config.ignored,
        overridden=config.overridden,
        remarks=config.remarks,
    )


def describe_plan(planned: Plan, previous: Generation, number: int) -> shapes.GenerationsDiff:
    """Return the JSON shape of the changes from ``previous`` to ``planned``, as generation ``number``.

    The shape is that of /v1/diff, for at most 1,000 runtimes: removed ones first, then changed, then added ones.
    """
    found = planned.difference
    removed = found.removed[:_DESCRIBED_MAX]
    changed = found.changed[: _DESCRIBED_MAX - len(removed)]
    added = found.added[: _DESCRIBED_MAX - len(removed) - len(changed)]
    bounded = replace(found, added=added, changed=changed, removed=removed)
    return bounded.describe(previous.number, number, previous.definition, planned.generation.definition)
