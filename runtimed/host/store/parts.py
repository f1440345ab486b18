"""Writes, reads and removes the parts of manifests on disk."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping

from runtimed.core.history.manifest import Manifest, read_manifest
from runtimed.core.history.parts import Part, is_part_file, read_part
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


class PartDirectory:
    """The parts of a data root; ``intact`` are those that are known to have the content that their names require."""

    def __init__(self, paths: Paths, intact: Iterable[str]) -> None:
        self._paths = paths
        self.intact = set(intact)

    def look(self) -> None:
        """Take missing parts out of ``intact``. Raises: OSError."""
        make_directory(self._paths.parts)
        self.intact.intersection_update(os.listdir(self._paths.parts))

    def write(self, texts: Mapping[str, bytes], at_step: Callable[[str], None]) -> tuple[str, ...]:
        """Write those of ``texts`` that are not intact, all or none, sync them to disk, and return the new files.

        The caller adds all parts to ``intact`` once their generation is published. Raises: OSError.
        """
        made: list[str] = []
        new = sorted(texts.keys() - self.intact)
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
            self.intact.discard(digest)
            with contextlib.suppress(OSError):
                os.unlink(self._paths.part(digest))
