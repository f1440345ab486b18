"""The reloader: each trigger, dry runs, starts, full disks, half-written files."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness.daemon import PATIENCE_S

from runtimed.core.config import Settings
from runtimed.core.configuration.inputs import Documents, Flags, Source
from runtimed.core.containers import Kept
from runtimed.core.errors import StartFailed, StoreFailed
from runtimed.core.history.manifest import rebuild_scripts
from runtimed.core.history.retained import Summary
from runtimed.core.history.trigger import Actor, Trigger
from runtimed.core.plan import BootContext
from runtimed.core.report import Report
from runtimed.core.table.availability import Unavailable
from runtimed.core.table.facts import Facts
from runtimed.core.table.generation import Generation, Host
from runtimed.host.store import Recovered, Store
from runtimed.host.store.table_file import StoreWithTableFile, TableFile
from runtimed.host.worker import Worker
from runtimed.reload.reloader import RETRY_S, Reloader
from runtimed.reload.settle import SETTLE_LIMIT_S, SETTLE_S, reload_on_hints

MAIN = "/etc/runtimed/daemon.json"
API = Trigger(("api",))


class ReloaderOnDocuments:
    """A reloader on documents in memory and a real store."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.exec_root = f"{data}-run"
        self.worker = Worker("working")
        self.text: str | None = "{}"
        self.dropin: str | None = None
        self.reads = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.reports: list[tuple[Report, int]] = []
        self.now_s = 0.0
        self.look_error: Exception | None = None
        self.step: Callable[[str], None] = lambda _step: None

    def at_step(self, step: str) -> None:
        self.step(step)

    async def read(self) -> Documents:
        self.reads += 1
        text = self.text
        await self.gate.wait()
        dropins = () if self.dropin is None else (Source(f"{MAIN}.d/a.json", self.dropin.encode()),)
        return Documents(MAIN, None if text is None else Source(MAIN, text.encode()), dropins)

    async def find_unavailable(self, _generation: Generation) -> tuple[Unavailable, ...]:
        return ()

    async def find_kept(self, generation: Generation) -> tuple[Kept, ...]:
        """Return that a container keeps each of the names "a" and "b" that the generation lacks."""
        if self.look_error is not None:
            raise self.look_error
        return tuple(Kept(name, 1, 1, "/bin/x") for name in ("a", "b") if name not in generation.runtimes)

    def boot(self, **settings: Any) -> tuple[Reloader, Recovered]:
        """Open the data root as a start does, and return a reloader for it."""
        self.store = Store(str(self.data), at_step=self.at_step)
        recovered = self.store.open(rebuild_scripts)
        boot = Settings(str(self.data), "/exec", ("unix:///exec/s",), **settings)
        host = Host(Facts(cgroup2=True, systemd=True, ramdisk=False), str(self.data), "/exec")
        context = BootContext(MAIN, Flags(), boot, host, boot)
        reloader = Reloader(
            context,
            read=self.read,
            disk=StoreWithTableFile(self.store, TableFile(self.exec_root, 0o600, os.getegid(), self.at_step)),
            run_blocking=self.worker.run,
            on_begin=lambda: None,
            on_report=lambda report, current: self.reports.append((report, current.number)),
            on_repair=lambda _report, _current: None,
            find_unavailable=self.find_unavailable,
            find_kept=self.find_kept,
            clock_s=lambda: self.now_s,
        )
        return reloader, recovered

    async def start(self) -> Reloader:
        reloader, recovered = self.boot()
        await reloader.start(await self.read(), recovered.last, recovered.config_text, published=recovered.published)
        return reloader

    async def restart(self) -> Reloader:
        self.store.close()
        return await self.start()

    def write(self, *names: str, **more: object) -> None:
        runtimes = {name: {"path": "/bin/x", "runtimeArgs": [name]} for name in names}
        self.text = json.dumps({"runtimes": runtimes, **more})

    def table_file(self) -> dict[str, Any]:
        return dict(json.loads(Path(self.exec_root, "table.json").read_bytes()))

    def fail_at(self, step: str) -> None:
        def fail(now: str) -> None:
            if now == step:
                raise OSError(28, "No space left on device")

        self.step = fail


