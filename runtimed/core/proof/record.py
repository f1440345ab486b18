"""Judges proofs, the kept records of tests, and renders and reads the file that holds them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from runtimed.core.drift import BinaryState
from runtimed.core.history.manifest import is_sealed, seal, unseal

if TYPE_CHECKING:
    from runtimed.core import shapes

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Proof:
    """The record of the last test of a runtime, whose resolution and binaries ``digest`` and ``identity`` name."""

    runtime: str
    outcome: shapes.ProofOutcome
    engine: shapes.ProofEngine
    digest: str
    identity: str
    # The generation that was current when the proof was recorded.
    generation: int
    # Seconds since the epoch.
    time_s: float
    detail: str


def identify_binaries(binaries: Iterable[str], states: Mapping[str, BinaryState]) -> str | None:
    """Return the identity of ``binaries``, which changes when one is replaced; None if one is not in ``states``.

    It covers path, inode, size and time of the last change. It does not cover the device's number, which the next boot
    may give to another file system.
    """
    found = []
    for binary in binaries:
        if (seen := states.get(binary)) is None:
            return None
        found.append((binary, seen.path, None if seen.identity is None else seen.identity[1:]))
    return f"sha256:{hashlib.sha256(json.dumps(found).encode()).hexdigest()}"


def judge_proof(proof: Proof | None, digest: str, identity: str | None) -> shapes.Proof:
    """Return the JSON shape of ``proof``, with its state for the current ``digest`` and ``identity``.

    An ``identity`` of None is not known yet, and not compared.
    """
    if proof is None:
        return {
            "state": "not-proved",
            "time": None,
            "generation": None,
            "engine": None,
            "outcome": None,
            "detail": None,
        }
    changed = []
    if proof.digest != digest:
        changed.append("its resolution")
    if identity is not None and proof.identity != identity:
        changed.append("a binary")
    state: shapes.ProofState = "outdated" if changed else "proved"
    detail = f"{' and '.join(changed)} changed after the test" if changed else proof.detail
    if proof.outcome == "failed":
        state, detail = "not-proved", proof.detail
    return {
        "state": state,
        "time": proof.time_s,
        "generation": proof.generation,
        "engine": proof.engine,
        "outcome": proof.outcome,
        "detail": detail,
    }


def render_proofs(proofs: Mapping[str, Proof], data_root_id: str) -> bytes:
    """Return the file that holds ``proofs`` in the data root with this id."""
    # Entry by entry, because one json.dumps() of many would block the event loop.
    entries = ",\n".join(
        f"{json.dumps(name)}: {json.dumps({key: getattr(proof, key) for key in _KEYS})}"
        for name, proof in proofs.items()
    )
    head = f'{{\n"format": {FORMAT},\n"data_root": {json.dumps(data_root_id)},\n"proofs": {{\n{entries}\n}}'
    return seal(head.encode())


def read_proofs(data: bytes, data_root_id: str) -> Mapping[str, Proof]:
    """Return the proofs by runtime in ``data``, the content of the file in the data root with this id.

    Raises:
        ValueError: the file is damaged, or of another data root or format.
    """
    if not is_sealed(data):
        raise ValueError("its checksum does not match its content")
    try:
        found = json.loads(unseal(data))
        if found["format"] != FORMAT:
            raise ValueError(f"its format is {found['format']!r}, and this version knows {FORMAT}")
        if found["data_root"] != data_root_id:
            raise ValueError("it belongs to another data root")
        return MappingProxyType({name: _read(name, entry) for name, entry in found["proofs"].items()})
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"it is not complete: {error!r}") from error


_KEYS = ("outcome", "engine", "digest", "identity", "generation", "time_s", "detail")


def _read(name: str, entry: Any) -> Proof:
    return Proof(name, **{key: entry[key] for key in _KEYS})
