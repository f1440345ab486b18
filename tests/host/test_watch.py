from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from watchdog.events import DirDeletedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.utils import BaseThread

from runtimed.core.config import Documents
from runtimed.core.configuration.watched_names import WatchedName
from runtimed.host.files import Snapshot, read_documents
from runtimed.host.trust import Trust, Walk, walk
from runtimed.host.watch import Pace, Watcher
from runtimed.host.watch.debounce import Debounce
from runtimed.host.watch.inotify import FLOOD, _Handler

# A machine under load is slow; a test that passes never waits this long.
PATIENCE_S = 10.0


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


class Follower:
    """The daemon in small: at every hint it reads, notes whether anything changed, and updates the watcher."""

    def __init__(self, base: Path, debounce_ms: int = 30) -> None:
        self.base = base
        self.hints = 0
        self.seen: list[Documents] = []
        self._hinted = asyncio.Event()
        self._read = asyncio.Condition()
        self._busy = True
        self.watcher = Watcher(asyncio.get_running_loop(), self._hint, Pace(debounce=debounce_ms))

    def _hint(self) -> None:
        self.hints += 1
        self._hinted.set()

    @property
    def text(self) -> str:
        """What the documents say: the main file, then name=content of each drop-in."""
        documents = self.seen[-1]
        main = "none" if documents.main is None else documents.main.data.decode()
        dropins = [f"{Path(dropin.path).name}={dropin.data.decode()}" for dropin in documents.dropins]
        return " ".join([main, *dropins, *(f"problem:{problem.found}" for problem in documents.problems)])

    async def follow(self) -> None:
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

    async def sees(self, text: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S), self._read:
                await self._read.wait_for(lambda: bool(self.seen) and self.text == text)
        except TimeoutError:
            pytest.fail(f"expected {text!r}, still {self.text!r}")

    async def settles(self) -> None:
        """Wait until the hint that follows new watches has been dealt with: only events can help from here."""
        debounce = self.watcher._debounce
        await eventually(lambda: self.hints and not (self._hinted.is_set() or self._busy or debounce.pending))


class Recorder(FileSystemEventHandler):
    """Notes every event that watchdog delivers, of interest or not."""

    def __init__(self, watcher: Watcher) -> None:
        self.events: list[FileSystemEvent] = []
        assert watcher._inotify._observer is not None
        for watch, _ in watcher._inotify._watched.values():
            watcher._inotify._observer.add_handler_for_watch(self, watch)

    def dispatch(self, event: FileSystemEvent) -> None:
        self.events.append(event)

    def of(self, *names: str) -> list[FileSystemEvent]:
        return [event for event in self.events if str(event.src_path).endswith(names)]


@contextlib.asynccontextmanager
async def following(base: Path, debounce_ms: int = 30) -> AsyncIterator[Follower]:
    follower = Follower(base, debounce_ms)
    follower.watcher.start()
    task = asyncio.create_task(follower.follow())
    try:
        yield follower
        assert follower.watcher.alive
        assert follower.watcher.faults == {}
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await asyncio.to_thread(follower.watcher.stop)


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
    async with following(base) as follower:
        await follower.sees("old a.json=a")
        await follower.settles()
        edit(base)
        await follower.sees(expected)


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
    async with following(base) as follower:
        for number in range(1, 5):
            await follower.settles()
            swap(number)
            await follower.sees(str(number))


async def test_the_target_of_a_link_in_another_directory_is_watched(tmp_path: Path) -> None:
    base, other = tmp_path / "etc", tmp_path / "other"
    base.mkdir()
    other.mkdir()
    (other / "real.json").write_text("old")
    (base / "daemon.json").symlink_to("../other/real.json")
    async with following(base) as follower:
        await follower.sees("old")
        await follower.settles()
        (other / "real.json").write_text("new")
        await follower.sees("new")


async def test_a_directory_that_is_created_later_is_noticed(tmp_path: Path) -> None:
    base = tmp_path / "not" / "yet"
    async with following(base) as follower:
        await follower.sees("none")
        await follower.settles()
        base.mkdir(parents=True)
        (base / "daemon.json").write_text("new")
        await follower.sees("new")
        (base / "daemon.json.d").mkdir()
        add_dropin(base)
        await follower.sees("new b.json=b")


