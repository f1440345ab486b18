"""Tests of the table file on a real disk: beside each publish, with failures and kills at every step, and damaged."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness.daemon import as_user, short_directory
from harness.data_root import DataRoot

from runtimed.core.errors import StoreFailed
from runtimed.core.table.generation import Generation
from runtimed.core.table.table_file import render_table_file
from runtimed.host.store import Recovered
from runtimed.host.store.table_file import StoreWithTableFile, TableFile

BEFORE = ["table", "wrappers", "generation", "links", "link", "parts", "part", "config", "manifest", "sync", "swap"]
AFTER = ["table-swap", "sync-root"]
NOBODY = 65534


class Place(DataRoot):
    """A data root, an exec root, and a store that publishes in both."""

    def __init__(self, path: Path, mode: int = 0o640, gid: int | None = None) -> None:
        super().__init__(path / "data")
        self.exec_root = path / "run"
        self.file = self.exec_root / "table.json"
        self.table = TableFile(str(self.exec_root), mode, os.getegid() if gid is None else gid, self.at_step)

    def open(self) -> Recovered:
        recovered = super().open()
        self.disk = StoreWithTableFile(self.store, self.table)
        return recovered

    def make_current(self, generation: Generation, *, retain: int) -> str | None:
        return self.disk.publish(generation, retain=retain)

    def number(self) -> int:
        """Return the generation of the file, which is whole."""
        return int(json.loads(self.file.read_bytes())["generation"])

    def shows(self, generation: Generation) -> bool:
        data = self.file.read_bytes()
        return data == render_table_file(generation, json.loads(data)["time"])

    def files(self) -> list[str]:
        return sorted(os.listdir(self.exec_root))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    found = new_place(tmp_path)
    yield found
    found.store.close()


def new_place(path: Path, **more: Any) -> Place:
    for name in ("data", "run"):
        (path / name).mkdir(exist_ok=True)
    place = Place(path, **more)
    place.open()
    return place


def test_it_is_written_before_the_swap_and_put_in_place_directly_after_it(place: Place) -> None:
    generation = place.publish(a=["1"])
    assert place.shows(generation)
    assert [step for step in place.steps if step in (*BEFORE, *AFTER)] == [*BEFORE, *AFTER]
    assert place.files() == ["table.json"]
    assert place.shows(place.publish(a=["2"]))


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_it_has_its_mode_whatever_the_umask_is(tmp_path: Path, mode: int) -> None:
    place = new_place(tmp_path, mode=mode)
    before = os.umask(0o777)
    try:
        place.publish(a=["1"])
    finally:
        os.umask(before)
    assert place.file.stat().st_mode & 0o7777 == mode
    place.store.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to any group")
def test_it_belongs_to_the_group_that_may_read_it(tmp_path: Path) -> None:
    place = new_place(tmp_path, gid=NOBODY)
    place.publish(a=["1"])
    assert (place.file.stat().st_gid, place.table.refusal) == (NOBODY, None)
    place.store.close()


def test_it_is_the_daemons_alone_where_it_cannot_be_given_to_the_group() -> None:
    with short_directory() as path:
        path.chmod(0o777)

        def attempt() -> tuple[int, str | None]:
            place = new_place(path, gid=0)
            place.publish(a=["1"])
            place.store.close()
            return place.file.stat().st_mode & 0o7777, place.table.refusal

        found = as_user(NOBODY, attempt) if os.geteuid() == 0 else attempt()
    assert found == (0o600, "Operation not permitted")


@pytest.mark.parametrize("step", BEFORE)
def test_a_failure_before_the_swap_changes_nothing(place: Place, step: str) -> None:
    place.publish(a=["0"])
    old = place.publish(a=["1"])
    before = sorted(place.path.rglob("*")), place.file.read_bytes()
    place.fail_at = (step,)
    with pytest.raises(StoreFailed, match="No space left on device"):
        place.disk.publish(place.build(a=["2"]), retain=16)
    assert (sorted(place.path.rglob("*")), place.file.read_bytes()) == before
    assert place.files() == ["table.json"]
    place.fail_at = ()
    assert not place.table.seems_damaged()
    assert place.publish(a=["2"]).number == old.number + 1


def test_a_rename_that_fails_once_is_made_good_at_once(place: Place) -> None:
    place.publish(a=["1"])

    def fail_once(step: str) -> None:
        if step == "table-swap" and place.steps.count(step) == 1:
            place.at_step(step)
            raise OSError(errno.EIO, "broken")
        place.at_step(step)

    place.table._at_step = fail_once
    assert place.shows(place.publish(a=["2"]))


def test_a_rename_that_fails_is_told_and_tried_again_by_settle(place: Place) -> None:
    place.publish(a=["1"])
    place.fail_at = ("table-swap",)
    new = place.build(a=["2"])
    fault = place.disk.publish(new, retain=16)
    assert f"{place.file} cannot be replaced: No space left on device" in str(fault)
    assert (place.number(), place.files()) == (1, ["table.json"])
    assert place.disk.settle(16) == fault
    place.fail_at = ()
    assert place.disk.settle(16) is None
    assert place.shows(new)


@pytest.mark.parametrize("step", [*BEFORE, *AFTER])
def test_a_kill_at_any_step_leaves_it_whole_and_never_newer_than_what_is_published(tmp_path: Path, step: str) -> None:
    place = new_place(tmp_path)
    old = place.publish(a=["1"])
    place.store.close()
    code = f"""
