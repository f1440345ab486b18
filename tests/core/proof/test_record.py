"""Tests of the proofs' states, and of the file that holds them."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimed.core.drift import BinaryState
from runtimed.core.history.manifest import seal
from runtimed.core.proof.record import Proof, identify_binaries, judge_proof, read_proofs, render_proofs

PROOF = Proof("a", "passed", "direct", "sha256:d", "sha256:i", 3, 1.5, "Linux 6.1")
RUNSC = BinaryState("available", "/usr/bin/runsc", (1, 2, 3, 4))
PROOFS = st.dictionaries(
    st.text(min_size=1),
    st.builds(
        Proof,
        runtime=st.just(""),
        outcome=st.sampled_from(["passed", "failed"]),
        engine=st.sampled_from(["direct", "containerd"]),
        digest=st.text(),
        identity=st.text(),
        generation=st.integers(0, 10**9),
        time_s=st.floats(0, 1e10),
        detail=st.text(),
    ),
    max_size=5,
).map(lambda found: {name: dataclasses.replace(proof, runtime=name) for name, proof in found.items()})


@pytest.mark.parametrize(
    "changed",
    [
        BinaryState("available", "/usr/local/bin/runsc", (1, 2, 3, 4)),
        BinaryState("available", "/usr/bin/runsc", (1, 9, 3, 4)),
        BinaryState("available", "/usr/bin/runsc", (1, 2, 9, 4)),
        BinaryState("available", "/usr/bin/runsc", (1, 2, 3, 9)),
        BinaryState("missing", reason="no such file"),
        BinaryState("unusable", reason="its file system does not answer"),
    ],
)
def test_each_change_of_a_binary_gives_another_identity(changed: BinaryState) -> None:
    assert identify_binaries(["runsc"], {"runsc": RUNSC}) != identify_binaries(["runsc"], {"runsc": changed})


def test_a_boot_that_gives_the_file_system_another_device_number_keeps_the_identity() -> None:
    rebooted = dataclasses.replace(RUNSC, identity=(77, 2, 3, 4))
    assert identify_binaries(["runsc"], {"runsc": RUNSC}) == identify_binaries(["runsc"], {"runsc": rebooted})


def test_a_probe_that_finds_the_same_file_unusable_keeps_the_identity() -> None:
    refused = dataclasses.replace(RUNSC, state="unusable", reason="exec format error")
    assert identify_binaries(["runsc"], {"runsc": RUNSC}) == identify_binaries(["runsc"], {"runsc": refused})


def test_the_identity_of_a_binary_without_a_look_is_not_known() -> None:
    assert identify_binaries(["runsc", "shim"], {"runsc": RUNSC}) is None


@pytest.mark.parametrize(
    ("proof", "digest", "identity", "state", "detail"),
    [
        (None, "sha256:d", "sha256:i", "not-proved", None),
        (PROOF, "sha256:d", "sha256:i", "proved", "Linux 6.1"),
        # No look yet
        (PROOF, "sha256:d", None, "proved", "Linux 6.1"),
        (PROOF, "sha256:x", None, "outdated", "its resolution changed after the test"),
        (PROOF, "sha256:x", "sha256:i", "outdated", "its resolution changed after the test"),
        (PROOF, "sha256:d", "sha256:x", "outdated", "a binary changed after the test"),
        (PROOF, "sha256:x", "sha256:x", "outdated", "its resolution and a binary changed after the test"),
        # Also where it failed with other binaries
        (dataclasses.replace(PROOF, outcome="failed", detail="hangs"), "sha256:d", "sha256:x", "not-proved", "hangs"),
    ],
)
def test_a_proof_counts_for_the_tested_resolution_and_binaries_only(
    proof: Proof | None, digest: str, identity: str | None, state: str, detail: str | None
) -> None:
    found = judge_proof(proof, digest, identity)
    assert (found["state"], found["detail"]) == (state, detail)
    assert found["outcome"] == (None if proof is None else proof.outcome)


@given(PROOFS, st.text())
def test_the_file_gives_back_what_was_written(proofs: dict[str, Proof], identity: str) -> None:
    assert dict(read_proofs(render_proofs(proofs, identity), identity)) == proofs


@given(st.data())
def test_no_damaged_file_is_read(data: st.DataObject) -> None:
    text = render_proofs({"a": PROOF}, "id")
    place = data.draw(st.integers(0, len(text) - 1))
    byte = bytes([data.draw(st.integers(0, 255).filter(lambda value: value != text[place]))])
    for damaged in (text[:place], text[:place] + byte + text[place + 1 :], text + byte):
        with pytest.raises(ValueError, match="checksum"):
            read_proofs(damaged, "id")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"format": 2, "data_root": "id", "proofs": {}}, "its format is 2, and this version knows 1"),
        ({"format": 1, "data_root": "other", "proofs": {}}, "it belongs to another data root"),
        ({"format": 1, "data_root": "id"}, "it is not complete: KeyError"),
        ({"format": 1, "data_root": "id", "proofs": []}, "it is not complete: AttributeError"),
        ({"format": 1, "data_root": "id", "proofs": {"a": {"outcome": "passed"}}}, "it is not complete: KeyError"),
    ],
)
def test_a_foreign_file_is_refused_with_the_reason(body: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_proofs(seal(json.dumps(body).encode()[:-1]), "id")
