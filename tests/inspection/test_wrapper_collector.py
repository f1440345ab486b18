"""The collector on a real data root: scan, judgement, removal."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from runtimed.core.collection.collect import LEAST_GRACE_S
from runtimed.core.collection.references import Reference, ReferenceScan
from runtimed.core.config import Config, Definition, Settings
from runtimed.core.history.manifest import rebuild_scripts
from runtimed.core.table.facts import Facts
from runtimed.core.table.generation import Host, build_generation
from runtimed.host.store import Store
from runtimed.host.worker import Worker
from runtimed.inspection.wrapper_collector import Collector


class WrapperStore:
    """A store with three published runtimes of which only one is still in a retained generation."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.wall_s = 0.0
        self.now_s = 0.0
        self.worker = Worker("working")
        self.fail = False
        self.store = Store(str(root), clock=lambda: self.wall_s, monotonic_s=lambda: self.wall_s, at_step=self._step)
        self.store.open(rebuild_scripts)
        self.scan = ReferenceScan((), ())
        self.scans = 0
        self.grace_s = 100.0
        self.removed: list[tuple[str, str]] = []
        self.collector = Collector(
            self.store,
            scan=self._scan_references,
            disk=self.worker.run,
            grace_s=lambda: self.grace_s,
            on_removed=lambda file, asked_by: self.removed.append((file, asked_by)),
            clock_s=lambda: self.now_s,
        )

    def _step(self, step: str) -> None:
        if self.fail and step == "collect":
            raise OSError(30, "Read-only file system")

    async def _scan_references(self) -> ReferenceScan:
        self.scans += 1
        return self.scan

    def publish(self, *names: str) -> None:
        settings = Settings(str(self.root), "/exec", ("unix:///s",))
        runtimes = {name: Definition(name, path="/bin/true", args=(name,)) for name in names}
        host = Host(Facts(cgroup2=False, systemd=False, ramdisk=False), str(self.root), "/exec")
        generation = build_generation(Config("/d.json", settings, runtimes), host, self.store.next_number)
        # Old enough that only the newest two are retained.
        self.wall_s += 4000
        assert self.store.publish(generation, retain=2) is None
        self.collector.published(generation)

    def wrappers(self) -> list[str]:
        return sorted(name.partition("-")[0] for name in os.listdir(self.root / "wrappers"))

    def links(self) -> list[str]:
        return sorted(os.listdir(self.root / "runtimes"))


@pytest.fixture
async def node(tmp_path: Path) -> Any:
    node = WrapperStore(tmp_path)
    yield node
    node.store.close()
    node.worker.close()


async def collect_after(node: WrapperStore, seconds: float, **more: Any) -> list[str]:
    await node.collector.collect("uid 0", dry_run=True)
    node.now_s += seconds
    collection = await node.collector.collect("uid 0", **{"dry_run": False, **more})
    return sorted(file.partition("-")[0] for file in collection.collected)


async def test_an_unreferenced_wrapper_is_removed_with_its_link_after_the_grace_time(
    node: WrapperStore,
) -> None:
    node.publish("old", "stays")
    node.publish("stays")
    node.publish("stays", "new")
    assert node.links() == ["new", "old", "stays"]
    assert await collect_after(node, 99) == []
    assert await collect_after(node, 100) == ["old"]
    assert node.wrappers() == ["new", "stays"]
    assert node.links() == ["new", "stays"]
    assert [asked_by for _, asked_by in node.removed] == ["uid 0"]


async def test_the_next_publish_makes_no_link_to_a_collected_wrapper(node: WrapperStore) -> None:
    node.publish("old")
    node.publish()
    node.publish("a")
    await collect_after(node, 100)
    node.publish("b")
    assert node.links() == ["a", "b"]
    node.store.close()
    recovered = node.store.open(rebuild_scripts)
    assert recovered.published
    assert recovered.faults == ()


