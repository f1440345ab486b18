"""A daemon after many reloads is no bigger than after a few: memory, descriptors, threads, watches, files.

RUNTIMED_TEST_RELOADS sets how many (300 unless told). A daemon keeps the last thousand generations of an hour, on disk,
and in memory a line of each.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from e2e.harness.node import GENERATIONS_MOST, in_memory
from harness.daemon import RunningDaemon, new_daemon, wait_until
from harness.reload_count import RELOADS, configuration

from runtimed.core.config import Settings
from runtimed.core.configuration.inputs import Documents, Flags, Source
from runtimed.core.configuration.parse import parse_configuration
from runtimed.core.table.build import build_generation
from runtimed.core.table.facts import Facts
from runtimed.core.table.generation import Generation, Host
from runtimed.host.store.parts import PartReader
from runtimed.host.store.paths import Paths

# Threads that are kept for the next calls, and their descriptors, are there after these, and many reloads need no more.
FIRST = min(10, RELOADS // 2)
# Until then whatever is filled once is full.
WARM_UP = -(-RELOADS // 3)
# A file's change waits to be noticed.
FILE_CHANGE_EVERY = 50
BROKEN_EVERY = 10
BROKEN = (
    '{"runtimes": ',
    '{"runtimez": {}}',
    '{"runtimes": {"x": {}}}',
    '{"runtimes": {"": {"path": "/x"}}}',
    b"\xff",
)
# What memory may grow by between the warm-up and the end. A reload leaves a line of its generation with the names that
# changed, and the names of its scripts and of a part, 2 KiB for two runtimes; a generation itself takes some 35. The
# rest is the allocator's, and no matter of each.
GROWTH_KIB = 4.0
SLACK_KIB = 4096


@dataclass(frozen=True, slots=True)
class Figures:
    """What a process has, as /proc tells."""

    rss_kib: int
    dirty_kib: int
    descriptors: int
    threads: int
    inotify_instances: int
    inotify_watches: int

    @classmethod
    def of(cls, pid: int) -> Figures:
        process = Path(f"/proc/{pid}")
        status = _numbers(process / "status")
        infos = [_read(info) for info in (process / "fdinfo").iterdir()]
        links = [_link(entry) for entry in (process / "fd").iterdir()]
        watches = sum(line.startswith("inotify ") for info in infos for line in info.splitlines())
        return cls(
            status["VmRSS"],
            _numbers(process / "smaps_rollup")["Private_Dirty"],
            sum(link != "" for link in links),
            status["Threads"],
            links.count("anon_inode:inotify"),
            watches,
        )

    def __str__(self) -> str:
        return ", ".join(f"{field.name} {getattr(self, field.name):,}" for field in fields(self))

    @property
    def countable(self) -> tuple[int, ...]:
        """All but the memory."""
        return self.descriptors, self.threads, self.inotify_instances, self.inotify_watches


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return ""


def _numbers(path: Path) -> dict[str, int]:
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}


def settled(daemon: RunningDaemon, most: Figures | None = None) -> Figures:
    """Return its figures at rest; with ``most`` once nothing countable exceeds that, and fail if it stays so."""
    pid = daemon.status()["pid"]

    def figures() -> Figures | None:
        found = Figures.of(pid)
        if most is not None and any(now > then for now, then in zip(found.countable, most.countable, strict=True)):
            return None
        time.sleep(0.1)
        return found if Figures.of(pid).countable == found.countable else None

    found = wait_until(figures, f"no more than {most}; there is {Figures.of(pid)}")
    assert isinstance(found, Figures)
    return found


def reload(daemon: RunningDaemon, number: int) -> bool:
    """Change the configuration, by whichever trigger's turn it is; return whether it was applied, and not rejected."""
    before = daemon.status()["generation"]
    is_broken = number % BROKEN_EVERY == 1 + number // BROKEN_EVERY % 2
    if is_broken:
        daemon.write(BROKEN[number // BROKEN_EVERY % len(BROKEN)])
    else:
        daemon.write({"runtimes": configuration(number)})

    def is_done() -> bool:
        status = daemon.status()
        if is_broken:
            return bool(status["last_reload"]["outcome"] == "rejected")
        return bool(status["generation"] == before + 1)

    # Whichever it is, the watcher may be first.
    if number % FILE_CHANGE_EVERY == 0:
        pass
    elif number % 2:
        daemon.send(signal.SIGHUP)
    else:
        daemon.reload()
    wait_until(is_done, f"reload {number}")
    assert daemon.status()["generation"] == before + (not is_broken)
    return not is_broken


def generation_kib() -> float:
    """Return what one generation of these runtimes takes in memory."""
    defaults = Settings(data_root="/data", exec_root="/run/runtimed", hosts=("unix:///run/runtimed/runtimed.sock",))
    host = Host(Facts(cgroup2=True, systemd=False, ramdisk=False), defaults.data_root, defaults.exec_root)

    def build(number: int) -> Generation:
        source = Source("/daemon.json", json.dumps({"runtimes": configuration(number)}).encode())
        documents = Documents("/daemon.json", source)
        return build_generation(parse_configuration(documents, Flags(), defaults), host, number)

    build(0)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        generations = [build(number) for number in range(1, 51)]
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        return (after - before) / len(generations) / 1024
    finally:
        tracemalloc.stop()


def named_wrappers(data: Path) -> set[str]:
    """Return the wrappers and launchers that a retained generation names, and those of its carried links."""
    found: set[str] = set()
    for path in data.glob("generations/*/manifest.json"):
        manifest = PartReader(Paths(str(data))).read(int(path.parent.name))
        found |= {*manifest.files, *manifest.carried.values()}
    return found


def see_in_order(daemon: RunningDaemon, applied: int) -> None:
    """See that on disk there is what is to be there, and nothing else."""
    data = daemon.data
    names = {"VERSION", "lock", "runtimes", "generations", "links", "parts", "wrappers"}
    assert {path.name for path in data.iterdir()} == names
    retained = sorted(path.name for path in (data / "generations").iterdir())
    last = applied + 1
    assert retained == [f"{number:08d}" for number in range(max(1, last - GENERATIONS_MOST + 1), last + 1)]
    for name in retained:
        found = {path.name for path in (data / "generations" / name).iterdir()}
        # Events, for example of a start or of degraded health, are kept where there were some.
        assert found - {"events.jsonl"} == {"config.json", "manifest.json", "runtimes"}
    assert os.readlink(data / "runtimes") == f"generations/{retained[-1]}/runtimes"
    wrappers = {path.name for path in (data / "wrappers").iterdir()}
    assert named_wrappers(data) <= wrappers
    assert not [name for name in wrappers if name.startswith(".")]


def see_collected(daemon: RunningDaemon) -> None:
    """See that what no retained generation names any more is gone once it has been collected."""
    nowhere = str(daemon.root / "nowhere")
    engine = {"address": f"{nowhere}/c.sock", "state": f"{nowhere}/state", "root": f"{nowhere}/root"}
    daemon.write({"runtimed": {"grace": 0, "containerd": [engine]}, "runtimes": configuration(0)})
    assert daemon.reload()["outcome"] in ("applied", "unchanged")

    # Processes of other tests come and go, and what is not known of them keeps everything.
    def only_named() -> bool:
        daemon.ask("POST", "/v1/gc")
        return {path.name for path in (daemon.data / "wrappers").iterdir()} == named_wrappers(daemon.data)

    wait_until(only_named, "the last wrapper that no generation names to be collected")


@pytest.fixture
def daemon() -> Iterator[RunningDaemon]:
    with new_daemon() as daemon, in_memory(daemon.data):
        try:
            daemon.write({"runtimes": configuration(0)})
            yield daemon.start()
        finally:
            daemon.kill()


@pytest.mark.timeout(240 + 2 * RELOADS)
def test_many_reloads_leave_nothing_behind(daemon: RunningDaemon) -> None:
    one_kib = generation_kib()
    applied = sum(reload(daemon, number) for number in range(1, FIRST + 1))
    start, seen = settled(daemon), []
    print(f"\na generation takes {one_kib:.1f} KiB\nat the start: {start}")  # noqa: T201
    for number in range(FIRST + 1, RELOADS + 1):
        applied += reload(daemon, number)
        if number % WARM_UP == 0 or number == RELOADS:
            seen.append((applied, settled(daemon, start)))
            print(f"after {number:,} reloads, {applied:,} of them applied: {seen[-1][1]}")  # noqa: T201
    (warm_applied, warm), (_, end) = seen[0], seen[-1]
    since = applied - warm_applied
    growths = end.rss_kib - warm.rss_kib, end.dirty_kib - warm.dirty_kib
    each = ", ".join(f"{growth / max(since, 1):.2f}" for growth in growths)
    wrappers = len(list((daemon.data / "wrappers").iterdir()))
    print(f"KiB a reload that was applied, all and private: {each}; {wrappers:,} wrappers on disk")  # noqa: T201
    assert max(growths) < SLACK_KIB + GROWTH_KIB * since
    see_in_order(daemon, applied)
    see_collected(daemon)
    assert daemon.status()["health"] == {"status": "ok", "reasons": {}}
    assert daemon.stop() == 0
