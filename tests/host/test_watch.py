from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from harness.daemon import PATIENCE_S, wait_until
from watchdog.events import DirDeletedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.utils import BaseThread

from runtimed.core.configuration.inputs import Documents
from runtimed.core.configuration.watched_names import WatchedName
from runtimed.host.files import Snapshot, read_documents
from runtimed.host.trust import Trust, Walk, walk
from runtimed.host.watch import Intervals, Watcher
from runtimed.host.watch.debounce import Debounce
from runtimed.host.watch.inotify import RETRY_S
from runtimed.host.watch.watchdog_internals import FLOOD


def inotify_descriptors() -> int:
    links = []
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(str(path.readlink()))
    return sum("inotify" in link for link in links)


@pytest.fixture(autouse=True)
def no_thread_or_inotify_instance_is_left() -> Iterator[None]:
    yield
    patience = time.monotonic() + PATIENCE_S
    while time.monotonic() < patience:
        left = [thread for thread in threading.enumerate() if isinstance(thread, BaseThread)]
        if not left and inotify_descriptors() == 0:
            return
        time.sleep(0.01)
    pytest.fail(f"left behind: {left}, {inotify_descriptors()} inotify instances")


def read(base: Path) -> Snapshot:
    def walker(path: str) -> Walk:
        return walk(path, Trust(None))

    return read_documents(f"{base}/daemon.json", f"{base}/daemon.json.d", walker)


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


def is_pending(debounce: Debounce) -> bool:
    """Return whether the debounce is still to make a call."""
    return debounce._waking or debounce._timer is not None


class MiniDaemon:
    """A small daemon: at every hint it reads the documents, records a change and updates the watcher."""

    def __init__(self, base: Path, debounce_s: float = 0.03) -> None:
        self.base = base
        self.hints = 0
        self.seen: list[Documents] = []
        self._hinted = asyncio.Event()
        self._read = asyncio.Condition()
        self._busy = True
        # No regular check while a test runs.
        intervals = Intervals(debounce_s=debounce_s, check_s=3600.0)
        self.watcher = Watcher(asyncio.get_running_loop(), self._hint, intervals)

    def _hint(self) -> None:
        self.hints += 1
        self._hinted.set()

    @property
    def text(self) -> str:
        """The content of the main file, then name=content of each drop-in."""
        documents = self.seen[-1]
        main = "none" if documents.main is None else documents.main.data.decode()
        dropins = [f"{Path(dropin.path).name}={dropin.data.decode()}" for dropin in documents.dropins]
        return " ".join([main, *dropins, *(f"problem:{problem.found}" for problem in documents.problems)])

    async def run(self) -> None:
        while True:
            self._busy = True
            snapshot = await asyncio.to_thread(read, self.base)
            await asyncio.to_thread(self.watcher.update, snapshot.watched_names)
            async with self._read:
                if not self.seen or snapshot.documents != self.seen[-1]:
                    self.seen.append(snapshot.documents)
                self._read.notify_all()
            self._busy = False
            await self._hinted.wait()
            self._hinted.clear()

    async def reads(self, text: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S), self._read:
                await self._read.wait_for(lambda: bool(self.seen) and self.text == text)
        except TimeoutError:
            pytest.fail(f"expected {text!r}, still {self.text!r}")

    async def settle(self) -> None:
        """Wait until the hint that follows new watches has been handled: from here on only events give hints."""
        await eventually(
            lambda: self.hints and not (self._hinted.is_set() or self._busy or is_pending(self.watcher._debounce))
        )


class Recorder(FileSystemEventHandler):
    """Records every event that watchdog delivers."""

    def __init__(self, watcher: Watcher) -> None:
        self.events: list[FileSystemEvent] = []
        assert watcher._inotify._observer is not None
        for watch, _ in watcher._inotify._watched.values():
            watcher._inotify._observer.observer.add_handler_for_watch(self, watch)

    def dispatch(self, event: FileSystemEvent) -> None:
        self.events.append(event)

    def of(self, *names: str) -> list[FileSystemEvent]:
        return [event for event in self.events if str(event.src_path).endswith(names)]


