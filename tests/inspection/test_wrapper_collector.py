"""The collector on a real data root: scan, judgement, removal."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from harness.data_root import DataRoot

from runtimed.core.collection.collect import LEAST_GRACE_S
from runtimed.core.collection.references import Reference, ReferenceScan, references_of_pins
from runtimed.core.history.manifest import rebuild_scripts
from runtimed.core.pins import Pin
from runtimed.host.worker import Worker
from runtimed.inspection import wrapper_collector
from runtimed.inspection.wrapper_collector import Collector


class WrapperStore:
    """A store with three published runtimes of which only one is still in a retained generation."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now_s = 0.0
        self.worker = Worker("working")
        self.data = DataRoot(root)
        self.data.open()
        self.scan = ReferenceScan((), ())
        self.scans = 0
        self.pins = ReferenceScan((), ())
        # The files that are there at each reading of the pins.
        self.pins_read_with: list[list[str]] = []
        self.grace_s = 100.0
        self.removed: list[tuple[str, str]] = []
        self.collector = self._new_collector()

    def _new_collector(self) -> Collector:
        return Collector(
            self.data.store,
            scan=self._scan_references,
            read_pins=self._read_pins,
            disk=self.worker.run,
            grace_s=lambda: self.grace_s,
            on_removed=lambda file, asked_by: self.removed.append((file, asked_by)),
            clock_s=lambda: self.now_s,
            loaded_s=0,
        )

    async def _scan_references(self) -> ReferenceScan:
        self.scans += 1
        return self.scan

    async def _read_pins(self) -> ReferenceScan:
        self.pins_read_with.append(os.listdir(self.root / "wrappers"))
        return self.pins

    def publish(self, *names: str) -> None:
        # Old enough that only the newest two are retained.
        self.data.now += 4000
        self.data.publish(retain=2, **{name: [name] for name in names})

    def restart(self) -> None:
        """Go on as another process."""
        self.data.open()
        self.collector = self._new_collector()

    def wrappers(self) -> list[str]:
        """Return the names of the runtimes that have a wrapper or a launcher."""
        return sorted({name.partition("-")[0] for name in os.listdir(self.root / "wrappers")})

    def links(self) -> list[str]:
        return sorted(os.listdir(self.root / "runtimes"))


@pytest.fixture
async def node(tmp_path: Path) -> Any:
    node = WrapperStore(tmp_path)
    yield node
    node.data.store.close()
    node.worker.close()


async def collect_after(node: WrapperStore, seconds: float, **more: Any) -> list[str]:
    await node.collector.collect("uid 0", dry_run=True)
    node.now_s += seconds
    collection = await node.collector.collect("uid 0", **{"dry_run": False, **more})
    return sorted({file.partition("-")[0] for file in collection.collected})


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
    assert [asked_by for _, asked_by in node.removed] == ["uid 0"] * 2


async def test_the_next_publish_makes_no_link_to_a_collected_wrapper(node: WrapperStore) -> None:
    node.publish("old")
    node.publish()
    node.publish("a")
    await collect_after(node, 100)
    node.publish("b")
    assert node.links() == ["a", "b"]
    node.data.store.close()
    recovered = node.data.store.open(rebuild_scripts)
    assert recovered.published
    assert recovered.faults == ()


async def test_a_runtime_that_returns_after_its_wrapper_was_collected_gets_it_again(node: WrapperStore) -> None:
    node.publish("old")
    node.publish()
    node.publish("a")
    assert await collect_after(node, 100) == ["old"]
    node.publish("old")
    assert "exec /bin/old old " in (node.root / "runtimes/old").read_text()
    assert node.wrappers() == ["a", "old"]


async def test_a_dry_run_removes_nothing(node: WrapperStore) -> None:
    node.publish("old")
    node.publish()
    node.publish()
    assert await collect_after(node, 100, dry_run=True) == []
    assert node.wrappers() == ["old"]


async def test_a_request_gets_the_verdict_on_each_wrapper(node: WrapperStore) -> None:
    node.publish("old")
    node.publish()
    node.publish("held")
    collection = await node.collector.collect("uid 0", dry_run=True)
    assert [verdict.file for verdict in collection.verdicts] == sorted(os.listdir(node.root / "wrappers"))
    assert len(collection.verdicts) == 4


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


async def test_responses_from_the_generations_of_an_earlier_process_name_their_wrappers_as_well(
    node: WrapperStore,
) -> None:
    node.grace_s = 0.0
    node.publish("old")
    node.publish()
    node.restart()
    await node.collector.collect("uid 0", dry_run=True)
    node.publish()
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
    reasons = [verdict.reason for verdict in collection.verdicts]
    assert reasons == ["nothing refers to it, but only for 0 of 100 s"] * 2


