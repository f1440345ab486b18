"""What a start finds in the data root: generations that are whole, wrappers that are intact, no litter."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from runtimed.core.errors import ConfigurationRejected, DamagedManifest, DataRootRefused
from runtimed.core.history.layout import (
    CONFIG,
    CURRENT,
    GENERATIONS,
    LINKS,
    MANIFEST,
    TEMPORARY,
    WRAPPERS,
    current_number,
    generation_directory,
    generation_number,
    link_target,
)
from runtimed.core.history.manifest import Manifest, checksum, read_manifest
from runtimed.host.store.disk import WRAPPER_MODE, failing_as, make_directory, read_file, replace_file
from runtimed.host.store.wrappers import is_intact_file

# From a generation's config.json to its wrappers: file name -> text.
Rebuild = Callable[[bytes], Mapping[str, bytes]]


@dataclass(frozen=True, slots=True)
class Recovered:
    """What is left of earlier runs.

    ``last`` is the generation to go on from, with its ``config_text``; it is ``published`` when
    ``runtimes`` leads to it and all its links are in place. ``links`` are those the next generation
    takes over: of ``last``, and carried ones whose wrapper was not collected. ``faults`` are things
    found damaged, in words, each with what was done about it.
    """

    manifests: Mapping[int, Manifest]
    last: Manifest | None
    config_text: bytes
    published: bool
    next_number: int
    links: Mapping[str, str]
    intact_wrappers: frozenset[str]
    faults: tuple[str, ...]


def recover(root: str, rebuild: Rebuild) -> Recovered:
    """Return what the claimed data root ``root`` holds, after putting it in order.

    Generations without a valid manifest are removed, but for the one that is current: a published
    path must not go missing before the next publish replaces it. Damaged wrappers of every retained
    generation are written again from its configuration. A data root that is in order is only read.

    Raises:
        DataRootRefused: ``runtimes`` is no symbolic link, or ``wrappers`` or ``generations`` is no directory.
        StoreFailed: the operating system refused.
    """
    faults: list[str] = []
    with failing_as("recovering", root):
        _refuse_strays(root)
        linked = _linked_number(root)
        numbers = _generation_numbers(root)
        manifests = dict(_read_all(root, numbers, linked, faults))
        _remove_litter(root)
        intact = _mend_wrappers(root, manifests, rebuild, faults)
        last = manifests.get(linked) if linked in manifests else manifests.get(max(manifests, default=0))
        published = last is not None and last.number == linked and _links_in_place(root, last)
        published = published and last is not None and intact.issuperset(last.links.values())
        if linked is not None and not published:
            faults.append(f"{root}/{CURRENT} does not lead to a whole generation: the next one is published at once")
        config_text = read_file(f"{root}/{generation_directory(last.number)}/{CONFIG}") if last is not None else b""
        links = _links_to_take_over(root, last, linked, faults) if last is not None else {}
    next_number = max([*numbers, linked or 0], default=0) + 1
    return Recovered(manifests, last, config_text, published, next_number, links, intact, tuple(faults))


def _linked_number(root: str) -> int | None:
    try:
        return current_number(os.readlink(f"{root}/{CURRENT}"))
    except FileNotFoundError:
        return None
    except OSError:
        reason = f"{CURRENT} in it is no symbolic link"
        raise DataRootRefused(root, reason, f"move {root}/{CURRENT} away") from None


def _generation_numbers(root: str) -> list[int]:
    try:
        names = os.listdir(f"{root}/{GENERATIONS}")
    except FileNotFoundError:
        return []
    # What is no name of ours ("000000042" is none) stays, and so does what is no directory.
    found = ((name, generation_number(name)) for name in names)
    return sorted(n for name, n in found if n is not None and generation_directory(n) == f"{GENERATIONS}/{name}")


def _read_all(
    root: str, numbers: Iterable[int], linked: int | None, faults: list[str]
) -> Iterable[tuple[int, Manifest]]:
    for number in numbers:
        directory = f"{root}/{generation_directory(number)}"
        try:
            yield number, _read_generation(directory, number)
        except (DamagedManifest, OSError) as error:
            if number == linked:
                faults.append(f"generation {number}, the current one, is damaged ({error})")
                continue
            if not isinstance(error, (DamagedManifest, FileNotFoundError, NotADirectoryError)):
                # A disk that cannot be read may be read again one day.
                faults.append(f"generation {number} cannot be read ({error}): left alone")
                continue
            if not isinstance(error, FileNotFoundError):
                faults.append(f"generation {number} is damaged ({error}): removed where that is possible")
            # On a read-only disk it stays; so does what is no directory, and so nothing of ours.
            with contextlib.suppress(OSError):
                shutil.rmtree(directory)


def _read_generation(directory: str, number: int) -> Manifest:
    manifest = read_manifest(read_file(f"{directory}/{MANIFEST}"), number)
    if checksum(read_file(f"{directory}/{CONFIG}")) != manifest.config_checksum:
        raise DamagedManifest(number, f"{CONFIG} beside it is damaged")
    return manifest


def _refuse_strays(root: str) -> None:
    for path in (f"{root}/{WRAPPERS}", f"{root}/{GENERATIONS}"):
        if os.path.lexists(path) and not os.path.isdir(path):
            raise DataRootRefused(root, f"{path} is not a directory", "move it away")


def _remove_litter(root: str) -> None:
    for directory in (root, f"{root}/{WRAPPERS}"):
        try:
            names = os.listdir(directory)
        except FileNotFoundError:
            continue
        for name in names:
            if name.startswith(TEMPORARY):
                # On a read-only disk it stays, and does no harm.
                with contextlib.suppress(OSError):
                    os.unlink(f"{directory}/{name}")


def _mend_wrappers(root: str, manifests: Mapping[int, Manifest], rebuild: Rebuild, faults: list[str]) -> frozenset[str]:
    """Return the wrapper files of ``manifests`` that are intact, after writing again those that can be."""
    own = {file for manifest in manifests.values() for file in manifest.links.values()}
    carried = {file for manifest in manifests.values() for file in manifest.carried.values()}
    # What is carried and gone was collected.
    wanted = own | {file for file in carried if os.path.lexists(f"{root}/{WRAPPERS}/{file}")}
    unmended: set[str] = set()
    damaged = {file for file in wanted if not is_intact_file(f"{root}/{WRAPPERS}/{file}", file)}
    for number in sorted(manifests, reverse=True):
        if not damaged.intersection(manifests[number].links.values()):
            continue
        try:
            texts = rebuild(read_file(f"{root}/{generation_directory(number)}/{CONFIG}"))
        except ConfigurationRejected:
            # Written by another version of the program; another generation may still tell.
            continue
        for file in sorted(damaged.intersection(texts)):
            try:
                # With all wrappers their directory may have gone.
                make_directory(f"{root}/{WRAPPERS}")
                replace_file(f"{root}/{WRAPPERS}", file, texts[file], WRAPPER_MODE)
            except OSError as error:
                faults.append(f"wrapper {root}/{WRAPPERS}/{file} is damaged and cannot be written again: {error}")
                unmended.add(file)
            else:
                faults.append(f"wrapper {file} was damaged or missing: written again")
            damaged.discard(file)
    faults.extend(f"wrapper {file} is damaged, and no configuration tells its text" for file in sorted(damaged))
    return frozenset(wanted - damaged - unmended)


def _links_to_take_over(root: str, last: Manifest, linked: int | None, faults: list[str]) -> Mapping[str, str]:
    carried = {link: file for link, file in last.carried.items() if os.path.lexists(f"{root}/{WRAPPERS}/{file}")}
    for link in last.carried.keys() - carried.keys() if last.number == linked else ():
        # Where the wrapper was collected there is no link either. On a read-only disk it stays.
        with contextlib.suppress(OSError):
            os.unlink(f"{root}/{generation_directory(last.number)}/{LINKS}/{link}")
            faults.append(f"wrapper {last.carried[link]} is missing, and its text is not known: link {link} removed")
    return {**carried, **last.links}


def _links_in_place(root: str, manifest: Manifest) -> bool:
    directory = f"{root}/{generation_directory(manifest.number)}/{LINKS}"
    try:
        return all(os.readlink(f"{directory}/{link}") == link_target(file) for link, file in manifest.links.items())
    except OSError:
        return False