@contextlib.asynccontextmanager
async def running(base: Path, debounce_s: float = 0.03) -> AsyncIterator[MiniDaemon]:
    daemon = MiniDaemon(base, debounce_s)
    daemon.watcher.start()
    task = asyncio.create_task(daemon.run())
    try:
        yield daemon
        assert daemon.watcher.alive
        assert daemon.watcher.faults == {}
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await asyncio.to_thread(daemon.watcher.stop)


def in_place(base: Path) -> None:
    (base / "daemon.json").write_text("new")


def append(base: Path) -> None:
    with (base / "daemon.json").open("a") as file:
        file.write("+")


def replace(base: Path) -> None:
    (base / ".daemon.json.swp").write_text("new")
    (base / ".daemon.json.swp").rename(base / "daemon.json")


def replace_from_elsewhere(base: Path) -> None:
    (base.parent / "elsewhere").write_text("new")
    (base.parent / "elsewhere").rename(base / "daemon.json")


def delete(base: Path) -> None:
    (base / "daemon.json").unlink()


def move_away(base: Path) -> None:
    (base / "daemon.json").rename(base.parent / "elsewhere")


def delete_and_create(base: Path) -> None:
    delete(base)
    in_place(base)


def add_dropin(base: Path) -> None:
    (base / "daemon.json.d" / "b.json").write_text("b")


def remove_dropin(base: Path) -> None:
    (base / "daemon.json.d" / "a.json").unlink()


def rename_dropin(base: Path) -> None:
    (base / "daemon.json.d" / "a.json").rename(base / "daemon.json.d" / "z.json")


def disable_dropin(base: Path) -> None:
    (base / "daemon.json.d" / "a.json").rename(base / "daemon.json.d" / "a.json.disabled")


def delete_directory(base: Path) -> None:
    shutil.rmtree(base)


def replace_directory(base: Path) -> None:
    new = base.parent / "new"
    new.mkdir()
    (new / "daemon.json").write_text("new")
    base.rename(base.parent / "old")
    new.rename(base)


def delete_dropin_directory(base: Path) -> None:
    shutil.rmtree(base / "daemon.json.d")


def replace_by_link(base: Path) -> None:
    (base.parent / "elsewhere").write_text("new")
    delete(base)
    (base / "daemon.json").symlink_to("../elsewhere")


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (in_place, "new a.json=a"),
        (append, "old+ a.json=a"),
        (replace, "new a.json=a"),
        (replace_from_elsewhere, "new a.json=a"),
        (replace_by_link, "new a.json=a"),
        (delete, "none a.json=a"),
        (move_away, "none a.json=a"),
        (delete_and_create, "new a.json=a"),
        (add_dropin, "old a.json=a b.json=b"),
        (remove_dropin, "old"),
        (rename_dropin, "old z.json=a"),
        (disable_dropin, "old"),
        (delete_directory, "none"),
        (replace_directory, "new"),
        (delete_dropin_directory, "old"),
    ],
)
async def test_every_kind_of_edit_is_noticed(tmp_path: Path, edit: Callable[[Path], None], expected: str) -> None:
    base = tmp_path / "etc"
    (base / "daemon.json.d").mkdir(parents=True)
    (base / "daemon.json").write_text("old")
    (base / "daemon.json.d" / "a.json").write_text("a")
    async with running(base) as daemon:
        await daemon.reads("old a.json=a")
        await daemon.settle()
        edit(base)
        await daemon.reads(expected)


