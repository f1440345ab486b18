"""A data root on a disk that is full, out of inodes or read-only: answers go on, nothing is half-written."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e.harness.asking import asking
from harness.daemon import PATIENCE_S, RunningDaemon, listing, new_daemon, thread_states, wait_until

pytestmark = pytest.mark.timeout(300)

NO_SPACE = "No space left on device"
READ_ONLY = "Read-only file system"


def table(argument: str) -> dict[str, Any]:
    # Big enough that a disk on which a few bytes are left does not take it.
    return {"runtimes": {"w": {"path": "/bin/echo", "runtimeArgs": [argument, "x" * 20_000]}}}


@dataclass
class SmallDisk:
    """A small file system of its own."""

    directory: Path
    is_covered: bool = False

    def fill(self) -> None:
        """Take the last byte."""
        with (self.directory / "filling").open("ab", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while file.write(b"x" * size):
                        pass

    def give_back(self, size: int) -> None:
        """Free a part of what was filled."""
        filling = self.directory / "filling"
        os.truncate(filling, filling.stat().st_size - size)

    def take_inodes(self) -> None:
        """Take the last inode."""
        (self.directory / "taken").mkdir()
        with contextlib.suppress(OSError):
            for number in range(1_000_000):
                (self.directory / "taken" / str(number)).touch()

    def free(self) -> None:
        (self.directory / "filling").unlink(missing_ok=True)
        for path in sorted((self.directory / "taken").glob("*")):
            path.unlink()

    def make_read_only(self) -> None:
        """Remount it; where a running daemon has a file open for writing, mount it over itself instead."""
        if not self._mount("-o", "remount,ro"):
            assert self._mount("--bind", str(self.directory))
            assert self._mount("-o", "remount,bind,ro")
            self.is_covered = True

    def make_writable(self) -> None:
        if self.is_covered:
            # Lazily: what was started meanwhile holds on to it.
            subprocess.run(["umount", "--lazy", str(self.directory)], check=True)
            self.is_covered = False
        assert self._mount("-o", "remount,rw")

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Let whoever writes wait meanwhile, as a disk does that does not answer."""
        subprocess.run(["fsfreeze", "--freeze", str(self.directory)], check=True)
        try:
            yield
        finally:
            subprocess.run(["fsfreeze", "--unfreeze", str(self.directory)], check=True)

    def _mount(self, *how: str) -> bool:
        return subprocess.run(["mount", *how, str(self.directory)], capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def mounted(directory: Path, *how: str) -> Iterator[SmallDisk]:
    directory.mkdir()
    subprocess.run(["mount", *how, str(directory)], check=True)
    disk = SmallDisk(directory)
    try:
        yield disk
    finally:
        disk.make_writable()
        subprocess.run(["umount", str(directory)], check=True)


def small_tmpfs(directory: Path) -> contextlib.AbstractContextManager[SmallDisk]:
    return mounted(directory, "-t", "tmpfs", "-o", "mode=0700,size=2m,nr_inodes=200", "none")


@contextlib.contextmanager
def on_a_block_device(directory: Path) -> Iterator[SmallDisk]:
    image = directory.with_name("image")
    image.touch()
    os.truncate(image, 4 << 20)
    # No blocks that only root may take: the daemon is root.
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-N", "200", str(image)], check=True)
    with mounted(directory, "-o", "loop", str(image)) as disk:
        disk.directory.chmod(0o700)
        yield disk


DISKS = {"tmpfs": small_tmpfs, "ext4": on_a_block_device}


@dataclass
class Host:
    """A daemon whose data root lies on a small disk, beside what takes the disk's room."""

    daemon: RunningDaemon
    disk: SmallDisk


@pytest.fixture(params=DISKS)
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    with new_daemon() as daemon, DISKS[request.param](daemon.root / "disk") as disk:
        daemon.data = disk.directory / "data"
        daemon.write(table("one"))
        try:
            yield Host(daemon, disk)
        finally:
            daemon.kill()


@dataclass(frozen=True)
class Fault:
    """What can be the matter with a disk, what undoes it, and how the system says it."""

    strike: Callable[[SmallDisk], None]
    mend: Callable[[SmallDisk], None]
    words: str


FAULTS = {
    "full": Fault(SmallDisk.fill, SmallDisk.free, NO_SPACE),
    "no inodes": Fault(SmallDisk.take_inodes, SmallDisk.free, NO_SPACE),
    "read-only": Fault(SmallDisk.make_read_only, SmallDisk.make_writable, READ_ONLY),
}


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest) -> Fault:
    return FAULTS[request.param]


