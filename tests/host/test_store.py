"""Tests of Store on a real disk: staging, swapping, recovery, and failures at every step."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from harness.data_root import DataRoot, launcher, stable_scripts, stable_texts
from harness.generation import inline_manifest, without_launchers

import runtimed.host.store.retained
from runtimed.core.errors import AlreadyRunning, DataRootRefused, GenerationGone, StoreFailed
from runtimed.core.history.manifest import rebuild_scripts
from runtimed.core.table.generation import Generation, links_of
from runtimed.host.store import Store

STEPS = [
    *("wrappers", "generation", "links", "link", "parts", "part", "config", "manifest", "sync", "swap", "sync-root"),
]


def test_stable_paths_lead_to_the_published_generation(root: DataRoot) -> None:
    generation = root.publish(a=["x"], b=["y z"])
    assert root.current() == stable_texts(generation)
    assert os.readlink(root.path / "runtimes") == "generations/00000001/runtimes"


def modes(root: DataRoot) -> dict[str, int]:
    """Return the modes of the data root and of the directories and files below it, of scripts by the word "script"."""
    found: dict[str, int] = {}
    for path in (root.path, *root.path.rglob("*")):
        if not path.is_symlink():
            kinds = {"wrappers": "script", "parts": "part"}
            name = kinds.get(path.parent.name) or str(path.relative_to(root.path))
            assert found.setdefault(name, path.stat().st_mode & 0o7777) == path.stat().st_mode & 0o7777
    return found


MODES = {
    **dict.fromkeys((".", "generations", "generations/00000001", "links", "links/a", "parts", "wrappers"), 0o711),
    **dict.fromkeys(
        ("VERSION", "lock", "generations/00000001/config.json", "generations/00000001/manifest.json", "part"), 0o600
    ),
    "script": 0o755,
}


@pytest.mark.parametrize("umask", [0, 0o022, 0o077, 0o777])
def test_every_user_may_execute_a_stable_path_and_list_and_read_nothing_else(root: DataRoot, umask: int) -> None:
    root.path.chmod(0o711)
    before = os.umask(umask)
    try:
        root.publish(a=["x"], b=[])
    finally:
        os.umask(before)
    assert modes(root) == MODES


def test_the_modes_of_an_earlier_version_are_changed_at_a_start(root: DataRoot) -> None:
    dropped = launcher(root.publish(a=["x"]))
    root.publish(b=["y"])
    for path in (root.path, *root.path.rglob("*")):
        if not path.is_symlink() and path.stat().st_mode & 0o011 and path.name not in ("links", "a", "b", "parts"):
            path.chmod(0o700)
    # The mode of an administrator, and a file that the store does not own.
    chosen = root.path / "generations/00000002"
    chosen.chmod(0o750)
    foreign = root.path / "wrappers" / "foreign"
    foreign.touch(0o700)
    assert not root.store.seems_damaged()
    recovered = root.open()
    assert (recovered.faults, recovered.published) == ((), True)
    assert (foreign.stat().st_mode & 0o777, chosen.stat().st_mode & 0o777) == (0o700, 0o750)
    foreign.unlink()
    found = modes(root)
    assert {name: found[name] for name in MODES} == MODES
    assert (root.path / "runtimes/a").read_bytes() == dropped.text


def test_a_link_or_a_foreign_directory_keeps_its_mode_and_target(root: DataRoot, tmp_path: Path) -> None:
    root.publish(a=["x"])
    elsewhere = tmp_path / "elsewhere"
    (root.path / "wrappers").rename(elsewhere)
    (root.path / "wrappers").symlink_to(elsewhere)
    elsewhere.chmod(0o700)
    assert root.open().published
    assert elsewhere.stat().st_mode & 0o777 == 0o700
    if os.geteuid() == 0:
        (root.path / "generations").chmod(0o700)
        os.chown(root.path / "generations", 12345, 12345)
        root.open()
        assert (root.path / "generations").stat().st_mode & 0o777 == 0o700


def test_numbers_only_grow(root: DataRoot) -> None:
    assert [root.publish(a=[str(n)]).number for n in range(3)] == [1, 2, 3]
    root.open()
    assert root.store.next_number == 4


def test_a_dropped_runtime_keeps_its_link_and_its_wrapper(root: DataRoot) -> None:
    first = root.publish(a=["1"], b=["1"])
    second = root.publish(b=["2"])
    assert root.current() == {**stable_texts(first), **stable_texts(second)}
    root.open()
    third = root.publish(c=["3"])
    assert root.current() == {**stable_texts(first), **stable_texts(second), **stable_texts(third)}
    root.publish(b=["2"])
    assert [set(root.store.retained.read(number).manifest.carried) for number in (1, 2, 3, 4)] == [
        set(),
        {"a"},
        {"a", "b"},
        {"a", "c"},
    ]


def test_a_carried_link_whose_wrapper_was_collected_is_not_taken_over(root: DataRoot) -> None:
    wrapper = launcher(root.publish(a=["1"]))
    second = root.publish(b=["2"])
    shutil.rmtree(root.path / "generations/00000001")
    (root.path / "wrappers" / wrapper.file).unlink()
    (root.path / "runtimes/a").unlink()
    recovered = root.open()
    assert recovered.published
    assert recovered.faults == ()
    third = root.publish(c=["3"])
    assert root.current() == {**stable_texts(second), **stable_texts(third)}


def test_a_damaged_carried_wrapper_without_a_known_text_is_reported(root: DataRoot) -> None:
    wrapper = launcher(root.publish(a=["1"]))
    root.publish(b=["2"])
    shutil.rmtree(root.path / "generations/00000001")
    _flip(root.path / "wrappers" / wrapper.file)
    recovered = root.open()
    assert any("no generation has its text" in fault for fault in recovered.faults)
    assert wrapper.file not in recovered.intact_wrappers


def test_an_unchanged_wrapper_is_not_written_again(root: DataRoot) -> None:
    wrapper = launcher(root.publish(a=["1"]))
    before = (root.path / "wrappers" / wrapper.file).stat()
    root.publish(a=["1"], b=["2"])
    after = (root.path / "wrappers" / wrapper.file).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_opening_an_intact_root_writes_no_file_and_finds_the_generation(root: DataRoot) -> None:
    generation = root.publish(a=["1"])
    before = root.listing()
    recovered = root.open()
    after = root.listing()
    # The lock is the same file with another process id.
    assert before.pop("lock")[0] == after.pop("lock")[0]
    assert before == after
    assert recovered.published
    assert recovered.last is not None
    assert (recovered.last.number, recovered.last.digest) == (generation.number, generation.digest)
    assert recovered.faults == ()


@pytest.mark.parametrize("step", STEPS[:-1])
def test_a_failure_before_the_swap_leaves_the_old_generation_and_no_trace(root: DataRoot, step: str) -> None:
    old = root.publish(a=["1"])
    before = set(root.listing())
    root.fail_at = (step,)
    with pytest.raises(StoreFailed, match="No space left on device"):
        root.make_current(root.build(a=["2"], b=["3"]), retain=16)
    assert root.current() == stable_texts(old)
    left = set(root.listing()) - before
    allowed = ("wrappers/", "links/b")
    assert all(name.startswith(allowed) for name in left), "wrappers may stay, no client was given them"
    root.fail_at = ()
    new = root.publish(a=["2"], b=["3"])
    assert new.number == 2
    assert root.current() == stable_texts(new)


def test_a_failure_of_the_last_sync_is_returned_and_the_swap_stays(root: DataRoot) -> None:
    root.publish(a=["1"])
    root.fail_at = ("sync-root",)
    generation = root.build(a=["2"])
    fault = root.make_current(generation, retain=16)
    assert fault is not None
    assert "may not survive a power loss" in fault
    assert root.current() == stable_texts(generation)


def test_no_link_directory_that_a_power_loss_may_bring_back_is_changed(root: DataRoot) -> None:
    root.publish(a=["1"])
    links = [root.path / "links" / each for each in "ab"]
    root.fail_at = ("sync-root",)
    assert root.make_current(root.build(a=["2"]), retain=16) is not None
    before = [os.readlink(links[0] / "a"), root.path.stat().st_mtime_ns]
    root.fail_at = ("sync-swap",)
    with pytest.raises(StoreFailed, match="No space left on device"):
        root.make_current(root.build(a=["3"]), retain=16)
    assert before == [os.readlink(links[0] / "a"), root.path.stat().st_mtime_ns]
    root.fail_at = ()
    steps: list[str] = []
    root.store._at_step = steps.append
    for argument in "45":
        root.publish(a=[argument])
    assert [step for step in steps if step in ("sync-swap", "links", "swap", "sync-root")] == [
        *("sync-swap", "links", "swap", "sync-root"),
        *("links", "swap", "sync-root"),
    ]


def test_a_start_does_not_trust_that_the_last_swap_is_on_the_disk(root: DataRoot) -> None:
    root.publish(a=["1"])
    root.open()
    root.fail_at = ("sync-swap",)
    with pytest.raises(StoreFailed):
        root.publish(a=["2"])


def test_no_generation_is_dropped_that_a_power_loss_may_bring_back(root: DataRoot) -> None:
    root.publish(a=["1"])
    root.now += 3601
    root.fail_at = ("sync-root",)
    assert root.make_current(root.build(a=["2"]), retain=1) is not None
    root.now += 3601
    assert root.store.settle(1) is not None
    assert root.retained() == [1, 2]
    root.fail_at = ()
    assert root.store.settle(1) is None
    assert root.retained() == [2]


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_leaves_the_old_generation_or_the_new_one_whole(root: DataRoot, step: str) -> None:
    old = root.publish(a=["1"])
    root.store.close()
    # A process of its own that dies at the step, without any chance to tidy up.
    code = f"""