@pytest.fixture
async def node(tmp_path: Path) -> Any:
    node = ReloaderOnDocuments(tmp_path)
    yield node
    if hasattr(node, "store"):
        node.store.close()
    node.worker.close()


def names(generation: Generation) -> set[str]:
    return set(generation.runtimes) - {"runc", "io.containerd.runc.v2"}


async def test_a_start_publishes_the_first_generation(node: ReloaderOnDocuments) -> None:
    node.write("a")
    reloader = await node.start()
    assert reloader.current.number == 1
    assert names(reloader.current) == {"a"}
    assert reloader.last is not None
    assert (reloader.last.outcome, reloader.last.reason) == ("applied", "start")
    assert reloader.faults == {}


async def test_a_reload_reports_the_changes_under_the_next_number(node: ReloaderOnDocuments) -> None:
    node.write("a", "b")
    reloader = await node.start()
    node.write("b", "c")
    report = await reloader.reload(API)
    assert (report.outcome, report.generation, report.reason) == ("applied", 2, "api")
    assert (report.added, report.changed, report.removed) == (("c",), (), ("a",))
    assert node.reports[-1] == (report, 2)


async def test_a_reload_without_a_change_keeps_the_number_and_writes_nothing(node: ReloaderOnDocuments) -> None:
    node.write("a")
    reloader = await node.start()
    node.fail_at("generation")
    report = await reloader.reload(Trigger(("signal",)))
    assert (report.outcome, report.generation) == ("unchanged", 1)


async def test_origins_are_refreshed_without_a_new_generation(node: ReloaderOnDocuments) -> None:
    node.text = '{"runtimes": {"a": {"path": "/x"}}}'
    reloader = await node.start()
    node.text = '\n\n{"runtimes": {"a": {"path": "/x"}}}'
    assert (await reloader.reload(API)).outcome == "unchanged"
    assert reloader.current.config.origins["a"].line == 3


async def test_a_rejection_changes_nothing_and_degrades_until_a_reload_succeeds(node: ReloaderOnDocuments) -> None:
    node.write("a")
    reloader = await node.start()
    before = reloader.current
    node.text = '{"runtimes": {"a": {}, "b": {"pth": 1}}}'
    report = await reloader.reload(API)
    assert (report.outcome, report.generation) == ("rejected", 1)
    assert len(report.problems) >= 2
    assert reloader.current is before
    assert "/runtimes/a" in reloader.faults["configuration"]
    node.write("a")
    assert (await reloader.reload(API)).outcome == "unchanged"
    assert reloader.faults == {}


@pytest.mark.parametrize("step", ["wrappers", "generation", "manifest", "swap"])
async def test_a_disk_that_fails_is_a_rejection_with_the_reason(node: ReloaderOnDocuments, step: str) -> None:
    node.write("a")
    reloader = await node.start()
    node.write("b")
    node.fail_at(step)
    report = await reloader.reload(API)
    assert report.outcome == "rejected"
    assert "No space left on device" in report.problems[0].message
    assert names(reloader.current) == {"a"}
    node.step = lambda _step: None
    assert (await reloader.reload(API)).generation == 2
    assert names(reloader.current) == {"b"}


async def test_a_failure_after_the_swap_degrades_and_the_generation_stays(node: ReloaderOnDocuments) -> None:
    reloader = await node.start()
    node.write("b")
    node.fail_at("sync-root")
    assert (await reloader.reload(API)).outcome == "applied"
    assert names(reloader.current) == {"b"}
    assert "may not survive a power loss" in reloader.faults["store"]


async def test_a_reload_without_changes_repeats_the_steps_after_the_swap(
    node: ReloaderOnDocuments,
) -> None:
    node.write("a")
    reloader = await node.start()
    node.fail_at("sync-root")
    node.write("b")
    assert (await reloader.reload(API)).outcome == "applied"
    assert (await reloader.reload(API)).outcome == "unchanged"
    assert "may not survive a power loss" in reloader.faults["store"]
    node.step = lambda _step: None
    assert (await reloader.reload(API)).outcome == "unchanged"
    assert reloader.faults == {}


