"""Writes, reads and removes the parts of manifests on disk."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from runtimed.core.history.manifest import Manifest, read_manifest
from runtimed.core.history.parts import Part, Partition, is_part_file, make_partition, read_part
from runtimed.core.table.generation import Runtime
from runtimed.core.table.runtime_changes import RuntimeChanges
from runtimed.host.store.disk import FILE_MODE, make_directory, read_file, replace_file, sync_directory, write_new
from runtimed.host.store.paths import Paths


class PartReader:
    """Reads manifests with their parts, each part once."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self.parts: dict[str, Part] = {}

    def read(self, number: int) -> Manifest:
        """Return the manifest of a generation. Raises: DamagedManifest, OSError."""
        return read_manifest(read_file(self._paths.manifest(number)), number, self._part)

    def _part(self, digest: str) -> Part:
        if digest not in self.parts:
            if not is_part_file(digest):
                raise ValueError(f"it names {digest!r}, which is no part")
            try:
                data = read_file(self._paths.part(digest))
            except (FileNotFoundError, NotADirectoryError):
                raise ValueError(f"part {digest} is missing") from None
            self.parts[digest] = read_part(data, digest)
        return self.parts[digest]


@dataclass(frozen=True, slots=True)
class StagedParts:
    """The parts of a generation that is not current yet, and those of them that did not exist before."""

    partition: Partition
    made: tuple[str, ...]


class PartDirectory:
    """The parts of a data root; ``digests`` are those of the current generation."""

    def __init__(self, paths: Paths, manifests: Iterable[Manifest], digests: Iterable[str]) -> None:
        self._paths = paths
        # The parts that are known to have the content that their names require.
        self._intact = {digest for manifest in manifests for digest in manifest.parts}
        self.digests = tuple(digests)
        # How the current generation is divided; None if another process published it.
        self._partition: Partition | None = None

    def stage(
        self, runtimes: Mapping[str, Runtime], changes: RuntimeChanges, at_step: Callable[[str], None]
    ) -> StagedParts:
        """Write the missing parts of the next generation, all or none, and sync them to disk. Raises: OSError."""
        make_directory(self._paths.parts)
        self._intact.intersection_update(os.listdir(self._paths.parts))
        known = self._partition
        if known is not None and not self._intact.issuperset(known.digests):
            known = None
        partition, texts = make_partition(runtimes, changes.names, known)
        return StagedParts(partition, self._write(texts, at_step))

    def take(self, staged: StagedParts) -> None:
        """Make ``staged`` the parts of the current generation."""
        self._partition, self.digests = staged.partition, staged.partition.digests
        self._intact.update(self.digests)

    def distrust(self) -> None:
        """Have the next publish write all parts again, because one is damaged."""
        self._intact.clear()

    def _write(self, texts: Mapping[str, bytes], at_step: Callable[[str], None]) -> tuple[str, ...]:
        made: list[str] = []
        new = sorted(texts.keys() - self._intact)
        try:
            for digest in new:
                at_step("part")
                path = self._paths.part(digest)
                try:
                    write_new(path, texts[digest], FILE_MODE, sync=True)
                    made.append(digest)
                except FileExistsError:
                    # Left by an interrupted publish, or damaged since: a retained generation may name it.
                    replace_file(path, texts[digest], FILE_MODE, sync=True)
            if new:
                sync_directory(self._paths.parts)
        except OSError:
            self.remove(made)
            raise
        return tuple(made)

    def remove(self, digests: Iterable[str]) -> None:
        """Remove parts that no retained generation names; one that stays is removed by the next start."""
        for digest in digests:
            self._intact.discard(digest)
            with contextlib.suppress(OSError):
                os.unlink(self._paths.part(digest))
