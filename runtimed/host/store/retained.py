"""Reads the retained generations, and decides which of them to drop."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping

from runtimed.core.errors import DamagedManifest, GenerationGone, NoSuchGeneration, StoreFailed
from runtimed.core.history.manifest import Manifest
from runtimed.core.history.newest import NewestNumbers
from runtimed.core.history.parts import Part
from runtimed.core.history.retained import RetainedGeneration, Summary, read_retained, summarise_retained
from runtimed.core.table.generation import scripts_of, targets_of
from runtimed.core.table.runtime_changes import RuntimeChanges
from runtimed.host.store.disk import failing_as, read_file
from runtimed.host.store.parts import PartReader
from runtimed.host.store.paths import Paths
from runtimed.host.store.recovery import Rebuild, rebuild_texts

# A generation is kept at least this long, however many newer ones there are, up to the cap.
_KEEP_S = 3600.0
_KEEP_MOST = 1000
# A replaced generation is kept at least this long, whatever `retain` says: a reader may have followed the link
# `runtimes` and not yet opened the wrapper.
_REPLACED_KEEP_S = 60.0
# Number of parsed generations in memory.
_READ_MOST = 4


class RetainedGenerations:
    """The generations of a data root, and the wrappers that their resolutions name."""

    def __init__(
        self,
        paths: Paths,
        manifests: Mapping[int, Manifest],
        rebuild: Rebuild,
        remove_parts: Callable[[Iterable[str]], None],
        clock: Callable[[], float],
        monotonic_s: Callable[[], float],
    ) -> None:
        self._paths = paths
        self._remove_parts = remove_parts
        self._rebuild = rebuild
        self._clock = clock
        self._monotonic_s = monotonic_s
        ordered = sorted(manifests.items())
        # By number in ascending order. Other threads read it, so they copy it first.
        self._summaries = {number: summarise_retained(manifest) for number, manifest in ordered}
        # Digest -> the newest generation that has this part. Older ones may have it too, but are dropped first. The
        # same for a wrapper or launcher, and for a stable path and its target.
        self._parts = {digest: number for number, manifest in ordered for digest in manifest.parts if digest}
        # Generations share parts, so each part is taken once.
        parts = _newest_parts(ordered)
        self._files = NewestNumbers((number, part.files(root)) for number, root, part in parts)
        self._targets = NewestNumbers((number, part.targets.items()) for number, _, part in parts)
        # The names of runtimes by those of their stable paths.
        self._names = {link: name for _, _, part in parts for link, name in part.names.items()}
        # The removed generations whose files and names are kept, because an older generation may have them as well.
        self._removed: set[int] = set()
        # Number -> time.monotonic() of the replacement; earlier processes have replaced the others.
        self._replaced_s: dict[int, float] = {}
        self._opened_s = monotonic_s()
        # The generations read last, the oldest first; used only by the thread that reads.
        self._read: dict[int, RetainedGeneration] = {}

    def summaries(self) -> tuple[Summary, ...]:
        """Return the summaries, the oldest generation first."""
        return tuple(self._summaries.copy().values())

    def references(self) -> Mapping[str, int]:
        """Return each wrapper and launcher that a retained generation names, with the newest generation that names it.

        One that others removed from the disk counts while an older one is retained, which may name the same files.
        """
        return dict(self._files.items())

    def newest_with(self, file: str) -> int | None:
        """Return the generation of a wrapper or launcher in `references`, None for none."""
        return self._files.get(file)

    def generation_of(self, link: str, target: str) -> int | None:
        """Return the newest retained generation in which the stable path ``link`` had ``target``, None for none."""
        number = self._targets.get((link, target))
        return number if number in self._summaries else None

    def name_of(self, link: str) -> str:
        """Return the name of the runtime whose stable path is ``link``; ``link`` itself if it is not known."""
        return self._names.get(link, link)

    def target_at(self, link: str, time_s: float) -> str | None:
        """Return the target of the stable path ``link`` at ``time_s``, in seconds since the epoch.

        None: no retained generation of that time had this stable path. Reads the disk.
        """
        number = max((s.number for s in self.summaries() if s.created_s <= time_s), default=None)
        if number is None:
            return None
        try:
            parts = PartReader(self._paths).read(number).parts.values()
        except (OSError, DamagedManifest):
            return None
        return next((part.targets[link] for part in parts if link in part.targets), None)

    def add(self, summary: Summary, changes: RuntimeChanges, parts: Iterable[str], replaced: int) -> None:
        """Add the generation of ``summary`` with its ``parts``, which has replaced the generation ``replaced``.

        ``changes`` are those from that generation; 0 is none.
        """
        number = summary.number
        if replaced:
            self._replaced_s[replaced] = self._monotonic_s()
        self._summaries[number] = summary
        self._parts.update(dict.fromkeys(parts, number))
        self._files.add(number, *((s.file for s in scripts_of(runtimes)) for runtimes in (changes.old, changes.new)))
        self._targets.add(number, targets_of(changes.old), targets_of(changes.new))
        self._names.update((r.launcher.link, r.name) for r in changes.new if r.launcher is not None)

    def let_go(self, numbers: Iterable[int]) -> None:
        """Forget generations that are removed from the disk, and remove their parts.

        Parts, files and names stay while an older generation is retained, which may have them as well.
        """
        for number in numbers:
            self._summaries.pop(number, None)
            self._replaced_s.pop(number, None)
            self._removed.add(number)
        oldest = min(self._summaries, default=0)
        for number in sorted(number for number in self._removed if number < oldest):
            self._removed.discard(number)
            self._drop(number)

    def prune(self, retain: int, at_step: Callable[[str], None]) -> str | None:
        """Drop old generations, the oldest first; return why one cannot be removed, None if all can.

        Beyond the newest ``retain`` generations those older than an hour are dropped, beyond 1,000 all. If one cannot
        be removed, the newer ones stay.
        """
        # Those that a repair has left, because the current generation was removed as well.
        self.let_go(())
        for summary in self.summaries():
            number, newer = summary.number, len(self._summaries) - 1
            replaced_s = self._monotonic_s() - self._replaced_s.get(number, self._opened_s)
            young = self._clock() - summary.created_s < _KEEP_S or replaced_s < _REPLACED_KEEP_S
            if newer < max(retain, 1) or (young and newer < _KEEP_MOST):
                break
            # Before the removal, so that a read at the same time reports a dropped generation and not a damaged one.
            del self._summaries[number]
            try:
                at_step("prune")
                with contextlib.suppress(FileNotFoundError):
                    remove_generation(self._paths, number)
            except OSError as error:
                self._summaries = {number: summary, **self._summaries}
                return f"generation {number} cannot be removed: {error}"
            self.let_go([number])
        return None

    def _drop(self, number: int) -> None:
        """Remove the parts and names of which ``number`` is the newest generation; no older one is retained."""
        parts = [digest for digest, newest in self._parts.items() if newest == number]
        self._remove_parts(parts)
        for digest in parts:
            del self._parts[digest]
        self._files.drop(number)
        if gone := self._targets.drop(number):
            known = {link for (link, _), _ in self._targets.items()}
            for link in {link for link, _ in gone} - known:
                self._names.pop(link, None)

    def read(self, number: int) -> RetainedGeneration:
        """Return the generation ``number`` as it is on disk. One thread may call this, beside a publish.

        Raises:
            NoSuchGeneration, GenerationGone: it never existed, or it is not retained any more.
            DamagedManifest, StoreFailed: it cannot be read.
        """
        self._require_retained(number)
        if (known := self._read.get(number)) is not None:
            return known
        try:
            with failing_as("reading", self._paths.generation(number)):
                manifest = PartReader(self._paths).read(number)
                found = read_retained(manifest, read_file(self._paths.config(number)))
        except (StoreFailed, DamagedManifest):
            # It may have been dropped since.
            self._require_retained(number)
            raise
        if manifest.host.data_root != self._paths.root:
            reason = f"was published in {manifest.host.data_root}, and its resolutions name paths there"
            raise GenerationGone(number, reason)
        while len(self._read) >= _READ_MOST:
            del self._read[next(iter(self._read))]
        self._read[number] = found
        return found

    def _require_retained(self, number: int) -> None:
        retained = self._summaries.copy()
        if number in retained:
            return
        oldest, newest = min(retained, default=0), max(retained, default=0)
        if 0 < number < newest:
            raise GenerationGone(number, f"is no longer retained; the oldest that is, is {oldest}")
        raise NoSuchGeneration(number, newest)

    def wrapper_texts(self, files: set[str]) -> dict[str, bytes]:
        """Return the texts of those scripts ``files`` that a retained configuration has."""
        named: dict[int, list[str]] = {}
        references = self.references()
        for file in files & references.keys():
            number = references[file]
            # The text of a file that only a removed generation names is lost.
            numbers = (n for n in self._summaries if n < number) if number in self._removed else (number,)
            for each in numbers:
                named.setdefault(each, []).append(file)
        return rebuild_texts(self._paths, self._rebuild, files, sorted(named.items(), reverse=True))


def _newest_parts(manifests: Iterable[tuple[int, Manifest]]) -> list[tuple[int, str, Part]]:
    """Return each part once, with the number and the data root of the newest generation that has it, by number."""
    # Each part in a manifest of an earlier version is another one.
    parts = {
        digest or number: (number, m.host.data_root, part)
        for number, m in manifests
        for digest, part in m.parts.items()
    }
    return sorted(parts.values(), key=lambda each: each[0])


def remove_generation(paths: Paths, number: int) -> None:
    """Remove the files of a generation. Raises: OSError."""
    with contextlib.suppress(FileNotFoundError):
        # First: without a manifest a start removes the files that a crash leaves.
        os.unlink(paths.manifest(number))
    shutil.rmtree(paths.generation(number))