@pytest.mark.parametrize("rounds", [5])
async def test_a_directory_that_is_deleted_and_created_again_stays_watched(tmp_path: Path, rounds: int) -> None:
    base = tmp_path / "etc"
    async with following(base) as follower:
        for number in range(rounds):
            (base / "daemon.json.d").mkdir(parents=True)
            (base / "daemon.json").write_text(f"{number}")
            await follower.sees(f"{number}")
            await follower.settles()
            add_dropin(base)
            await follower.sees(f"{number} b.json=b")
            await follower.settles()
            shutil.rmtree(base)
            if number % 2:  # at once: the new directory often gets the inode number of the old one
                continue
            await follower.sees("none")


@pytest.mark.parametrize("rounds", [5])
async def test_a_directory_that_is_replaced_by_rename_stays_watched(tmp_path: Path, rounds: int) -> None:
    base = tmp_path / "etc"
    base.mkdir()
    async with following(base) as follower:
        for number in range(rounds):
            replace_directory(base)
            await follower.sees("new")
            await follower.settles()
            (base / "daemon.json").write_text(str(number))
            await follower.sees(str(number))
            shutil.rmtree(base.parent / "old")


@pytest.mark.skipif(os.geteuid() != 0, reason="a chmod changes nothing that a user without root could see")
async def test_a_chmod_of_a_file_or_of_a_directory_gives_a_hint(tmp_path: Path) -> None:
    base = tmp_path / "etc"
    base.mkdir()
    (base / "daemon.json").write_text("old")
    async with following(base) as follower:
        await follower.sees("old")
        await follower.settles()
        (base / "daemon.json").chmod(0o700)
        await eventually(lambda: follower.hints == 2)
        base.chmod(0o700)
        await eventually(lambda: follower.hints == 3)


async def test_readings_by_anyone_cause_no_event_and_no_hint(tmp_path: Path) -> None:
    (tmp_path / "daemon.json").write_text("old")
    (tmp_path / "daemon.json.d").mkdir()
    add_dropin(tmp_path)
    async with following(tmp_path) as follower:
        await follower.sees("old b.json=b")
        await follower.settles()
        hints, recorder = follower.hints, Recorder(follower.watcher)
        for _ in range(100):
            await asyncio.to_thread(read, tmp_path)
        command = 'for i in $(seq 100); do cat "$1"/daemon.json "$1"/daemon.json.d/*; ls "$1"; done >/dev/null'
        process = await asyncio.create_subprocess_exec("sh", "-c", command, "sh", str(tmp_path))
        assert await process.wait() == 0
        # Events of a directory come in order: when these are here, those of the readings would be as well.
        (tmp_path / "sentinel").touch()
        (tmp_path / "daemon.json.d" / "sentinel").touch()
        await eventually(lambda: len({event.src_path for event in recorder.of("/sentinel")}) == 2)
        await asyncio.sleep(0.1)  # longer than the debounce
        # Other programs use /tmp as well; watchdog 6 adds that the directories were modified by the sentinels.
        ours = [event for event in recorder.events if str(event.src_path).startswith(str(tmp_path))]
        assert [event for event in ours if "sentinel" not in str(event) and not event.is_directory] == []
        assert follower.hints == hints


async def test_other_names_in_the_same_directories_give_no_hint(tmp_path: Path) -> None:
    (tmp_path / "daemon.json").write_text("old")
    (tmp_path / "daemon.json.d").mkdir()
    async with following(tmp_path) as follower:
        await follower.sees("old")
        await follower.settles()
        hints, recorder = follower.hints, Recorder(follower.watcher)
        for name in ("other.json", "daemon.json~", "daemon.json.d/.a.json.swp", "daemon.json.d/a.json~"):
            (tmp_path / name).write_text("x")
            (tmp_path / name).rename(tmp_path / f"{name}2")
            (tmp_path / f"{name}2").unlink()
        (tmp_path / "sentinel").touch()
        await eventually(lambda: recorder.of("/sentinel"))
        await asyncio.sleep(0.1)  # longer than the debounce
        assert follower.hints == hints


