"""The directory of wrapper scripts: files named by their content, written once and never changed."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable

from runtimed.core.errors import StoreFailed
from runtimed.core.history.layout import TEMPORARY, WRAPPERS
from runtimed.core.table.wrapper import Wrapper, is_intact, is_wrapper_file
from runtimed.host.store.disk import (
    SYNC_MOST,
    WRAPPER_MODE,
    failing_as,
    make_directory,
    read_file,
    replace_file,
    write_new,
)


class WrapperDirectory:
    """The wrappers below a data root; ``intact`` are files known to hold what their names say."""

    def __init__(self, root: str, intact: Iterable[str] = ()) -> None:
        self._root = root
        self.path = f"{root}/{WRAPPERS}"
        self.intact = set(intact)

    def write(self, wrappers: Iterable[Wrapper]) -> tuple[str, ...]:
        """Write those of ``wrappers`` that are not there, and return the files that are new: all or none of them.

        They are intact once their generation is published.

        Raises:
            StoreFailed: the file system would not execute them.
            OSError: it failed.
        """
        wanted = tuple(wrappers)
        if wanted and (reason := noexec_reason(self._root, self._root)):
            raise StoreFailed("writing wrappers below", self._root, reason)
        make_directory(self.path)
        new = [w for w in wanted if w.file not in self.intact or not os.path.lexists(f"{self.path}/{w.file}")]
        # Otherwise a power cut leaves them empty until the next start writes them again.
        sync = len(new) <= SYNC_MOST
        made: list[str] = []
        try:
            for wrapper in new:
                path = f"{self.path}/{wrapper.file}"
                try:
                    write_new(path, wrapper.text, WRAPPER_MODE, sync=sync)
                    # One that is named already and had gone missing is not this attempt's to take back.
                    if wrapper.file not in self.intact:
                        made.append(wrapper.file)
                except FileExistsError:
                    # Left by a run that did not get as far as publishing it, or damaged since.
                    replace_file(self.path, wrapper.file, wrapper.text, WRAPPER_MODE, sync=sync)
        except OSError:
            self.take_back(made)
            raise
        return tuple(made)

    def take_back(self, made: Iterable[str]) -> None:
        """Remove what ``write`` has made, after all: its generation is not published, and nobody was given them."""
        for file in made:
            # What cannot be removed is a wrapper that nothing refers to.
            with contextlib.suppress(OSError):
                os.unlink(f"{self.path}/{file}")

    def files(self) -> tuple[str, ...]:
        """Return the names of all wrapper files, whether something needs them or not.

        Raises:
            StoreFailed: the directory cannot be read.
        """
        with failing_as("listing", self.path):
            try:
                names = os.listdir(self.path)
            except FileNotFoundError:
                return ()
        return tuple(name for name in sorted(names) if is_wrapper_file(name) and not name.startswith(TEMPORARY))

    def remove(self, file: str) -> None:
        """Remove a wrapper file."""
        os.unlink(f"{self.path}/{file}")
        self.intact.discard(file)


def noexec_reason(view: str, root: str) -> str | None:
    """Return in words why no wrapper below ``root``, seen as ``view``, can be executed; None if it can."""
    if not os.statvfs(view).f_flag & os.ST_NOEXEC:
        return None
    mount = os.path.realpath(root)
    while not os.path.ismount(mount):
        mount = os.path.dirname(mount)
    reason = f"{mount} is mounted noexec, so that no wrapper below it can be executed"
    return f"{reason}; remount it with `mount -o remount,exec {mount}`, or name another --data-root"


def is_intact_file(path: str, file: str) -> bool:
    """Return whether ``path`` is the wrapper ``file`` with its mode, owner and content."""
    try:
        state = os.lstat(path)
        plain = stat.S_ISREG(state.st_mode) and stat.S_IMODE(state.st_mode) == WRAPPER_MODE
        return plain and state.st_uid == os.geteuid() and is_intact(file, read_file(path))
    except OSError:  # missing, or on a part of the disk that cannot be read: it is written again
        return False
