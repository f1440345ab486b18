"""The drift watch on real files and a generation that names them."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from harness.generation import generation_of

from runtimed.core.drift import BinaryState, Drift
from runtimed.core.table.generation import Generation
from runtimed.inspection.binaries import NodeInspector
from runtimed.inspection.drift_watch import DriftWatch


def generation(runtimes: Mapping[str, object]) -> Generation:
    return generation_of({"runtimes": runtimes})


class Watching:
    """A watch on the binaries below a directory, and all drift that it has reported."""

    def __init__(self, base: Path) -> None:
        self.base = base
        # Looks, calls of `on_look`, and checks that have begun.
        self.looks = self.calls = self.checks = 0
        # Look after each check, after none, or fail in each.
        self.always, self.blind, self.fails = True, False, False
        # Cleared to let a check hang; `hung` is set while one does.
        self.released, self.hung = threading.Event(), threading.Event()
        self.released.set()
        # Cleared to let a look end late.
        self.ends = asyncio.Event()
        self.ends.set()
        # The states that were known at the beginning of each look.
        self.known: list[Mapping[str, BinaryState]] = []
        self.ended_by_load: list[Drift] = []
        self.hangs = False
        self.begun: list[Drift] = []
        self.ended: list[Drift] = []
        self._inspector = NodeInspector(str(base), lambda _binary, _features: None)
        self.watch = DriftWatch(self._look, self._on_look, self._seem_changed, every_s=0.01)

    async def _look(self, binaries: Iterable[str]) -> Mapping[str, BinaryState]:
        self.looks += 1
        self.known.append(self.watch.states)
        if self.hangs:
            raise TimeoutError
        states = self.states(binaries)
        await self.ends.wait()
        return states

    def states(self, binaries: Iterable[str]) -> Mapping[str, BinaryState]:
        return self._inspector.states(binaries)

    def _seem_changed(self, states: Mapping[str, BinaryState]) -> bool:
        self.checks += 1
        while not self.released.wait(0.001):
            self.hung.set()
        if self.fails:
            raise ValueError("a check")
        return not self.blind and (self.always or self._inspector.seem_changed(states))

    def _on_look(self, begun: Mapping[str, Drift], ended: Mapping[str, Drift], loaded: bool) -> None:
        self.calls += 1
        self.ended_by_load += ended.values() if loaded else ()
        self.begun += begun.values()
        self.ended += ended.values()

    def stop(self) -> None:
        self._inspector.stop()

    def put(self, name: str, mode: int = 0o755, text: str = "#!/bin/sh\n") -> Path:
        path = self.base / name
        new = self.base / ".new"
        new.write_text(text)
        new.chmod(mode)
        new.rename(path)
        return path

    async def looked(self) -> None:
        """Wait for a look that began after now."""
        looks = self.looks
        while self.looks < looks + 2:
            await asyncio.sleep(0.001)

    def kinds(self) -> dict[str, str]:
        return {binary: drift.kind for binary, drift in self.watch.drifts.items()}


@pytest.fixture
async def watching(tmp_path: Path) -> AsyncIterator[Watching]:
    watching = Watching(tmp_path)
    task = asyncio.create_task(watching.watch.watch())
    yield watching
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    watching.stop()


async def test_drift_is_reported_once(watching: Watching) -> None:
    runc, crun, late = (str(watching.base / name) for name in ("runc-x", "crun", "late"))
    for name in ("runc-x", "crun"):
        watching.put(name)
    watching.watch.apply(
        generation({"a": {"path": runc}, "b": {"path": runc}, "c": {"path": "crun"}, "d": {"path": late}})
    )
    await watching.looked()
    assert watching.kinds() == {}
    assert watching.watch.states[late].state == "missing"
    watching.put("runc-x", text="#!/bin/sh\n# another\n")
    os.chmod(crun, 0o600)
    watching.put("late")
    await watching.looked()
    assert watching.kinds() == {runc: "replaced", "crun": "unusable", late: "installed"}
    assert watching.watch.runtimes(runc) == ("a", "b")
    assert "not executable" in (watching.watch.drifts["crun"].reason or "")
    await watching.looked()
    assert len(watching.begun) == 3, "reported once"
    os.unlink(runc)
    os.chmod(crun, 0o755)
    await watching.looked()
    assert watching.kinds() == {runc: "removed", late: "installed"}
    assert [drift.binary for drift in watching.ended] == ["crun"]


async def checked(watching: Watching, times: int) -> None:
    checks = watching.checks
    while watching.checks < checks + times:
        await asyncio.sleep(0.001)


async def quiet(watching: Watching) -> None:
    """Make no check a reason to look, and wait until the looks that checks have caused are over."""
    watching.always = False
    await checked(watching, 3)
    # The event loop may have been late, and the last check that caused a look may still wait for it.
    for _ in range(10):
        await asyncio.sleep(0)


async def test_binaries_are_looked_at_only_when_a_check_finds_a_change(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A check that runs when the time is over could be one that hangs, and causes a look. Here none counts as running.
    monkeypatch.setattr(DriftWatch, "_is_checking", property(lambda _: False, lambda *_: None), raising=False)
    path = str(watching.put("x"))
    watching.watch.apply(generation({"x": {"path": path}}))
    await watching.looked()
    await quiet(watching)
    looks = watching.looks
    await checked(watching, 20)
    assert watching.looks == looks
    watching.put("x", text="#!/bin/sh\n# another\n")
    while not watching.kinds():
        await asyncio.sleep(0.001)
    assert watching.kinds() == {path: "replaced"}


async def test_the_health_is_compared_although_no_look_is_due(watching: Watching) -> None:
    watching.watch.apply(generation({"x": {"path": str(watching.put("x"))}}))
    await watching.looked()
    await quiet(watching)
    # Each look causes one call at most.
    while watching.calls < watching.looks + 2:
        await asyncio.sleep(0.001)


async def test_while_a_check_hangs_the_looks_go_on(watching: Watching) -> None:
    path = str(watching.put("x"))
    watching.watch.apply(generation({"x": {"path": path}}))
    await watching.looked()
    await quiet(watching)
    watching.released.clear()
    try:
        while not watching.hung.is_set():
            await asyncio.sleep(0.001)
        checks = watching.checks
        os.unlink(path)
        await watching.looked()
        await watching.looked()
        assert watching.kinds() == {path: "removed"}
        assert watching.checks == checks
    finally:
        watching.released.set()


async def test_looks_that_find_no_states_are_repeated(watching: Watching) -> None:
    path = str(watching.put("x"))
    watching.watch.apply(generation({"x": {"path": path}}))
    await watching.looked()
    await quiet(watching)
    watching.hangs = True
    watching.watch.look_soon()
    await watching.looked()
    # A check compares with the states that are known, and may find the same.
    watching.blind = True
    os.unlink(path)
    watching.hangs = False
    while not watching.kinds():
        await asyncio.sleep(0.001)
    assert watching.kinds() == {path: "removed"}


async def test_a_check_that_fails_causes_a_look(watching: Watching) -> None:
    watching.watch.apply(generation({"x": {"path": str(watching.put("x"))}}))
    await watching.looked()
    await quiet(watching)
    watching.fails = True
    await watching.looked()


async def test_the_binary_of_a_default_runtime_that_is_not_configured_is_watched(watching: Watching) -> None:
    shim = str(watching.put("containerd-shim-kata-v2"))
    watching.watch.apply(generation_of({"default-runtime": "io.containerd.kata.v2"}))
    await watching.looked()
    assert watching.watch.states["containerd-shim-kata-v2"].path == shim
    watching.put("containerd-shim-kata-v2")
    await watching.looked()
    assert watching.watch.runtimes("containerd-shim-kata-v2") == ("io.containerd.kata.v2",)
    assert watching.kinds() == {"containerd-shim-kata-v2": "replaced"}


async def test_states_of_another_look_count_until_the_next_one(watching: Watching) -> None:
    path = str(watching.put("x"))
    watching.watch.apply(generation({"x": {"path": path}}))
    await watching.looked()
    seen = watching.watch.states[path]
    watching.watch.update({path: BinaryState("missing")})
    assert watching.watch.states[path].state == "missing"
    assert watching.kinds() == {}
    await watching.looked()
    assert watching.watch.states[path] == seen


@pytest.mark.parametrize("another", ["load", "look"])
async def test_a_look_that_began_before_a_load_or_another_look_does_not_count(watching: Watching, another: str) -> None:
    path = str(watching.put("x"))
    loaded = generation({"x": {"path": path}})
    watching.watch.apply(loaded)
    await watching.looked()
    watching.ends.clear()
    looks = watching.looks
    while watching.looks == looks:
        await asyncio.sleep(0.001)
    watching.put("x", text="#!/bin/sh\n# another\n")
    if another == "load":
        watching.watch.apply(loaded)
    else:
        watching.watch.update(watching.states([path]))
    watching.ends.set()
    await watching.looked()
    assert watching.kinds() == ({} if another == "load" else {path: "replaced"})
    if another == "look":
        assert watching.known[looks + 1] == watching.watch.states, "the older states came back"


async def test_the_states_are_another_object_only_after_a_change(watching: Watching) -> None:
    path = watching.put("x")
    watching.watch.apply(generation({"x": {"path": str(path)}}))
    await watching.looked()
    seen = watching.watch.states
    watching.watch.update({str(path): seen[str(path)]})
    await watching.looked()
    assert watching.watch.states is seen
    path.unlink()
    await watching.looked()
    assert watching.watch.states is not seen


async def test_a_load_ends_drift(watching: Watching) -> None:
    path = str(watching.put("x"))
    watching.watch.apply(generation({"x": {"path": path}}))
    await watching.looked()
    os.unlink(path)
    await watching.looked()
    assert watching.kinds() == {path: "removed"}
    watching.watch.apply(generation({"x": {"path": path}}))
    await watching.looked()
    assert watching.kinds() == {}
    assert [drift.binary for drift in watching.ended_by_load] == [path]
    assert watching.watch.obstacle(path) is not None, "this load does not accept it"
    watching.watch.apply(generation({"x": {"path": path}}), accept=True)
    await watching.looked()
    assert watching.watch.obstacle(path) is None
    watching.put("x")
    await watching.looked()
    os.unlink(path)
    await watching.looked()
    assert watching.watch.obstacle(path) is not None, "it was available meanwhile, so this is another loss"


async def test_a_load_does_not_accept_a_new_binary_that_is_missing(watching: Watching) -> None:
    path = str(watching.base / "never")
    watching.watch.apply(generation({"x": {"path": path}}), accept=True)
    await watching.looked()
    assert watching.watch.obstacle(path) is not None
    watching.watch.apply(generation({"x": {"path": path}}), accept=True)
    await watching.looked()
    assert watching.watch.obstacle(path) is None


async def test_a_binary_that_is_missing_from_the_start_is_an_obstacle(watching: Watching) -> None:
    path = str(watching.base / "never")
    watching.watch.apply(generation({"x": {"path": path}}))
    await watching.looked()
    assert watching.watch.obstacle(path) is not None
    assert not watching.watch.was_available(path)


async def test_the_shim_of_a_runtime_and_the_binary_in_its_options_are_watched(watching: Watching) -> None:
    crun = str(watching.put("crun"))
    shim = watching.put("containerd-shim-runc-v2")
    entry = {"runtimeType": "io.containerd.runc.v2", "options": {"BinaryName": crun}}
    watching.watch.apply(generation({"x": entry, "kata": {"runtimeType": "io.containerd.kata.v2"}}))
    await watching.looked()
    os.unlink(shim)
    os.unlink(crun)
    await watching.looked()
    assert watching.kinds() == {"containerd-shim-runc-v2": "removed", crun: "removed"}
    assert watching.watch.states["containerd-shim-kata-v2"].state == "missing"


async def test_a_second_replacement_is_reported_as_well(watching: Watching) -> None:
    path = str(watching.put("x"))
    watching.watch.apply(generation({"x": {"path": path}}))
    await watching.looked()
    for number in range(2):
        watching.put("x", text=f"#!/bin/sh\n# {'again' * number}\n")
        await watching.looked()
    assert [drift.kind for drift in watching.begun] == ["replaced", "replaced"]


async def test_a_disk_that_hangs_is_no_drift(watching: Watching) -> None:
    path = str(watching.put("x"))
    watching.watch.apply(generation({"x": {"path": path}}))
    await watching.looked()
    watching.hangs = True
    await watching.looked()
    os.unlink(path)
    await watching.looked()
    assert watching.kinds() == {}
    watching.hangs = False
    await watching.looked()
    assert watching.kinds() == {path: "removed"}
