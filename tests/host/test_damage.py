"""Tests of published files: damage is found and repaired in place, but not in another data root."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.daemon import listing
from harness.data_root import DataRoot, launcher, stable_texts

from runtimed.core.errors import StoreFailed
from runtimed.core.table.generation import Generation
from runtimed.host.store import RepairOutcome

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


def only(generation: Generation) -> str:
    return launcher(generation).file


def truncate(path: Path) -> None:
    os.truncate(path, 0)


def forbid(path: Path) -> None:
    path.chmod(0o600)


def replace(path: Path) -> None:
    path.unlink()
    path.symlink_to("/bin/true")


DAMAGES = [Path.unlink, truncate, forbid, replace]


def test_intact_published_files_are_not_changed(root: DataRoot) -> None:
    root.publish(a=["1"])
    generation = root.publish(a=["2"], b=["1"])
    before = root.listing()
    assert not root.store.seems_damaged()
    assert root.store.repair(generation) == RepairOutcome()
    assert root.listing() == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_script_is_written_again_under_the_same_number(
    root: DataRoot, damage: Callable[[Path], None]
) -> None:
    generation = root.publish(a=["1"])
    for script in generation.scripts:
        assert not root.store.seems_damaged()
        path = root.path / "wrappers" / script.file
        damage(path)
        assert root.store.seems_damaged()
        outcome = root.store.repair(generation)
        assert (len(outcome.repaired), outcome.fault, outcome.remark, outcome.republish) == (1, None, None, None)
        assert path.read_bytes() == script.text
    assert root.current() == stable_texts(generation)
    assert not root.store.seems_damaged()


def test_a_wrapper_that_only_an_older_generation_names_is_written_again(root: DataRoot) -> None:
    old = root.publish(a=["1"])
    generation = root.publish(a=["2"])
    (root.path / "wrappers" / only(old)).unlink()
    assert root.store.seems_damaged()
    assert len(root.store.repair(generation).repaired) == 1
    assert (root.path / "wrappers" / only(old)).read_bytes() == stable_texts(old)["a"]


@pytest.mark.parametrize("name", ["runtimes", "runtimes/a", "wrappers", "VERSION", "lock"])
def test_removed_files_are_made_again_under_the_same_number(root: DataRoot, name: str) -> None:
    generation = root.publish(a=["1"])
    path = root.path / name
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    assert root.store.seems_damaged()
    outcome = root.store.repair(generation)
    assert (outcome.fault, outcome.republish) == (None, None)
    assert not root.store.seems_damaged()
    assert root.current() == stable_texts(generation)
    recovered = root.open()
    assert (recovered.published, recovered.faults) == (True, ())


@pytest.mark.parametrize(
    "name",
    [
        *("generations", "generations/00000002", "generations/00000002/manifest.json", "generations/00000002/runtimes"),
        *("links", "links/b", "parts"),
    ],
)
def test_the_current_generation_without_its_directory_must_be_republished(root: DataRoot, name: str) -> None:
    root.publish(a=["1"])
    generation = root.publish(a=["2"])
    path = root.path / name
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    outcome = root.store.repair(generation)
    assert "missing" in str(outcome.republish)
    anew = root.publish(a=["2"])
    assert anew.number == 3
    assert root.current() == stable_texts(anew)
    assert not root.store.repair(anew).fault
    assert not root.store.seems_damaged()
    assert all((root.path / f"generations/{number:08d}").is_dir() for number in root.retained())


@pytest.mark.parametrize("file", ["manifest.json", "config.json"])
def test_a_manifest_or_configuration_that_was_changed_is_noticed(root: DataRoot, file: str) -> None:
    generation = root.publish(a=["1"])
    truncate(root.path / "generations/00000001" / file)
    assert root.store.seems_damaged()
    assert "damaged" in str(root.store.repair(generation).republish)


@pytest.mark.parametrize("file", ["config.json", "manifest.json"])
def test_damage_is_found_again_by_every_look(root: DataRoot, file: str) -> None:
    generation = root.publish(a=["1"])
    (root.path / "generations" / "00000001" / file).write_bytes(b"garbage")
    time.sleep(2.1)  # a file that changed a moment ago is read again at each look, an older one is not
    assert root.store.seems_damaged()
    assert root.store.seems_damaged()
    assert root.store.repair(generation).republish is not None


@pytest.mark.parametrize("name", ["", "wrappers", "generations", "generations/00000001/runtimes", "VERSION"])
def test_files_that_other_users_can_write_are_made_private_again(root: DataRoot, name: str) -> None:
    generation = root.publish(a=["1"])
    path = root.path / name
    mode = stat.S_IMODE(path.stat().st_mode)
    path.chmod(mode | 0o022)
    assert root.store.seems_damaged()
    assert len(root.store.repair(generation).repaired) == 1
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert not root.store.seems_damaged()


@needs_root
@pytest.mark.parametrize("name", ["wrappers", "generations"])
def test_a_directory_of_another_user_below_the_root_is_reported(root: DataRoot, name: str) -> None:
    generation = root.publish(a=["1"])
    os.chown(root.path / name, 65534, 65534)
    assert root.store.seems_damaged()
    assert f"{name} belongs to user id 65534" in str(root.store.repair(generation).fault)


def test_a_carried_link_whose_wrapper_is_lost_does_not_stay_dangling(root: DataRoot) -> None:
    old = root.publish(a=["1"])
    generation = root.publish(b=["1"])
    shutil.rmtree(root.path / "generations/00000001")
    (root.path / "wrappers" / only(old)).unlink()
    outcome = root.store.repair(generation)
    assert any("runtimes/a removed" in words for words in outcome.repaired)
    assert root.current() == stable_texts(generation)
    assert not root.store.seems_damaged()


def test_a_start_leaves_no_carried_link_dangling(root: DataRoot) -> None:
    old = root.publish(a=["1"])
    generation = root.publish(b=["1"])
    shutil.rmtree(root.path / "generations/00000001")
    (root.path / "wrappers" / only(old)).unlink()
    recovered = root.open()
    assert any("link a removed" in fault for fault in recovered.faults)
    assert root.current() == stable_texts(generation)


def test_a_damaged_wrapper_without_a_known_text_loses_its_link(root: DataRoot) -> None:
    old = root.publish(a=["1"])
    generation = root.publish(b=["1"])
    shutil.rmtree(root.path / "generations/00000001")
    truncate(root.path / "wrappers" / only(old))
    outcome = root.store.repair(generation)
    assert any(f"{only(old)} is damaged" in words for words in outcome.repaired)
    assert outcome.fault is None
    assert not os.path.lexists(root.path / "runtimes/a")


def moved_away(root: DataRoot) -> None:
    root.path.rename(root.path.with_name("elsewhere"))
    root.path.mkdir()


def replaced_by_another(root: DataRoot) -> None:
    (root.path / "VERSION").write_text("layout=1\nid=ffff\n")


def removed(root: DataRoot) -> None:
    shutil.rmtree(root.path)


@pytest.mark.parametrize("change", [moved_away, replaced_by_another, removed])
def test_another_data_root_is_reported_and_not_written_to(root: DataRoot, change: Callable[[DataRoot], None]) -> None:
    generation = root.publish(a=["1"])
    change(root)
    before = root.listing()
    assert root.store.seems_damaged()
    outcome = root.store.repair(generation)
    assert str(root.path) in str(outcome.fault)
    assert (outcome.repaired, outcome.republish) == ((), None)
    with pytest.raises(StoreFailed, match=r"data root|another directory"):
        root.publish(a=["2"])
    assert root.store.remove_wrapper("x-" + 32 * "0") is not None
    assert root.listing() == before


@needs_root
def test_a_file_system_mounted_over_the_data_root_is_reported_and_stays_empty(root: DataRoot) -> None:
    generation = root.publish(a=["1"])
    subprocess.run(["mount", "-t", "tmpfs", "none", root.path], check=True)
    try:
        assert "mounted over" in str(root.store.repair(generation).fault)
        assert os.listdir(root.path) == []
    finally:
        subprocess.run(["umount", root.path], check=True)
    assert root.store.repair(generation) == RepairOutcome()


@needs_root
def test_a_data_root_remounted_noexec_is_reported_with_the_remedy(root: DataRoot) -> None:
    generation = root.publish(a=["1"])
    subprocess.run(["mount", "--bind", root.path, root.path], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,noexec", root.path], check=True)
        assert root.store.seems_damaged()
        assert "mount -o remount,exec" in str(root.store.repair(generation).fault)
        root.open()
        assert "mount -o remount,exec" in str(root.store.repair(generation).fault), "after a start too"
    finally:
        root.store.close()
        subprocess.run(["umount", root.path], check=True)
    root.open()
    assert root.store.repair(generation) == RepairOutcome()


@needs_root
def test_a_noexec_data_root_is_no_fault_while_no_resolution_names_a_wrapper(root: DataRoot) -> None:
    root.publish(a=["1"])
    generation = root.publish(a=[])
    subprocess.run(["mount", "--bind", root.path, root.path], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,noexec", root.path], check=True)
        assert not root.store.seems_damaged()
        assert root.store.repair(generation) == RepairOutcome()
    finally:
        subprocess.run(["umount", root.path], check=True)


def test_a_data_root_that_another_daemon_has_locked_is_not_written_to(root: DataRoot) -> None:
    generation = root.publish(a=["1"])
    (root.path / "lock").unlink()
    other = root.new_store()
    other.open(lambda _manifest, _text: {})
    try:
        (root.path / "wrappers" / only(generation)).unlink()
        before = listing(root.path)
        with pytest.raises(StoreFailed, match="belongs to"):
            root.publish(a=["2"])
        assert "belongs to" in str(root.store.settle(1))
        assert "belongs to" in str(root.store.remove_wrapper("no-such-wrapper"))
        assert "belongs to" in str(root.store.repair(generation).fault)
        assert listing(root.path) == before
    finally:
        other.close()
    assert any("locked again" in words for words in root.store.repair(generation).repaired)


def test_a_failed_repair_is_reported_and_can_be_repeated(root: DataRoot) -> None:
    generation = root.publish(a=["1"])
    (root.path / "wrappers" / only(generation)).unlink()
    root.fail_at = ("repair",)
    assert "No space left" in str(root.store.repair(generation).fault)
    root.fail_at = ()
    assert len(root.store.repair(generation).repaired) == 1


def test_a_link_that_was_rolled_back_leads_to_the_running_generation_again(root: DataRoot) -> None:
    root.publish(a=["1"])
    generation = root.publish(a=["2"])
    (root.path / "runtimes").unlink()
    (root.path / "runtimes").symlink_to("generations/00000001/runtimes")
    assert any("leads to" in words for words in root.store.repair(generation).repaired)
    assert root.current() == stable_texts(generation)


def test_a_number_that_is_already_on_disk_is_skipped(root: DataRoot) -> None:
    root.publish(a=["1"])
    (root.path / "generations/00000002").mkdir()
    with pytest.raises(StoreFailed):
        root.publish(a=["2"])
    assert root.publish(a=["2"]).number == 3


def test_numbers_go_on_after_a_data_root_that_was_rolled_back_between_runs(root: DataRoot, tmp_path: Path) -> None:
    root.store.remember_numbers_in(str(tmp_path), 0)
    root.publish(a=["1"])
    root.store.close()
    shutil.copytree(root.path, tmp_path / "snapshot", symlinks=True)
    root.open()
    assert root.store.remember_numbers_in(str(tmp_path), 1) is None
    root.publish(a=["2"])
    root.store.close()
    shutil.rmtree(root.path)
    shutil.copytree(tmp_path / "snapshot", root.path, symlinks=True)
    recovered = root.open()
    assert recovered.last is not None
    assert root.store.remember_numbers_in(str(tmp_path), recovered.last.number) == 2
    assert root.publish(a=["3"]).number == 3


@pytest.mark.parametrize("retain", [1, 2])
def test_the_replaced_generation_stays_for_a_minute_with_any_retain(root: DataRoot, retain: int) -> None:
    root.publish(a=["1"])
    root.now += 3601
    root.publish(a=["2"], retain=retain)
    root.now += 59
    root.publish(a=["3"], retain=retain)
    assert root.retained() == [1, 2, 3]
    root.now += 7200
    root.publish(a=["4"], retain=retain)
    assert root.retained() == [3, 4]


@pytest.mark.parametrize(
    "file", ["generations/00000001/manifest.json", "generations/00000001/config.json", "VERSION", "lock"]
)
def test_a_fifo_in_place_of_a_file_makes_no_start_hang(root: DataRoot, file: str) -> None:
    root.publish(a=["1"])
    root.store.close()
    (root.path / file).unlink()
    os.mkfifo(root.path / file)
    if "/" not in file:
        with pytest.raises(StoreFailed, match="not a regular file"):
            root.open()
        return
    recovered = root.open()
    assert any("not a regular file" in fault for fault in recovered.faults)
    assert not recovered.published
