"""Tests of the directory of a test's bundle, and of those that killed tests leave."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from runtimed.core.proof.bundle import Node
from runtimed.core.proof.engine import Traces
from runtimed.host.proof.bundle import abandoned_bundles, inspect_node, new_bundle, remove_bundle

NODE = Node({"usr": None, "bin": "usr/bin"}, frozenset())


def test_a_bundle_is_there_while_its_test_runs(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        with new_bundle(NODE, systemd_cgroup=False, directory=str(tmp_path)) as bundle:
            path = Path(bundle.path)
            assert path.name == bundle.id
            assert path.stat().st_mode & 0o777 == 0o700
            assert (path / "rootfs").stat().st_mode & 0o777 == 0o755
            assert (path / "rootfs/usr").stat().st_mode & 0o777 == 0o755
            assert (path / "rootfs/bin").readlink() == Path("usr/bin")
            assert json.loads((path / "config.json").read_text()) == bundle.config
    finally:
        os.umask(old)
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_is_removed_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(KeyError), new_bundle(NODE, systemd_cgroup=True, directory=str(tmp_path)):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_only_a_bundle_whose_test_has_gone_is_abandoned(tmp_path: Path) -> None:
    gone = tmp_path / "runtimed-test-0123456789ab"
    gone.mkdir()
    (gone / "traces.json").write_bytes(Traces(gone.name, str(gone)).to_json())
    (tmp_path / "runtimed-test-x").mkdir()
    (tmp_path / "runtimed-test-ffffffffffff").write_text("a file")
    with new_bundle(NODE, systemd_cgroup=False, directory=str(tmp_path)) as bundle:
        bundle.record(Traces(bundle.id, bundle.path))
        assert [*abandoned_bundles(str(tmp_path))] == [Traces(gone.name, str(gone))]
    (gone / "traces.json").write_bytes(Traces(gone.name, str(gone), state="/s").to_json())
    for traces in abandoned_bundles(str(tmp_path)):
        assert traces.state == "/s"
        # Another run does not clean up at the same time.
        assert [*abandoned_bundles(str(tmp_path))] == []
        assert remove_bundle(traces.bundle)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runtimed-test-ffffffffffff", "runtimed-test-x"]


def test_a_test_that_has_not_locked_its_bundle_yet_is_none_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def mkdir_and_look(path: str, mode: int) -> None:
        monkeypatch.undo()
        os.mkdir(path, mode)
        made.append(path)
        assert [*abandoned_bundles(str(tmp_path))] == []

    monkeypatch.setattr(os, "mkdir", mkdir_and_look)
    with new_bundle(NODE, systemd_cgroup=False, directory=str(tmp_path)) as bundle:
        assert Path(bundle.path, "config.json").exists()
        assert made != [bundle.path]
        assert os.listdir(tmp_path) == [bundle.id]


def test_the_node_has_its_programs_and_controllers(tmp_path: Path) -> None:
    for name in ("usr", "home", "lib64"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "lib32").write_text("no directory")
    (tmp_path / "cgroups").write_text("#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t0\t1\t1\nmemory\t0\t1\t0\n")
    (tmp_path / "cgroup.controllers").write_text("pids io\n")
    node = inspect_node(str(tmp_path), str(tmp_path), str(tmp_path))
    assert node == Node({"usr": None, "lib64": None, "bin": "usr/bin"}, frozenset({"cpu", "pids", "io"}))
    assert inspect_node(str(tmp_path / "home"), str(tmp_path / "home"), str(tmp_path)).entries == {}
