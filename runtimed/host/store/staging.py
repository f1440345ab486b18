"""Writes the files of a generation beside the current one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from runtimed.core.history.layout import view_target
from runtimed.core.history.manifest import render_manifest
from runtimed.core.history.retained import Summary
from runtimed.core.table.generation import Generation
from runtimed.core.table.runtime_changes import RuntimeChanges
from runtimed.host.store.disk import FILE_MODE, sync_directory, write_new
from runtimed.host.store.links import Links
from runtimed.host.store.parts import StagedParts
from runtimed.host.store.paths import Paths


@dataclass(frozen=True, slots=True)
class Staged:
    """A generation that is whole on disk and not current yet."""

    generation: Generation
    summary: Summary
    # The difference from the current generation.
    changes: RuntimeChanges
    links: Links
    parts: StagedParts
    # The files of wrappers and launchers that did not exist before.
    made: tuple[str, ...]


def write_generation(paths: Paths, staged: Staged, at_step: Callable[[str], None]) -> None:
    """Write configuration and manifest into the empty directory of ``staged``, and sync the generation to disk.

    ``at_step`` is called with the name of each step before it. Raises: OSError.
    """
    generation, number = staged.generation, staged.generation.number
    directory = staged.links.directory or ""
    os.symlink(view_target(directory), paths.view(number))
    at_step("config")
    write_new(paths.config(number), generation.config_text, FILE_MODE, sync=True)
    at_step("manifest")
    summary, parts, carried = staged.summary, staged.parts.partition.digests, staged.links.carried
    manifest = render_manifest(generation, parts, carried, summary.created_s, summary.trigger, summary.changes)
    write_new(paths.manifest(number), manifest, FILE_MODE, sync=True)
    at_step("sync")
    for path in (paths.link_directory(directory), paths.generation(number), paths.wrappers, paths.generations):
        sync_directory(path)
