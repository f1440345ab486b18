"""Repairs damaged published files in place, by rename."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from runtimed.core.history.layout import LOCK, VERSION, current_target, link_target
from runtimed.core.table.script import is_intact
from runtimed.host.store.damage import OTHERS_WRITE, Damage, Expected
from runtimed.host.store.disk import FILE_MODE, SCRIPT_MODE, SYNC_MOST, make_directory, replace_file, replace_link
from runtimed.host.store.paths import Paths
from runtimed.host.store.wrappers import read_wrapper

# A message names at most this many files: a whole table may be lost at once.
_NAMED_MOST = 20


@dataclass(frozen=True, slots=True)
class RepairOutcome:
    """The outcome of a repair of the published files."""

    repaired: tuple[str, ...] = ()
    # The damage that cannot be repaired, and the damage that has no remedy but does not affect the current generation.
    fault: str | None = None
    remark: str | None = None
    # Why the current generation must be published again, under another number.
    republish: str | None = None

    def with_repair(self, path: str) -> RepairOutcome:
        """Return this outcome with the repair of the file ``path``."""
        return replace(self, repaired=(*self.repaired, f"{path} was missing or changed: written again"))

    def with_remark(self, text: str) -> RepairOutcome:
        """Return this outcome with one more remark."""
        return replace(self, remark="; ".join(filter(None, (self.remark, text))))


class Repair:
    """One repair of the published files.

    A reader of a path sees the old file or the repaired one, never a missing one in between.
    """

    def __init__(self, paths: Paths, damage: Damage, expected: Expected) -> None:
        self._paths = paths
        self._damage = damage
        self._expected = expected
        self._links = paths.view(expected.number)
        self.done: list[str] = []
        self.failed: list[str] = [damage.noexec] if damage.noexec else []
        # Damaged wrappers whose text is not known, and on which no link of the current generation depends.
        self._unknown: list[str] = []
        # Wrapper files whose links were removed.
        self.unlinked: set[str] = set()

    def run(self, version: bytes, texts: Mapping[str, bytes]) -> None:
        """Repair VERSION, wrappers, links of the current generation, and the link to it.

        ``version`` is the content of VERSION; ``texts`` are the known texts of wrapper files.
        """
        damage, expected = self._damage, self._expected
        for path in damage.writable:
            with self._reporting(f"{path} was writable by other users", "made writable by its owner only"):
                os.chmod(path, stat.S_IMODE(os.lstat(path).st_mode) & ~OTHERS_WRITE)
        if VERSION in damage.root_files:
            with self._reporting(f"{self._paths.version} was missing or damaged", "written again"):
                replace_file(self._paths.version, version, FILE_MODE, sync=True)
        for file in damage.wrappers:
            self._repair_wrapper(file, texts.get(file))
        for link in damage.links:
            file = expected.links[link]
            if file not in self.unlinked:
                with self._reporting(f"{self._links}/{link} was missing or wrong", "made again"):
                    replace_link(f"{self._links}/{link}", link_target(file))
        if damage.current and not damage.generation:
            with self._reporting(damage.current, "made again"):
                replace_link(self._paths.current, current_target(expected.number))
        if LOCK in damage.root_files:
            self.done.append(f"{self._paths.lock} was removed or replaced: locked again")

    def outcome(self) -> RepairOutcome:
        """Return the outcome in words."""
        return RepairOutcome(
            _shortened(self.done),
            "; ".join(_shortened(self.failed)) or None,
            "; ".join(_shortened(self._unknown)) or None,
            self._damage.generation or None,
        )

    def _repair_wrapper(self, file: str, text: bytes | None) -> None:
        path = self._paths.wrapper(file)
        if text is None:
            # The text on disk is right where only the mode or the owner is wrong.
            with contextlib.suppress(OSError):
                text = read_wrapper(path)
        if text is not None and is_intact(file, text):
            with self._reporting(f"{path} was missing or damaged", "written again"):
                make_directory(self._paths.wrappers)
                replace_file(path, text, SCRIPT_MODE, sync=len(self._damage.wrappers) <= SYNC_MOST)
            return
        lost = f"{path} is {'damaged' if os.path.lexists(path) else 'missing'}"
        # An engine reports a missing link as an unknown runtime. That is better than a link to a missing wrapper or to
        # a foreign text.
        for link in (link for link, target in self._expected.links.items() if target == file):
            with self._reporting(f"{lost}, and its text is not known", f"{self._links}/{link} removed"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{self._links}/{link}")
                self.unlinked.add(file)
        if file not in self.unlinked:
            advice = "restore it from a backup, or configure its runtime as it was"
            self._unknown.append(f"{lost}, and no retained generation has its text; {advice}")

    @contextlib.contextmanager
    def _reporting(self, damage: str, remedy: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = f"{error.filename or ''}: {error.strerror or error}"
            self.failed.append(f"{damage}, and cannot be repaired: {reason}")
        else:
            self.done.append(f"{damage}: {remedy}")


def _shortened(words: list[str]) -> tuple[str, ...]:
    more = len(words) - _NAMED_MOST
    return tuple(words) if more <= 0 else (*words[:_NAMED_MOST], f"and {more} more")