async def test_a_dry_run_reports_the_changes_and_does_not_make_them(node: ReloaderOnDocuments) -> None:
    node.write("a")
    reloader = await node.start()
    reported = len(node.reports)
    node.write("b")
    node.fail_at("wrappers")
    report = await reloader.reload(API, dry_run=True)
    assert (report.outcome, report.added, report.removed, report.dry_run) == ("applied", ("b",), ("a",), True)
    assert report.generation == 1
    node.text = "["
    rejected = await reloader.reload(API, dry_run=True)
    assert (rejected.outcome, rejected.dry_run, "changes" in rejected.as_dict()) == ("rejected", True, False)
    assert reloader.faults == {}
    assert len(node.reports) == reported


async def test_only_a_dry_run_reports_the_definitions_of_changes(node: ReloaderOnDocuments) -> None:
    node.write("a")
    reloader = await node.start()
    node.write("b")
    changes = (await reloader.reload(API, dry_run=True)).as_dict()["changes"]
    assert changes == {
        "from": 1,
        "to": 2,
        "added": [{"name": "b", "from": None, "to": {"path": "/bin/x", "runtimeArgs": ["b"]}}],
        "changed": [],
        "removed": [{"name": "a", "from": {"path": "/bin/x", "runtimeArgs": ["a"]}, "to": None}],
        "default_runtime": None,
    }
    assert "changes" not in (await reloader.reload(API)).as_dict()
    unchanged = (await reloader.reload(API, dry_run=True)).changes
    assert unchanged is not None
    assert (unchanged["from"], unchanged["to"], unchanged["added"]) == (2, 2, [])


async def test_a_report_names_the_containers_that_keep_another_definition(node: ReloaderOnDocuments) -> None:
    node.write("a", "b")
    reloader = await node.start()
    assert (await reloader.reload(API)).kept == ()
    node.write("a")
    assert [str(kept) for kept in (await reloader.reload(API, dry_run=True)).kept] == [
        "b: 1 container keeps generation 1's /bin/x"
    ]
    assert (await reloader.reload(API, dry_run=True)).as_dict()["kept_count"] == 1
    for outcome in ("applied", "unchanged"):
        report = await reloader.reload(API)
        assert (report.outcome, [kept.runtime for kept in report.kept]) == (outcome, ["b"])
    node.write()
    assert await reloader.reload_changed(lambda _documents: True)
    assert [kept.runtime for kept in node.reports[-1][0].kept] == ["a", "b"]
    node.text = "["
    assert (await reloader.reload(API)).kept == ()


@pytest.mark.parametrize("error", [TimeoutError(), OSError(5, "Input/output error")])
async def test_a_look_that_fails_or_hangs_does_not_fail_the_reload(node: ReloaderOnDocuments, error: Exception) -> None:
    node.write("a")
    reloader = await node.start()
    node.look_error = error
    node.write("b")
    report = await reloader.reload(API)
    assert (report.outcome, report.kept, report.runtimes) == ("applied", (), 3)


async def test_requests_during_a_reload_share_the_next_one(node: ReloaderOnDocuments) -> None:
    reloader = await node.start()
    reads = node.reads
    node.gate.clear()
    node.write("a")
    first = asyncio.create_task(reloader.reload(API))
    while node.reads == reads:
        await asyncio.sleep(0)
    # The first has read already, so these requests need another reload.
    node.write("b")
    others = [
        asyncio.create_task(reloader.reload(Trigger((reason,)))) for reason in ("api", "signal") for _ in range(50)
    ]
    dry = [asyncio.create_task(reloader.reload(API, dry_run=True)) for _ in range(50)]
    await asyncio.sleep(0)
    node.gate.set()
    assert (await first).added == ("a",)
    reports = await asyncio.gather(*others)
    assert all(report is reports[0] for report in reports)
    assert (reports[0].added, reports[0].reason) == (("b",), "api, signal")
    assert all(report.dry_run for report in await asyncio.gather(*dry))
    assert node.reads == reads + 3