async def test_a_runtime_that_returns_after_its_wrapper_was_collected_gets_it_again(node: WrapperStore) -> None:
    node.publish("old")
    node.publish()
    node.publish("a")
    assert await collect_after(node, 100) == ["old"]
    node.publish("old")
    assert (node.root / "runtimes/old").read_text().endswith('exec /bin/true old "$@"\n')


async def test_a_dry_run_removes_nothing(node: WrapperStore) -> None:
    node.publish("old")
    node.publish()
    node.publish()
    assert await collect_after(node, 100, dry_run=True) == []
    assert node.wrappers() == ["old"]


async def test_a_reference_or_a_doubt_keeps_a_wrapper(node: WrapperStore) -> None:
    node.publish("old")
    node.publish()
    node.publish()
    node.scan = ReferenceScan((Reference(f"{node.root}/runtimes/old", "container moby/x"),), ())
    assert await collect_after(node, 100) == []
    node.scan = ReferenceScan((), ("unreadable",))
    assert await collect_after(node, 100) == []
    assert node.wrappers() == ["old"]


async def test_without_a_grace_time_a_wrapper_stays_for_the_least_grace_time(
    node: WrapperStore,
) -> None:
    node.grace_s = 0.0
    node.publish("old")
    node.publish()
    node.publish()
    # Two scans, and no time between them; then some; then enough.
    assert await collect_after(node, 0) == []
    assert await collect_after(node, LEAST_GRACE_S - 1) == []
    assert await collect_after(node, 1) == ["old"]


async def test_a_wrapper_that_was_named_between_two_scans_starts_a_new_grace_time(node: WrapperStore) -> None:
    node.publish("old")
    node.publish()
    node.publish()
    await node.collector.collect("uid 0", dry_run=True)
    node.now_s += 100
    # Named, and no longer named when the next scan begins.
    for names in (("old",), (), ()):
        node.publish(*names)
    collection = await node.collector.collect("uid 0", dry_run=False)
    assert [verdict.reason for verdict in collection.verdicts] == ["nothing refers to it, but only for 0 of 100 s"]


async def test_a_generation_that_names_the_wrapper_before_the_removal_keeps_it(node: WrapperStore) -> None:
    node.publish("old")
    node.publish()
    node.publish()
    await node.collector.collect("uid 0", dry_run=True)
    node.now_s += 100
    real = node.worker.run

    async def race(function: Callable[..., Any], *args: Any) -> Any:
        if function == node.store.remove_wrapper:
            await real(node.publish, "old")
        return await real(function, *args)

    node.collector._disk = race
    collection = await node.collector.collect("uid 0", dry_run=False)
    assert collection.collected == ()
    assert "names it" in collection.verdicts[0].reason
    assert (node.root / "runtimes/old").exists()


async def test_a_removal_that_fails_is_in_the_verdict_and_has_no_other_effect(node: WrapperStore) -> None:
    node.publish("old")
    node.publish()
    node.publish()
    await node.collector.collect("uid 0", dry_run=True)
    node.now_s += 100
    node.fail = True
    collection = await node.collector.collect("uid 0", dry_run=False)
    assert "Read-only file system" in collection.verdicts[0].reason
    assert node.wrappers() == ["old"]
    assert node.removed == []


async def test_no_scan_is_made_when_retained_generations_hold_every_wrapper(node: WrapperStore) -> None:
    node.publish("a")
    await node.collector.collect("uid 0", dry_run=False)
    assert node.scans == 0


@pytest.mark.parametrize("automatic", [True, False])
async def test_the_watch_scans_again_and_collects_only_where_that_is_configured(
    node: WrapperStore, automatic: bool
) -> None:
    node.publish("old")
    node.publish()
    node.publish()
    task = asyncio.create_task(node.collector.watch(lambda: automatic, every_s=0.01))
    while node.scans < 2:
        await asyncio.sleep(0.01)
    node.now_s += 100
    seen = node.scans
    while node.scans < seen + 3 and node.wrappers():
        await asyncio.sleep(0.01)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert node.wrappers() == ([] if automatic else ["old"])