async def test_many_edits_at_once_give_few_hints(tmp_path: Path) -> None:
    (tmp_path / "daemon.json.d").mkdir()
    async with following(tmp_path, debounce_ms=200) as follower:
        await follower.settles()
        hints = follower.hints
        for number in range(300):
            (tmp_path / "daemon.json.d" / f"{number:03}.json").write_text("x")
        await follower.sees(" ".join(["none", *(f"{number:03}.json=x" for number in range(300))]))
        assert follower.hints - hints <= 2


class Clock:
    """As much of an event loop as a debounce needs, with a time that the test moves on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_soon_threadsafe(self, callback: Callable[[], None]) -> None:
        callback()

    def call_at(self, when: float, callback: Callable[[], None]) -> object:
        self.due.append((when, callback))
        return object()

    def advance(self, until: float) -> None:
        # One timer at a time is all that a debounce has.
        while self.due and self.due[0][0] <= until:
            self.now, callback = self.due.pop(0)
            callback()
        self.now = until


def test_touches_are_held_back_until_it_is_quiet_but_not_for_ever() -> None:
    clock = Clock()
    calls: list[float] = []
    debounce = Debounce(cast("asyncio.AbstractEventLoop", clock), lambda: calls.append(clock.now), 0.1, 0.5)
    for tick in range(130):
        clock.advance(tick / 100)
        debounce.touch()
    clock.advance(5)
    # Without a pause longer than 100 ms: one call after 500 ms, one as long after the next touch, one for the rest.
    assert calls == pytest.approx([0.5, 1.01, 1.39], abs=0.021)
    assert not debounce.pending


async def test_no_hint_comes_after_a_stop(tmp_path: Path) -> None:
    calls: list[None] = []
    watcher = Watcher(asyncio.get_running_loop(), lambda: calls.append(None), Pace(debounce=10))
    watcher.start()
    await asyncio.to_thread(watcher.update, frozenset({WatchedName(str(tmp_path), "x")}))
    (tmp_path / "x").touch()
    await asyncio.to_thread(watcher.stop)
    calls.clear()
    (tmp_path / "x").unlink()
    await asyncio.sleep(0.1)
    assert calls == []
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


async def test_a_directory_that_was_replaced_unseen_is_watched_anew_by_the_next_update(tmp_path: Path) -> None:
    hinted = asyncio.Event()
    watcher = Watcher(asyncio.get_running_loop(), hinted.set, Pace(debounce=10))
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
    _Handler(str(tmp_path), watcher._inotify._interest).dispatch(DirDeletedEvent(str(tmp_path)))
    watcher.update(watched_names)
    assert watcher._inotify._watched[str(tmp_path)][0] is not before
    await asyncio.to_thread(watcher.stop)


async def test_a_missing_directory_is_watched_for_in_its_nearest_ancestor(tmp_path: Path) -> None:
    hinted = asyncio.Event()
    watcher = Watcher(asyncio.get_running_loop(), hinted.set, Pace(debounce=10))
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
    [emitter] = watcher._inotify._observer.emitters
    emitter.stop()
    await asyncio.to_thread(emitter.join, PATIENCE_S)
    states.append(watcher.alive)
    watcher.update(frozenset({WatchedName(str(tmp_path), "x")}))
    states.append(watcher.alive)
    await asyncio.to_thread(watcher.stop)
    assert states == [False, True, False, True]


async def test_a_dead_dispatcher_is_seen_given_a_hint_for_and_replaced_by_the_next_update(tmp_path: Path) -> None:
    hinted = asyncio.Event()
    watcher = Watcher(asyncio.get_running_loop(), hinted.set, Pace(debounce=10, beat=20))
    watcher.start()
    watched_names = frozenset({WatchedName(str(tmp_path), "x")})
    watcher.update(watched_names)
    await asyncio.wait_for(hinted.wait(), PATIENCE_S)
    observer = watcher._inotify._observer
    assert observer is not None
    await asyncio.to_thread(observer.stop)
    await asyncio.to_thread(observer.join, PATIENCE_S)
    states = [watcher.alive]
    hinted.clear()
    await asyncio.wait_for(hinted.wait(), PATIENCE_S)
    watcher.update(watched_names)
    states.append(watcher.alive)
    assert states == [False, True]
    await asyncio.sleep(0.05)
    hinted.clear()
    (tmp_path / "x").touch()
    await asyncio.wait_for(hinted.wait(), PATIENCE_S)
    await asyncio.to_thread(watcher.stop)


async def test_a_dead_mount_watch_is_seen_and_replaced_by_the_next_update(tmp_path: Path) -> None:
    watcher = Watcher(asyncio.get_running_loop(), lambda: None)
    watcher.start()
    watched_names = frozenset({WatchedName(str(tmp_path), "x")})
    watcher.update(watched_names)
    states = [watcher.alive]
    watcher._mounts.stop()
    states.append(watcher.alive)
    watcher.update(watched_names)
    states.append(watcher.alive)
    await asyncio.to_thread(watcher.stop)
    assert states == [True, False, True]


async def test_what_events_missed_is_found_by_the_clock(tmp_path: Path) -> None:
    hints: list[None] = []
    watcher = Watcher(asyncio.get_running_loop(), lambda: hints.append(None), Pace(debounce=10, beat=20, check=60))
    watcher.start()
    watcher.update(frozenset({WatchedName(str(tmp_path), "x")}))
    await eventually(lambda: len(hints) >= 3)
    assert watcher.mode == "inotify"
    await asyncio.to_thread(watcher.stop)


async def test_where_inotify_cannot_be_had_hints_come_by_the_clock_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hints: list[None] = []
    shut = tmp_path / "shut"
    shut.mkdir()
    watcher = Watcher(asyncio.get_running_loop(), lambda: hints.append(None), Pace(debounce=10, poll=20, beat=60_000))
    watcher.start()
    watched_names = frozenset({WatchedName(str(shut), "x")})
    with monkeypatch.context() as patch:
        patch.setattr("runtimed.host.watch.inotify.os.access", lambda *_, **__: False)
        watcher.update(watched_names)
        assert (watcher.mode, watcher.alive) == ("polling", True)
        assert "may not be read" in watcher.faults[str(shut)]
        await eventually(lambda: len(hints) >= 5)
    monkeypatch.setattr("runtimed.host.watch.inotify.RETRY_S", 0.0)
    watcher.update(watched_names)
    assert (watcher.mode, watcher.faults, watcher.alive) == ("inotify", {}, True)
    await asyncio.sleep(0.1)
    before = len(hints)
    await asyncio.sleep(0.2)
    assert len(hints) == before
    await asyncio.to_thread(watcher.stop)


async def test_many_events_that_concern_nobody_are_a_reason_to_look_because_others_may_be_lost(tmp_path: Path) -> None:
    hinted = asyncio.Event()
    watcher = Watcher(asyncio.get_running_loop(), hinted.set, Pace(debounce=10))
    watcher.start()
    watcher.update(frozenset({WatchedName(str(tmp_path), "x")}))
    await asyncio.wait_for(hinted.wait(), PATIENCE_S)
    hinted.clear()
    for number in range(FLOOD):
        (tmp_path / f"other{number}").touch()
    await asyncio.wait_for(hinted.wait(), PATIENCE_S)
    await asyncio.to_thread(watcher.stop)


async def test_what_watchdog_complains_of_is_a_reason_to_look(tmp_path: Path) -> None:
    hinted = asyncio.Event()
    watcher = Watcher(asyncio.get_running_loop(), hinted.set, Pace(debounce=10))
    watcher.start()
    watcher.update(frozenset({WatchedName(str(tmp_path), "x")}))
    await asyncio.wait_for(hinted.wait(), PATIENCE_S)
    hinted.clear()
    logging.getLogger("watchdog.observers.inotify_c").warning("Inotify queue overflowed; filesystem events were lost")
    await asyncio.wait_for(hinted.wait(), PATIENCE_S)
    await asyncio.to_thread(watcher.stop)


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
from runtimed.host.watch import Pace, Watcher
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
