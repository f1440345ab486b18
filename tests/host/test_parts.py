"""Tests of parts on disk: they are shared, removed with the last generation that has them, and checked."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.data_root import DataRoot, stable_texts

from runtimed.core.errors import DamagedManifest
from runtimed.core.history.manifest import render_manifest
from runtimed.core.table.generation import Generation, scripts_of
from runtimed.host.store.disk import read_file


def large(root: DataRoot, retain: int = 16, **changed: list[str]) -> Generation:
    """Publish a generation of several parts."""
    table = {f"n{number}": ["0"] for number in range(140)}
    generation = root.build(**(table | changed))
    previous = getattr(root, "previous", None)
    if previous is not None:
        known = {name: previous[name] if previous[name] == each else each for name, each in generation.runtimes.items()}
        object.__setattr__(generation, "runtimes", known)
    root.previous = generation.runtimes  # type: ignore[attr-defined]
    assert root.make_current(generation, retain=retain) is None
    return generation


def parts(root: DataRoot) -> set[str]:
    return set(os.listdir(root.path / "parts"))


def named(root: DataRoot, number: int) -> list[str]:
    found: list[str] = json.loads((root.path / f"generations/{number:08d}/manifest.json").read_bytes())["parts"]
    return found


def test_a_publish_writes_one_part_for_one_change(root: DataRoot) -> None:
    steps: list[str] = []
    large(root)
    root.store._at_step = steps.append
    for number in range(1, 4):
        before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in (root.path / "parts").iterdir()}
        steps.clear()
        large(root, n7=[str(number)])
        assert (steps.count("part"), len(parts(root))) == (1, 2 + number)
        assert all((path.stat().st_ino, path.stat().st_mtime_ns) == mark for path, mark in before.items())
    assert parts(root) == {digest for number in (1, 2, 3, 4) for digest in named(root, number)}


def test_a_part_is_removed_with_the_last_generation_that_has_it(root: DataRoot) -> None:
    large(root)
    large(root, n7=["1"])
    first = set(named(root, 1)) - set(named(root, 2))
    root.now += 3601
    large(root, retain=1)
    root.now += 61
    large(root, retain=1, n8=["1"])
    # The third generation has the parts of the first one.
    assert root.retained() == [3, 4]
    assert first <= parts(root)
    assert parts(root) == {*named(root, 3), *named(root, 4)}
    for word in "ab":
        root.now += 3601
        large(root, retain=1, n7=["2"], n8=[word])
    assert not first & parts(root)
    assert parts(root) == {digest for number in root.retained() for digest in named(root, number)}
    assert root.open().published


def test_what_only_a_generation_had_that_others_removed_is_released_at_once(root: DataRoot) -> None:
    old = large(root, x=["only here"])
    large(root)
    generation = large(root, n7=["1"])
    target = old.runtimes["x"].target or ""
    assert root.store.retained.generation_of("x", target) == 1
    shutil.rmtree(root.path / "generations/00000001")
    assert root.store.repair(generation).repaired
    assert root.retained() == [2, 3]
    assert parts(root) == {*named(root, 2), *named(root, 3)}
    assert (root.store.retained.generation_of("x", target), root.store.retained.name_of("x")) == (None, "x")
    assert not {script.file for script in scripts_of([old.runtimes["x"]])} & root.store.retained.references().keys()
    assert root.open().faults == ()


def test_an_older_generation_keeps_what_it_shares_with_one_that_others_removed(root: DataRoot) -> None:
    old = large(root)
    large(root, n8=["1"])
    files = {script.file for script in scripts_of([old.runtimes["n7"]])}
    own = set(named(root, 2)) - set(named(root, 1))
    generation = large(root, n7=["1"], n8=["2"])
    shutil.rmtree(root.path / "generations/00000002")
    (root.path / "wrappers" / min(files)).unlink()
    assert len(root.store.repair(generation).repaired) == 2
    assert root.retained() == [1, 3]
    # Generation 2 had them last.
    assert files <= root.store.retained.references().keys()
    assert all(root.store.remove_wrapper(file) is not None for file in files)
    assert parts(root) >= {*named(root, 1), *named(root, 3)}
    # Only generation 1 knows the text now.
    (root.path / "wrappers" / min(files)).unlink()
    assert len(root.store.repair(generation).repaired) == 1
    root.now += 3601
    for word in "ab":
        root.now += 61
        large(root, retain=1, n7=[word])
    assert root.retained() == [4, 5]
    assert not own & parts(root)
    assert not files & root.store.retained.references().keys()
    assert root.open().faults == ()


def test_a_current_generation_that_others_removed_keeps_its_files_until_it_is_published_again(root: DataRoot) -> None:
    large(root)
    generation = large(root, n7=["1"])
    root.open()
    shutil.rmtree(root.path / "generations/00000001")
    shutil.rmtree(root.path / "generations/00000002")
    assert root.store.repair(generation).republish
    assert {script.file for script in generation.scripts} <= root.store.retained.references().keys()
    again = large(root, n7=["1"])
    assert root.retained() == [again.number]
    assert parts(root) == {*named(root, again.number)}
    assert {script.file for script in again.scripts} == root.store.retained.references().keys()


def test_parts_that_no_generation_names_are_removed_at_a_start(root: DataRoot) -> None:
    generation = large(root)
    before = parts(root)
    (root.path / "parts" / ("0" * 64)).write_text("left by an interrupted publish")
    (root.path / "parts/.tmp-x").write_text("x")
    (root.path / "parts/foreign").write_text("x")
    recovered = root.open()
    assert (recovered.published, recovered.faults) == (True, ())
    assert parts(root) == {*before, "foreign"}
    assert root.current() == stable_texts(generation)


def test_no_part_is_removed_while_a_generation_cannot_be_read(root: DataRoot) -> None:
    large(root)
    large(root, n7=["1"])
    before = parts(root)
    manifest = root.path / "generations/00000001/manifest.json"
    manifest.rename(root.path / "kept")
    manifest.mkdir()
    assert "cannot be read" in root.open().faults[0]
    assert parts(root) == before
    manifest.rmdir()
    (root.path / "kept").rename(manifest)
    assert list(root.open().manifests) == [1, 2]


def truncate(path: Path) -> None:
    os.truncate(path, 0)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def exchange(path: Path) -> None:
    shutil.copyfile(next(each for each in path.parent.iterdir() if each != path), path)


DAMAGES = [Path.unlink, truncate, flip, exchange]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_a_part_of_the_current_generation_is_noticed_and_published_away(
    root: DataRoot, damage: Callable[[Path], None]
) -> None:
    large(root)
    generation = large(root, n7=["1"])
    assert not root.store.seems_damaged()
    shared = next(digest for digest in named(root, 2) if digest in named(root, 1))
    damage(root.path / "parts" / shared)
    assert root.store.seems_damaged()
    assert shared in str(root.store.repair(generation).republish)
    large(root, n7=["1"])
    assert not root.store.seems_damaged()
    assert len(root.store.retained.read(1).manifest.answers) == 142, (
        "the part was written again, so the older one is whole too"
    )
    recovered = root.open()
    assert (recovered.published, list(recovered.manifests)) == (True, [1, 2, 3])


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_start_does_not_trust_a_generation_with_a_damaged_part(
    root: DataRoot, damage: Callable[[Path], None]
) -> None:
    large(root)
    generation = large(root, n7=["1"])
    (own,) = set(named(root, 2)) - set(named(root, 1))
    damage(root.path / "parts" / own)
    recovered = root.open()
    assert recovered.last is not None
    assert (recovered.published, recovered.last.number) == (False, 1)
    assert own in recovered.faults[0]
    assert root.current() == stable_texts(generation)
    after = large(root, n7=["1"])
    assert (after.number, root.current()) == (3, stable_texts(generation))
    assert root.open().published


def test_a_missing_part_is_written_by_the_next_publish_even_if_no_look_noticed_it(root: DataRoot) -> None:
    large(root)
    for digest in named(root, 1)[:2]:
        (root.path / "parts" / digest).unlink()
    large(root, n7=["1"])
    assert root.open().published


def test_a_retained_generation_with_a_damaged_part_cannot_be_read(root: DataRoot) -> None:
    large(root)
    large(root, n7=["1"])
    (own,) = set(named(root, 1)) - set(named(root, 2))
    truncate(root.path / "parts" / own)
    with pytest.raises(DamagedManifest):
        root.store.retained.read(1)
    assert len(root.store.retained.read(2).manifest.answers) == 142


def test_a_manifest_that_names_a_path_instead_of_a_part_is_damaged(root: DataRoot) -> None:
    generation = root.publish(a=["1"])
    manifest = root.path / "generations/00000001/manifest.json"
    manifest.write_bytes(render_manifest(generation, ["../VERSION"], {}, 1.0))
    assert "no part" in root.open().faults[0]


def test_a_start_reads_each_part_once(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    large(root)
    for number in range(5):
        large(root, n7=[str(number)])
    reads: list[str] = []

    def read(path: str) -> bytes:
        reads.append(path)
        return read_file(path)

    monkeypatch.setattr("runtimed.host.store.parts.read_file", read)
    assert root.open().published
    assert sorted(Path(path).name for path in reads if "/parts/" in path) == sorted(parts(root))


def test_a_missing_wrapper_of_an_unchanged_runtime_is_written_by_the_next_publish(root: DataRoot) -> None:
    file = next(wrapper.file for wrapper in large(root).wrappers)
    large(root, n7=["1"])
    (root.path / "wrappers" / file).unlink()
    generation = large(root, n7=["2"])
    assert (root.path / "wrappers" / file).exists()
    assert root.current() == stable_texts(generation)


def test_a_damaged_wrapper_of_an_unchanged_runtime_that_was_not_repaired_is_written_by_the_next_publish(
    root: DataRoot,
) -> None:
    generation = large(root)
    wrapper = next(generation.wrappers)
    truncate(root.path / "wrappers" / wrapper.file)
    root.fail_at = ("repair",)
    assert root.store.repair(generation).fault
    root.fail_at = ()
    large(root, n7=["1"])
    assert (root.path / "wrappers" / wrapper.file).read_bytes() == wrapper.text
