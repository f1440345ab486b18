"""The kernel's table of mounts."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.daemon import PATIENCE_S

from runtimed.host.watch.mounts import MountWatch


class Watched:
    """A mount watch that counts its calls."""

    def __init__(self) -> None:
        self.calls = threading.Semaphore(0)
        self.watch = MountWatch(lambda: self.calls.release(), pause_s=0.01)  # noqa: PLW0108 - release returns None

    def wait(self) -> bool:
        return self.calls.acquire(timeout=PATIENCE_S)

    def was_called(self) -> bool:
        return self.calls.acquire(blocking=False)


def stop(watch: MountWatch) -> None:
    """Stop ``watch``, which waits for a second only."""
    watch.stop()
    while watch.alive:
        watch.stop()
    watch.stop()


@pytest.fixture
def watched() -> Iterator[Watched]:
    before = len(os.listdir("/proc/self/fd"))
    watched = Watched()
    watched.watch.start()
    yield watched
    stop(watched.watch)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_thread_that_cannot_be_started_is_started_later(monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(os.listdir("/proc/self/fd"))
    watch = MountWatch(lambda: None)
    with monkeypatch.context() as patch:

        def refuse(_thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            watch.start()
    watch.start()
    assert watch.alive
    stop(watch)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_an_update_reports_a_change_only_for_new_names(watched: Watched) -> None:
    watched.watch.update({"/etc": frozenset({"x"})})
    assert watched.was_called()
    watched.watch.update({"/etc": frozenset({"x"})})
    assert not watched.was_called()


def test_a_directory_on_a_local_file_system_need_not_be_polled(watched: Watched, tmp_path: Path) -> None:
    assert watched.watch.update({str(tmp_path): frozenset({"x"})}) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
@pytest.mark.parametrize("name", ["daemon.json", None])
def test_the_directory_of_a_file_that_is_a_bind_mount_must_be_polled(
    watched: Watched, tmp_path: Path, name: str | None
) -> None:
    for path in (tmp_path / "daemon.json", tmp_path / "elsewhere"):
        path.write_text("{}")
    subprocess.run(["mount", "--bind", tmp_path / "elsewhere", tmp_path / "daemon.json"], check=True)
    try:
        faults = watched.watch.update({str(tmp_path): frozenset({name}), "/": frozenset({"tmp"})})
    finally:
        subprocess.run(["umount", tmp_path / "daemon.json"], check=True)
    assert list(faults) == [str(tmp_path)]
    assert str(tmp_path / "daemon.json") in faults[str(tmp_path)]
    assert watched.watch.update({str(tmp_path): frozenset({name}), "/": frozenset({"tmp"})}) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
@pytest.mark.parametrize("at", ["daemon.json", "."])
def test_a_bind_mount_of_a_replaced_source_is_reported_as_outdated(watched: Watched, tmp_path: Path, at: str) -> None:
    source, directory = tmp_path / "source", tmp_path / "etc"
    for path in (source, directory):
        path.mkdir()
        (path / "daemon.json").write_text("{}")
    names: dict[str, frozenset[str | None]] = {str(directory): frozenset({"daemon.json"})}
    subprocess.run(["mount", "--bind", source / at, directory / at], check=True)
    try:
        assert "old content" not in str(watched.watch.update(names))
        if at == ".":
            (source / "daemon.json").unlink()
            source.rmdir()
        else:
            (source / "new").write_text("{ }")
            (source / "new").rename(source / "daemon.json")
        (reason,) = watched.watch.update(names).values()
    finally:
        subprocess.run(["umount", directory / at], check=True)
    assert str((directory / at).resolve()) in reason
    assert "so it shows the old content; mount it again" in reason


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
@pytest.mark.parametrize("at", ["etc", "etc/daemon.json", "etc/daemon.json.d/a.json", "."])
def test_a_mount_and_an_unmount_are_reported_and_mounts_elsewhere_are_not(
    watched: Watched, tmp_path: Path, at: str
) -> None:
    base = tmp_path / "etc"
    dropins = base / "daemon.json.d"
    dropins.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for file in (base / "daemon.json", dropins / "a.json", tmp_path / "file"):
        file.write_text("{}")
    names: dict[str, frozenset[str | None]] = {str(base): frozenset({"daemon.json"}), str(dropins): frozenset({None})}
    watched.watch.update(names)
    assert watched.wait()

    def mount(source: Path, target: Path) -> None:
        subprocess.run(["mount", "--bind", str(source), str(target)], check=True)

    def unmount(target: Path) -> None:
        subprocess.run(["umount", str(target)], check=True)

    mount(tmp_path / "elsewhere", tmp_path / "elsewhere")
    unmount(tmp_path / "elsewhere")
    watched.watch.update(names)  # compares at once, as the thread does
    assert not watched.was_called()
    target = (tmp_path / at).resolve()
    mount(target if target.is_dir() else tmp_path / "file", target)
    try:
        assert watched.wait()
    finally:
        unmount(target)
    assert watched.wait()
