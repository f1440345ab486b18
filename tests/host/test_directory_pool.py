"""Blocking calls in threads, some of which hang: other calls are not delayed, and the threads are bounded."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from harness.daemon import PATIENCE_S, wait_until

import runtimed.host.directory_pool
from runtimed.host.directory_pool import DirectoryPool

SHORT_S = 0.1


class Disk:
    """A file system on which look-ups of some paths hang until the end of the test."""

    def __init__(self) -> None:
        self.hangs: set[str] = set()
        self.released = threading.Event()
        self.calls: list[str] = []

    def look(self, path: str) -> str:
        self.calls.append(path)
        if path in self.hangs:
            self.released.wait()
        if path.endswith("broken"):
            raise OSError(path)
        return path.upper()


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.released.set()


class Clock:
    """A clock that only passes while all calls that run hang: not while this process stands still in another one."""

    def __init__(self, pool: DirectoryPool, disk: Disk) -> None:
        self.now_s = 0.0
        self._pool = pool
        self._disk = disk

    def monotonic(self) -> float:
        if all(call.path in self._disk.hangs for call in tuple(self._pool._running)):
            self.now_s += SHORT_S / 4
        return self.now_s


@pytest.fixture
def clock(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    pool = DirectoryPool("test", SHORT_S)
    clock = Clock(pool, disk)
    with monkeypatch.context() as patch:
        patch.setattr(runtimed.host.directory_pool, "time", clock)
        yield clock
    disk.released.set()
    pool.close(PATIENCE_S)
    # One that no call waits for has left the pool before, and may still be about to end.
    wait_until(lambda: not threads(), "the threads to end")


@pytest.fixture
def pool(clock: Clock) -> DirectoryPool:
    return clock._pool


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "test"]


def test_each_call_has_its_result_or_its_exception(pool: DirectoryPool, disk: Disk) -> None:
    paths = [f"/{directory}/{name}" for directory in "abcdef" for name in ("x", "y", "broken")]
    found = pool.call_all(disk.look, [*paths, "name", *paths])
    assert {path: each for path, each in found.items() if isinstance(each, str)} == {
        path: path.upper() for path in (*paths, "name") if not path.endswith("broken")
    }
    assert sum(isinstance(each, OSError) for each in found.values()) == 6
    assert len(disk.calls) == len(set(disk.calls))
    assert pool.call_all(disk.look, ()) == {}


def test_a_call_that_hangs_fails_in_time_and_others_have_their_results(
    pool: DirectoryPool, disk: Disk, clock: Clock
) -> None:
    disk.hangs = {"/nfs/a", "b"}
    found = pool.call_all(disk.look, ["/nfs/a", "/nfs/c", "/usr/c", "b", "c"])
    assert clock.now_s < 10 * SHORT_S
    assert {path for path, each in found.items() if isinstance(each, TimeoutError)} == {"/nfs/a", "b"}
    assert "file system does not answer" in str(found["b"])
    assert found["/nfs/c"] == "/NFS/C"


def test_a_call_during_which_the_process_was_stopped_has_its_result(
    pool: DirectoryPool, disk: Disk, clock: Clock
) -> None:
    disk.hangs = {"/usr/x"}
    outcomes: list[object] = []
    pool.submit("/usr/x", lambda: disk.look("/usr/x"), outcomes.append)
    wait_until(lambda: disk.calls, "the call to begin")
    clock.now_s += 100 * SHORT_S
    assert pool.expire()
    disk.released.set()
    wait_until(lambda: outcomes, "its result")
    assert outcomes == ["/USR/X"]


def test_further_calls_for_a_path_that_hangs_fail_at_once_and_take_no_thread(pool: DirectoryPool, disk: Disk) -> None:
    disk.hangs = {"/nfs/a"}
    pool.call_all(disk.look, ["/nfs/a"])
    before = len(threads())
    failed: list[object] = []
    for _ in range(1000):
        pool.submit("/nfs/a", lambda: disk.look("/nfs/a"), failed.append)
    assert len(failed) == 1000
    assert disk.calls == ["/nfs/a"]
    assert len(threads()) == before


def test_many_hanging_calls_in_one_directory_take_few_threads(pool: DirectoryPool, disk: Disk) -> None:
    hanging = [f"/nfs/{number}" for number in range(500)]
    disk.hangs = set(hanging)
    found = pool.call_all(disk.look, [*hanging, "/usr/x"])
    assert all(isinstance(found[path], TimeoutError) for path in hanging)
    assert found["/usr/x"] == "/USR/X"
    assert len(threads()) < 10


def test_hanging_calls_in_many_directories_take_a_bounded_number_of_threads(pool: DirectoryPool, disk: Disk) -> None:
    hanging = [f"/nfs/{number}/runtime" for number in range(200)]
    disk.hangs = set(hanging)
    found = pool.call_all(disk.look, hanging)
    assert all(isinstance(each, TimeoutError) for each in found.values())
    assert len(threads()) <= 64
    assert isinstance(pool.call_all(disk.look, ["/usr/x"])["/usr/x"], TimeoutError)


def test_a_path_works_again_when_its_hanging_call_has_returned(pool: DirectoryPool, disk: Disk) -> None:
    disk.hangs = {f"/nfs/{number}" for number in range(10)}
    pool.call_all(disk.look, disk.hangs)
    disk.released.set()
    wait_until(lambda: pool.call_all(disk.look, ["/nfs/1"])["/nfs/1"] == "/NFS/1", "an answer")


async def test_gather_does_not_block_the_event_loop(pool: DirectoryPool, disk: Disk) -> None:
    disk.hangs = {"/nfs/a"}
    found = await pool.gather(disk.look, ["/nfs/a", "/usr/x"])
    assert isinstance(found["/nfs/a"], TimeoutError)
    assert found["/usr/x"] == "/USR/X"


def test_closing_does_not_wait_for_a_call_that_hangs(disk: Disk) -> None:
    pool = DirectoryPool("test", SHORT_S)
    disk.hangs = {"/nfs/a"}
    pool.call_all(disk.look, ["/nfs/a", "/usr/x"])
    pool.close(0.1)
    wait_until(lambda: len(threads()) == 1, "the other threads to end")
    failed: list[object] = []
    pool.submit("/usr/x", lambda: None, failed.append)
    assert isinstance(failed[0], TimeoutError)
    disk.released.set()
    wait_until(lambda: not threads(), "the thread to end")
