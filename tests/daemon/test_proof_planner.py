"""A reload decides about the required proof as a fresh start with the same files and proofs does."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_invariants import WiredReloader

from runtimed.core.drift import BinaryState
from runtimed.core.errors import StartFailed, UnknownRuntime
from runtimed.core.history.trigger import Trigger
from runtimed.core.plan import Plan, plan
from runtimed.core.proof.record import Proof
from runtimed.core.table.resolve import find_runtime
from runtimed.daemon.proofs import ProofPlanner
from runtimed.inspection.proofs import Proofs

NAMES = ("a", "b", "runc", "io.containerd.kata.v2")
# A configuration, a test of a runtime with its outcome, or a replaced binary.
STEP = st.one_of(
    st.tuples(
        st.just("write"), st.sampled_from(NAMES), st.booleans(), st.dictionaries(st.sampled_from("ab"), st.booleans())
    ),
    st.tuples(st.just("test"), st.sampled_from(NAMES), st.sampled_from(["passed", "failed"])),
    st.tuples(st.just("replace"), st.sampled_from(("/a", "/b", "runc", "containerd-shim-kata-v2"))),
)


class Node:
    """A node with imaginary binaries, and a data root in a directory."""

    def __init__(self, root: Path, binaries: dict[str, int], text: str) -> None:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.binaries = binaries
        self.wired = WiredReloader(str(root), [text], self._plan)

    def _plan(self, *args: Any) -> Plan:
        return self.planner(*args)

    def look(self, names: Iterable[str]) -> Mapping[str, BinaryState]:
        return {name: BinaryState("available", name, (1, self.binaries.get(name, 0), 1, 1)) for name in names}

    async def start(self) -> None:
        recovered = self.wired.store.open(lambda _manifest, _text: {})
        kept, _ = self.wired.store.proofs.read()
        self.proofs = Proofs(kept, self.look, self.wired.store.proofs.write)
        self.planner = ProofPlanner(plan, self.proofs, recovered.last)
        await self.wired.reloader.start(
            self.wired.documents, recovered.last, recovered.config_text, published=recovered.published
        )

    def record(self, name: str, outcome: Any) -> None:
        generation = self.wired.reloader.current
        try:
            runtime = find_runtime(generation, name)
        except UnknownRuntime:
            return
        identity, _ = self.proofs.judge_now(runtime)
        test = Proof(name, outcome, "direct", runtime.answer.digest, identity or "", generation.number, 1.0, "")
        self.proofs.record(test, generation)

    def copy(self, root: Path) -> None:
        root.mkdir(parents=True, mode=0o700)
        for file in ("VERSION", "proofs.json"):
            if (source := Path(self.wired.store.root) / file).exists():
                shutil.copy2(source, root / file)

    async def outcome(self, root: Path, binaries: dict[str, int], text: str) -> tuple[bool, object]:
        """Return whether a start with a copy of this node's proofs succeeds, and its table."""
        self.copy(root)
        fresh = Node(root, binaries, text)
        try:
            await fresh.start()
        except StartFailed:
            return False, None
        finally:
            fresh.wired.store.close()
        return True, fresh.wired.table()


def document(default: str, required: bool, arguments: Mapping[str, bool]) -> str:
    entries = {name: {"path": f"/{name}", **({"runtimeArgs": ["x"]} if has else {})} for name, has in arguments.items()}
    return json.dumps({"runtimes": entries, "default-runtime": default, "runtimed": {"require-proof": required}})


@pytest.mark.timeout(400)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEP, max_size=8))
def test_a_reload_accepts_what_a_fresh_start_with_the_same_files_and_proofs_accepts(steps: list[Any]) -> None:
    asyncio.run(reload_and_start(steps))


async def reload_and_start(steps: list[Any]) -> None:
    with TemporaryDirectory() as directory:
        base = Path(directory) / "outside"
        binaries: dict[str, int] = {}
        node = Node(base / "reloaded", binaries, "{}")
        await node.start()
        text = "{}"
        for number, (kind, name, *more) in enumerate(steps):
            if kind == "test":
                node.record(name, *more)
            elif kind == "replace":
                binaries[name] = number + 1
            else:
                text = document(name, *more)
            node.wired.write([text])
            before = node.wired.table()
            report = await node.wired.reloader.reload(Trigger(("test",)))
            accepted, table = await node.outcome(base / f"fresh-{number}", binaries, text)
            assert (report.outcome != "rejected") == accepted, report
            assert node.wired.table() == (table if accepted else before)
        node.wired.store.close()