async def test_a_cancelled_client_does_not_cancel_the_reload_of_others(node: ReloaderOnDocuments) -> None:
    reloader = await node.start()
    node.gate.clear()
    node.write("a")
    gone = asyncio.create_task(reloader.reload(API))
    stays = asyncio.create_task(reloader.reload(API))
    await asyncio.sleep(0)
    gone.cancel()
    node.gate.set()
    assert (await stays).outcome == "applied"


async def test_a_restart_without_a_change_keeps_the_number_and_writes_nothing(node: ReloaderOnDocuments) -> None:
    node.write("a")
    await node.start()
    node.fail_at("wrappers")
    reloader = await node.restart()
    assert reloader.current.number == 1
    assert reloader.last is not None
    assert reloader.last.outcome == "unchanged"


async def test_a_restart_with_a_change_publishes_the_next_number(node: ReloaderOnDocuments) -> None:
    node.write("a")
    await node.start()
    node.write("b")
    assert (await node.restart()).current.number == 2


async def test_a_start_with_a_broken_configuration_serves_the_last_good_generation(node: ReloaderOnDocuments) -> None:
    node.write("a")
    await node.start()
    node.text = "{"
    reloader = await node.restart()
    assert names(reloader.current) == {"a"}
    assert reloader.current.number == 1
    assert "configuration" in reloader.faults
    assert reloader.last is not None
    assert (reloader.last.outcome, reloader.last.generation) == ("rejected", 1)
    node.write("a")
    assert (await reloader.reload(API)).outcome == "unchanged"
    assert reloader.faults == {}


async def test_a_broken_start_without_a_last_good_generation_fails_with_every_problem(
    node: ReloaderOnDocuments,
) -> None:
    node.text = '{"runtimes": {"a": {}, "b": {}}}'
    with pytest.raises(StartFailed) as caught:
        await node.start()
    assert len(caught.value.problems) == 2


async def test_the_last_good_generation_of_another_configuration_is_not_used(node: ReloaderOnDocuments) -> None:
    node.write("a")
    await node.start()
    node.store.close()
    node.text = "{"
    reloader, recovered = node.boot()
    assert recovered.last is not None
    reloader._context = replace(reloader._context, config_path="/other.json")
    with pytest.raises(StartFailed):
        await reloader.start(await node.read(), recovered.last, recovered.config_text, published=True)


async def test_a_main_file_that_the_table_came_from_must_not_go_missing(node: ReloaderOnDocuments) -> None:
    node.write("a")
    reloader = await node.start()
    node.text = None
    report = await reloader.reload(API)
    assert report.outcome == "rejected"
    assert (
        "file missing; keeping generation 1. To empty the table, create it containing {}" in report.problems[0].message
    )
    assert names((await node.restart()).current) == {"a"}
    node.text = "{}"
    reloader = await node.restart()
    assert names(reloader.current) == set()


async def test_a_table_moved_from_a_dropin_to_the_main_file_requires_that_file(
    node: ReloaderOnDocuments,
) -> None:
    node.write("a")
    text, node.text = node.text, None
    node.dropin = text
    first = (await node.start()).current
    node.text, node.dropin = text, None
    reloader = await node.restart()
    assert reloader.current.number == first.number + 1
    assert reloader.current.runtimes == first.runtimes
    node.text = None
    reloader = await node.restart()
    assert "file missing" in reloader.faults["configuration"]
    assert names(reloader.current) == {"a"}


async def test_a_start_that_finds_its_generation_published_is_unchanged(node: ReloaderOnDocuments) -> None:
    node.write("a")
    await node.start()
    reloader = await node.restart()
    assert reloader.last is not None
    assert (reloader.last.outcome, reloader.last.added) == ("unchanged", ())


async def test_a_start_after_a_change_reports_the_difference_to_the_last_run(
    node: ReloaderOnDocuments,
) -> None:
    node.write("a", "b")
    await node.start()
    node.write("b", "c")
    reloader = await node.restart()
    assert reloader.last is not None
    assert (reloader.last.outcome, reloader.last.generation) == ("applied", 2)
    assert (reloader.last.added, reloader.last.changed, reloader.last.removed) == (("c",), (), ("a",))