def changes(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def written(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """Return what there is more or less, or with another content. A directory's times tell of what was undone."""
    contents = [{path: state[-1] for path, state in found.items()} for found in (before, after)]
    missing = object()
    return {path for path in before.keys() | after.keys() if len({c.get(path, missing) for c in contents}) > 1}


def health(daemon: RunningDaemon) -> dict[str, Any]:
    return dict(daemon.status()["health"])


def argument(daemon: RunningDaemon) -> str:
    """Return the first argument that w's wrapper gives, from where the answer says that it lies."""
    wrapper = Path(daemon.resolve("w")["options"]["fields"]["binary_name"])
    return subprocess.run([wrapper], capture_output=True, text=True, check=True).stdout.split()[0]


def see_rejected(daemon: RunningDaemon, words: str) -> None:
    """See the reload of another table rejected with the reason, and that it changes nothing; at least twice."""
    # Before the file changes: the daemon tries it by itself as well, and its attempt must not run meanwhile.
    answer, disk = daemon.resolve("w"), listing(daemon.data)
    daemon.write(table("two"))
    for _ in range(2):
        status, report = daemon.ask("POST", "/v1/reload")
        assert (status, report["outcome"]) == (422, "rejected")
        (problem,) = report["problems"]
        assert words in problem["message"]
        assert str(daemon.data) in problem["message"]
        assert health(daemon)["status"] == "degraded"
        assert words in health(daemon)["reasons"]["store"]
        assert "configuration" not in health(daemon)["reasons"]
    assert written(disk, listing(daemon.data)) == set()
    assert daemon.resolve("w") == answer
    assert argument(daemon) == "one"
    assert daemon.get("/healthz")[0] == 200


def waits_for_disk(daemon: RunningDaemon) -> bool:
    """Return whether a thread of the daemon stays in a system call that no signal ends."""

    def waiting() -> set[str]:
        return {thread for thread, state in thread_states(daemon.pid).items() if state == "D"}

    before = waiting()
    time.sleep(0.2)
    return bool(before & waiting())


def test_a_change_that_the_disk_does_not_take_is_rejected_until_it_does(host: Host, fault: Fault) -> None:
    daemon = host.daemon.start()
    number = daemon.resolve("w")["generation"]
    fault.strike(host.disk)
    see_rejected(daemon, fault.words)
    fault.mend(host.disk)
    report = daemon.reload()
    assert (report["outcome"], report["changed"]) == ("applied", ["w"])
    assert daemon.resolve("w")["generation"] > number
    assert argument(daemon) == "two"
    assert health(daemon) == {"status": "ok", "reasons": {}}
    assert daemon.stop() == 0


def test_runtimectl_does_not_ask_for_another_configuration_when_the_disk_is_full(host: Host) -> None:
    daemon = host.daemon.start()
    host.disk.fill()
    daemon.write(table("two"))
    command = [sys.executable, "-m", "runtimed.cli.ctl", "--socket", str(daemon.socket), "reload"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "free space or inodes" in run.stderr
    assert "the configuration is valid" in run.stderr
    assert "correct" not in run.stderr
    (rejected,) = [event for event in daemon.log() if event["event"] == "reload.rejected" and event["reason"] == "api"]
    assert rejected["cause"] == "store"


def test_however_little_room_there_is_a_rejected_reload_leaves_nothing(host: Host) -> None:
    daemon = host.daemon.start()
    host.disk.fill()
    entries = {f"w{number}": {"path": "/bin/echo", "runtimeArgs": ["x" * 6000]} for number in range(4)}
    before, rejected = listing(daemon.data), 0
    daemon.write({"runtimes": entries})
    while (report := daemon.reload())["outcome"] == "rejected":
        assert NO_SPACE in report["problems"][0]["message"]
        # Not even the links that the disk took: their directory is not in use.
        left = {path for path in written(before, listing(daemon.data)) if not str(path).startswith("links/b")}
        assert left == set()
        rejected += 1
        host.disk.give_back(1024)
    assert rejected > 4
    assert sorted(set(report["added"])) == sorted(entries)
    assert daemon.stop() == 0


def test_a_hangup_and_a_file_change_are_rejected_in_the_same_way(host: Host, fault: Fault) -> None:

    daemon = host.daemon.start()
    fault.strike(host.disk)
    daemon.write(table("two"))
    wait_until(lambda: [e for e in daemon.reloads("rejected") if e["reason"] == "file-change"], "the file's change")
    daemon.send(signal.SIGHUP)
    wait_until(lambda: [e for e in daemon.reloads("rejected") if "signal" in e["reason"]], "the hangup")
    for event in daemon.reloads("rejected"):
        assert fault.words in event["problems"][0]
        assert str(daemon.data) in event["problems"][0]
    assert argument(daemon) == "one"
    assert daemon.stop() == 0


def test_a_start_with_the_same_configuration_writes_nothing_and_is_well(host: Host, fault: Fault) -> None:
    daemon = host.daemon.start()
    before = daemon.resolve("w")
    assert daemon.stop() == 0
    fault.strike(host.disk)
    disk = listing(daemon.data)
    daemon.start()
    assert daemon.resolve("w") == before
    assert argument(daemon) == "one"
    assert health(daemon) == {"status": "ok", "reasons": {}}
    assert changes(disk, listing(daemon.data)) <= {"lock"}
    assert daemon.reload()["outcome"] == "unchanged"
    assert daemon.stop() == 0
    assert changes(disk, listing(daemon.data)) <= {"lock"}


def test_a_start_that_cannot_write_its_change_serves_the_last_good_generation(host: Host, fault: Fault) -> None:
    daemon = host.daemon.start()
    before = daemon.resolve("w")
    assert daemon.stop() == 0
    fault.strike(host.disk)
    disk = listing(daemon.data)
    daemon.write(table("two"))
    daemon.start()
    assert daemon.resolve("w") == before
    (event,) = daemon.reloads("rejected")
    assert (event["reason"], event["level"]) == ("start", "error")
    assert fault.words in event["problems"][0]
    assert written(disk, listing(daemon.data)) <= {"lock"}
    see_rejected(daemon, fault.words)
    fault.mend(host.disk)
    assert daemon.reload()["outcome"] == "applied"
    assert argument(daemon) == "two"
    assert health(daemon) == {"status": "ok", "reasons": {}}
    assert daemon.stop() == 0


def test_a_start_that_cannot_put_its_disk_in_order_serves_the_last_good_generation(host: Host, fault: Fault) -> None:
    daemon = host.daemon.start()
    before = daemon.resolve("w")
    assert daemon.stop() == 0
    (daemon.data / "runtimes").unlink()
    fault.strike(host.disk)
    daemon.start()
    assert daemon.resolve("w") == before
    assert argument(daemon) == "one"
    assert fault.words in health(daemon)["reasons"]["store"]
    fault.mend(host.disk)
    assert daemon.reload()["outcome"] == "applied"
    assert (daemon.data / "runtimes/w").exists()
    assert health(daemon) == {"status": "ok", "reasons": {}}
    assert daemon.stop() == 0


def test_a_first_start_on_a_disk_that_takes_nothing_fails_with_the_reason(host: Host, fault: Fault) -> None:
    daemon = host.daemon
    fault.strike(host.disk)
    before = listing(host.disk.directory)
    text = daemon.fail_to_start()
    assert fault.words.lower() in text.lower()
    assert str(daemon.data) in text
    assert written(before, listing(host.disk.directory)) <= {"data", "data/lock"}
    fault.mend(host.disk)
    daemon.start()
    assert argument(daemon) == "one"
    assert daemon.stop() == 0


def test_a_daemon_killed_on_a_full_disk_starts_again_on_it(host: Host) -> None:
    daemon = host.daemon.start()
    before = daemon.resolve("w")
    host.disk.fill()
    see_rejected(daemon, NO_SPACE)
    daemon.stop(signal.SIGKILL)
    daemon.write(table("one"))
    daemon.start()
    assert daemon.resolve("w") == before
    assert health(daemon)["status"] == "ok"
    assert daemon.stop() == 0


def test_a_log_on_the_full_disk_hurts_nothing(host: Host) -> None:
    daemon = host.daemon
    daemon.log_file = host.disk.directory / "log"
    daemon.start()
    host.disk.fill()
    size = daemon.log_file.stat().st_size
    see_rejected(daemon, NO_SPACE)
    for _ in range(100):
        assert daemon.reload()["outcome"] == "rejected"
    assert daemon.log_file.stat().st_size - size < 4096, "the log should have found no room"
    host.disk.free()
    assert daemon.reload()["outcome"] == "applied"
    assert argument(daemon) == "two"
    assert daemon.reloads("applied"), "the log goes on"
    host.disk.fill()
    assert daemon.reload()["outcome"] == "unchanged"
    assert daemon.stop() == 0


@pytest.mark.parametrize("host", ["ext4"], indirect=True)
def test_a_disk_that_does_not_answer_holds_up_the_reload_and_nothing_else(host: Host) -> None:
    daemon = host.daemon.start()
    before = daemon.resolve("w")
    with ThreadPoolExecutor(1) as pool:
        with host.disk.frozen():
            daemon.write(table("two"))
            reloading = pool.submit(daemon.reload)
            wait_until(lambda: waits_for_disk(daemon), "the reload to wait for the disk")
            # Each of these answers comes while it waits.
            with asking(daemon, "w") as asked:
                wait_until(lambda: asked.answers > 30, "answers")
            assert asked.digests == {before["digest"]}
            assert daemon.get("/healthz")[0] == 200
            assert waits_for_disk(daemon)
            assert not reloading.done()
        assert reloading.result()["outcome"] in ("applied", "unchanged")
    assert argument(daemon) == "two"
    assert daemon.stop() == 0


@pytest.mark.parametrize("host", ["ext4"], indirect=True)
def test_a_stop_while_the_disk_does_not_answer_is_a_clean_one(host: Host) -> None:
    daemon = host.daemon.start()
    process = daemon.process
    assert process is not None
    with ThreadPoolExecutor(1) as pool:
        with host.disk.frozen():
            daemon.write(table("two"))
            reloading = pool.submit(daemon.reload)
            wait_until(lambda: waits_for_disk(daemon), "the reload to wait for the disk")
            daemon.send(signal.SIGTERM)
            assert reloading.exception() is not None, "a client was told of a reload that had not happened"
        # Linux ends no process one of whose threads waits for such a disk.
        assert process.wait(PATIENCE_S) == 0
    daemon.start()
    assert argument(daemon) == "two"
    assert health(daemon) == {"status": "ok", "reasons": {}}
    assert daemon.stop() == 0
