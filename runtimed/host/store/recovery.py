"""Puts a data root in order at a start: reads whole generations, repairs wrappers, removes temporary files."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from runtimed.core.errors import ConfigurationRejected, DamagedManifest, DataRootRefused
from runtimed.core.history.layout import (
    CURRENT,
    GENERATIONS,
    LINK_DIRECTORIES,
    TEMPORARY,
    current_number,
    generation_directory,
    generation_number,
    link_target,
)
from runtimed.core.history.manifest import Manifest, checksum
from runtimed.core.history.parts import is_part_file
from runtimed.host.store.disk import (
    DIRECTORY_MODE,
    OLD_MODE,
    SCRIPT_MODE,
    failing_as,
    leads_to,
    make_directory,
    open_to_users,
    read_file,
    replace_file,
)
from runtimed.host.store.links import directory_in_use
from runtimed.host.store.parts import PartReader
from runtimed.host.store.paths import Paths
from runtimed.host.store.wrappers import intact_state

# From a generation's manifest and config.json to its wrappers and launchers: file name -> text.
Rebuild = Callable[[Manifest, bytes], Mapping[str, bytes]]


@dataclass(frozen=True, slots=True)
class Recovered:
    """The state that earlier processes left in a data root.

    ``last`` is the generation to continue from, with its ``config_text``; it is ``published`` when
    ``runtimes`` leads to it, and through ``directory``, and all its links and wrappers are intact. ``links`` are those
    that the next generation takes over: of ``last``, and carried ones whose wrapper was not collected. ``faults`` are
    descriptions of the damage, each with its treatment.
    """

    manifests: Mapping[int, Manifest]
    last: Manifest | None
    config_text: bytes
    published: bool
    next_number: int
    # The link directory that stable paths lead through; None if there is none, as in a data root of an earlier version.
    directory: str | None
    links: Mapping[str, str]
    intact_wrappers: frozenset[str]
    faults: tuple[str, ...]


def recover(root: str, rebuild: Rebuild) -> Recovered:
    """Put the locked data root ``root`` in order and return its state. Writes only where there is damage.

    Generations without a valid manifest are removed, except the current one: a published path must not go missing
    before the next publish replaces it. So are parts that no generation names. Damaged wrappers of every retained
    generation are written again from its configuration.

    Raises:
        DataRootRefused: ``runtimes`` is no symbolic link, or another of the names in the data root is no directory.
        StoreFailed: the operating system refused.
    """
    with failing_as("recovering", root):
        return _Recovery(Paths(root), rebuild).run()


class _Recovery:
    def __init__(self, paths: Paths, rebuild: Rebuild) -> None:
        self._paths = paths
        self._rebuild = rebuild
        self._reader = PartReader(paths)
        self._manifests: dict[int, Manifest] = {}
        # Whether a generation cannot be read, whose parts are not known.
        self._left_alone = False
        self._faults: list[str] = []

    def run(self) -> Recovered:
        self._check_kinds()
        linked, directory = self._linked_number(), directory_in_use(self._paths)
        numbers = self._generation_numbers()
        for number in numbers:
            self._read_generation(number, is_current=number == linked)
        self._remove_temporary_files()
        self._remove_parts()
        self._open_directories()
        intact = self._repair_wrappers()
        last = self._manifests.get(linked or 0) or self._manifests.get(max(self._manifests, default=0))
        published = last is not None and last.number == linked and self._is_whole(last, directory, intact)
        # The links of an earlier version are replaced by the next publish as well, but they are not damaged.
        if linked is not None and not published and (directory is not None or not self._has_own_links(last, linked)):
            self._faults.append(
                f"{self._paths.current} does not lead to a whole generation: the next one is published at once"
            )
        config_text, links = b"", {}
        if last is not None:
            config_text = read_file(self._paths.config(last.number))
            links = {**self._carried_links(last, is_current=last.number == linked), **last.links}
        next_number = max([*numbers, linked or 0]) + 1
        faults = tuple(self._faults)
        found = self._manifests, last, config_text, published, next_number, directory, links
        return Recovered(*found, intact, faults)

    def _check_kinds(self) -> None:
        for path in (self._paths.wrappers, self._paths.generations, self._paths.links, self._paths.parts):
            if os.path.lexists(path) and not os.path.isdir(path):
                raise DataRootRefused(self._paths.root, f"{path} is not a directory", "move it away")

    def _linked_number(self) -> int | None:
        """Return the number of the generation that ``runtimes`` leads to."""
        path = self._paths.current
        try:
            return current_number(os.readlink(path))
        except FileNotFoundError:
            return None
        except OSError:
            reason = f"{CURRENT} in it is no symbolic link"
            raise DataRootRefused(self._paths.root, reason, f"move {path} away") from None

    def _generation_numbers(self) -> list[int]:
        try:
            names = os.listdir(self._paths.generations)
        except FileNotFoundError:
            return []
        # Other names stay; so does a name such as "000000042", which is not the one that the store gives.
        found = ((name, generation_number(name)) for name in names)
        return sorted(n for name, n in found if n is not None and generation_directory(n) == f"{GENERATIONS}/{name}")

    def _read_generation(self, number: int, *, is_current: bool) -> None:
        """Read a generation; remove it if it is damaged and not the current one."""
        try:
            self._manifests[number] = self._read_manifest(number)
        except (DamagedManifest, OSError) as error:
            if is_current:
                self._faults.append(f"generation {number}, the current one, is damaged ({error})")
                self._left_alone |= not isinstance(error, DamagedManifest)
                return
            if not isinstance(error, (DamagedManifest, FileNotFoundError, NotADirectoryError)):
                # The disk may become readable again.
                self._faults.append(f"generation {number} cannot be read ({error}): left alone")
                self._left_alone = True
                return
            if not isinstance(error, FileNotFoundError):
                self._faults.append(f"generation {number} is damaged ({error}): removed where that is possible")
            # On a read-only disk it stays, and so does a file of this name, which the store did not make.
            with contextlib.suppress(OSError):
                shutil.rmtree(self._paths.generation(number))

    def _read_manifest(self, number: int) -> Manifest:
        manifest = self._reader.read(number)
        if checksum(read_file(self._paths.config(number))) != manifest.config_checksum:
            raise DamagedManifest(number, "config.json beside it is damaged")
        return manifest

    def _remove_temporary_files(self) -> None:
        links = map(self._paths.link_directory, LINK_DIRECTORIES)
        for directory in (self._paths.root, self._paths.wrappers, *links, self._paths.parts):
            with contextlib.suppress(FileNotFoundError):
                for name in os.listdir(directory):
                    if name.startswith(TEMPORARY):
                        # On a read-only disk the file stays.
                        with contextlib.suppress(OSError):
                            os.unlink(f"{directory}/{name}")

    def _remove_parts(self) -> None:
        """Remove the parts that no generation names."""
        if self._left_alone:
            return
        named = {digest for manifest in self._manifests.values() for digest in manifest.parts}
        # On a read-only disk they stay.
        with contextlib.suppress(OSError):
            for file in os.listdir(self._paths.parts):
                if is_part_file(file) and file not in named:
                    os.unlink(self._paths.part(file))

    def _open_directories(self) -> None:
        at = self._paths
        below = (path for number in self._manifests for path in (at.generation(number), at.view(number)))
        for path in (at.root, at.wrappers, at.generations, *below):
            open_to_users(path, DIRECTORY_MODE)

    def _repair_wrappers(self) -> frozenset[str]:
        """Write damaged wrappers again, and return the intact ones."""
        manifests = self._manifests.values()
        wanted = {file for manifest in manifests for file in manifest.files}
        # A missing carried wrapper was collected.
        carried = {file for manifest in manifests for file in manifest.carried.values()} - wanted
        wanted |= {file for file in carried if os.path.lexists(self._paths.wrapper(file))}
        damaged = {file for file in wanted if not self._is_intact(file)}
        named = ((number, set(self._manifests[number].files)) for number in sorted(self._manifests, reverse=True))
        texts = rebuild_texts(self._paths, self._rebuild, damaged, named)
        repaired = {file for file in sorted(texts) if self._repair_wrapper(file, texts[file])}
        unknown = sorted(damaged - texts.keys())
        self._faults += (f"wrapper {file} is damaged, and no generation has its text" for file in unknown)
        return frozenset(wanted - damaged | repaired)

    def _is_intact(self, file: str) -> bool:
        path = self._paths.wrapper(file)
        state = intact_state(path, file)
        if state is not None and stat.S_IMODE(state.st_mode) == OLD_MODE:
            open_to_users(path, SCRIPT_MODE)
        return state is not None

    def _repair_wrapper(self, file: str, text: bytes) -> bool:
        path = self._paths.wrapper(file)
        try:
            # The directory may be missing too.
            make_directory(self._paths.wrappers)
            replace_file(path, text, SCRIPT_MODE)
        except OSError as error:
            self._faults.append(f"wrapper {path} is damaged and cannot be written again: {error}")
            return False
        self._faults.append(f"wrapper {file} was damaged or missing: written again")
        return True

    def _carried_links(self, last: Manifest, *, is_current: bool) -> dict[str, str]:
        """Return the carried links whose wrapper exists; remove the others of the current generation."""
        found = {}
        for link, file in last.carried.items():
            if os.path.lexists(self._paths.wrapper(file)):
                found[link] = file
            elif is_current:
                # The link of a collected wrapper is missing already. On a read-only disk the link stays.
                with contextlib.suppress(OSError):
                    os.unlink(f"{self._paths.view(last.number)}/{link}")
                    self._faults.append(f"wrapper {file} is missing, and its text is not known: link {link} removed")
        return found

    def _is_whole(self, manifest: Manifest, directory: str | None, intact: frozenset[str]) -> bool:
        if directory is None or not intact.issuperset(manifest.files):
            return False
        path, links = self._paths.link_directory(directory), manifest.links.items()
        return all(leads_to(f"{path}/{link}", link_target(file)) for link, file in links)

    def _has_own_links(self, last: Manifest | None, linked: int) -> bool:
        """Return whether the current generation is whole and has a directory of links, as earlier versions made it."""
        if last is None or last.number != linked:
            return False
        view = self._paths.view(linked)
        return os.path.isdir(view) and not os.path.islink(view)


def rebuild_texts(
    paths: Paths, rebuild: Rebuild, files: set[str], named: Iterable[tuple[int, Collection[str]]]
) -> dict[str, bytes]:
    """Return the texts of those wrapper ``files`` that a generation can rebuild from its configuration.

    ``named`` are the numbers of generations and the wrapper files that each names.
    """
    texts: dict[str, bytes] = {}
    for number, wrappers in named:
        if any(file in files and file not in texts for file in wrappers):
            # A configuration of another version of the program may be rejected; another generation may have the text.
            with contextlib.suppress(OSError, ConfigurationRejected, DamagedManifest):
                manifest = PartReader(paths).read(number)
                texts |= rebuild(manifest, read_file(paths.config(number)))
    return {file: text for file, text in texts.items() if file in files}
