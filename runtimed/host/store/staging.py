"""Writes the directory of a generation beside the current one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from runtimed.core.history.layout import link_target
from runtimed.core.history.manifest import render_manifest
from runtimed.core.history.retained import Summary
from runtimed.core.table.generation import Generation
from runtimed.host.store.disk import FILE_MODE, make_directory, sync_directory, write_new
from runtimed.host.store.paths import Paths


@dataclass(frozen=True, slots=True)
class Staged:
    """A generation that is whole on disk and not current yet."""

    generation: Generation
    summary: Summary
    # The content of its `runtimes/`: name -> launcher. Carried links are those of runtimes that were dropped.
    links: Mapping[str, str]
    carried: Mapping[str, str]
    # The files of wrappers and launchers that did not exist before.
    made: tuple[str, ...]


def write_generation(paths: Paths, staged: Staged, at_step: Callable[[str], None]) -> None:
    """Write links, configuration and manifest into the empty directory of ``staged``, and sync them to disk.

    ``at_step`` is called with the name of each step before it. Raises: OSError.
    """
    generation, number = staged.generation, staged.generation.number
    links = paths.links(number)
    make_directory(links, exist_ok=False)
    at_step("links")
    for link, file in staged.links.items():
        os.symlink(link_target(file), f"{links}/{link}")
    at_step("config")
    write_new(paths.config(number), generation.config_text, FILE_MODE, sync=True)
    at_step("manifest")
    summary = staged.summary
    manifest = render_manifest(generation, staged.carried, summary.created_s, summary.trigger, summary.changes)
    write_new(paths.manifest(number), manifest, FILE_MODE, sync=True)
    at_step("sync")
    for path in (links, paths.generation(number), paths.wrappers, paths.generations):
        sync_directory(path)
