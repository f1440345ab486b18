"""Holds the proofs, and compares them with the runtimes and the binaries of now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from runtimed.core.containerd.names import is_implicit
from runtimed.core.drift import BinaryState
from runtimed.core.errors import ProofOutdated
from runtimed.core.proof.record import Proof, identify_binaries, judge_proof
from runtimed.core.table.generation import Generation, Runtime
from runtimed.inspection.drift_watch import watched_binaries

if TYPE_CHECKING:
    from runtimed.core import shapes


class Proofs:
    """The proofs by runtime, at first those of ``kept``.

    ``look`` returns the state of each binary, within bounded time, and blocks. ``write`` keeps proofs, or raises
    StoreFailed, and blocks.
    """

    def __init__(
        self,
        kept: Mapping[str, Proof],
        look: Callable[[Iterable[str]], Mapping[str, BinaryState]],
        write: Callable[[Mapping[str, Proof]], None],
    ) -> None:
        self.kept = kept
        self._look = look
        self._write = write

    def now(self, runtime: Runtime) -> tuple[str | None, shapes.Proof]:
        """Return the identity of the binaries of ``runtime`` and its proof, after a look at them. Blocks."""
        return self.seen(runtime, self._look(watched_binaries(runtime)))

    def seen(self, runtime: Runtime, states: Mapping[str, BinaryState]) -> tuple[str | None, shapes.Proof]:
        """Return the same for the ``states`` of the binaries."""
        identity = identify_binaries(watched_binaries(runtime), states)
        return identity, judge_proof(self.kept.get(runtime.name), runtime.answer.digest, identity)

    def compare(self, runtime: Runtime, proof: Proof) -> None:
        """Compare ``proof`` with ``runtime`` and its binaries. Blocks. Raises: ProofOutdated."""
        identity, _ = self.now(runtime)
        if proof.digest != runtime.answer.digest:
            raise ProofOutdated(runtime.name, "the resolution")
        if proof.identity != identity:
            raise ProofOutdated(runtime.name, "a binary")

    def record(self, proof: Proof, generation: Generation) -> None:
        """Keep ``proof``, and drop the proofs of runtimes that ``generation`` does not know. Blocks.

        It must always be called in the same thread, so that it loses no proof. Raises: StoreFailed.
        """
        kept = {name: each for name, each in self.kept.items() if name in generation.runtimes or is_implicit(name)}
        kept[proof.runtime] = proof
        self._write(kept)
        self.kept = MappingProxyType(kept)
