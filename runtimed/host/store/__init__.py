"""The data root: generations staged beside the current one, published by one rename, kept for a while.

Whatever happens at any point of it, the link ``runtimes`` leads to the old generation, whole, or to
the new one, whole. See :mod:`runtimed.core.history.layout` for what lies where.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from runtimed.core.errors import (
    AlreadyRunning,
    ConfigurationRejected,
    DamagedManifest,
    GenerationGone,
    NoSuchGeneration,
    StoreFailed,
)
from runtimed.core.history.layout import (
    CONFIG,
    CURRENT,
    GENERATIONS,
    LINKS,
    LOCK,
    MANIFEST,
    WRAPPERS,
    current_target,
    generation_directory,
    link_target,
)
from runtimed.core.history.manifest import checksum, read_manifest, render_manifest
from runtimed.core.history.retained import RetainedGeneration, Summary, read_retained, summarise_retained
from runtimed.core.table.generation import Generation
from runtimed.host.store.disk import (
    FILE_MODE,
    failing_as,
    make_directory,
    read_file,
    replace_link,
    sync_directory,
    write_new,
)
from runtimed.host.store.lock import believed, claim, lock, read_identity
from runtimed.host.store.numbers import NumberMemory
from runtimed.host.store.published import Damage, Expected, PublishedFiles, Repairs, shortened
from runtimed.host.store.recovery import Rebuild, Recovered, recover
from runtimed.host.store.wrappers import WrapperDirectory

__all__ = ["Mended", "Recovered", "Staged", "Store", "believed"]

# A generation is kept at least this long, however many newer ones there are, up to the cap.
_KEEP_S = 3600.0
_KEEP_MOST = 1000
# The generation that was current before is kept at least this long, whatever `retain` says: a reader may be between the
# link `runtimes` and a wrapper.
_REPLACED_KEEP_S = 60.0
# How many generations that were read from disk are kept in memory.
_READ_MOST = 4


@dataclass(frozen=True, slots=True)
class Staged:
    """A generation that lies whole on disk and is not current yet."""

    number: int
    # What its `runtimes/` holds: name -> wrapper file, of its own runtimes and of those dropped earlier.
    links: Mapping[str, str]
    carried: Mapping[str, str]
    summary: Summary
    # Wrapper files that were not there before.
    made: tuple[str, ...]
    config_checksum: str


@dataclass(frozen=True, slots=True)
class Mended:
    """The outcome of a look at the published files, in words."""

    repaired: tuple[str, ...] = ()
    # Damage that could not be repaired, and such that nothing can be done about.
    fault: str | None = None
    remark: str | None = None
    # Why the current generation has to be published anew, under another number.
    republish: str | None = None


class Store:
    """The data root of one daemon, claimed for as long as the store is open. Its methods block.

    ``clock`` gives seconds since the epoch; ``at_step`` is called with the name of each step that
    changes the disk before it is done, so that a test can make any of them fail.
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
        # What tells this data root from all others, once it is open.
        self.identity = ""
        self._clock = clock
        self._monotonic_s = monotonic_s
        self._at_step = at_step
        self._lock: int | None = None
        # What is on disk, by number in ascending order.
        self._retained: dict[int, Summary] = {}
        # Wrapper file -> the newest generation whose answers name it. The oldest generations are dropped first, so
        # while any that names it is retained, this one is.
        self._newest: dict[str, int] = {}
        # When a generation was replaced as the current one, by number; those of earlier runs when this one began.
        self._replaced_s: dict[int, float] = {}
        self._opened_s = 0.0
        # What the disk must hold; None where that has to be found out anew, in the thread that publishes.
        self._expected: Expected | None = None
        self._published = 0
        self._config_checksum = ""
        self._files: PublishedFiles
        self._rebuild: Rebuild
        self._memory: NumberMemory | None = None
        # The links of the current generation, carried ones too.
        self._links: Mapping[str, str] = {}
        self._wrappers = WrapperDirectory(root)
        # The last few that were read, the oldest first; touched by the thread that reads and no other.
        self._read: dict[int, RetainedGeneration] = {}
        self.next_number = 1
        # Whether the last swap would survive a power loss.
        self._synced = True

    def open(self, rebuild: Rebuild) -> Recovered:
        """Claim the data root and return what earlier runs left in it.

        Raises:
            DataRootRefused, AlreadyRunning, StoreFailed: see ``claim`` and ``recover``.
        """
        self._lock = claim(self.root)
        self.identity = read_identity(self.root)
        recovered = recover(self.root, rebuild)
        manifests = sorted(recovered.manifests.items())
        self._retained = {number: summarise_retained(manifest) for number, manifest in manifests}
        self._newest = {file: number for number, manifest in manifests for file in manifest.links.values()}
        self._wrappers = WrapperDirectory(self.root, recovered.intact_wrappers)
        self._links = recovered.links
        self.next_number = recovered.next_number
        self._opened_s = self._monotonic_s()
        self._files, self._rebuild = PublishedFiles(self.root, self._lock), rebuild
        if recovered.published and recovered.last is not None:
            self._published, self._config_checksum = recovered.last.number, recovered.last.config_checksum
        return recovered

    def remember_in(self, directory: str, current: int) -> int | None:
        """Remember the newest number in ``directory`` as well; return it if it is newer than ``current``, else None.

        It is newer where the data root was rolled back while no daemon ran; numbers then go on from there.
        """
        self._memory = NumberMemory(directory, self.identity)
        newest = self._memory.read()
        self.next_number = max(self.next_number, newest + 1)
        if newest < current:
            # A failure counts when a generation is published.
            self._memory.write(current)
        return newest if newest > current else None

    def close(self) -> None:
        """Give up the claim."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def retained(self) -> tuple[Summary, ...]:
        """The generations that are on disk, the oldest first."""
        return tuple(self._retained.copy().values())

    def publish(self, generation: Generation, *, retain: int) -> str | None:
        """Stage ``generation``, make it current, drop what need not be kept; return what failed after the swap.

        ``retain`` is the number of the newest generations that are kept in any case.

        Raises:
            StoreFailed: the old generation is still current, and nothing is left of the attempt.
        """
        self.swap(self.stage(generation))
        return self.settle(retain)

    def seems_damaged(self) -> bool:
        """Return whether the published files differ from what is expected. For a thread that does not publish.

        May be wrong beside a publish; `mend` decides.
        """
        expected = self._expected
        return expected is None or bool(self._files.look(expected))

    def mend(self, generation: Generation) -> Mended:
        """Look at the published files of ``generation``, the current one, and of the retained ones; repair them."""
        expected = self._expected = self._expect()
        damage = self._files.look(expected)
        if not damage:
            return Mended()
        fault = damage.refusal or self._claim_again()
        if fault:
            return Mended(fault=fault)
        self._wrappers.intact.difference_update(damage.wrappers)
        repairs = Repairs()
        try:
            self._at_step("mend")
            repairs = self._files.repair(damage, expected, self._texts(generation))
            if LOCK in damage.claim:
                repairs.done.append(f"{self.root}/{LOCK} was removed or replaced: locked again")
        except OSError as error:
            repairs.failed.append(f"the published files are damaged and cannot be repaired: {error}")
        self._forget(damage, repairs)
        failed = [*([damage.noexec] if damage.noexec else []), *repairs.failed]
        return Mended(
            shortened(repairs.done),
            "; ".join(shortened(failed)) or None,
            "; ".join(shortened(repairs.unknown)) or None,
            damage.generation or None,
        )

    def settle(self, retain: int) -> str | None:
        """Do what follows a swap, or what is left of it; return what failed, None if nothing did.

        The swap is made to survive a power loss, and what need not be kept is dropped: see ``publish``.
        """
        if (refusal := self._refusal()) is not None:
            return refusal
        faults = []
        if self._memory is not None and self._published and (fault := self._memory.write(self._published)):
            faults.append(fault)
        if not self._synced:
            try:
                self._at_step("sync-root")
                sync_directory(self.root)
                self._synced = True
            except OSError as error:
                newest = max(self._retained, default=0)
                faults.append(f"generation {newest} is current, but may not survive a power loss: {error}")
        if fault := self._prune(retain):
            faults.append(fault)
        return "; ".join(faults) or None

    def read(self, number: int) -> RetainedGeneration:
        """Return the retained generation ``number`` as it lies on disk.

        May be called from a thread of its own, but only one, beside a publish.

        Raises:
            NoSuchGeneration, GenerationGone: it never was, or it is not retained any more.
            DamagedManifest, StoreFailed: it cannot be read.
        """
        self._refuse_unretained(number)
        if (known := self._read.get(number)) is not None:
            return known
        directory = f"{self.root}/{generation_directory(number)}"
        try:
            with failing_as("reading", directory):
                manifest = read_manifest(read_file(f"{directory}/{MANIFEST}"), number)
                past = read_retained(manifest, read_file(f"{directory}/{CONFIG}"))
        except (StoreFailed, DamagedManifest):
            # Dropped while it was being read?
            self._refuse_unretained(number)
            raise
        if manifest.data_root != self.root:
            reason = f"was published in {manifest.data_root}, and its answers name paths there"
            raise GenerationGone(number, reason)
        while len(self._read) >= _READ_MOST:
            del self._read[next(iter(self._read))]
        self._read[number] = past
        return past

    def stage(self, generation: Generation) -> Staged:
        """Write ``generation`` beside the current one and return it, ready to be published.

        The order is that of the design: wrappers, links, configuration, the manifest last; a
        directory without a valid manifest is litter to every later start.

        Raises:
            StoreFailed: nothing that readers see has changed, and what was written is removed again.
        """
        wrappers = tuple(generation.wrappers)
        links = {wrapper.link: wrapper.file for wrapper in wrappers}
        # A dropped runtime keeps its link: an engine may have been given the stable path.
        carried = {link: file for link, file in self._links.items() if link not in links}
        default, runtimes = generation.config.default_runtime, len(generation.runtimes)
        summary = Summary(generation.number, self._clock(), generation.digest, default, runtimes)
        directory = f"{self.root}/{generation_directory(generation.number)}"
        with failing_as("writing", directory):
            if (refusal := self._refusal()) is not None:
                raise StoreFailed("writing", self.root, refusal)
            self._at_step("wrappers")
            made = self._wrappers.write(wrappers)
        config_checksum = checksum(generation.config_text)
        staged = Staged(generation.number, {**carried, **links}, carried, summary, made, config_checksum)
        try:
            with failing_as("writing", directory):
                make_directory(f"{self.root}/{GENERATIONS}")
                self._at_step("generation")
                os.mkdir(directory, 0o700)
        except StoreFailed:
            # A directory that was there already is not this attempt's, and is never removed; the next takes another.
            self._wrappers.take_back(made)
            if os.path.lexists(directory):
                self.next_number = generation.number + 1
            raise
        try:
            with failing_as("writing", directory):
                self._write_generation(directory, generation, staged)
        except StoreFailed:
            self._give_up(staged)
            raise
        return staged

    def swap(self, staged: Staged) -> None:
        """Make ``staged`` current: one rename.

        Raises:
            StoreFailed: the rename did not happen; the old generation is still current.
        """
        try:
            with failing_as("publishing", f"{self.root}/{CURRENT}"):
                self._at_step("swap")
                replace_link(self.root, CURRENT, current_target(staged.number))
        except StoreFailed:
            self._give_up(staged)
            raise
        if self._published:
            self._replaced_s[self._published] = self._monotonic_s()
        self._published, self._config_checksum = staged.number, staged.config_checksum
        self._links = staged.links
        self._wrappers.intact.update(staged.links.values())
        self._retained[staged.number] = staged.summary
        self._newest.update((file, staged.number) for link, file in staged.links.items() if link not in staged.carried)
        self.next_number = staged.number + 1
        self._synced = False
        self._expected = self._expect()

    def _prune(self, retain: int) -> str | None:
        # Beyond the newest `retain` those go that are older than an hour; beyond 1,000 all of them. The oldest go
        # first, and when one cannot go the newer ones stay too: see _newest.
        now = self._clock()
        for number, summary in self._retained.copy().items():
            newer = len(self._retained) - 1
            young = now - summary.created_s < _KEEP_S
            replaced_s = self._monotonic_s() - self._replaced_s.get(number, self._opened_s)
            young = young or replaced_s < _REPLACED_KEEP_S
            if newer < max(retain, 1) or (young and newer < _KEEP_MOST):
                return None
            # Forgotten first: whoever reads it just now is told that it is gone, and not that it is damaged.
            del self._retained[number]
            self._expected = None
            try:
                self._at_step("prune")
                with contextlib.suppress(FileNotFoundError):
                    self._remove_generation(number)
            except OSError as error:
                self._retained = {number: summary, **self._retained}
                return f"generation {number} cannot be removed: {error}"
            self._replaced_s.pop(number, None)
        return None

    def wrapper_files(self) -> tuple[str, ...]:
        """Return the names of all wrapper files. Raises as ``WrapperDirectory.files`` does."""
        return self._wrappers.files()

    def holding(self) -> Mapping[str, int]:
        """Return each wrapper file that a retained generation's answers name, with the newest such generation."""
        self._newest = {file: number for file, number in self._newest.items() if number in self._retained}
        return self._newest

    def remove_wrapper(self, file: str) -> str | None:
        """Remove a wrapper and the carried link to it; return in words why that was not done, None if it was."""
        number = self.holding().get(file)
        if number is not None:
            return f"generation {number} names it"
        if (refusal := self._refusal()) is not None:
            return refusal
        links = [link for link, target in self._links.items() if target == file]
        self._expected = None
        try:
            self._at_step("collect")
            for link in links:
                # First: a link that leads nowhere would be a published path that is missing.
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{self.root}/{CURRENT}/{link}")
            self._wrappers.remove(file)
        except OSError as error:
            return f"it cannot be removed: {error}"
        self._links = {link: target for link, target in self._links.items() if target != file}
        return None

    def _write_generation(self, directory: str, generation: Generation, staged: Staged) -> None:
        os.mkdir(f"{directory}/{LINKS}", 0o700)
        self._at_step("links")
        for link, file in staged.links.items():
            os.symlink(link_target(file), f"{directory}/{LINKS}/{link}")
        self._at_step("config")
        write_new(f"{directory}/{CONFIG}", generation.config_text, FILE_MODE, sync=True)
        self._at_step("manifest")
        manifest = render_manifest(generation, staged.carried, staged.summary.created_s)
        write_new(f"{directory}/{MANIFEST}", manifest, FILE_MODE, sync=True)
        self._at_step("sync")
        for path in (f"{directory}/{LINKS}", directory, f"{self.root}/{WRAPPERS}", f"{self.root}/{GENERATIONS}"):
            sync_directory(path)

    def _expect(self) -> Expected:
        self.holding()
        wrappers = frozenset((*self._newest, *self._links.values()))
        retained = frozenset(self._retained)
        return Expected(self._published, self._links, wrappers, retained, self._config_checksum)

    def _refusal(self) -> str | None:
        """Return in words why nothing may be written to the data root, None if it may be."""
        return self._files.refusal() or self._claim_again()

    def _claim_again(self) -> str | None:
        """Lock the data root again if its lock file was removed or replaced; return in words why that failed."""
        try:
            if self._files.holds_lock():
                return None
        except OSError as error:
            return f"{self.root}/{LOCK} cannot be looked at: {error.strerror or error}"
        try:
            fd = lock(self.root)
        except (AlreadyRunning, OSError) as error:
            return f"{self.root}/{LOCK} was removed or replaced, and the data root cannot be locked again: {error}"
        if self._lock is not None:
            os.close(self._lock)
        self._lock = fd
        self._files.relock(fd)
        return None

    def _texts(self, generation: Generation) -> Callable[[str], bytes | None]:
        """Return a function that returns the text of a wrapper file, from memory or from a retained configuration."""
        texts = {wrapper.file: wrapper.text for wrapper in generation.wrappers}
        read: set[int] = set()

        def text_of(file: str) -> bytes | None:
            number = self._newest.get(file)
            if file not in texts and number is not None and number not in read:
                read.add(number)
                with contextlib.suppress(OSError, ConfigurationRejected):
                    path = f"{self.root}/{generation_directory(number)}/{CONFIG}"
                    texts.update({**self._rebuild(read_file(path)), **texts})
            return texts.get(file)

        return text_of

    def _forget(self, damage: Damage, repairs: Repairs) -> None:
        """Forget what is gone for good: generations whose directories were removed, carried wrappers without a text."""
        for number in damage.lost:
            self._retained.pop(number, None)
            repairs.done.append(f"generation {number} was removed from the disk, and is not retained any more")
        if damage.generation and not os.path.lexists(f"{self.root}/{generation_directory(self._published)}"):
            self._retained.pop(self._published, None)
        self._links = {link: file for link, file in self._links.items() if file not in repairs.unlinked}
        self._expected = self._expect()

    def _refuse_unretained(self, number: int) -> None:
        retained = self._retained.copy()
        if number not in retained:
            oldest, newest = min(retained, default=0), max(retained, default=0)
            if 0 < number < newest:
                raise GenerationGone(number, f"is no longer retained; the oldest that is, is {oldest}")
            raise NoSuchGeneration(number, newest)

    def _give_up(self, staged: Staged) -> None:
        """Remove what a failed attempt wrote; where that fails too, later attempts take another number."""
        self._wrappers.take_back(staged.made)
        try:
            self._remove_generation(staged.number)
        except FileNotFoundError:
            pass
        except OSError:
            # The next start removes it, or keeps it whole; nobody was ever told this number.
            self.next_number = staged.number + 1

    def _remove_generation(self, number: int) -> None:
        directory = f"{self.root}/{generation_directory(number)}"
        with contextlib.suppress(FileNotFoundError):
            # First, so that what a crash leaves of the rest is litter and not half a generation.
            os.unlink(f"{directory}/{MANIFEST}")
        shutil.rmtree(directory)
