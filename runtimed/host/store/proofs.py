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
from runtimed.host.store.paths import Paths

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

    def read(self) -> tuple[Mapping[str, Proof], str | None]:
        """Return the proofs by runtime, and why the file cannot be used: without proofs the tests are repeated."""
        path, reason = self._paths.proofs, None
        try:
            state = os.lstat(path)
            # Who may write the file decides which default runtime is accepted.
            if not stat.S_ISREG(state.st_mode):
                reason = "it is not a regular file"
            elif state.st_uid != os.geteuid():
                reason = f"it belongs to user id {state.st_uid}"
            elif state.st_mode & OTHERS_WRITE:
                reason = f"group or others can write it (mode {stat.S_IMODE(state.st_mode):04o})"
            else:
                return read_proofs(read_file(path, _MOST_BYTES), self._identity), None
        except FileNotFoundError:
            return MappingProxyType({}), None
        except OSError as error:
            reason = error.strerror or str(error)
        except ValueError as error:
            reason = str(error)
        return MappingProxyType({}), f"{path} is not used: {reason}; test the runtimes again (runtimectl test --all)"

    def write(self, proofs: Mapping[str, Proof]) -> None:
        """Replace the file. Raises: StoreFailed: the file has its old content."""
        with failing_as("writing", self._paths.proofs):
            if (refusal := self._refusal()) is not None:
                raise StoreFailed("writing", self._paths.proofs, refusal)
            self._at_step("proofs")
            replace_file(self._paths.proofs, render_proofs(proofs, self._identity), FILE_MODE, sync=True)
        # The file is new already. If a power loss brings back the old one, its proofs are as good as before the test.
        with contextlib.suppress(OSError):
            sync_directory(self._paths.root)
