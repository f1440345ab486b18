"""The directory of wrapper scripts: files named by their content, written once and never changed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from runtimed.core.errors import StoreFailed
from runtimed.core.layout import TEMPORARY, WRAPPERS
from runtimed.core.wrapper import Wrapper, is_wrapper_file
from runtimed.host.store.disk import WRAPPER_MODE, failing_as, make_directory, replace_file, write_new


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
        if wanted:
            self._refuse_noexec()
        make_directory(self.path)
        made: list[str] = []
        try:
            for wrapper in wanted:
                path = f"{self.path}/{wrapper.file}"
                if wrapper.file in self.intact and os.path.lexists(path):
                    continue
                try:
                    write_new(path, wrapper.text, WRAPPER_MODE)
                    # One that is named already and had gone missing is not this attempt's to take back.
                    if wrapper.file not in self.intact:
                        made.append(wrapper.file)
                except FileExistsError:
                    # Left by a run that did not get as far as publishing it, or damaged since.
                    replace_file(self.path, wrapper.file, wrapper.text, WRAPPER_MODE)
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

    def _refuse_noexec(self) -> None:
        if os.statvfs(self._root).f_flag & os.ST_NOEXEC:
            mount = os.path.realpath(self._root)
            while not os.path.ismount(mount):
                mount = os.path.dirname(mount)
            reason = f"{mount} is mounted noexec, so that no wrapper below it can be executed"
            advice = f"remount it with `mount -o remount,exec {mount}`, or name another --data-root"
            raise StoreFailed("writing wrappers below", self._root, f"{reason}; {advice}")