import os, signal, sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from test_table_file import new_place
place = new_place(Path({str(tmp_path)!r}))
place.at_step = lambda step: None
stop = lambda step: os.kill(os.getpid(), signal.SIGKILL) if step == {step!r} else None
place.store._at_step = place.table._at_step = stop
place.disk.publish(place.build(a=["2"]), retain=16)
"""
    died = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=False)
    assert died.returncode == -signal.SIGKILL
    assert place.number() == (2 if step == "sync-root" else 1)
    again = Place(tmp_path)
    recovered = again.open()
    assert recovered.last is not None
    published = again.build(a=["2"]) if recovered.last.number == 2 else old
    assert again.number() <= recovered.last.number
    # As each start does for a generation that is published already.
    assert again.disk.write_table(replace(published, number=recovered.last.number)) is None
    assert again.shows(replace(published, number=recovered.last.number))
    assert again.files() == ["table.json"]
    again.store.close()


def put_link(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.parent.parent / "victim")


def put_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


DAMAGES: list[Callable[[Path], object]] = [
    Path.unlink,
    lambda file: file.write_bytes(file.read_bytes().replace(b"/bin/a", b"/bin/b")),
    lambda file: os.truncate(file, 100),
    lambda file: file.chmod(0o666),
    put_link,
    put_fifo,
    lambda file: shutil.rmtree(file.parent),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_noticed_and_repaired_without_following_a_link(place: Place, damage: Callable[[Path], None]) -> None:
    victim = place.path.parent / "victim"
    victim.write_text("untouched")
    generation = place.publish(a=["1"])
    assert not place.table.seems_damaged()
    damage(place.file)
    assert place.table.seems_damaged()
    outcome = place.disk.repair(generation)
    assert outcome.repaired == (f"{place.file} was missing or changed: written again",)
    assert place.shows(generation)
    assert place.file.stat().st_mode & 0o7777 == 0o640
    assert victim.read_text() == "untouched"
    assert place.disk.repair(generation).repaired == ()


def test_damage_that_cannot_be_repaired_is_a_remark_until_it_can(place: Place) -> None:
    generation = place.publish(a=["1"])
    place.file.unlink()
    (place.file / "kept").mkdir(parents=True)
    outcome = place.disk.repair(generation)
    assert (outcome.fault, outcome.repaired) == (None, ())
    assert f"{place.file} cannot be replaced: Is a directory" in str(outcome.remark)
    assert (place.files(), os.listdir(place.file)) == (["table.json"], ["kept"])
    shutil.rmtree(place.file)
    assert place.disk.repair(generation).repaired
    assert place.shows(generation)


def test_a_generation_that_must_be_published_anew_is_repaired_by_that(place: Place) -> None:
    generation = place.publish(a=["1"])
    shutil.rmtree(place.path / "generations")
    place.file.unlink()
    outcome = place.disk.repair(generation)
    assert outcome.republish is not None
    assert not place.file.exists()
    place.disk.publish(replace(generation, number=place.disk.next_number), retain=16)
    assert place.number() == 2


def test_what_is_in_the_way_of_the_new_file_is_removed_and_not_written_through(place: Place) -> None:
    victim = place.path.parent / "victim"
    victim.write_text("untouched")
    (place.exec_root / ".tmp-table.json").symlink_to(victim)
    place.publish(a=["1"])
    assert (victim.read_text(), place.files()) == ("untouched", ["table.json"])