async def test_the_swapped_link_of_a_configmap_is_noticed_again_and_again(tmp_path: Path) -> None:
    base = tmp_path / "volume"
    base.mkdir()

    def swap(number: int) -> None:
        """Do as kubelet does (pkg/volume/util/atomic_writer.go)."""
        data = base / f"..2024_{number}"
        data.mkdir()
        (data / "daemon.json").write_text(str(number))
        (base / "..data_tmp").symlink_to(data.name)
        old = (base / "..data").readlink() if number else None
        (base / "..data_tmp").rename(base / "..data")
        if old is not None:
            shutil.rmtree(base / old)

    swap(0)
    (base / "daemon.json").symlink_to("..data/daemon.json")
    async with running(base) as daemon:
        for number in range(1, 5):
            await daemon.settle()
            swap(number)
            await daemon.reads(str(number))


async def test_the_target_of_a_link_in_another_directory_is_watched(tmp_path: Path) -> None:
    base, other = tmp_path / "etc", tmp_path / "other"
    base.mkdir()
    other.mkdir()
    (other / "real.json").write_text("old")
    (base / "daemon.json").symlink_to("../other/real.json")
    async with running(base) as daemon:
        await daemon.reads("old")
        await daemon.settle()
        (other / "real.json").write_text("new")
        await daemon.reads("new")


async def test_a_directory_that_is_created_later_is_noticed(tmp_path: Path) -> None:
    base = tmp_path / "not" / "yet"
    async with running(base) as daemon:
        await daemon.reads("none")
        await daemon.settle()
        base.mkdir(parents=True)
        (base / "daemon.json").write_text("new")
        await daemon.reads("new")
        (base / "daemon.json.d").mkdir()
        add_dropin(base)
        await daemon.reads("new b.json=b")


@pytest.mark.parametrize("rounds", [5])
async def test_a_directory_that_is_deleted_and_created_again_stays_watched(tmp_path: Path, rounds: int) -> None:
    base = tmp_path / "etc"
    async with running(base) as daemon:
        for number in range(rounds):
            (base / "daemon.json.d").mkdir(parents=True)
            (base / "daemon.json").write_text(f"{number}")
            await daemon.reads(f"{number}")
            await daemon.settle()
            add_dropin(base)
            await daemon.reads(f"{number} b.json=b")
            await daemon.settle()
            shutil.rmtree(base)
            if number % 2:  # at once: the new directory often gets the inode number of the old one
                continue
            await daemon.reads("none")


@pytest.mark.parametrize("rounds", [5])
async def test_a_directory_that_is_replaced_by_rename_stays_watched(tmp_path: Path, rounds: int) -> None:
    base = tmp_path / "etc"
    base.mkdir()
    async with running(base) as daemon:
        for number in range(rounds):
            replace_directory(base)
            await daemon.reads("new")
            await daemon.settle()
            (base / "daemon.json").write_text(str(number))
            await daemon.reads(str(number))
            shutil.rmtree(base.parent / "old")


@pytest.mark.skipif(os.geteuid() != 0, reason="a chmod changes nothing that a user without root could see")
async def test_a_chmod_of_a_file_or_of_a_directory_gives_a_hint(tmp_path: Path) -> None:
    base = tmp_path / "etc"
    base.mkdir()
    (base / "daemon.json").write_text("old")
    async with running(base) as daemon:
        await daemon.reads("old")
        await daemon.settle()
        for path in (base / "daemon.json", base):
            hints = daemon.hints
            path.chmod(0o700)
            await eventually(lambda: daemon.hints > hints)  # noqa: B023
            await daemon.settle()


