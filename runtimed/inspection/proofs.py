"""Holds the proofs, and compares them with the runtimes and the binaries of now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from runtimed.core.containerd.names import is_permissible_shim_name
from runtimed.core.drift import BinaryState
from runtimed.core.errors import Problem, ProofOutdated
from runtimed.core.proof.record import Proof, identify_binaries, judge_proof
from runtimed.core.proof.requirement import unproved_default
from runtimed.core.table.availability import watched_binaries
from runtimed.core.table.generation import Generation, Runtime
from runtimed.core.table.resolve import find_runtime

if TYPE_CHECKING:
    from runtimed.core import shapes


@dataclass(frozen=True, slots=True)
class ProofsSummary:
    """The proofs of one generation, as of the last look at the binaries: ``found`` are those of tested runtimes."""

    found: Mapping[str, shapes.Proof]
    # Runtimes of the table by state.
    states: Mapping[str, int]
    default: shapes.Proof


class Proofs:
    """The proofs by runtime, at first those of ``kept``; ``remark`` is why the file of earlier ones is not used.

    ``look`` returns the state of each binary, within bounded time, and blocks. ``write`` keeps proofs, or raises
    StoreFailed, and blocks.
    """

    def __init__(
        self,
        kept: Mapping[str, Proof],
        look: Callable[[Iterable[str]], Mapping[str, BinaryState]],
        write: Callable[[Mapping[str, Proof]], None],
        remark: str | None = None,
    ) -> None:
        self.kept = kept
        self.remark = remark
        self._look = look
        self._write = write
        # Identities by binaries, for the states of one look; a table is described more often than its binaries change.
        self._identities: tuple[Mapping[str, BinaryState], dict[tuple[str, ...], str | None]] = ({}, {})
        # The last summary, with its inputs.
        self._summary: tuple[tuple[object, ...], ProofsSummary] | None = None

    def judge_now(self, runtime: Runtime) -> tuple[str | None, shapes.Proof]:
        """Return the identity of the binaries of ``runtime`` and its proof, after a look at them. Blocks."""
        return self.judge(runtime, self._look(watched_binaries(runtime)))

    def judge(self, runtime: Runtime, states: Mapping[str, BinaryState]) -> tuple[str | None, shapes.Proof]:
        """Return the same for the ``states`` of the binaries."""
        looked_at, known = self._identities
        if looked_at is not states:
            known = {}
            self._identities = states, known
        binaries = watched_binaries(runtime)
        if binaries not in known:
            known[binaries] = identify_binaries(binaries, states)
        identity = known[binaries]
        return identity, judge_proof(self.kept.get(runtime.name), runtime.answer.digest, identity)

    def summarise(self, generation: Generation, states: Mapping[str, BinaryState]) -> ProofsSummary:
        """Return the summary for ``generation`` and the ``states`` of its binaries. Does not block."""
        inputs = *generation.key, states, self.kept
        if self._summary is not None and all(a is b for a, b in zip(self._summary[0], inputs, strict=True)):
            return self._summary[1]
        runtimes = generation.runtimes
        found = {name: self.judge(runtimes[name], states)[1] for name in self.kept if name in runtimes}
        counts: dict[str, int] = {"proved": 0, "not-proved": len(runtimes) - len(found), "outdated": 0}
        for proof in found.values():
            counts[proof["state"]] += 1
        default = find_runtime(generation, generation.config.default_runtime)
        summary = ProofsSummary(found, counts, self.judge(default, states)[1])
        self._summary = inputs, summary
        return summary

    def compare(self, runtime: Runtime, proof: Proof) -> Mapping[str, BinaryState]:
        """Compare ``proof`` with ``runtime`` and its binaries; return their states. Blocks. Raises: ProofOutdated."""
        states = self._look(watched_binaries(runtime))
        identity, _ = self.judge(runtime, states)
        if proof.digest != runtime.answer.digest:
            raise ProofOutdated(runtime.name, "the resolution")
        if proof.identity != identity:
            raise ProofOutdated(runtime.name, "a binary")
        return states

    def check_default(self, generation: Generation, is_in_use: Callable[[Runtime], bool]) -> Problem | None:
        """Return the problem that the default runtime of ``generation`` is not proved; None if it is. Blocks.

        ``is_in_use`` returns whether a runtime has the same resolution in the generation that clients get.
        """
        default = find_runtime(generation, generation.config.default_runtime)
        _, proof = self.judge_now(default)
        if proof["state"] == "proved":
            return None
        tested = [runtime for name, runtime in generation.runtimes.items() if name in self.kept]
        states = self._look({binary: None for runtime in tested for binary in watched_binaries(runtime)})
        proved = [runtime.name for runtime in tested if self.judge(runtime, states)[1]["state"] == "proved"]
        return unproved_default(generation.config, proof, is_in_use=is_in_use(default), proved=proved)

    def record(self, proof: Proof, generation: Generation) -> None:
        """Keep ``proof``, and drop the proofs of runtimes that ``generation`` does not know. Blocks.

        It must always be called in the same thread, so that it loses no proof. Raises: StoreFailed.
        """
        kept = {
            name: each
            for name, each in self.kept.items()
            if name in generation.runtimes or is_permissible_shim_name(name)
        }
        kept[proof.runtime] = proof
        self._write(kept)
        self.kept, self.remark = MappingProxyType(kept), None
