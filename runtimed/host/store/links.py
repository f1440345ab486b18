"""Changes the link directory that is not in use into the one of the next generation."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from runtimed.core.history.layout import (
    LINK_DIRECTORIES,
    TEMPORARY,
    current_number,
    link_directory,
    link_target,
    linked_file,
)
from runtimed.core.table.generation import links_of
from runtimed.core.table.runtime_changes import RuntimeChanges
from runtimed.host.store.disk import make_directory, sync_directory
from runtimed.host.store.marks import Mark, mark_of
from runtimed.host.store.paths import Paths

# The name under which a link is made before it replaces another one.
_NEW = f"{TEMPORARY}link"


@dataclass(frozen=True, slots=True)
class Links:
    """The links of a generation, with the files that they lead to.

    ``directory`` is their link directory, None where an earlier version made them. Of the links, ``carried`` are those
    of runtimes that were dropped.
    """

    directory: str | None
    links: Mapping[str, str]
    carried: Mapping[str, str]

    def without(self, files: Collection[str]) -> Links:
        """Return these links without those to ``files``."""
        links, carried = ({k: v for k, v in links.items() if v not in files} for links in (self.links, self.carried))
        return Links(self.directory, links, carried)


class LinkDirectories:
    """The two link directories of a data root. Stable paths lead through one of them.

    ``current`` are the links of the current generation. A publish changes the other directory: only the links that
    differ from the ones that are there.
    """

    def __init__(self, paths: Paths, current: Links) -> None:
        self._paths = paths
        self.current = current
        # The links in a directory as long as it has this mark, with the files that they lead to. They are not known
        # after a start and after a failure.
        self._known: dict[str, tuple[Mark, Mapping[str, str]]] = {}

    def stage(self, changes: RuntimeChanges, at_step: Callable[[str], None]) -> Links:
        """Make the links of the next generation, which differs by ``changes``, and return them. Raises: OSError."""
        links, carried = dict(self.current.links), dict(self.current.carried)
        # A dropped runtime keeps its link: an engine may use the stable path.
        carried |= {link: links[link] for link in links_of(changes.old) if link in links}
        for link, file in links_of(changes.new).items():
            links[link] = file
            carried.pop(link, None)
        return Links(self.write(links, at_step), links, carried)

    def write(self, wanted: Mapping[str, str], at_step: Callable[[str], None]) -> str:
        """Make the links ``wanted``, and no others, in the directory that is not in use, and return its name.

        A process that still resolves a path through it finds each link that was there and stays. Raises: OSError.
        """
        # The link on the disk decides, because another process may have changed it.
        in_use = directory_in_use(self._paths) or self.current.directory
        name = next(each for each in LINK_DIRECTORIES if each != in_use)
        directory = self._paths.link_directory(name)
        at_step("links")
        make_directory(self._paths.links)
        state = _status(directory)
        if state is None or not stat.S_ISDIR(state.st_mode):
            if state is not None:
                os.unlink(directory)
            make_directory(directory)
            sync_directory(self._paths.links)
        mark, found = self._known.pop(name, (None, {}))
        if state is None or mark_of(state) != mark:
            found = _read(directory)
        for link in [link for link, file in wanted.items() if found.get(link) != file]:
            at_step("link")
            target = link_target(wanted[link])
            if link in found:
                os.symlink(target, f"{directory}/{_NEW}")
                os.rename(f"{directory}/{_NEW}", f"{directory}/{link}")
            else:
                os.symlink(target, f"{directory}/{link}")
        for link in sorted(found.keys() - wanted.keys()):
            at_step("unlink")
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{directory}/{link}")
        self._known[name] = mark_of(os.lstat(directory)), wanted
        return name


def directory_in_use(paths: Paths) -> str | None:
    """Return the link directory that stable paths lead through on the disk, None if there is none."""
    try:
        number = current_number(os.readlink(paths.current))
        return None if number is None else link_directory(os.readlink(paths.view(number)))
    except OSError:
        return None


def _status(path: str) -> os.stat_result | None:
    with contextlib.suppress(FileNotFoundError):
        return os.lstat(path)
    return None


def _read(directory: str) -> dict[str, str]:
    """Return the links in ``directory`` with the files that they lead to, "" for others; remove all other files."""
    found = {}
    with os.scandir(directory) as entries:
        for entry in list(entries):
            if entry.is_symlink() and not entry.name.startswith(TEMPORARY):
                found[entry.name] = linked_file(os.readlink(entry.path))
            elif entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
    return found