async def test_readings_by_anyone_cause_no_event_and_no_hint(tmp_path: Path) -> None:
    (tmp_path / "daemon.json").write_text("old")
    (tmp_path / "daemon.json.d").mkdir()
    add_dropin(tmp_path)
    command = 'for i in $(seq 100); do cat "$1"/daemon.json "$1"/daemon.json.d/*; ls "$1"; done >/dev/null'
    async with running(tmp_path) as daemon:
        await daemon.reads("old b.json=b")
        # A mount at or above the directory gives a hint too, but not every time.
        for number in range(3):
            await daemon.settle()
            hints, recorder = daemon.hints, Recorder(daemon.watcher)
            for _ in range(100):
                await asyncio.to_thread(read, tmp_path)
            process = await asyncio.create_subprocess_exec("sh", "-c", command, "sh", str(tmp_path))
            assert await process.wait() == 0
            # Events of a directory arrive in order, so the events of the readings would have arrived before these.
            sentinel = f"sentinel{number}"
            (tmp_path / sentinel).touch()
            (tmp_path / "daemon.json.d" / sentinel).touch()
            await eventually(lambda: len({e.src_path for e in recorder.of(f"/{sentinel}")}) == 2)  # noqa: B023
            # Other programs use /tmp too; watchdog 6 reports the directories as modified by the sentinels.
            ours = [event for event in recorder.events if str(event.src_path).startswith(str(tmp_path))]
            assert [event for event in ours if "sentinel" not in str(event) and not event.is_directory] == []
            if (daemon.hints, is_pending(daemon.watcher._debounce)) == (hints, False):
                return
    pytest.fail("each round of readings gave a hint")


async def test_other_names_in_the_same_directories_give_no_hint(tmp_path: Path) -> None:
    (tmp_path / "daemon.json").write_text("old")
    (tmp_path / "daemon.json.d").mkdir()
    async with running(tmp_path) as daemon:
        await daemon.reads("old")
        await daemon.settle()
        hints, recorder = daemon.hints, Recorder(daemon.watcher)
        for name in ("other.json", "daemon.json~", "daemon.json.d/.a.json.swp", "daemon.json.d/a.json~"):
            (tmp_path / name).write_text("x")
            (tmp_path / name).rename(tmp_path / f"{name}2")
            (tmp_path / f"{name}2").unlink()
        (tmp_path / "sentinel").touch()
        await eventually(lambda: recorder.of("/sentinel"))
        assert (daemon.hints, is_pending(daemon.watcher._debounce)) == (hints, False)


async def test_many_edits_at_once_give_few_hints(tmp_path: Path) -> None:
    (tmp_path / "daemon.json.d").mkdir()
    async with running(tmp_path, debounce_s=0.2) as daemon:
        await daemon.settle()
        hints = daemon.hints
        for number in range(300):
            (tmp_path / "daemon.json.d" / f"{number:03}.json").write_text("x")
        await daemon.reads(" ".join(["none", *(f"{number:03}.json=x" for number in range(300))]))
        # Two on a machine that does not stand still.
        assert daemon.hints - hints <= 30


class Timer:
    """A timer of a ManualLoop."""

    def __init__(self, loop: ManualLoop, when: float, callback: Callable[[], None]) -> None:
        self.when, self.callback, self._timers = when, callback, loop.timers
        self._timers.append(self)

    def cancel(self) -> None:
        if self in self._timers:
            self._timers.remove(self)


