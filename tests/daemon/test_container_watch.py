"""Tests of the looks at containers: their thread, their bounded time, and their failures."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from harness.daemon import PATIENCE_S
from harness.generation import generation_of

from runtimed.core.config import Engine
from runtimed.core.containers import Kept
from runtimed.core.pins import Pin
from runtimed.daemon import container_watch
from runtimed.daemon.container_watch import ContainerWatch
from runtimed.host.pins import PinDirectory


@dataclass
class StoreOfNames:
    """A store in which each stable path had one target, in generation 3."""

    root: str

    @property
    def retained(self) -> StoreOfNames:
        return self

    def target_at(self, _link: str, _time_s: float) -> str | None:
        return None

    def name_of(self, link: str) -> str:
        return link.upper()

    def generation_of(self, _link: str, _target: str) -> int | None:
        return 3


@dataclass
class Node:
    """A container watch on a directory, with the names of the threads in which it reads pins."""

    root: Path
    stack: contextlib.AsyncExitStack
    watch: ContainerWatch = field(init=False)
    pins: PinDirectory = field(init=False)

    def __post_init__(self) -> None:
        store: Any = StoreOfNames(f"{self.root}/data")
        self.watch = ContainerWatch(store, str(self.root), self.stack)
        self.pins = PinDirectory(f"{self.root}/pins")

    def hang(self, monkeypatch: pytest.MonkeyPatch, name: str) -> threading.Event:
        """Make a function of the module, or of the pins, wait for the event that is returned."""
        event = threading.Event()
        owner = container_watch if hasattr(container_watch, name) else self.watch.pinned
        monkeypatch.setattr(owner, name, lambda *_args, **_kwargs: event.wait(PATIENCE_S))
        return event


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with contextlib.AsyncExitStack() as stack:
        yield Node(tmp_path, stack)


async def test_the_watch_looks_again_also_after_an_error(node: Node) -> None:
    looks = 0

    def engines() -> tuple[Engine, ...]:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise RuntimeError("a bug")
        return ()

    assert node.pins.make() is None
    assert node.pins.add(Pin("x", "/r", "a", str(node.root), f"{node.root}/gone", "/x")) is None
    task = asyncio.create_task(node.watch.watch(engines, every_s=0.001))
    while looks < 4:
        await asyncio.sleep(0.001)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert os.listdir(node.pins.path) == []


async def test_a_start_makes_the_directory_and_copies_the_pins_of_an_earlier_exec_root(node: Node) -> None:
    earlier = node.root / "earlier"
    earlier.mkdir()
    assert PinDirectory(f"{earlier}/pins").make() is None
    pin = Pin("x", "/r", "a", "", "", "/x")
    assert PinDirectory(f"{earlier}/pins").add(pin) is None
    await node.watch.take_over(str(earlier), ())
    assert node.watch.pinned.read() == (pin,)


async def test_a_start_goes_on_while_an_engine_hangs(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_watch, "_TAKE_OVER_TIMEOUT_S", 0.01)
    released = node.hang(monkeypatch, "take_over")
    await node.watch.take_over(None, ())
    released.set()


async def test_a_start_goes_on_after_an_error(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object) -> None:
        raise OSError("unexpected")

    monkeypatch.setattr(node.watch.pinned, "take_over", fail)
    await node.watch.take_over(None, ())


async def test_containers_are_compared_with_a_generation_also_while_a_scan_hangs(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert node.pins.make() is None
    assert node.pins.add(Pin("x", "/r", "a", "", "", "/old")) is None
    released = node.hang(monkeypatch, "scan_references")
    scan = asyncio.create_task(node.watch.find_references(()))
    await asyncio.sleep(0)
    for path, kept in (("/old", ()), ("/new", (Kept("X", 1, 3, "/old"),))):
        generation = generation_of({"runtimes": {"x": {"path": path}}})
        assert await node.watch.find_kept(generation) == kept
        assert [each.outdated for each in node.watch.describe(generation)] == [bool(kept)]
    released.set()
    await scan


async def test_references_are_those_of_pins_too(node: Node) -> None:
    wrapper = f"{node.root}/data/wrappers/x-{'0' * 32}"
    assert node.pins.make() is None
    assert node.pins.add(Pin("x", "/r", "a", "", "", wrapper)) is None
    for scan in (await node.watch.find_references(()), await node.watch.find_pin_references()):
        assert (wrapper, "container a (pin)") in [(one.path, one.holder) for one in scan.references]


async def test_a_look_that_hangs_ends_with_an_error(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_watch, "SCAN_TIMEOUT_S", 0.01)
    released = node.hang(monkeypatch, "look")
    with pytest.raises(TimeoutError):
        await node.watch.look(())
    released.set()


async def test_a_containerd_that_does_not_answer_is_unknown(node: Node) -> None:
    engine = Engine(f"{node.root}/no.sock", str(node.root), None)
    unknown = (await node.watch.find_references((engine,))).unknown
    assert any(f"{node.root}/no.sock" in fault for fault in unknown)
    assert not any("the reference scan failed" in fault for fault in unknown)


async def test_a_scan_that_hangs_or_fails_knows_nothing(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(container_watch, "SCAN_TIMEOUT_S", 0.01)
    released = node.hang(monkeypatch, "scan_references")
    assert (await node.watch.find_references(())).unknown == ("the reference scan took longer than 0.01 s",)
    released.set()
    monkeypatch.setattr(container_watch, "SCAN_TIMEOUT_S", 10.0)
    monkeypatch.setattr(container_watch, "scan_references", fail)
    assert (await node.watch.find_references(())).unknown == ("the reference scan failed: RuntimeError('a bug')",)