async def test_a_generation_that_names_the_wrapper_before_the_removal_keeps_it(node: WrapperStore) -> None:
    node.publish("old")
    node.publish()
    node.publish()
    await node.collector.collect("uid 0", dry_run=True)
    node.now_s += 100
    real = node.worker.run

    async def race(function: Callable[..., Any], *args: Any) -> Any:
        if function == node.data.store.remove_wrapper:
            await real(node.publish, "old")
        return await real(function, *args)

    node.collector._disk = race
    collection = await node.collector.collect("uid 0", dry_run=False)
    assert collection.collected == ()
    assert "names it" in collection.verdicts[0].reason
    assert (node.root / "runtimes/old").exists()


def launcher_and_wrapper(node: WrapperStore) -> tuple[str, str]:
    launcher = os.path.basename(os.path.realpath(node.root / "runtimes/old"))
    (wrapper,) = set(os.listdir(node.root / "wrappers")) - {launcher}
    return launcher, wrapper


async def test_the_launcher_of_a_removed_runtime_goes_before_its_wrapper(node: WrapperStore) -> None:
    node.publish("old")
    node.publish()
    node.publish()
    launcher, wrapper = launcher_and_wrapper(node)
    assert await collect_after(node, 100) == ["old"]
    assert [file for file, _ in node.removed] == [launcher, wrapper]
    assert node.pins_read_with == [[wrapper]], "after the launcher, and before the wrapper"


@pytest.mark.parametrize(
    ("unknown", "reason"),
    [((), "container a (pin) refers to it"), (("x",), "it cannot be known whether something refers to it: x")],
)
async def test_a_pin_that_was_recorded_after_the_scan_keeps_its_wrapper(
    node: WrapperStore, unknown: tuple[str, ...], reason: str
) -> None:
    node.publish("old")
    node.publish()
    node.publish()
    launcher, wrapper = launcher_and_wrapper(node)
    pin = Reference(f"{node.root}/wrappers/{wrapper}", "container a (pin)")
    node.pins = ReferenceScan((), unknown) if unknown else ReferenceScan((pin,), ())
    await node.collector.collect("uid 0", dry_run=True)
    node.now_s += 100
    collection = await node.collector.collect("uid 0", dry_run=False)
    assert collection.collected == (launcher,)
    assert os.listdir(node.root / "wrappers") == [wrapper]
    shown = {each["file"]: (each["verdict"], each["reason"]) for each in collection.as_dict()["wrappers"]}
    assert shown[wrapper] == ("keep", reason)
    assert shown[launcher][0] == "collected"
    node.pins = ReferenceScan((), ())
    assert await collect_after(node, 0) == ["old"]


async def test_launchers_have_time_to_record_their_pins_and_pins_that_hang_keep_wrappers(
    node: WrapperStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.publish("old")
    node.publish()
    node.publish()
    launcher, _ = launcher_and_wrapper(node)
    node.collector._loaded_s = 0.2
    monkeypatch.setattr(wrapper_collector, "_PINS_TIMEOUT_S", 0.01)

    async def hang() -> ReferenceScan:
        assert time.monotonic() - begin_s >= 0.2
        await asyncio.sleep(60)
        raise AssertionError

    node.collector._read_pins = hang
    await node.collector.collect("uid 0", dry_run=True)
    node.now_s += 100
    begin_s = time.monotonic()
    collection = await node.collector.collect("uid 0", dry_run=False)
    assert collection.collected == (launcher,)
    assert "reading the pins took longer than 0.01 s" in str(collection.verdicts)


async def test_a_removal_that_fails_is_in_the_verdict_and_has_no_other_effect(node: WrapperStore) -> None:
    node.publish("old")
    node.publish()
    node.publish()
    await node.collector.collect("uid 0", dry_run=True)
    node.now_s += 100
    node.data.fail_at = ("collect",)
    collection = await node.collector.collect("uid 0", dry_run=False)
    assert "No space left on device" in collection.verdicts[0].reason
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


async def test_the_stable_path_of_a_pinned_container_stays(node: WrapperStore) -> None:
    # Nothing else tells of a container that an engine has started which the scan does not know.
    node.publish("old")
    node.publish()
    node.publish()
    pin = Pin("old", "", "a", "", "", "/usr/bin/runc")
    node.scan = references_of_pins([pin], ())
    assert await collect_after(node, 100) == []
    assert (node.root / "runtimes/old").exists()
    node.scan = ReferenceScan((), ())
    assert await collect_after(node, 100) == ["old"]