class ManualLoop:
    """The part of an event loop that a watcher uses. Its time passes only in ``advance``."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []
        self._soon: deque[Callable[[], None]] = deque()

    @property
    def as_loop(self) -> asyncio.AbstractEventLoop:
        return cast("asyncio.AbstractEventLoop", self)

    def time(self) -> float:
        return self.now

    def call_soon_threadsafe(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        return Timer(self, when, callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        return Timer(self, self.now + delay, callback)

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while True:
            while self._soon:
                self._soon.popleft()()
            due = min(self.timers, key=lambda timer: timer.when, default=None)
            if due is None or due.when > until:
                break
            self.timers.remove(due)
            self.now = max(self.now, due.when)
            due.callback()
        self.now = until


def test_notifications_are_held_back_until_it_is_quiet_but_not_for_ever() -> None:
    loop = ManualLoop()
    calls: list[float] = []
    debounce = Debounce(loop.as_loop, lambda: calls.append(loop.now), 0.1, 0.5)
    for _ in range(130):
        debounce.notify()
        loop.advance(0.01)
    loop.advance(5)
    # Without a pause longer than 100 ms: one call after 500 ms, one 500 ms after the next notification, one at the end.
    assert calls == pytest.approx([0.5, 1.01, 1.39], abs=0.021)
    assert not is_pending(debounce)


def test_no_hint_comes_after_a_stop(tmp_path: Path) -> None:
    loop = ManualLoop()
    hints: list[None] = []
    watcher = Watcher(loop.as_loop, lambda: hints.append(None))
    watcher.start()
    watcher.update(frozenset({WatchedName(str(tmp_path), "x")}))
    (tmp_path / "x").touch()
    watcher.stop()
    (tmp_path / "x").unlink()
    loop.advance(100)
    assert hints == []
    assert (watcher.mode, watcher.alive) == ("off", False)
    watcher.stop()


async def test_an_update_that_changes_nothing_schedules_nothing(tmp_path: Path) -> None:
    watcher = Watcher(asyncio.get_running_loop(), lambda: None)
    watcher.start()
    watched_names = frozenset({WatchedName(str(tmp_path), "x"), WatchedName("/tmp", "y")})
    watcher.update(watched_names)
    before = dict(watcher._inotify._watched)
    assert set(before) == {str(tmp_path), "/tmp"}
    for _ in range(10):
        watcher.update(watched_names)
    assert watcher._inotify._watched == before
    assert all(watcher._inotify._watched[directory][0] is before[directory][0] for directory in before)
    watcher.update(frozenset({WatchedName("/tmp", "y")}))
    assert set(watcher._inotify._watched) == {"/tmp"}
    assert watcher._inotify._watched["/tmp"][0] is before["/tmp"][0]
    assert watcher.alive
    await asyncio.to_thread(watcher.stop)


def test_a_new_name_in_a_watched_directory_gives_a_hint(tmp_path: Path) -> None:
    """A change of its file after the reading that found the name, and before the update, has given none."""
    loop = ManualLoop()
    hints: list[None] = []
    watcher = Watcher(loop.as_loop, lambda: hints.append(None))
    watcher.start()
    for names, expected in (("x", 1), ("xy", 1), ("xy", 0), ("y", 0), ("yz", 1)):
        hints.clear()
        watcher.update(frozenset(WatchedName(str(tmp_path), name) for name in names))
        loop.advance(1)
        assert len(hints) == expected, names
    watcher.stop()


async def test_a_directory_that_was_replaced_unseen_is_watched_anew_by_the_next_update(tmp_path: Path) -> None:
    hinted = asyncio.Event()
    watcher = Watcher(asyncio.get_running_loop(), hinted.set, Intervals(debounce_s=0.01))
    watcher.start()
    directory = tmp_path / "etc"
    directory.mkdir()
    watched_names = frozenset({WatchedName(str(directory), "x")})  # its parent is not watched
    for step in (lambda: None, lambda: directory.rename(tmp_path / "old"), lambda: directory.mkdir(exist_ok=True)):
        step()
        watcher.update(watched_names)
        await asyncio.wait_for(hinted.wait(), PATIENCE_S)
        hinted.clear()
    (directory / "x").touch()
    await asyncio.wait_for(hinted.wait(), PATIENCE_S)
    hinted.clear()
    # A mere exchange of two directories, without any time when there was none.
    (tmp_path / "new").mkdir()
    directory.rename(tmp_path / "old2")
    (tmp_path / "new").rename(directory)
    watcher.update(watched_names)
    await asyncio.wait_for(hinted.wait(), PATIENCE_S)
    hinted.clear()
    (directory / "x").touch()
    await asyncio.wait_for(hinted.wait(), PATIENCE_S)
    await asyncio.to_thread(watcher.stop)


async def test_a_directory_that_was_deleted_is_watched_anew_although_it_looks_the_same(tmp_path: Path) -> None:
    """A new directory often gets the inode number of the one that was just deleted."""
    watcher = Watcher(asyncio.get_running_loop(), lambda: None)
    watcher.start()
    watched_names = frozenset({WatchedName(str(tmp_path), "x")})
    watcher.update(watched_names)
    before = watcher._inotify._watched[str(tmp_path)][0]
    watcher._inotify._on_event(str(tmp_path), DirDeletedEvent(str(tmp_path)))
    watcher.update(watched_names)
    assert watcher._inotify._watched[str(tmp_path)][0] is not before
    await asyncio.to_thread(watcher.stop)


async def test_a_missing_directory_is_watched_for_in_its_nearest_ancestor(tmp_path: Path) -> None:
    hinted = asyncio.Event()
    watcher = Watcher(asyncio.get_running_loop(), hinted.set, Intervals(debounce_s=0.01))
    watcher.start()
    watcher.update(frozenset({WatchedName(f"{tmp_path}/a/b", "c")}))
    assert set(watcher._inotify._watched) == {str(tmp_path)}
    await asyncio.wait_for(hinted.wait(), PATIENCE_S)
    hinted.clear()
    (tmp_path / "a").mkdir()
    await asyncio.wait_for(hinted.wait(), PATIENCE_S)
    await asyncio.to_thread(watcher.stop)


async def test_a_dead_thread_is_seen_and_replaced_by_the_next_update(tmp_path: Path) -> None:
    watcher = Watcher(asyncio.get_running_loop(), lambda: None)
    states = [watcher.alive]
    watcher.start()
    watcher.update(frozenset({WatchedName(str(tmp_path), "x")}))
    states.append(watcher.alive)
    assert watcher._inotify._observer is not None
    [emitter] = watcher._inotify._observer.observer.emitters
    emitter.stop()
    await asyncio.to_thread(emitter.join, PATIENCE_S)
    states.append(watcher.alive)
    watcher.update(frozenset({WatchedName(str(tmp_path), "x")}))
    states.append(watcher.alive)
    await asyncio.to_thread(watcher.stop)
    assert states == [False, True, False, True]


def test_a_dead_dispatcher_is_seen_given_a_hint_for_and_replaced_by_the_next_update(tmp_path: Path) -> None:
    loop = ManualLoop()
    hints: list[None] = []
    watcher = Watcher(loop.as_loop, lambda: hints.append(None))
    watcher.start()
    watched_names = frozenset({WatchedName(str(tmp_path), "x")})
    watcher.update(watched_names)
    loop.advance(1)
    assert watcher._inotify._observer is not None
    observer = watcher._inotify._observer.observer
    observer.stop()
    observer.join(PATIENCE_S)
    states = [watcher.alive]
    hints.clear()
    loop.advance(Intervals().check_s)
    assert hints
    watcher.update(watched_names)
    states.append(watcher.alive)
    assert states == [False, True]
    loop.advance(1)
    hints.clear()
    (tmp_path / "x").touch()

    def hinted() -> bool:
        loop.advance(0.01)
        return bool(hints)

    wait_until(hinted, "a hint")
    watcher.stop()


async def test_a_dead_mount_watch_is_seen_and_replaced_by_the_next_update(tmp_path: Path) -> None:
    watcher = Watcher(asyncio.get_running_loop(), lambda: None)
    watcher.start()
    watched_names = frozenset({WatchedName(str(tmp_path), "x")})
    watcher.update(watched_names)
    states = [watcher.alive]
    while watcher._mounts.alive:
        watcher._mounts.stop()
    states.append(watcher.alive)
    watcher.update(watched_names)
    states.append(watcher.alive)
    await asyncio.to_thread(watcher.stop)
    assert states == [True, False, True]


def test_a_regular_check_gives_hints_without_events(tmp_path: Path) -> None:
    loop = ManualLoop()
    hints: list[float] = []
    watcher = Watcher(loop.as_loop, lambda: hints.append(loop.now))
    watcher.start()
    watcher.update(frozenset({WatchedName(str(tmp_path), "x")}))
    loop.advance(100)
    assert watcher.mode == "inotify"
    assert {30.0, 60.0, 90.0} <= {round(hint, 3) for hint in hints}
    watcher.stop()


def test_without_inotify_the_watcher_polls_until_a_later_attempt_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = ManualLoop()
    hints: list[float] = []
    shut = tmp_path / "shut"
    shut.mkdir()
    watcher = Watcher(loop.as_loop, lambda: hints.append(loop.now))
    watcher.start()
    watched_names = frozenset({WatchedName(str(shut), "x")})
    with monkeypatch.context() as patch:
        patch.setattr("runtimed.host.watch.watchdog_internals.os.access", lambda *_, **__: False)
        watcher.update(watched_names)
        assert (watcher.mode, watcher.alive) == ("polling", True)
        assert "may not be read" in watcher.faults[str(shut)]
        loop.advance(5)
        assert {0.0, 1.0, 2.0, 3.0, 4.0, 5.0} <= set(hints)
    watcher.update(watched_names)
    assert watcher.mode == "polling"
    loop.advance(RETRY_S)
    watcher.update(watched_names)
    assert (watcher.mode, watcher.faults, watcher.alive) == ("inotify", {}, True)
    loop.advance(2)
    before = len(hints)
    loop.advance(20)
    assert len(hints) == before
    watcher.stop()


def test_a_possible_loss_of_events_gives_a_hint(tmp_path: Path) -> None:
    loop = ManualLoop()
    hints: list[None] = []
    watcher = Watcher(loop.as_loop, lambda: hints.append(None))
    watcher.start()
    watcher.update(frozenset({WatchedName(str(tmp_path), "x")}))
    loop.advance(1)
    hints.clear()
    logging.getLogger("watchdog.observers.inotify_c").warning("Inotify queue overflowed; filesystem events were lost")
    loop.advance(1)
    assert len(hints) == 1
    for number in range(FLOOD):
        (tmp_path / f"other{number}").touch()

    def hinted() -> bool:
        loop.advance(0.01)
        return len(hints) > 1

    wait_until(hinted, "a hint")
    watcher.stop()


async def run_child(script: str, *arguments: str, before: tuple[str, ...] = ()) -> str:
    process = await asyncio.create_subprocess_exec(
        *before, sys.executable, "-c", script, *arguments,
        cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


UPDATE = """
import asyncio, os, resource, sys
from runtimed.core.configuration.watched_names import WatchedName
from runtimed.host.watch import Watcher
async def main():
    watcher = Watcher(asyncio.get_running_loop(), lambda: None)
    if len(sys.argv) > 2:
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]), int(sys.argv[2])))
    watcher.start()
    for _ in range(10):
        watcher.update(frozenset({WatchedName(sys.argv[1], 'x')}))
    print(watcher.mode, watcher.alive, dict(watcher.faults))
    watcher.stop()
asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
async def test_a_directory_that_may_not_be_read_is_a_fault_and_no_error(tmp_path: Path) -> None:
    caps = "-dac_override,-dac_read_search"
    directory = tmp_path / "shut"
    directory.mkdir()
    directory.chmod(0o300)
    output = await run_child(UPDATE, str(directory), before=("setpriv", "--bounding-set", caps, "--inh-caps", caps))
    assert output.startswith("polling True")
    assert "may not be read" in output


async def test_a_lack_of_descriptors_is_a_fault_and_no_error(tmp_path: Path) -> None:
    output = await run_child(UPDATE, str(tmp_path), "8")
    assert "no inotify instances or descriptors are left" in output or "nothing can be watched" in output
