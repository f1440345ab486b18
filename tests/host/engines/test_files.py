"""Tests of the files of engines: reading, and that a write leaves the old file or the new one at every step."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from harness.daemon import PATIENCE_S, listing, wait_until

import runtimed.host.engines.files
from runtimed.core.engines.engine import FileWrite
from runtimed.core.errors import PathMissing, PathRefused
from runtimed.host.engines.files import MAX_BYTES, SCRATCH, STAGING, make_scratch, open_staging, read_inputs, write_file
from runtimed.host.trust import Trust, secure_directory, walk

STEPS = ["stage", "directory", "temporary", "sync", "rename", "sync-directory", "tidy"]
ANYONE = Trust(None)
read = partial(read_inputs, walk=partial(walk, trust=ANYONE))
secure = partial(secure_directory, trust=ANYONE)


def write(path: Path, data: bytes, at_step: Callable[[str], None] = lambda _: None) -> None:
    """Write ``data`` to ``path``, a file of the drop-in directory of an engine or of its directory."""
    directory = path.parent.parent if path.parent.name.endswith(".d") else path.parent
    with open_staging(str(directory), at_step) as staging:
        write_file(FileWrite(str(path), data), staging, secure, at_step)


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """Return the directory of an engine."""
    path = tmp_path / "engine"
    path.mkdir()
    return path


# Reading


def test_files_that_do_not_exist_are_left_out(engine: Path) -> None:
    (engine / "a").write_bytes(b"1")
    assert read([f"{engine}/a", f"{engine}/b", f"{engine}/no/c"]) == {f"{engine}/a": b"1"}


def test_a_star_stands_for_the_files_of_a_directory_also_with_a_leading_dot(engine: Path) -> None:
    for name in ("b.toml", ".a.toml", "c.conf"):
        (engine / name).write_bytes(name.encode())
    (engine / "d.toml").mkdir()
    assert list(read([f"{engine}/*.toml"])) == [f"{engine}/.a.toml", f"{engine}/b.toml"]
    assert len(read([f"{engine}/*"])) == 3
    assert read([f"{engine}/none/*"]) == {}


def test_a_link_is_followed_and_one_that_leads_nowhere_is_an_error(engine: Path) -> None:
    (engine / "real").write_bytes(b"1")
    (engine / "link").symlink_to("real")
    (engine / "broken").symlink_to("nowhere")
    assert read([f"{engine}/link"]) == {f"{engine}/link": b"1"}
    with pytest.raises(PathMissing, match="broken leads to"):
        read([f"{engine}/broken"])


def test_what_is_no_regular_file_or_too_big_is_refused(engine: Path) -> None:
    os.mkfifo(engine / "fifo")
    (engine / "big").touch()
    os.truncate(engine / "big", MAX_BYTES + 1)
    for path, reason in (
        (engine, "is not a regular file"),
        (engine / "fifo", "regular"),
        (engine / "big", "16,777,216"),
    ):
        with pytest.raises(PathRefused, match=reason):
            read([str(path)])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_named(engine: Path) -> None:
    (engine / "file").touch(0o000)
    with pytest.raises(PermissionError) as error:
        read([f"{engine}/file"])
    assert error.value.filename == f"{engine}/file"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root trusts nobody else")
def test_for_root_a_file_that_others_can_change_is_refused_with_mode_and_owner(engine: Path) -> None:
    file = engine / "file"
    file.touch()
    file.chmod(0o666)
    for owner, found in ((0, (0, 0o666)), (1234, (1234, 0o755))):
        os.chown(engine, owner, 0)
        with pytest.raises(PathRefused) as refused:
            read_inputs([str(file)], partial(walk, trust=Trust(frozenset({0}))))
        assert (refused.value.owner, refused.value.mode) == found


# Writing


def test_a_new_file_has_mode_0644_and_its_directory_0755_whatever_the_umask_is(engine: Path) -> None:
    file = engine / "conf.d" / "50.toml"
    before = os.umask(0o077)
    try:
        write(file, b"new")
    finally:
        os.umask(before)
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"new", 0o644)
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o755
    assert os.listdir(engine) == ["conf.d"]
    assert os.listdir(file.parent) == ["50.toml"]


def test_a_replaced_file_keeps_its_mode_and_its_owner(engine: Path) -> None:
    file = engine / "daemon.json"
    file.write_bytes(b"old")
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 1, 2)
    before = file.stat()
    write(file, b"new")
    after = file.stat()
    assert file.read_bytes() == b"new"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino


def test_a_link_in_place_of_the_file_is_refused_with_its_target(engine: Path) -> None:
    (engine / "managed").write_bytes(b"old")
    (engine / "daemon.json").symlink_to("managed")
    with pytest.raises(PathRefused, match="is a symbolic link to managed: another program manages the file"):
        write(engine / "daemon.json", b"new")
    assert (engine / "managed").read_bytes() == b"old"
    (engine / "conf.d").mkdir()
    (engine / "conf.d" / "x").mkdir()
    with pytest.raises(PathRefused, match="is not a regular file"):
        write(engine / "conf.d" / "x", b"new")


def test_nothing_appears_in_the_directory_of_drop_ins_but_the_file(engine: Path) -> None:
    seen: set[str] = set()
    file = engine / "crio.conf.d" / "50-runtimed.conf"

    def look(_: str) -> None:
        seen.update(os.listdir(file.parent) if file.parent.exists() else ())

    for data in (b"1", b"2"):
        write(file, data, look)
    assert seen == {"50-runtimed.conf"}


def test_the_scratch_files_are_gone_afterwards(engine: Path) -> None:
    with open_staging(str(engine)) as staging:
        make_scratch(staging, "a/b/config.toml", b"x")
        make_scratch(staging, "config.toml", b"y")
        assert (engine / SCRATCH / "a/b/config.toml").read_bytes() == b"x"
        assert stat.S_IMODE(os.stat(staging).st_mode) == 0o700
    assert os.listdir(engine) == []


@pytest.mark.parametrize("old", [b"old", None])
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_leaves_the_old_file_or_the_new_one_and_the_next_run_finishes(
    engine: Path, step: str, old: bytes | None
) -> None:
    file = engine / "conf.d" / "50.toml"
    if old is not None:
        write(file, old)

    def kill(at: str) -> None:
        if at == step:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        write(file, b"new", kill)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    found = file.read_bytes() if file.exists() else None
    assert found == (b"new" if step in ("sync-directory", "tidy") else old)
    assert len(os.listdir(file.parent)) <= 1 if file.parent.exists() else True
    write(file, b"newer")
    assert (file.read_bytes(), os.listdir(engine), os.listdir(file.parent)) == (b"newer", ["conf.d"], ["50.toml"])


@pytest.mark.parametrize("step", STEPS)
def test_an_error_at_any_step_leaves_the_old_file_or_the_new_one_and_no_other(engine: Path, step: str) -> None:
    file = engine / "daemon.json"
    file.write_bytes(b"old")

    def fail(at: str) -> None:
        if at == step:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"):
        write(file, b"new", fail)
    assert file.read_bytes() == (b"new" if step in ("sync-directory", "tidy") else b"old")
    assert os.listdir(engine) == ["daemon.json"]


def test_the_steps_of_a_write_are_those_that_are_tested(engine: Path) -> None:
    steps: list[str] = []
    write(engine / "daemon.json", b"new", steps.append)
    assert steps == STEPS


def test_data_is_on_the_disk_before_the_rename_and_names_are_after_it(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, done = engine / "conf.d" / "50.toml", []
    sync, rename = os.fsync, os.rename

    def record_sync(fd: int) -> None:
        done.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
        sync(fd)

    def record_rename(old: str, new: str) -> None:
        done.append("rename")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(os, "rename", record_rename)
    write(file, b"new")
    # The directory of drop-ins is new, and has its name in the engine's directory.
    assert done == ["engine", "50.toml", "rename", "conf.d"]


# Two runs at once


def test_a_second_run_waits_for_the_first(engine: Path) -> None:
    order: list[str] = []
    second = threading.Thread(target=lambda: write(engine / "x", b"2", lambda step: order.append(f"2 {step}")))
    with open_staging(str(engine)) as staging:
        make_scratch(staging, "x", b"")
        second.start()
        wait_until(lambda: order, "the second run to begin")
        second.join(0.3)
        assert order == ["2 stage"]
        write_file(FileWrite(f"{engine}/x", b"1"), staging, secure)
        assert os.listdir(staging) == ["check"]
    second.join(PATIENCE_S)
    assert ((engine / "x").read_bytes(), os.listdir(engine)) == (b"2", ["x"])


def test_many_runs_at_once_leave_one_of_their_files_and_nothing_else(engine: Path) -> None:
    runs = [threading.Thread(target=write, args=(engine / "x", bytes([n]) * 100_000)) for n in range(8)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
    data = (engine / "x").read_bytes()
    assert (len(data), len(set(data)), os.listdir(engine)) == (100_000, 1, ["x"])


def test_a_run_that_does_not_end_is_an_error_of_the_other(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimed.host.engines.files, "_LOCK_S", 0.1)
    (engine / STAGING).mkdir()
    fd = os.open(engine / STAGING, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        before = listing(engine)
        with pytest.raises(PathRefused, match="has been locked by another runtimectl"):
            write(engine / "x", b"1")
        assert listing(engine) == before
    finally:
        os.close(fd)


def test_a_staging_directory_that_another_run_removes_before_it_is_locked_is_made_again(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, calls = fcntl.flock, []

    def remove_and_lock(fd: int, operation: int) -> None:
        calls.append(fd)
        if len(calls) == 1:
            (engine / STAGING).rmdir()
        lock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", remove_and_lock)
    write(engine / "x", b"1")
    assert (len(calls), os.listdir(engine)) == (2, ["x"])


def test_a_link_in_place_of_the_staging_directory_is_not_followed(engine: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"kept")
    (engine / STAGING).symlink_to(tmp_path)
    with pytest.raises(OSError, match="Not a directory"):
        write(engine / "x", b"1")
    assert (tmp_path / "kept").exists()
