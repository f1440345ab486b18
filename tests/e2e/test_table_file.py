"""The table file of a real daemon: read all the time during reloads and kills, on a full exec root, after a stop.

RUNTIMED_TEST_TABLE_READS and RUNTIMED_TEST_TABLE_RELOADS set how much is tried at least, 50,000 and 40 by default.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import pytest
from harness.clients import new_in_loops
from harness.daemon import RunningDaemon, as_user, new_daemon, wait_until

from runtimed.client import Client, DaemonUnreachable

READS = int(os.environ.get("RUNTIMED_TEST_TABLE_READS", "50000"))
RELOADS = int(os.environ.get("RUNTIMED_TEST_TABLE_RELOADS", "40"))
# Every so many reloads the daemon is killed and started again.
LIFE = 10
READERS = 2
SEED = int(os.environ.get("RUNTIMED_TEST_SEED") or time.time())
NAMES = ("a", "b", "c")
# How many lines the file has: of the names, the two stock runtimes, the first and the last.
LINES = len(NAMES) + 4
HEAD = re.compile(rb'\{"format":1,"generation":(\d+),')
RESOLVE = (sys.executable, "-m", "runtimed.cli.ctl", "resolve")
# Users and their groups; that of the first is the group of the socket.
MEMBER, STRANGER = 65534, 12345

pytestmark = pytest.mark.timeout(3600)


def table(mark: int) -> dict[str, Any]:
    """Return a configuration in which every runtime has the argument ``mark``."""
    runtimes = {name: {"path": "/bin/true", "runtimeArgs": [f"--mark={mark}"]} for name in NAMES}
    return {"runtimes": runtimes, "runtimed": {"probe": {"enabled": False}, "retain": 4}}


def file_of(daemon: RunningDaemon) -> Path:
    return daemon.socket.parent / "table.json"


def wrong(data: bytes, least: int) -> str | None:
    """Return what is wrong with a file that must be whole, and of generation ``least`` or a newer one."""
    head = HEAD.match(data)
    if head is None or not data.endswith(b"\n}}\n") or data.count(b"\n") != LINES:
        return f"torn: {data!r}"
    # Of another generation, an entry would have another number.
    if data.count(b'"generation":%b,' % head[1]) != LINES - 1:
        return f"mixed: {data!r}"
    return f"generation {int(head[1])}, and {least} was published" if int(head[1]) < least else None


def read_all_the_time(path: str, told: Synchronized[int], reads: Synchronized[int], stop: Synchronized[bool]) -> None:
    """Read the file until ``stop``; end with an error in the first that is missing, torn or too old."""
    newest = count = 0
    while not stop.value:
        least = max(told.value, newest)
        fd = os.open(path, os.O_RDONLY)
        data = os.read(fd, 1 << 20)
        os.close(fd)
        if (problem := wrong(data, least)) is not None:
            raise AssertionError(problem)
        newest = int(HEAD.match(data)[1])  # type: ignore[index]
        count += 1
        if count % 100 == 0:
            with reads.get_lock():
                reads.value += 100


@dataclass
class Reading:
    """Processes that read the file of ``daemon``, and the newest generation that a client was told of."""

    daemon: RunningDaemon
    told: Any = field(default_factory=lambda: multiprocessing.Value("q", 0))
    reads: Any = field(default_factory=lambda: multiprocessing.Value("q", 0))
    stop: Any = field(default_factory=lambda: multiprocessing.Value("b", False))
    processes: list[multiprocessing.Process] = field(default_factory=list)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        arguments = str(file_of(self.daemon)), self.told, self.reads, self.stop
        self.processes = [multiprocessing.Process(target=read_all_the_time, args=arguments) for _ in range(READERS)]
        for process in self.processes:
            process.start()
        try:
            yield
        finally:
            self.stop.value = True
            for process in self.processes:
                process.join()
        assert [process.exitcode for process in self.processes] == [0] * READERS, "a reader's error is above"

    def goes_on(self) -> bool:
        """Return whether no reader has found an error."""
        return all(process.is_alive() for process in self.processes)


def test_no_reader_misses_a_file_or_gets_a_torn_or_an_older_one() -> None:
    chance = random.Random(SEED)
    with new_daemon() as daemon:
        daemon.write(table(0))
        daemon.start()
        reading, reloads, kills = Reading(daemon), 0, 0
        begun_s = time.monotonic()
        with reading.running():
            while (reloads < RELOADS or reading.reads.value < READS) and reading.goes_on():
                reloads += 1
                daemon.write(table(reloads))
                if reloads % LIFE:
                    report = daemon.reload()
                    assert report["outcome"] in ("applied", "unchanged"), report
                    reading.told.value = report["generation"]
                    continue
                kills += 1
                kill_during_a_reload(daemon, chance.uniform(0, 0.03))
                daemon.start()
                reading.told.value = daemon.status()["generation"]
                # An unchanged start writes it again.
                assert wrong(file_of(daemon).read_bytes(), reading.told.value) is None
        took_s = time.monotonic() - begun_s
        figures = f"{reading.reads.value} reads, {reloads} reloads, {kills} kills in {took_s:.0f} s"
        sys.stdout.write(f"\n{figures}, generation {reading.told.value}, seed {SEED}\n")


def kill_during_a_reload(daemon: RunningDaemon, after_s: float) -> None:
    """Kill the daemon ``after_s`` after the file was replaced that it reads by itself or is asked to read."""
    daemon.send(signal.SIGHUP)
    time.sleep(after_s)
    daemon.send(signal.SIGKILL)
    assert daemon.process is not None
    daemon.process.wait()


@pytest.fixture
def small() -> Iterator[RunningDaemon]:
    """A daemon whose exec root is small and may be filled; it is not started."""
    with new_daemon() as daemon:
        exec_root = daemon.root / "run"
        exec_root.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "none", exec_root], check=True)
        try:
            daemon.write(table(1))
            yield daemon
        finally:
            daemon.kill()
            subprocess.run(["umount", "--lazy", exec_root], check=True)


@contextlib.contextmanager
def full(daemon: RunningDaemon) -> Iterator[None]:
    filler = daemon.root / "run" / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    yield
    filler.unlink()


def number_in(daemon: RunningDaemon) -> int:
    return int(json.loads(file_of(daemon).read_bytes())["generation"])


def test_on_a_full_exec_root_a_change_is_rejected_and_nothing_changes_until_there_is_room(small: RunningDaemon) -> None:
    small.start()
    before, data = small.resolve("a"), file_of(small).read_bytes()
    with full(small):
        small.write(table(2))
        report = small.reload()
        assert (report["outcome"], report["cause"], report["generation"]) == ("rejected", "store", 1)
        assert "table.json: No space left on device; free space or inodes" in report["problems"][0]["message"]
        assert small.resolve("a") == before
        assert file_of(small).read_bytes() == data
        assert os.readlink(small.data / "runtimes") == "generations/00000001/runtimes"
        # The watcher may be making an attempt as well.
        wait_until(lambda: not list(small.socket.parent.glob(".tmp-*")), "no temporary file")
        wait_until(lambda: os.listdir(small.data / "generations") == ["00000001"], "no second generation")
    # The daemon tries again by itself, too.
    assert small.reload()["outcome"] in ("applied", "unchanged")
    assert (small.resolve("a")["generation"], number_in(small)) == (2, 2)
    assert small.status()["health"]["status"] == "ok"


def test_a_start_on_a_full_exec_root_serves_and_writes_the_file_when_there_is_room(small: RunningDaemon) -> None:
    # A socket cannot be made on a full disk; under systemd there is one already.
    small.socket = small.root / "s.sock"
    small.start()
    file = small.root / "run" / "table.json"
    data = file.read_bytes()
    assert small.stop() == 0
    with full(small):
        small.start()
        assert small.resolve("a")["generation"] == 1
        assert "No space left on device" in small.status()["health"]["reasons"]["store"]
        assert file.read_bytes() == data
        file.unlink()
    wait_until(lambda: small.status()["health"]["status"] == "ok", "the file to be written")
    assert json.loads(file.read_bytes())["generation"] == 1


def test_it_is_there_before_the_first_answer_also_with_a_broken_configuration_or_another_number() -> None:
    with new_daemon() as daemon:
        daemon.write(table(1))
        with daemon.running():
            daemon.write(table(2))
            assert daemon.reload()["generation"] == 2
            daemon.kill()
        for content, number in ((table(2), 2), ("{", 2), (table(3), 3)):
            file_of(daemon).unlink()
            daemon.write(content)
            with daemon.running():
                # The first answer; start() waits for it.
                assert (daemon.resolve("a")["generation"], number_in(daemon)) == (number, number)
                assert daemon.stop() == 0
        # A data root that was rolled back gives no number a second meaning, and the file shows the new one.
        (daemon.data / "runtimes").unlink()
        (daemon.data / "runtimes").symlink_to("generations/00000002/runtimes")
        subprocess.run(["rm", "-r", daemon.data / "generations/00000003"], check=True)
        daemon.write(table(2))
        with daemon.running():
            assert (daemon.resolve("a")["generation"], number_in(daemon)) == (4, 4)
            # A repair that publishes anew, under the next number. The daemon may notice at once what is gone.
            (daemon.data / "generations/00000004").rename(daemon.root / "00000004")
            assert daemon.reload()["generation"] == number_in(daemon) == 5


def test_who_may_connect_may_read_the_file_and_others_may_not() -> None:
    with new_daemon() as daemon:
        daemon.root.chmod(0o755)
        daemon.write(table(1))
        daemon.start("--group", str(MEMBER))
        answer = daemon.resolve("a")
        assert daemon.stop() == 0
        found = file_of(daemon).stat()
        assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (0o640, 0, MEMBER)
        for client in (Client(str(daemon.socket)), new_in_loops(str(daemon.socket))):
            asking = partial(resolve, client)
            assert asking() == as_user(MEMBER, asking) == {**answer, "from": "file"}
            assert as_user(STRANGER, asking).endswith("table.json cannot be read: Permission denied")
        environ = {**os.environ, "RUNTIMED_SOCKET": str(daemon.socket)}
        told = subprocess.run([*RESOLVE, "a", "--json"], env=environ, capture_output=True, text=True, check=True)
        assert json.loads(told.stdout) == {**answer, "from": "file"}
        assert told.stderr.startswith(f"note: no daemon responds on {daemon.socket}; this is generation 1 of the table")


def resolve(client: Client) -> object:
    """Return the resolution of "a", or the text of the error."""
    try:
        return client.resolve("a")
    except DaemonUnreachable as error:
        return str(error)


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_an_inherited_socket_gives_the_file_its_mode_and_group(mode: int) -> None:
    with new_daemon() as daemon:
        daemon.write(table(1))
        daemon.socket.parent.mkdir()
        # A second socket, which is elsewhere and comes first.
        program = f"""
import os, socket, sys
socks = []
for number, (path, mode) in enumerate((({str(daemon.root / "first")!r}, 0o666), ({str(daemon.socket)!r}, {mode})), 3):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen()
    os.chmod(path, mode)
    os.chown(path, 0, {MEMBER})
    socks.append(sock)
    assert sock.fileno() == number, sock
    os.set_inheritable(number, True)
os.environ |= {{"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "one:two"}}
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
        words = [
            "--config",
            str(daemon.config),
            "--data-root",
            str(daemon.data),
            "--exec-root",
            str(daemon.root / "run"),
        ]
        with subprocess.Popen(
            [sys.executable, "-c", program, "-m", "runtimed", *words, "-H", "fd://"], stderr=subprocess.DEVNULL
        ) as process:
            try:
                wait_until(daemon.answers, "a start")
                found = file_of(daemon).stat()
                assert (found.st_mode & 0o7777, found.st_gid) == (mode & 0o644, MEMBER)
            finally:
                process.terminate()
