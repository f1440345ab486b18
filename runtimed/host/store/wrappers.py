"""Writes wrappers and launchers: files named by their content, written once and never changed."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable

from runtimed.core.errors import StoreFailed
from runtimed.core.history.layout import TEMPORARY
from runtimed.core.table.script import Script, is_intact, is_script_file
from runtimed.host.store.disk import (
    OLD_MODE,
    SCRIPT_MODE,
    SYNC_MOST,
    failing_as,
    make_directory,
    read_file,
    replace_file,
    write_new,
)
from runtimed.host.store.marks import Mark, is_changed, mark_at
from runtimed.host.store.paths import Paths

# More than any wrapper has: arguments of about 2 MB, each byte of which may need four for the shell.
_WRAPPER_BYTES = 16 << 20


class WrapperDirectory:
    """The wrappers and launchers of a data root; ``intact`` are files known to have the content their names promise."""

    def __init__(self, paths: Paths, intact: Iterable[str]) -> None:
        self._paths = paths
        self.intact = set(intact)
        # The mark of the directory since it has all scripts of the current generation; None if that is not known.
        self._mark: Mark | None = None

    def write(self, changed: Iterable[Script], scripts: Iterable[Script], *, must_execute: bool) -> tuple[str, ...]:
        """Write those of ``scripts`` that do not exist, all or none, and return the new files.

        ``changed`` are those that the current generation does not have. The others exist if the directory has not
        changed since the last publish. The caller adds all to ``intact`` once their generation is published.

        Raises:
            StoreFailed: the file system would not execute them, and a resolution names one (``must_execute``).
            OSError: a write failed.
        """
        if must_execute and (reason := noexec_reason(self._paths.root, self._paths.root)):
            raise StoreFailed("writing wrappers below", self._paths.root, reason)
        make_directory(self._paths.wrappers)
        looked_at = scripts if is_changed(self._paths.wrappers, self._mark) else changed
        self._mark = None
        new = [s for s in looked_at if s.file not in self.intact or not os.path.lexists(self._paths.wrapper(s.file))]
        # Without a sync a power cut leaves them empty until the next start writes them again.
        sync = len(new) <= SYNC_MOST
        made: list[str] = []
        try:
            for script in new:
                path = self._paths.wrapper(script.file)
                try:
                    write_new(path, script.text, SCRIPT_MODE, sync=sync)
                    # A file in `intact` had gone missing and has a link: it stays if the publish fails.
                    if script.file not in self.intact:
                        made.append(script.file)
                except FileExistsError:
                    # Left by an interrupted publish, or damaged since.
                    replace_file(path, script.text, SCRIPT_MODE, sync=sync)
        except OSError:
            self.take_back(made)
            raise
        self._mark = mark_at(self._paths.wrappers)
        return tuple(made)

    def distrust(self, files: Iterable[str]) -> None:
        """Take ``files``, which are damaged, out of ``intact``."""
        self.intact.difference_update(files)
        self._mark = None

    def take_back(self, made: Iterable[str]) -> None:
        """Remove the files that ``write`` has returned, because their generation is not published."""
        self._mark = None
        for file in made:
            # A file that stays is a wrapper without a reference, which is collected later.
            with contextlib.suppress(OSError):
                os.unlink(self._paths.wrapper(file))

    def files(self) -> tuple[str, ...]:
        """Return the names of all wrapper files.

        Raises:
            StoreFailed: the directory cannot be read.
        """
        with failing_as("listing", self._paths.wrappers):
            try:
                names = os.listdir(self._paths.wrappers)
            except FileNotFoundError:
                return ()
        return tuple(name for name in sorted(names) if is_script_file(name) and not name.startswith(TEMPORARY))


def noexec_reason(view: str, root: str) -> str | None:
    """Return why no wrapper below ``root``, seen at the path ``view``, can be executed; None if wrappers can be."""
    if not os.statvfs(view).f_flag & os.ST_NOEXEC:
        return None
    mount = os.path.realpath(root)
    while not os.path.ismount(mount):
        mount = os.path.dirname(mount)
    reason = f"{mount} is mounted noexec, so that no wrapper below it can be executed"
    return f"{reason}; remount it with `mount -o remount,exec {mount}`, or name another --data-root"


def read_wrapper(path: str) -> bytes:
    """Return the text of the wrapper at ``path``. Raises: OSError."""
    return read_file(path, _WRAPPER_BYTES)


def is_intact_file(path: str, file: str) -> bool:
    """Return whether ``path`` is the wrapper ``file`` with the right mode, owner and content."""
    return intact_state(path, file) is not None


def intact_state(path: str, file: str) -> os.stat_result | None:
    """Return the state of ``path`` if that is the wrapper ``file`` with the right mode, owner and content; or None."""
    try:
        # A start looks at each wrapper of a large table, so each system call counts.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            state = os.fstat(fd)
            plain = stat.S_ISREG(state.st_mode) and stat.S_IMODE(state.st_mode) in (SCRIPT_MODE, OLD_MODE)
            if not plain or state.st_uid != os.geteuid() or state.st_size > _WRAPPER_BYTES:
                return None
            # A short read, which a local disk never makes, counts as damage.
            return state if is_intact(file, os.read(fd, state.st_size)) else None
        finally:
            os.close(fd)
    except OSError:  # missing, or on an unreadable part of the disk: it is written again
        return None
