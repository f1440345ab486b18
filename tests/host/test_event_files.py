"""Tests of the files of events: appended, bounded, and harmless when the disk fails."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.data_root import DataRoot

from runtimed.core.errors import StoreFailed
from runtimed.core.history.event_lines import read_lines, render_event


def line(number: int) -> bytes:
    return render_event("health", number, {"number": number}) or b""


def kept(root: DataRoot, number: int) -> list[int]:
    return [event["number"] for event in read_lines(root.store.event_files.read(number)) if event["type"] != "gap"]


def file(root: DataRoot, number: int) -> Path:
    return root.path / f"generations/{number:08d}/events.jsonl"


def test_events_go_to_the_current_generation_survive_a_restart_and_end_with_it(root: DataRoot) -> None:
    root.publish(a=["x"])
    root.store.event_files.append([line(1), line(2)])
    root.publish(a=["y"])
    root.store.event_files.append([line(3)])
    assert (kept(root, 1), kept(root, 2)) == ([1, 2], [3])
    assert stat.S_IMODE(file(root, 2).stat().st_mode) == 0o600
    recovered = root.open()
    assert (recovered.faults, recovered.published) == ((), True)
    root.store.event_files.append([line(4)])
    assert (kept(root, 1), kept(root, 2)) == ([1, 2], [3, 4])
    assert not root.store.seems_damaged()
    root.now += 7200
    root.publish(retain=1, a=["z"])
    root.now += 7200
    assert root.store.settle(1) is None
    assert not file(root, 1).exists()
    assert kept(root, 1) == []


def test_a_torn_line_is_skipped_and_the_next_event_is_whole(root: DataRoot) -> None:
    root.publish(a=["x"])
    root.store.event_files.append([line(1), line(2)])
    os.truncate(file(root, 1), file(root, 1).stat().st_size - 5)
    assert root.open().faults == ()
    root.store.event_files.append([line(3)])
    assert kept(root, 1) == [1, 3]


def test_a_full_file_is_replaced_by_its_newer_half(root: DataRoot) -> None:
    root.publish(a=["x"])
    root.store.event_files.append([line(number) for number in range(1000)])
    inode = file(root, 1).stat().st_ino
    root.store.event_files.append([line(1000)])
    assert file(root, 1).stat().st_ino != inode
    assert kept(root, 1) == list(range(501, 1001))
    assert stat.S_IMODE(file(root, 1).stat().st_mode) == 0o600


def test_a_disk_that_fails_is_an_error_and_changes_nothing(root: DataRoot) -> None:
    root.publish(a=["x"])
    root.store.event_files.append([line(1)])
    before = root.listing()
    root.fail_at = ("events",)
    with pytest.raises(StoreFailed, match="No space left on device"):
        root.store.event_files.append([line(2)])
    assert root.listing() == before
    root.fail_at = ()
    root.store.event_files.append([line(2)])
    assert kept(root, 1) == [1, 2]


@pytest.mark.parametrize("kind", ["directory", "fifo", "link"])
def test_another_kind_of_file_in_its_place_is_an_error(root: DataRoot, kind: str, tmp_path: Path) -> None:
    root.publish(a=["x"])
    target = tmp_path / "target"
    make: dict[str, Callable[[Path], object]] = {
        "directory": Path.mkdir,
        "fifo": os.mkfifo,
        "link": lambda path: path.symlink_to(target),
    }
    make[kind](file(root, 1))
    with pytest.raises(StoreFailed, match=r"events\.jsonl"):
        root.store.event_files.append([line(1)])
    assert not target.exists()


def test_without_a_generation_there_is_no_place_for_events(root: DataRoot) -> None:
    with pytest.raises(StoreFailed, match="no generation is current"):
        root.store.event_files.append([line(1)])


LIMITED = """
import resource, signal, sys
from runtimed.core.errors import StoreFailed
from runtimed.host.store.event_files import EventFiles
from runtimed.host.store.paths import Paths
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
files = EventFiles(Paths(sys.argv[1]), lambda: 1, lambda: None, lambda step: None)
try:
    files.append([b"x" * 60 + b"\\n", b"y" * 60 + b"\\n"])
except StoreFailed as error:
    print(error)
"""


def test_a_disk_that_takes_only_the_beginning_keeps_none_of_it(root: DataRoot) -> None:
    root.publish(a=["x"])
    run = subprocess.run([sys.executable, "-c", LIMITED, str(root.path)], capture_output=True, text=True, check=True)
    assert "the disk is full" in run.stdout
    assert file(root, 1).read_bytes() == b""