async def test_a_change_of_carried_keys_is_a_changed_runtime_to_a_reload_and_to_a_start(
    node: ReloaderOnDocuments,
) -> None:
    def write(engines: object) -> None:
        node.text = json.dumps({"runtimes": {"a": {"path": "/a", "engines": engines}}})

    write({})
    reloader = await node.start()
    answer = reloader.current.runtimes["a"].answer
    for number, value in enumerate((1, True, [{"b": 1.0}]), 2):
        write({"docker": {"x": value}})
        reloader = await node.restart()
        assert reloader.last is not None
        assert (reloader.last.outcome, reloader.last.generation, reloader.last.changed) == ("applied", number, ("a",))
    write(None)
    report = await reloader.reload(API)
    assert (report.outcome, report.generation, report.changed) == ("applied", 5, ("a",))
    assert reloader.current.runtimes["a"].answer == answer


async def test_a_new_version_of_the_program_publishes_again_without_changes(
    node: ReloaderOnDocuments, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.write("a")
    await node.start()
    monkeypatch.setattr("runtimed.core.table.build.__version__", "99")
    reloader = await node.restart()
    assert reloader.last is not None
    assert (reloader.last.outcome, reloader.last.added, reloader.last.changed) == ("applied", (), ())


async def test_no_file_at_all_is_the_stock_table_at_a_first_start(node: ReloaderOnDocuments) -> None:
    node.text = None
    reloader = await node.start()
    assert set(reloader.current.runtimes) == {"runc", "io.containerd.runc.v2"}
    assert (await reloader.reload(API)).outcome == "unchanged"


async def test_a_start_on_a_full_disk_after_an_upgrade_serves_the_same_table(
    node: ReloaderOnDocuments, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.write("a")
    before = (await node.start()).current
    # Another version computes another digest for the same answers.
    monkeypatch.setattr("runtimed.core.table.build.__version__", "99")
    node.fail_at("wrappers")
    reloader = await node.restart()
    assert reloader.current.number == before.number
    assert reloader.current.runtimes == before.runtimes
    assert "No space left" in reloader.faults["store"]
    assert "configuration" not in reloader.faults
    # The file shows the number that the clients of the last run know.
    assert node.table_file()["generation"] == before.number


@pytest.mark.parametrize("step", ["table", "table-swap"])
async def test_a_start_that_cannot_write_the_table_file_serves_and_writes_it_later(
    node: ReloaderOnDocuments, step: str
) -> None:
    node.write("a")
    await node.start()
    for repaired in (False, True):
        node.fail_at(step)
        reloader = await node.restart()
        assert (reloader.current.number, set(reloader.faults)) == (1, {"store"})
        assert "table.json" in reloader.faults["store"]
        node.step = lambda _step: None
        await (reloader.repair() if repaired else reloader.reload(API))
        assert reloader.faults == {}
        assert set(node.table_file()["runtimes"]) == set(reloader.current.runtimes)


async def test_boot_only_settings_are_reported_and_not_applied(node: ReloaderOnDocuments) -> None:
    reloader = await node.start()
    node.text = json.dumps({"exec-root": "/other", "group": "wheel", "debug": True})
    report = await reloader.reload(API)
    assert set(report.restart_required) == {"exec-root", "group"}
    assert b"/exec/runtime-runc" in reloader.current.runtimes["runc"].answer.head
    node.text = "{}"
    assert (await reloader.reload(API)).restart_required == ()


class Hints:
    """Hints of a watcher, and the task that turns them into reloads."""

    def __init__(self, reloader: Reloader, node: ReloaderOnDocuments, **settings: float) -> None:
        self.reloader = reloader
        self.hints = asyncio.Event()
        self.node = node
        self.task = asyncio.create_task(
            reload_on_hints(self.hints, reloader.reload_changed, clock_s=lambda: node.now_s, **settings)
        )

    async def end(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task

    async def hint(self) -> None:
        """Give a hint and wait until the documents were read for it."""
        reads = self.node.reads
        self.hints.set()
        while self.node.reads == reads:
            await asyncio.sleep(0.001)
        async with self.reloader._coalescer.lock:
            pass


@pytest.fixture
async def hinted(node: ReloaderOnDocuments) -> Any:
    node.write("a")
    reloader = await node.start()
    hints = Hints(reloader, node)
    yield hints, reloader
    await hints.end()


async def test_a_hint_reloads_changed_documents_and_reports_nothing_else(
    node: ReloaderOnDocuments, hinted: tuple[Hints, Reloader]
) -> None:
    hints, reloader = hinted
    reported = len(node.reports)
    for _ in range(3):
        await hints.hint()
    assert len(node.reports) == reported
    node.write("b")
    await hints.hint()
    assert names(reloader.current) == {"b"}
    assert [report.reason for report, _ in node.reports[reported:]] == ["file-change"]


async def test_a_file_that_is_being_written_is_not_reported_until_it_is_whole(
    node: ReloaderOnDocuments, hinted: tuple[Hints, Reloader]
) -> None:
    hints, reloader = hinted
    reported = len(node.reports)
    for half in ("", '{"runtimes"', '{"runtimes": {"c": {"pa'):
        node.text = half
        await hints.hint()
    assert len(node.reports) == reported
    node.write("c")
    await hints.hint()
    assert [report.outcome for report, _ in node.reports[reported:]] == ["applied"]
    assert names(reloader.current) == {"c"}


async def test_a_half_written_file_is_reported_without_another_hint_when_it_has_settled(
    node: ReloaderOnDocuments,
) -> None:
    reloader = await node.start()
    hints = Hints(reloader, node, settle_s=0.01)
    node.text = '{"runtimes": {'
    await hints.hint()
    assert reloader.faults == {}
    node.now_s += 0.01
    while not reloader.faults:
        await asyncio.sleep(0.001)
    assert node.reports[-1][0].outcome == "rejected"
    reported = len(node.reports)
    await hints.hint()
    assert len(node.reports) == reported, "the same content is not reported again"
    await hints.end()


async def test_hints_without_a_change_do_not_delay_the_report_of_a_half_written_file(
    node: ReloaderOnDocuments, hinted: tuple[Hints, Reloader]
) -> None:
    hints, reloader = hinted
    node.text = '{"runtimes": {'
    await hints.hint()
    for _ in range(4):
        assert reloader.faults == {}
        node.now_s += SETTLE_S / 4
        await hints.hint()
    assert "configuration" in reloader.faults


@pytest.mark.parametrize("step", ["manifest", "table"])
async def test_a_hint_retries_a_failed_publish_and_reports_only_a_change(
    node: ReloaderOnDocuments, hinted: tuple[Hints, Reloader], step: str
) -> None:
    hints, reloader = hinted
    node.write("b")
    node.fail_at(step)
    await hints.hint()
    reported = len(node.reports)
    assert "No space left" in reloader.faults["store"]
    assert "configuration" not in reloader.faults
    node.now_s += RETRY_S
    await hints.hint()
    assert len(node.reports) == reported, "a disk that is still full is not reported again"
    node.step = lambda _step: None
    node.now_s += RETRY_S
    await hints.hint()
    assert [(report.outcome, report.reason) for report, _ in node.reports[reported:]] == [("applied", "retry")]
    assert (names(reloader.current), reloader.faults) == ({"b"}, {})


async def test_a_hint_repeats_the_steps_that_failed_after_the_swap(
    node: ReloaderOnDocuments, hinted: tuple[Hints, Reloader]
) -> None:
    hints, reloader = hinted
    node.write("b")
    node.fail_at("sync-root")
    await hints.hint()
    assert "store" in reloader.faults
    node.step = lambda _step: None
    node.now_s += RETRY_S
    await hints.hint()
    assert reloader.faults == {}


async def test_steps_after_the_swap_are_repeated_while_the_configuration_is_bad(
    node: ReloaderOnDocuments, hinted: tuple[Hints, Reloader]
) -> None:
    hints, reloader = hinted
    node.write("b")
    node.fail_at("sync-root")
    await hints.hint()
    node.text = '{"runtimes": 1}'
    await hints.hint()
    assert set(reloader.faults) == {"configuration", "store"}
    node.step = lambda _step: None
    node.now_s += RETRY_S
    reported = len(node.reports)
    await hints.hint()
    assert set(reloader.faults) == {"configuration"}
    assert len(node.reports) == reported


async def test_a_bad_edit_after_a_full_disk_is_planned_once(
    node: ReloaderOnDocuments, hinted: tuple[Hints, Reloader], monkeypatch: pytest.MonkeyPatch
) -> None:
    hints, reloader = hinted
    node.write("b")
    node.fail_at("manifest")
    await hints.hint()
    node.text = '{"runtimes": 1}'
    await hints.hint()
    node.now_s += RETRY_S
    monkeypatch.setattr(reloader, "_examine", None)
    await hints.hint()
    assert not hints.task.done()


async def test_a_half_written_file_that_never_settles_is_reported_after_the_limit(
    node: ReloaderOnDocuments, hinted: tuple[Hints, Reloader]
) -> None:
    hints, reloader = hinted
    while not reloader.faults:
        assert node.now_s <= SETTLE_LIMIT_S
        node.text = f'{{"runtimes": {node.now_s}'
        await hints.hint()
        node.now_s += SETTLE_S / 2
    assert node.now_s > SETTLE_LIMIT_S
    assert node.reports[-1][0].outcome == "rejected"


async def test_a_requested_reload_does_not_wait_for_a_file_to_settle(
    node: ReloaderOnDocuments, hinted: tuple[Hints, Reloader]
) -> None:
    hints, reloader = hinted
    node.text = "{"
    await hints.hint()
    assert (await reloader.reload(Trigger(("signal",)))).outcome == "rejected"


@pytest.mark.parametrize("place", ["_planner", "stage"])
async def test_an_internal_error_is_a_rejection_and_the_daemon_goes_on(
    node: ReloaderOnDocuments, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    node.write("a")
    reloader = await node.start()
    node.write("b")

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(reloader._examiner if place == "_planner" else node.store, place, broken)
        report = await reloader.reload(API)
    assert report.outcome == "rejected"
    assert "ZeroDivisionError" in report.problems[0].message
    assert names(reloader.current) == {"a"}
    assert (await reloader.reload(API)).outcome == "applied"


async def test_stopping_waits_for_a_reload_but_not_for_one_that_hangs(node: ReloaderOnDocuments) -> None:
    reloader = await node.start()
    node.write("a")
    task = asyncio.create_task(reloader.reload(API))
    await asyncio.sleep(0)
    await reloader.stop(timeout_s=PATIENCE_S)
    assert (await task).outcome == "applied"
    node.gate.clear()
    task = asyncio.create_task(reloader.reload(API))
    await asyncio.sleep(0)
    await reloader.stop(timeout_s=0.05)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_there_is_no_generation_before_the_start(node: ReloaderOnDocuments) -> None:
    reloader, _ = node.boot()
    with pytest.raises(AttributeError, match="current"):
        _ = reloader.current


def test_a_store_failure_says_what_was_being_done() -> None:
    assert str(StoreFailed("writing", "/x", "No space left on device")) == "writing /x: No space left on device"


# Triggers


def changed(summary: Summary) -> list[tuple[str, str]]:
    assert summary.trigger is not None
    return [(each["path"], each["change"]) for each in summary.trigger["sources"]]


async def test_a_request_that_finds_an_edit_has_the_process_and_the_file(node: ReloaderOnDocuments) -> None:
    node.write("a")
    reloader = await node.start()
    assert changed(node.store.retained.summaries()[-1]) == [(MAIN, "added")]
    node.write("a", "b")
    node.dropin = "{}"
    actor = Actor(0, 42, "runtimectl reload")
    report = await reloader.reload(Trigger(("api",), (actor,)))
    assert report.trigger is not None
    assert report.trigger.actors == (actor,)
    summary = node.store.retained.summaries()[-1]
    assert summary.trigger == report.trigger.as_dict()
    assert summary.trigger["actors"] == [{"uid": 0, "pid": 42, "command": "runtimectl reload"}]
    assert changed(summary) == [(MAIN, "changed"), (f"{MAIN}.d/a.json", "added")]
    assert summary.changes is not None
    assert (summary.changes["added"], summary.changes["removed_count"]) == (["b"], 0)
    before = node.store.retained.summaries()
    await node.restart()
    assert node.store.retained.summaries() == before


async def test_files_are_compared_with_those_of_the_last_accepted_configuration(node: ReloaderOnDocuments) -> None:
    node.write("a")
    reloader = await node.start()
    node.dropin = "{"
    rejected = await reloader.reload(API)
    assert rejected.trigger is not None
    assert [each.path for each in rejected.trigger.sources] == [f"{MAIN}.d/a.json"]
    node.dropin = '{"default-runtime": "a"}'
    await reloader.reload(API)
    assert changed(node.store.retained.summaries()[-1]) == [(f"{MAIN}.d/a.json", "added")]
    # An edit without a meaning makes no generation, and is no change of a later one.
    node.text = f"\n{node.text}"
    assert (await reloader.reload(API)).outcome == "unchanged"
    node.dropin = None
    await reloader.reload(API)
    assert changed(node.store.retained.summaries()[-1]) == [(f"{MAIN}.d/a.json", "removed")]


async def test_a_start_names_the_files_that_changed_while_no_daemon_ran(node: ReloaderOnDocuments) -> None:
    node.write("a")
    node.dropin = "{}"
    await node.start()
    node.write("b")
    node.dropin = None
    await node.restart()
    summary = node.store.retained.summaries()[-1]
    assert summary.trigger is not None
    assert summary.trigger["reason"] == "start"
    assert changed(summary) == [(MAIN, "changed"), (f"{MAIN}.d/a.json", "removed")]
    assert summary.changes is not None
    assert (summary.changes["added"], summary.changes["removed"]) == (["b"], ["a"])


async def test_a_retry_keeps_the_processes_of_the_request_that_the_disk_refused(
    node: ReloaderOnDocuments,
) -> None:
    reloader = await node.start()
    node.write("b")
    node.fail_at("manifest")
    actor = Actor(0, 42)
    assert (await reloader.reload(Trigger(("api",), (actor,)))).cause == "store"
    for fails in (True, False):
        node.now_s += RETRY_S
        if not fails:
            node.step = lambda _step: None
        await reloader.reload_changed(lambda _documents: True)
    summary = node.store.retained.summaries()[-1]
    assert summary.trigger is not None
    assert (summary.trigger["reason"], summary.trigger["actor_count"]) == ("retry", 1)
    assert changed(summary) == [(MAIN, "changed")]


async def test_requests_that_share_a_reload_are_all_in_its_trigger(node: ReloaderOnDocuments) -> None:
    reloader = await node.start()
    reads = node.reads
    node.gate.clear()
    first = asyncio.create_task(reloader.reload(API))
    while node.reads == reads:
        await asyncio.sleep(0)
    actors = [Actor(0, pid) for pid in range(20)]
    others = [asyncio.create_task(reloader.reload(Trigger(("api",), (actor,)))) for actor in actors]
    others.append(asyncio.create_task(reloader.reload(Trigger(("signal",)))))
    await asyncio.sleep(0)
    node.gate.set()
    await first
    (report,) = {id(report): report for report in await asyncio.gather(*others)}.values()
    assert report.reason == "api, signal"
    assert report.trigger is not None
    assert (report.trigger.actors, report.trigger.more_actors) == (tuple(actors[:16]), 4)


async def test_a_repair_that_publishes_anew_has_its_own_reason_and_no_changes(node: ReloaderOnDocuments) -> None:
    node.write("a")
    reloader = await node.start()
    (node.data / "generations/00000001/manifest.json").write_bytes(b"damaged")
    await reloader.repair()
    summary = node.store.retained.summaries()[-1]
    assert (summary.number, reloader.current.number) == (2, 2)
    assert summary.trigger is not None
    assert (summary.trigger["reason"], summary.trigger["sources"]) == ("repair", [])
    assert summary.changes is not None
    assert summary.changes["added_count"] == 0
    node.text = None
    report = await reloader.reload(API)
    assert f"keeping generation {reloader.current.number}" in report.problems[0].message
