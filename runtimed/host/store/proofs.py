"""Keeps the proofs in a file of the data root."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Mapping
from types import MappingProxyType

from runtimed.core.errors import StoreFailed
from runtimed.core.proof.record import Proof, read_proofs, render_proofs
from runtimed.host.store.damage import OTHERS_WRITE
from runtimed.host.store.disk import FILE_MODE, failing_as, read_file, replace_file, sync_directory
from runtimed.host.store.marks import Mark, is_changed, mark_of
from runtimed.host.store.paths import Paths
from runtimed.host.store.repair import RepairOutcome

# A proof has about two kilobytes, and a table at most some ten thousand runtimes.
_MOST_BYTES = 64 << 20


class ProofFile:
    """The proofs of the data root with the id ``identity``. Its methods block.

    ``refusal`` returns why the data root must not be written. ``at_step`` is called before the file is replaced.
    """

    def __init__(
        self, paths: Paths, identity: str, refusal: Callable[[], str | None], at_step: Callable[[str], None]
    ) -> None:
        self._paths = paths
        self._identity = identity
        self._refusal = refusal
        self._at_step = at_step

        # The content of the file and its status, None while there is no file, or one that is not used.
        self._text: bytes | None = None
        self._mark: Mark | None = None

    def read(self) -> tuple[Mapping[str, Proof], str | None]:
        """Return the proofs by runtime, and why the file cannot be used: without proofs the tests are repeated."""
        path = self._paths.proofs
        try:
            state = os.lstat(path)
            text = read_file(path, _MOST_BYTES) if (reason := _distrust(state)) is None else b""
            proofs = read_proofs(text, self._identity) if reason is None else {}
        except FileNotFoundError:
            return MappingProxyType({}), None
        except OSError as error:
            reason = error.strerror or str(error)
        except ValueError as error:
            reason = str(error)
        if reason is not None:
            advice = "test the runtimes again: runtimectl test --all"
            return MappingProxyType({}), f"{path} is not used: {reason}; {advice}"
        self._text, self._mark = text, mark_of(state)
        return proofs, None

    def write(self, proofs: Mapping[str, Proof]) -> None:
        """Replace the file. Raises: StoreFailed: the file has its old content."""
        self._replace(render_proofs(proofs, self._identity))

    def seems_damaged(self) -> bool:
        """Return whether the path does not lead to the file as it was written; may be wrong while it is written."""
        return self._text is not None and is_changed(self._paths.proofs, self._mark)

    def repair(self, outcome: RepairOutcome) -> RepairOutcome:
        """Return ``outcome`` with the repair of the file, if it is missing or changed."""
        if self._text is None or not self.seems_damaged():
            return outcome
        try:
            self._replace(self._text)
        except StoreFailed as error:
            return outcome.with_remark(str(error))
        return outcome.with_repair(self._paths.proofs)

    def _replace(self, text: bytes) -> None:
        path = self._paths.proofs
        with failing_as("writing", path):
            if (refusal := self._refusal()) is not None:
                raise StoreFailed("writing", path, refusal)
            self._at_step("proofs")
            replace_file(path, text, FILE_MODE, sync=True)
            self._text, self._mark = text, mark_of(os.lstat(path))
        # The file is new already. If a power loss brings back the old one, its proofs are those of before the test.
        with contextlib.suppress(OSError):
            sync_directory(self._paths.root)


def _distrust(state: os.stat_result) -> str | None:
    """Return why a file must not decide which default runtime is accepted; None if only the daemon can write it."""
    if not stat.S_ISREG(state.st_mode):
        return "it is not a regular file"
    if state.st_uid != os.geteuid():
        return f"it belongs to user id {state.st_uid}"
    if state.st_mode & OTHERS_WRITE:
        return f"group or others can write it (mode {stat.S_IMODE(state.st_mode):04o})"
    return None
