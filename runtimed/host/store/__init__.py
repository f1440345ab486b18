"""Publishes generations in the data root: written beside the current one, made current by one rename, kept for a while.

Whenever the process or the machine stops, the link ``runtimes`` leads to the old generation, whole, or to the new one,
whole. :mod:`runtimed.core.history.layout` describes the files.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping

from runtimed.core.errors import StoreFailed
from runtimed.core.history.layout import current_target
from runtimed.core.history.manifest import checksum
from runtimed.core.history.retained import summarise_generation
from runtimed.core.history.trigger import Trigger
from runtimed.core.table.generation import Difference, Generation, Runtime, scripts_of
from runtimed.core.table.runtime_changes import find_changes
from runtimed.host.store.damage import Expected, PublishedFiles
from runtimed.host.store.disk import failing_as, make_directory, replace_link, sync_directory
from runtimed.host.store.event_files import EventFiles
from runtimed.host.store.links import LinkDirectories, Links
from runtimed.host.store.lock import DataRootLock, trusted_paths
from runtimed.host.store.numbers import number_file, read_generation_number, write_generation_number
from runtimed.host.store.parts import PartDirectory, StagedParts
from runtimed.host.store.paths import Paths
from runtimed.host.store.proofs import ProofFile
from runtimed.host.store.recovery import Rebuild, Recovered, recover
from runtimed.host.store.repair import Repair, RepairOutcome
from runtimed.host.store.retained import RetainedGenerations, remove_generation
from runtimed.host.store.staging import Staged, write_generation
from runtimed.host.store.wrappers import WrapperDirectory

__all__ = ["Recovered", "RepairOutcome", "Staged", "Store", "trusted_paths"]


class Store:
    """The data root of one daemon, locked while the store is open. Its methods block.

    ``clock`` gives seconds since the epoch. ``at_step`` gets the name of each step before it changes the disk.
    """

    def __init__(
        self,
        root: str,
        *,
        clock: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
        at_step: Callable[[str], None] = lambda _step: None,
    ) -> None:
        self.root = root
        self._paths = Paths(root)
        self._clock = clock
        self._monotonic_s = monotonic_s
        self._at_step = at_step
        self._closing = contextlib.ExitStack()
        self.event_files = EventFiles(self._paths, lambda: self._published, self._refusal, at_step)

    def open(self, rebuild: Rebuild) -> Recovered:
        """Lock the data root and return the state that earlier processes left in it.

        Raises: DataRootRefused, AlreadyRunning, StoreFailed.
        """
        self._lock = DataRootLock(self.root)
        self._closing.callback(self._lock.close)
        self.identity = self._lock.identity  # distinguishes this data root from all others
        recovered = recover(self.root, rebuild)
        self._files = PublishedFiles(self._paths, self._lock)
        self._wrappers = WrapperDirectory(self._paths, recovered.intact_wrappers)
        # None if no generation is known to be whole.
        last = recovered.last if recovered.published else None
        self._parts = PartDirectory(self._paths, recovered.manifests.values(), last.parts if last is not None else ())
        self.retained = RetainedGenerations(
            self._paths, recovered.manifests, rebuild, self._parts.remove, self._clock, self._monotonic_s
        )
        # All links count as carried until the first publish.
        links = Links(recovered.directory, recovered.links, recovered.links)
        self._links = LinkDirectories(self._paths, links)
        self.proofs = ProofFile(self._paths, self.identity, self._refusal, self._at_step)
        # The runtimes of the generation that this process published last; none before the first.
        self._runtimes: Mapping[str, Runtime] = {}
        self._published_files: set[str] = set()
        self.next_number = recovered.next_number
        # Whether a resolution of the current generation names a wrapper.
        self._must_execute = recovered.last is not None and recovered.last.has_wrappers
        # The number of the current generation; 0 if none is known to be whole.
        self._published, self._config_checksum = (last.number, last.config_checksum) if last is not None else (0, "")
        self._number_file: str | None = None
        # Whether the last swap would survive a power loss, which is not known of another process's.
        self._synced = False
        return recovered

    def remember_numbers_in(self, directory: str, current: int) -> int | None:
        """Keep the newest number in ``directory`` as well; return it if it is newer than ``current``, else None.

        It is newer if the data root was rolled back while no daemon ran; the next number is above it.
        """
        self._number_file = number_file(directory, self.identity)
        newest = read_generation_number(self._number_file)
        self.next_number = max(self.next_number, newest + 1)
        if newest < current:
            # A failure is reported by the next `settle`.
            write_generation_number(self._number_file, current)
        return newest if newest > current else None

    def close(self) -> None:
        """Release the lock."""
        self._closing.close()

    def stage(
        self, generation: Generation, trigger: Trigger | None = None, difference: Difference | None = None
    ) -> Staged:
        """Write ``generation`` beside the current one and return it, ready to be published.

        The order is wrappers, links, parts, configuration, and the manifest last: a start removes a directory without a
        valid manifest. After StoreFailed the published files are unchanged, and the new ones are removed.
        """
        summary = summarise_generation(generation, self._clock(), trigger, difference)
        directory = self._paths.generation(generation.number)
        changes = find_changes(self._runtimes, generation.runtimes)
        with failing_as("writing", directory):
            if (refusal := self._refusal()) is not None:
                raise StoreFailed("writing", self.root, refusal)
            self._at_step("wrappers")
            changed, must_execute = scripts_of(changes.new), any(generation.wrappers)
            made = self._wrappers.write(changed, generation.scripts, must_execute=must_execute)
            try:
                make_directory(self._paths.generations)
                self._at_step("generation")
                make_directory(directory, exist_ok=False)
            except OSError:
                # A directory that existed before is not removed; the next attempt takes another number.
                self._wrappers.take_back(made)
                if os.path.lexists(directory):
                    self.next_number = generation.number + 1
                raise
            parts: StagedParts | None = None
            try:
                # A power loss could bring back the generation before, whose link directory is changed now.
                self._sync_root("sync-swap")
                links = self._links.stage(changes, self._at_step)
                self._at_step("parts")
                parts = self._parts.stage(generation.runtimes, changes, self._at_step)
                staged = Staged(generation, summary, changes, links, parts, made)
                write_generation(self._paths, staged, self._at_step)
            except OSError:
                self._give_up(generation.number, made, parts)
                raise
        return staged

    def swap(self, staged: Staged) -> None:
        """Make ``staged`` current by one rename. Raises: StoreFailed: the old generation is still current."""
        generation, number = staged.generation, staged.generation.number
        try:
            with failing_as("publishing", self._paths.current):
                self._at_step("swap")
                replace_link(self._paths.current, current_target(number))
        except StoreFailed:
            self._give_up(number, staged.made, staged.parts)
            raise
        self._parts.take(staged.parts)
        self.retained.add(staged.summary, staged.changes, self._parts.digests, replaced=self._published)
        self._published, self._config_checksum = number, checksum(generation.config_text)
        self._runtimes, self._links.current = generation.runtimes, staged.links
        self._must_execute = any(generation.wrappers)
        files = [script.file for script in scripts_of(staged.changes.new)]
        self._wrappers.intact.update(files)
        self._published_files.update(files)
        self.next_number = number + 1
        self._synced = False

    def settle(self, retain: int) -> str | None:
        """Make the last swap survive a power loss and drop old generations, as for ``publish``; return the failures.

        A later call tries again the steps that failed.
        """
        if (refusal := self._refusal()) is not None:
            return refusal
        faults: list[str | None] = []
        if self._number_file is not None and self._published:
            faults.append(write_generation_number(self._number_file, self._published))
        try:
            self._sync_root("sync-root")
            faults.append(self.retained.prune(retain, self._at_step))
        except OSError as error:
            faults.append(f"generation {self._published} is current, but may not survive a power loss: {error}")
        return "; ".join(filter(None, faults)) or None

    def _sync_root(self, step: str) -> None:
        """Make the last swap, and new directories in the data root, survive a power loss. Raises: OSError."""
        if not self._synced:
            self._at_step(step)
            for path in (self._paths.links, self._paths.parts):
                make_directory(path)
            sync_directory(self.root)
            self._synced = True

    def _give_up(self, number: int, made: Iterable[str], parts: StagedParts | None) -> None:
        """Remove the files of a failed attempt; if that fails, later attempts take another number."""
        self._wrappers.take_back(made)
        try:
            remove_generation(self._paths, number)
        except FileNotFoundError:
            pass
        except OSError:
            # The next start removes the directory, or keeps it whole; no client has seen this number.
            self.next_number = number + 1
            return
        # After the manifest that names them.
        if parts is not None:
            self._parts.remove(parts.made)

    def _refusal(self) -> str | None:
        """Return why the daemon must not write to the data root, None if it may."""
        return self._lock.refusal() or self._lock.lock_again()

    def wrapper_files(self) -> tuple[str, ...]:
        """Return the names of all wrapper files. Raises: StoreFailed."""
        return self._wrappers.files()

    def take_published_files(self) -> set[str]:
        """Return the wrappers and launchers that were new in a generation published since the last call."""
        files, self._published_files = self._published_files, set()
        return files

    def linked_files(self) -> frozenset[str]:
        """Return the files that a stable path leads to."""
        return frozenset(self._links.current.links.values())

    def remove_wrapper(self, file: str) -> str | None:
        """Remove a wrapper and the carried links to it; return why it was not removed, None if it was."""
        number = self.retained.newest_with(file)
        if number is not None:
            return f"generation {number} names it"
        if (refusal := self._refusal()) is not None:
            return refusal
        try:
            self._at_step("collect")
            # Links first: a published path must not lead to a missing file.
            for link in (link for link, target in self._links.current.links.items() if target == file):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{self._paths.current}/{link}")
            os.unlink(self._paths.wrapper(file))
            self._wrappers.intact.discard(file)
        except OSError as error:
            return f"it cannot be removed: {error}"
        self._links.current = self._links.current.without({file})
        return None

    def seems_damaged(self) -> bool:
        """Return whether `repair` may find damage, in a thread that does not publish; may be wrong during a publish."""
        return bool(self._files.find_damage(self._expect())) or self.proofs.seems_damaged()

    def repair(self, generation: Generation) -> RepairOutcome:
        """Repair the published files of ``generation``, the current one, and of the retained ones, and the proofs."""
        outcome = self._repair(generation)
        return outcome if outcome.fault is not None else self.proofs.repair(outcome)

    def _repair(self, generation: Generation) -> RepairOutcome:
        expected = self._expect()
        damage = self._files.find_damage(expected)
        if not damage:
            return RepairOutcome()
        if fault := damage.refusal or self._lock.lock_again():
            return RepairOutcome(fault=fault)
        self._wrappers.distrust(damage.wrappers)
        if damage.generation:
            self._parts.distrust()
        repair = Repair(self._paths, damage, expected)
        repair.done += (
            f"generation {number} was removed from the disk, and is not retained any more" for number in damage.lost
        )
        current_is_lost = damage.generation and not os.path.lexists(self._paths.generation(self._published))
        self.retained.let_go((*damage.lost, self._published) if current_is_lost else damage.lost)
        damaged = set(damage.wrappers)
        texts = {script.file: script.text for script in generation.scripts if script.file in damaged}
        texts |= self.retained.wrapper_texts(damaged - texts.keys())
        try:
            self._at_step("repair")
            repair.run(self._lock.version, texts)
        except OSError as error:
            repair.failed.append(f"the published files are damaged and cannot be repaired: {error}")
        # A carried wrapper whose text is not known has lost its link.
        self._links.current = self._links.current.without(repair.unlinked)
        return repair.outcome()

    def _expect(self) -> Expected:
        current = self._links.current
        return Expected(
            self._published,
            current.directory or "",
            current.links,
            self._parts.digests,
            {file for files in (self.retained.references(), current.links.values()) for file in files},
            frozenset(summary.number for summary in self.retained.summaries()),
            self._config_checksum,
            self._must_execute,
        )
