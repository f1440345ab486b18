"""Writes the table file in the exec root around each publish, and keeps it as it was written."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

from runtimed.core.errors import StoreFailed
from runtimed.core.history.layout import TABLE_FILE
from runtimed.core.history.trigger import Trigger
from runtimed.core.table.generation import Difference, Generation
from runtimed.core.table.table_file import render_table_file
from runtimed.host.store import RepairOutcome, Store
from runtimed.host.store.disk import FILE_MODE, failing_as, make_exec_root, unused_name, write_new
from runtimed.host.store.marks import Mark, is_changed, mark_of


class TableFile:
    """The table file in the directory ``exec_root``, with ``mode`` and the group ``gid``.

    ``at_step`` is called with the name of each step before it, as for the store. The file is not synced, because each
    start writes it before the daemon is ready.
    """

    def __init__(
        self, exec_root: str, mode: int, gid: int, at_step: Callable[[str], None] = lambda _step: None
    ) -> None:
        self.path = f"{exec_root}/{TABLE_FILE}"
        self._exec_root = exec_root
        self._mode = mode
        self.gid = gid
        self._at_step = at_step
        # The name of the new file before `swap`.
        self._temporary = ""
        # The status of the file that `swap` put in place; None if it could not.
        self._mark: Mark | None = None
        # Why the file could not be given to the group, and is the daemon's alone.
        self.refusal: str | None = None

    @property
    def is_in_place(self) -> bool:
        """Whether the last `swap` succeeded."""
        return self._mark is not None

    def stage(self, generation: Generation) -> None:
        """Write the new file under another name. Raises: StoreFailed."""
        data = render_table_file(generation, round(time.time(), 3))
        with failing_as("writing", self.path):
            self._at_step("table")
            make_exec_root(self._exec_root)
            self._temporary = unused_name(self.path)
            write_new(self._temporary, data, FILE_MODE)
            try:
                self._give_to_group()
            except OSError:
                self.discard()
                raise

    def swap(self) -> str | None:
        """Replace the file by the new one with one rename; return why that failed, None if it did not."""
        self._mark = None
        try:
            self._at_step("table-swap")
            os.rename(self._temporary, self.path)
            self._mark = mark_of(os.lstat(self.path))
        except OSError as error:
            self.discard()
            return f"{self.path} cannot be replaced: {error.strerror or error}"
        return None

    def discard(self) -> None:
        """Remove the new file."""
        with contextlib.suppress(OSError):
            os.unlink(self._temporary)

    def write(self, generation: Generation) -> str | None:
        """Write the file and put it in place; return why that failed, None if it did not."""
        try:
            self.stage(generation)
        except StoreFailed as error:
            return str(error)
        return self.swap()

    def seems_damaged(self) -> bool:
        """Return whether the path does not lead to the file as it was written; may be wrong during a publish."""
        return is_changed(self.path, self._mark)

    def _give_to_group(self) -> None:
        fd = os.open(self._temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(fd).st_gid != self.gid:
                try:
                    os.fchown(fd, -1, self.gid)
                except OSError as error:
                    # Not a member of the group, and without CAP_CHOWN: the daemon serves its table nevertheless.
                    self.refusal = error.strerror or str(error)
                    return
            os.fchmod(fd, self._mode)
        finally:
            os.close(fd)


class StoreWithTableFile:
    """A store whose generations are in the table file as well, which is replaced directly after each swap.

    No client knows of a generation before the file has it, because `publish` returns after both renames.
    """

    def __init__(self, store: Store, table: TableFile) -> None:
        self._store = store
        self.table = table
        # The generation that the file must show.
        self._current: Generation | None = None

    @property
    def root(self) -> str:
        """The data root."""
        return self._store.root

    @property
    def next_number(self) -> int:
        """The number of the next generation."""
        return self._store.next_number

    def publish(
        self,
        generation: Generation,
        *,
        retain: int,
        trigger: Trigger | None = None,
        difference: Difference | None = None,
    ) -> str | None:
        """Make ``generation`` current, and drop old ones; return the failure after the swap, None for none.

        At least the newest ``retain`` generations are kept.

        Raises:
            StoreFailed: the old generation is still current, in the table file as well; the files of the new one are
                removed.
        """
        self.table.stage(generation)
        try:
            self._store.swap(self._store.stage(generation, trigger, difference))
        except StoreFailed:
            self.table.discard()
            raise
        self._current = generation
        # `settle` reports a failure, after it has tried again.
        self.table.swap()
        return self.settle(retain)

    def settle(self, retain: int) -> str | None:
        """Do as `Store.settle`, and write the table file if that has failed."""
        faults = [self._store.settle(retain)]
        if self._current is not None and not self.table.is_in_place:
            faults.append(self.table.write(self._current))
        return "; ".join(filter(None, faults)) or None

    def write_table(self, generation: Generation) -> str | None:
        """Write the table file for ``generation``, which is published already; return the failure, None for none."""
        self._current = generation
        return self.table.write(generation)

    def repair(self, generation: Generation) -> RepairOutcome:
        """Do as `Store.repair`, and write a damaged table file again."""
        outcome = self._store.repair(generation)
        if outcome.republish or not self.table.seems_damaged():
            return outcome
        fault = self.write_table(generation)
        if fault is not None:
            return outcome.with_remark(fault)
        return outcome.with_repair(self.table.path)
