"""Tests of the proofs of a node with imaginary binaries."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from harness.generation import generation_of

from runtimed.core.drift import BinaryState
from runtimed.core.errors import ProofOutdated, StoreFailed
from runtimed.core.proof.record import Proof
from runtimed.core.table.generation import Generation, Runtime
from runtimed.core.table.resolve import find_runtime
from runtimed.inspection.proofs import Proofs


class Node:
    """Binaries, whose inodes a test changes, and proofs, whose writes it makes fail."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.generation = generation_of(document)
        self.inodes: dict[str, int] = {}
        self.looked_at: list[str] = []
        self.written: list[Mapping[str, Proof]] = []
        self.is_full = False
        self.proofs = Proofs({}, self.look, self.write)

    def look(self, binaries: Iterable[str]) -> Mapping[str, BinaryState]:
        self.looked_at += binaries
        return {name: BinaryState("available", name, (1, self.inodes.get(name, 0), 1, 1)) for name in binaries}

    def write(self, proofs: Mapping[str, Proof]) -> None:
        if self.is_full:
            raise StoreFailed("writing", "proofs.json", "No space left on device")
        self.written.append(proofs)

    def runtime(self, name: str) -> Runtime:
        return find_runtime(self.generation, name)

    def tested(self, name: str, outcome: Any = "passed") -> Proof:
        """Return the proof of a runtime as it is now."""
        runtime = self.runtime(name)
        identity, _ = self.proofs.judge_now(runtime)
        return Proof(name, outcome, "direct", runtime.answer.digest, identity or "", 1, 1.0, "")

    def record(self, name: str, outcome: Any = "passed") -> None:
        self.proofs.record(self.tested(name, outcome), self.generation)

    def problem(self, generation: Generation | None = None, *, is_in_use: bool = True) -> str:
        found = self.proofs.check_default(generation or self.generation, lambda _runtime: is_in_use)
        return "" if found is None else found.message


TABLE = {
    "default-runtime": "a",
    "runtimes": {"a": {"path": "/a"}, "b": {"path": "/b"}, "kata": {"runtimeType": "io.containerd.kata.v2"}},
}


@pytest.fixture
def node() -> Node:
    return Node(TABLE)


def states(node: Node) -> Mapping[str, BinaryState]:
    return node.look(("/a", "/b", "runc", "containerd-shim-kata-v2"))


def test_a_shim_and_a_binary_are_both_part_of_an_identity(node: Node) -> None:
    for name, binary in (
        ("a", "/a"),
        ("kata", "containerd-shim-kata-v2"),
        ("io.containerd.x.v1", "containerd-shim-x-v1"),
    ):
        node.record(name)
        assert node.proofs.judge_now(node.runtime(name))[1]["state"] == "proved"
        node.inodes[binary] = 9
        assert node.proofs.judge_now(node.runtime(name))[1]["state"] == "outdated"


def test_a_summary_counts_each_runtime_of_the_table_and_is_kept_while_nothing_changes(node: Node) -> None:
    for name in ("a", "b", "kata"):
        node.record(name, "failed" if name == "kata" else "passed")
    looked = states(node)
    found = node.proofs.summarise(node.generation, looked)
    assert sum(found.states.values()) == len(node.generation.runtimes)
    assert (found.states["proved"], found.states["outdated"], found.default["state"]) == (2, 0, "proved")
    assert node.proofs.summarise(node.generation, looked) is found
    node.inodes["/a"] = 9
    later = node.proofs.summarise(node.generation, states(node))
    assert (later.states["proved"], later.states["outdated"], later.default["state"]) == (1, 1, "outdated")
    node.record("a", "failed")
    assert node.proofs.summarise(node.generation, looked).default["outcome"] == "failed"


def test_before_the_first_look_a_proof_counts_if_its_resolution_is_the_same(node: Node) -> None:
    node.record("a")
    node.looked_at.clear()
    assert node.proofs.summarise(node.generation, {}).default["state"] == "proved"
    assert node.proofs.judge(node.runtime("a"), {})[0] is None
    assert node.looked_at == []


def test_only_a_test_of_the_present_resolution_and_binaries_is_accepted(node: Node) -> None:
    proof = node.tested("a")
    assert dict(node.proofs.compare(node.runtime("a"), proof)) == dict(node.look(["/a"]))
    with pytest.raises(ProofOutdated, match="the resolution of a changed"):
        node.proofs.compare(node.runtime("a"), dataclasses.replace(proof, digest="x"))
    node.inodes["/a"] = 9
    with pytest.raises(ProofOutdated, match="a binary of a changed"):
        node.proofs.compare(node.runtime("a"), proof)


def test_a_proof_that_cannot_be_written_is_not_kept(node: Node) -> None:
    node.record("a")
    before = node.proofs.kept
    node.is_full = True
    with pytest.raises(StoreFailed):
        node.record("a", "failed")
    assert node.proofs.kept is before


def test_the_default_runtime_is_compared_with_the_binaries_of_now(node: Node) -> None:
    assert "(it was never tested)" in node.problem()
    node.record("a")
    assert node.problem() == ""
    node.inodes["/a"] = 9
    assert "(a binary changed after the test)" in node.problem()
    assert node.problem().endswith("run: runtimectl test a && runtimectl reload")


def test_only_a_runtime_that_is_proved_in_the_new_table_is_proposed_as_the_default_meanwhile(node: Node) -> None:
    for name in ("b", "kata"):
        node.record(name)
    assert '"default-runtime": "b", which is proved' in node.problem(is_in_use=False)
    node.inodes["/b"] = 9
    assert '"default-runtime": "kata", which is proved' in node.problem(is_in_use=False)
    changed = generation_of({**TABLE, "runtimes": {"a": {"path": "/a"}, "b": {"path": "/b"}}})
    assert '"require-proof": false' in node.problem(changed, is_in_use=False)