import os, signal, sys
sys.path[:0] = {sys.path!r}
from harness.data_root import DataRoot
from pathlib import Path
root = DataRoot(Path({str(root.path)!r}))
root.at_step = lambda step: os.kill(os.getpid(), signal.SIGKILL) if step == {step!r} else None
root.open()
root.make_current(root.build(a=["2"], b=["3"]), retain=16)
"""
    died = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=False)
    assert died.returncode == -9
    recovered = root.open()
    new = root.build(a=["2"], b=["3"])
    assert root.current() == (stable_texts(new) if step == "sync-root" else stable_texts(old))
    assert recovered.published
    assert not [name for name in root.listing() if ".tmp-" in name]
    after = root.publish(a=["2"], b=["3"])
    assert after.number >= 2
    assert root.current() == stable_texts(after)


def test_old_generations_are_dropped_beyond_the_newest_and_an_hour(root: DataRoot) -> None:
    for number in range(5):
        root.publish(a=[str(number)], retain=2)
    assert len(os.listdir(root.path / "generations")) == 5
    root.now += 3601
    root.publish(a=["now"], retain=2)
    assert root.retained() == [5, 6]
    assert sorted(os.listdir(root.path / "generations")) == ["00000005", "00000006"]
    assert root.current() == {"a": launcher(root.build(a=["now"])).text}


@pytest.mark.parametrize("step", ["generation", "links", "manifest", "sync", "swap"])
def test_a_publish_that_fails_leaves_no_wrapper_and_takes_none_that_was_there(root: DataRoot, step: str) -> None:
    root.publish(a=["1"], b=["1"])
    before = set(os.listdir(root.path / "wrappers"))
    root.fail_at = (step,)
    with pytest.raises(StoreFailed):
        root.make_current(root.build(a=["1"], b=["2"], c=["1"]), retain=16)
    assert set(os.listdir(root.path / "wrappers")) == before
    root.fail_at = ()
    after = root.publish(a=["1"], b=["2"], c=["1"])
    assert root.current() == stable_texts(after)


def test_the_lock_does_not_prevent_a_read_only_remount(root: DataRoot) -> None:
    assert fcntl.fcntl(root.store._lock._fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    assert (root.path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_wrapper_outlives_its_generation(root: DataRoot) -> None:
    wrapper = launcher(root.publish(a=["1"]))
    root.publish(a=["2"])
    root.now += 3601
    root.publish(a=["3"], retain=1)
    assert root.retained() == [2, 3]
    assert (root.path / "wrappers" / wrapper.file).exists()


def test_at_most_a_thousand_generations_are_kept_whatever_their_age(
    root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runtimed.host.store.retained._KEEP_MOST == 1000
    # A thousand publishes take 20 s.
    monkeypatch.setattr("runtimed.host.store.retained._KEEP_MOST", 20)
    for number in range(23):
        root.publish(retain=16, **{"a": [str(number)]} if number % 10 == 0 else {})
    assert len(root.store.retained.summaries()) == 20
    assert root.retained()[0] == 4


def test_a_generation_read_while_it_is_dropped_is_gone_and_not_damaged(root: DataRoot) -> None:
    root.publish(a=["1"])
    root.publish(a=["1"], b=["1"])
    root.now += 3601
    found: list[BaseException] = []

    def read(step: str) -> None:
        if step == "prune":
            try:
                root.store.retained.read(1)
            except GenerationGone as error:
                found.append(error)

    root.store._at_step = read
    root.publish(a=["2"], retain=1)
    assert len(found) == 1


def test_a_generation_that_cannot_be_dropped_stays_retained(root: DataRoot) -> None:
    root.publish(a=["1"])
    root.publish(a=["1"], b=["1"])
    root.now += 3601
    root.fail_at = ("prune",)
    fault = root.make_current(root.build(a=["2"]), retain=1)
    assert "generation 1 cannot be removed" in str(fault)
    assert root.retained() == [1, 2, 3]
    assert root.store.retained.read(1).manifest.number == 1


def test_a_generation_removed_by_hand_does_not_prevent_dropping_others(root: DataRoot) -> None:
    for number in range(3):
        root.publish(a=[str(number)])
    shutil.rmtree(root.path / "generations/00000001")
    root.now += 3601
    root.publish(a=["now"], retain=1)
    assert root.retained() == [3, 4]


def test_a_missing_wrapper_that_is_written_again_stays_when_the_publish_fails(root: DataRoot) -> None:
    generation = root.publish(a=["1"])
    wrapper = launcher(generation)
    (root.path / "wrappers" / wrapper.file).unlink()
    root.fail_at = ("manifest",)
    with pytest.raises(StoreFailed):
        root.make_current(root.build(a=["1"], b=["1"]), retain=16)
    assert root.current() == stable_texts(generation)


def test_resolutions_with_paths_of_another_data_root_are_not_returned(root: DataRoot) -> None:
    root.publish(a=["1"])
    root.store.close()
    moved = root.path.with_name("moved")
    root.path.rename(moved)
    store = Store(str(moved))
    store.open(rebuild_scripts)
    with pytest.raises(GenerationGone, match=f"was published in {root.path}"):
        store.retained.read(1)
    store.close()
    moved.rename(root.path)


def test_an_older_unreadable_generation_does_not_prevent_a_start_and_stays(root: DataRoot) -> None:
    root.publish(a=["1"])
    second = root.publish(a=["2"])
    manifest = root.path / "generations/00000001/manifest.json"
    manifest.unlink()
    manifest.mkdir()
    recovered = root.open()
    assert recovered.published
    assert "generation 1 cannot be read" in recovered.faults[0]
    assert (manifest.is_dir(), root.retained()) == (True, [2])
    assert root.current() == stable_texts(second)


def test_a_wrapper_that_cannot_be_repaired_makes_the_generation_unpublished(root: DataRoot) -> None:
    wrapper = launcher(root.publish(a=["1"]))
    path = root.path / "wrappers" / wrapper.file
    path.unlink()
    path.mkdir()
    recovered = root.open()
    assert not recovered.published
    assert str(path) in recovered.faults[0]


def test_a_data_root_without_its_version_is_refused_with_the_remedy(root: DataRoot) -> None:
    root.publish(a=["1"])
    (root.path / "VERSION").unlink()
    with pytest.raises(DataRootRefused, match=r"write the line layout=1 to .*/VERSION"):
        root.open()
    (root.path / "VERSION").write_text("layout=1\n")
    assert root.open().published
    assert root.store.identity == ""


def test_a_data_root_has_a_unique_and_stable_identity(tmp_path: Path) -> None:
    found = []
    for path in (tmp_path / "a", tmp_path / "b", tmp_path / "a"):
        path.mkdir(exist_ok=True)
        store = Store(str(path))
        store.open(rebuild_scripts)
        store.close()
        found.append(store.identity)
    assert found[0] == found[2] != found[1]
    assert all(len(bytes.fromhex(identity)) == 16 for identity in found)


def test_foreign_names_among_the_generations_stay(root: DataRoot) -> None:
    root.publish(a=["1"])
    (root.path / "generations/0000000000001").mkdir()
    (root.path / "generations/notes.txt").write_text("x")
    (root.path / "generations/00000007").write_text("a file")
    recovered = root.open()
    assert recovered.published
    assert recovered.next_number == 8
    assert len(os.listdir(root.path / "generations")) == 4


def test_a_second_store_on_the_same_root_is_refused_with_the_process_id(root: DataRoot) -> None:
    root.publish(a=["1"])
    before = root.listing()
    with pytest.raises(AlreadyRunning) as caught:
        root.new_store().open(rebuild_scripts)
    assert caught.value.pid == os.getpid()
    assert root.listing() == before


def test_a_directory_that_holds_other_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataRootRefused, match=r"holds other things \(photos\).*--data-root"):
        Store(str(tmp_path)).open(rebuild_scripts)
    assert os.listdir(tmp_path) == ["photos"]


def test_a_new_file_system_with_its_lost_and_found_is_taken(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    store = Store(str(tmp_path))
    store.open(rebuild_scripts)
    store.close()
    assert (tmp_path / "VERSION").read_text().startswith("layout=1\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("layout=2\nid=x\n", "its layout is 2, and this version knows up to 1.*newer runtimed"),
        ("", "VERSION file is damaged.*layout=1"),
        ("\xff\x00", "VERSION file is damaged"),
    ],
)
def test_an_unknown_layout_is_refused_with_the_remedy(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "VERSION").write_text(text, encoding="latin-1")
    with pytest.raises(DataRootRefused, match=words):
        Store(str(tmp_path)).open(rebuild_scripts)
    assert os.listdir(tmp_path) == ["VERSION"]


def _truncate(path: Path) -> None:
    path.write_bytes(b"")


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [_truncate, _flip, Path.unlink])
@pytest.mark.parametrize("name", ["manifest.json", "config.json"])
def test_a_damaged_current_generation_is_not_trusted_and_stays_until_the_next_one(
    root: DataRoot, name: str, damage: Callable[[Path], None]
) -> None:
    first = root.publish(a=["1"])
    second = root.publish(a=["2"])
    damage(root.path / "generations/00000002" / name)
    recovered = root.open()
    assert not recovered.published
    assert recovered.last is not None
    assert recovered.last.digest == first.digest
    assert recovered.next_number == 3
    assert recovered.faults
    # The stable paths still lead to the old wrappers.
    assert root.current() == stable_texts(second)
    third = root.publish(a=["1"])
    assert root.current() == stable_texts(third)


@pytest.mark.parametrize("damage", [_truncate, _flip, Path.unlink])
def test_a_damaged_older_generation_is_removed(root: DataRoot, damage: Callable[[Path], None]) -> None:
    root.publish(a=["1"])
    second = root.publish(a=["2"])
    damage(root.path / "generations/00000001/manifest.json")
    recovered = root.open()
    assert recovered.published
    assert root.retained() == [2]
    assert root.current() == stable_texts(second)


@pytest.mark.parametrize("damage", [_truncate, _flip, Path.unlink, lambda path: path.chmod(0o600)])
def test_a_damaged_wrapper_of_any_retained_generation_is_written_again(
    root: DataRoot, damage: Callable[[Path], None]
) -> None:
    dropped = launcher(root.publish(a=["1"]))
    root.publish(b=["2"])
    path = root.path / "wrappers" / dropped.file
    damage(path)
    recovered = root.open()
    assert any("written again" in fault for fault in recovered.faults)
    assert path.read_bytes() == dropped.text
    assert path.stat().st_mode & 0o7777 == 0o755
    assert recovered.published


def test_wrappers_are_written_again_when_their_directory_is_gone(root: DataRoot) -> None:
    generation = root.publish(a=["1"], b=["2"])
    shutil.rmtree(root.path / "wrappers")
    assert root.open().published
    assert root.current() == stable_texts(generation)


def _remove_link(path: Path) -> None:
    path.unlink()


def _to_nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("generations/00000077/runtimes")


def _elsewhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc")


@pytest.mark.parametrize("damage", [_remove_link, _to_nowhere, _elsewhere])
def test_a_lost_current_link_is_replaced_by_the_next_publish(root: DataRoot, damage: Callable[[Path], None]) -> None:
    generation = root.publish(a=["1"])
    damage(root.path / "runtimes")
    recovered = root.open()
    assert not recovered.published
    assert recovered.last is not None
    assert recovered.last.digest == generation.digest
    again = root.publish(a=["1"])
    assert again.number > generation.number
    assert root.current() == stable_texts(generation)


def test_a_directory_in_place_of_the_current_link_is_refused_and_left_alone(root: DataRoot) -> None:
    root.publish(a=["1"])
    (root.path / "runtimes").unlink()
    (root.path / "runtimes").mkdir()
    with pytest.raises(DataRootRefused, match="runtimes in it is no symbolic link"):
        root.open()


def test_a_lost_link_of_a_runtime_makes_the_generation_unpublished(root: DataRoot) -> None:
    root.publish(a=["1"])
    (root.path / "generations/00000001/runtimes/a").unlink()
    assert not root.open().published


def test_files_of_an_interrupted_publish_are_removed(root: DataRoot) -> None:
    root.publish(a=["1"])
    shutil.copytree(root.path / "generations/00000001", root.path / "generations/00000002", symlinks=True)
    (root.path / "generations/00000002/manifest.json").unlink()
    (root.path / "wrappers/.tmp-x").write_text("x")
    (root.path / ".tmp-runtimes").symlink_to("x")
    (root.path / "generations/README").write_text("a foreign file")
    recovered = root.open()
    assert recovered.published
    assert sorted(os.listdir(root.path / "generations")) == ["00000001", "README"]
    assert not [name for name in root.listing() if ".tmp-" in name]


def test_the_next_generation_writes_a_deleted_wrapper_again(root: DataRoot) -> None:
    wrapper = launcher(root.publish(a=["1"]))
    (root.path / "wrappers" / wrapper.file).unlink()
    generation = root.publish(a=["1"], b=["2"])
    assert root.current() == stable_texts(generation)


def test_the_store_tells_which_generation_had_a_target_and_the_name_of_a_stable_path(root: DataRoot) -> None:
    generations = [root.publish(a=["1"], B_=["x"]), root.publish(a=["2"]), root.publish(a=["1"])]
    first, second = (generation.runtimes["a"].target or "" for generation in generations[:2])
    for _ in range(2):
        assert [root.store.retained.generation_of("a", target) for target in (first, second, "/x")] == [3, 2, None]
        assert root.store.retained.generation_of("%42_", generations[0].runtimes["B_"].target or "") == 1
        assert [root.store.retained.name_of(link) for link in ("a", "%42_", "never")] == ["a", "B_", "never"]
        root.open()


def test_the_targets_and_names_of_dropped_generations_are_forgotten(root: DataRoot) -> None:
    dropped = root.publish(a=["1"], B_=["x"])
    target = dropped.runtimes["a"].target or ""
    root.publish(a=["2"])
    root.now += 3601
    for number in range(2):
        root.publish(retain=1, a=[f"new{number}"])
        assert root.store.retained.generation_of("a", target) is None
    assert [root.store.retained.name_of(link) for link in ("a", "%42_")] == ["a", "%42_"]


def test_the_target_of_a_stable_path_at_a_time_is_that_of_the_generation_then(root: DataRoot) -> None:
    targets, times = [], []
    for number in range(3):
        times.append(root.now)
        targets.append(root.publish(a=[str(number)]).runtimes["a"].target)
        root.now += 100
    assert [root.store.retained.target_at("a", time_s + 50) for time_s in times] == targets
    assert [root.store.retained.target_at("a", time_s) for time_s in times] == targets
    assert root.store.retained.target_at("a", times[0] - 1) is None
    assert root.store.retained.target_at("other", root.now) is None


def make_earlier(root: DataRoot, generation: Generation, manifest: bytes, links: Mapping[str, str]) -> None:
    """Make the data root, with the one ``generation``, one of a version without parts and link directories."""
    directory = root.path / f"generations/{generation.number:08d}"
    for path in (root.path / "links", root.path / "parts"):
        shutil.rmtree(path)
    (directory / "runtimes").unlink()
    (directory / "runtimes").mkdir(mode=0o711)
    for link, file in links.items():
        (directory / "runtimes" / link).symlink_to(f"../../../wrappers/{file}")
    (directory / "manifest.json").write_bytes(manifest)


def test_a_generation_of_a_version_without_parts_is_published_again_and_stays_readable(root: DataRoot) -> None:
    old = root.publish(a=["1"], b=["1"])
    make_earlier(root, old, inline_manifest(old), links_of(old.runtimes.values()))
    assert root.current() == stable_texts(old)
    recovered = root.open()
    assert (recovered.published, recovered.faults, root.current()) == (False, (), stable_texts(old))
    assert recovered.last is not None
    assert recovered.last.identities == old.identities
    assert root.store.retained.target_at("a", root.now * 2) == old.runtimes["a"].target
    assert not root.store.seems_damaged()
    new = root.publish(a=["2"])
    assert new.number == 2
    assert root.current() == {"a": launcher(new).text, "b": stable_texts(old)["b"]}
    assert root.store.retained.read(1).manifest.answers["b"] == json.loads(old.runtimes["b"].answer.at(1))
    recovered = root.open()
    assert (recovered.published, recovered.faults, list(recovered.manifests)) == (True, (), [1, 2])


def test_damaged_links_of_a_version_without_link_directories_are_reported(root: DataRoot) -> None:
    old = root.publish(a=["1"])
    make_earlier(root, old, b"", {})
    assert "damaged" in root.open().faults[0]


def test_generations_of_a_version_without_launchers_are_taken_over(root: DataRoot) -> None:
    old = root.publish(a=["1"], b=["1"])
    wrappers = {wrapper.link: wrapper for wrapper in old.wrappers}
    for script in stable_scripts(old).values():
        (root.path / "wrappers" / script.file).unlink()
    links = {link: wrapper.file for link, wrapper in wrappers.items()}
    make_earlier(root, old, without_launchers(inline_manifest(old), old), links)
    recovered = root.open()
    assert (recovered.published, recovered.faults) == (False, ())
    assert root.store.retained.target_at("a", root.now * 2) == old.runtimes["a"].target
    new = root.publish(a=["2"])
    assert root.current() == {"a": launcher(new).text, "b": wrappers["b"].text}
    (root.path / "wrappers" / wrappers["a"].file).unlink()
    assert len(root.store.repair(new).repaired) == 1
    assert root.open().published


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root; CI has it")
def test_wrappers_on_a_noexec_mount_are_refused_with_the_mount_named(tmp_path: Path) -> None:
    code = f"""
import subprocess, sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from harness.data_root import DataRoot
from runtimed.core.errors import StoreFailed
mount = {str(tmp_path)!r}
subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec,mode=0700", "tmpfs", mount], check=True)
(Path(mount) / "data").mkdir()
root = DataRoot(Path(mount) / "data")
root.open()
root.publish()
root.publish(plain=[])
assert not root.store.seems_damaged()
try:
    root.publish(a=["1"])
except StoreFailed as error:
    print(error)
"""
    run = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, check=True
    )
    assert f"{tmp_path} is mounted noexec" in run.stdout.decode()
    assert f"mount -o remount,exec {tmp_path}" in run.stdout.decode()
