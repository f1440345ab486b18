"""The directory of pins: reading, appending, removing, beside a launcher that appends at any time."""

from __future__ import annotations

import os
import resource
import select
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.daemon import PATIENCE_S, short_directory
from harness.engine_state import ordinary_user

import runtimed.host.pins
from runtimed.core.pins import Pin, pin_file, render_pin
from runtimed.host.pins import PinDirectory, PinFile

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def pin(identifier: str = "a", root: str = "/r", target: str = "/usr/bin/runc") -> Pin:
    return Pin("gvisor", root, identifier, root, f"/bundles/{identifier}", target)


@pytest.fixture
def pins(tmp_path: Path) -> PinDirectory:
    directory = PinDirectory(str(tmp_path / "pins"))
    assert directory.make() is None
    return directory


def judged(pins: PinDirectory, name: str = "a") -> PinFile:
    return pins.read().files[name]


def append(pins: PinDirectory, new: Pin) -> None:
    """Append as a launcher does."""
    with open(f"{pins.path}/{pin_file(new.id)}", "ab") as file:
        file.write(render_pin(new))


@pytest.mark.parametrize("umask", [0, 0o777])
def test_the_directory_is_made_for_its_user_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        assert PinDirectory(str(tmp_path / "pins")).make() is None
    finally:
        os.umask(before)
    assert (tmp_path / "pins").stat().st_mode & 0o7777 == 0o700


def test_a_directory_that_others_may_write_to_is_closed(tmp_path: Path) -> None:
    (tmp_path / "pins").mkdir()
    (tmp_path / "pins").chmod(0o777)
    assert PinDirectory(str(tmp_path / "pins")).make() is None
    assert (tmp_path / "pins").stat().st_mode & 0o7777 == 0o700


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.symlink_to(path.parent),
        lambda path: path.symlink_to("nowhere"),
        lambda path: path.write_text(""),
        os.mkfifo,
    ],
)
def test_a_link_or_another_file_in_its_place_is_refused(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    spoil(tmp_path / "pins")
    fault = PinDirectory(str(tmp_path / "pins")).make()
    assert fault is not None
    assert str(tmp_path / "pins") in fault


@AS_ROOT
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pins").mkdir()
    os.chown(tmp_path / "pins", 65534, 65534)
    assert "belongs to user 65534" in (PinDirectory(str(tmp_path / "pins")).make() or "")


def test_a_directory_that_cannot_be_made_or_read_is_a_fault(tmp_path: Path) -> None:
    pins = PinDirectory(str(tmp_path / "missing/pins"))
    assert "No such file" in (pins.make() or "")
    assert pins.read().files == {}
    assert pins.read().faults == (f"{tmp_path}/missing/pins: No such file or directory",)
    assert "No such file" in (pins.add(pin()) or "")


def test_pins_are_read_from_the_files_of_their_ids(pins: PinDirectory) -> None:
    for new in (pin("a"), pin("a", "/other"), pin("b"), pin("odd id"), pin(".hidden"), pin("x" * 300)):
        assert pins.add(new) is None
    found = pins.read()
    assert sorted(found.files) == [".other", "a", "b"]
    assert {(one.root, one.id) for one in found.pins} == {
        *(("/r", name) for name in ("a", "b", "odd id", ".hidden", "x" * 300)),
        ("/other", "a"),
    }
    assert found.faults == ()


def test_the_last_pin_counts_and_an_incomplete_line_does_not(pins: PinDirectory) -> None:
    append(pins, pin(target="/old"))
    append(pins, pin(target="/new"))
    with open(f"{pins.path}/a", "ab") as file:
        file.write(render_pin(pin(target="/newest"))[:-2])
    assert [one.target for one in pins.read().pins] == ["/new"]
    append(pins, pin(target="/after"))
    assert [one.target for one in pins.read().pins] == ["/after"]


def test_a_file_is_read_again_when_it_has_grown(pins: PinDirectory) -> None:
    append(pins, pin())
    first = judged(pins)
    assert judged(pins) is first
    append(pins, pin(target="/new"))
    assert [one.target for one in judged(pins).pins] == ["/new"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.mkdir(), "is not a regular file"),
        (os.mkfifo, "is not a regular file"),
        (lambda path: path.symlink_to("b"), "Too many levels of symbolic links"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_fault_and_others_are_read(
    pins: PinDirectory, spoil: Callable[[Path], object], reason: str
) -> None:
    append(pins, pin("b"))
    spoil(Path(pins.path, "a"))
    found = pins.read()
    assert list(found.files) == ["b"]
    assert found.faults == (f"{pins.path}/a: {reason}",)
    assert str(pins.add(pin("a"))).startswith(f"{pins.path}/a: ")


def test_a_file_that_is_too_large_is_a_fault(pins: PinDirectory) -> None:
    append(pins, pin("a"))
    os.truncate(f"{pins.path}/a", 16 << 20)
    assert pins.read().faults == ()
    os.truncate(f"{pins.path}/a", (16 << 20) + 1)
    assert pins.read().faults == (f"{pins.path}/a: has more than 16777216 bytes",)


def test_a_pin_that_is_written_in_part_is_a_fault_and_counts_not(pins: PinDirectory) -> None:
    append(pins, pin(target="/old"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python ignores SIGXFSZ.
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.stat(f"{pins.path}/a").st_size + 10, limits[1]))
    try:
        fault = pins.add(pin(target="/new"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert fault == f"{pins.path}/a: the file system is full"
    assert [one.target for one in pins.read().pins] == ["/old"]
    assert pins.add(pin(target="/new")) is None
    assert [one.target for one in pins.read().pins] == ["/new"]


def test_an_unreadable_file_is_a_fault() -> None:
    with short_directory() as root:
        root.chmod(0o755)
        pins = PinDirectory(f"{root}/pins")
        assert pins.make() is None
        append(pins, pin())
        os.chmod(f"{pins.path}/a", 0)
        os.chmod(pins.path, 0o755)
        with ordinary_user():
            assert pins.read().faults == (f"{pins.path}/a: Permission denied",)


def test_a_file_of_gone_containers_is_removed(pins: PinDirectory) -> None:
    append(pins, pin())
    assert pins.remove_gone("a", judged(pins), lambda: True)
    assert os.listdir(pins.path) == []


def test_a_file_that_has_changed_since_is_kept(pins: PinDirectory) -> None:
    append(pins, pin())
    old = judged(pins)
    append(pins, pin(target="/new"))
    assert not pins.remove_gone("a", old, lambda: True)
    assert [one.target for one in pins.read().pins] == ["/new"]


def test_a_file_that_is_gone_or_new_is_no_error(pins: PinDirectory) -> None:
    append(pins, pin())
    old = judged(pins)
    os.unlink(f"{pins.path}/a")
    assert not pins.remove_gone("a", old, lambda: True)
    append(pins, pin())
    assert not pins.remove_gone("a", old, lambda: True)
    assert os.listdir(pins.path) == ["a"]


def test_a_file_of_a_container_that_is_back_gets_its_name_back(pins: PinDirectory) -> None:
    append(pins, pin())
    old = judged(pins)

    def not_gone() -> bool:
        assert os.listdir(pins.path) == [".aside.a"]
        return False

    assert not pins.remove_gone("a", old, not_gone)
    assert os.listdir(pins.path) == ["a"]
    assert judged(pins) == old


def test_a_write_to_the_file_while_it_is_removed_is_kept(pins: PinDirectory) -> None:
    append(pins, pin())
    old = judged(pins)
    with open(f"{pins.path}/a", "ab", buffering=0) as launcher:

        def write_late() -> bool:
            launcher.write(render_pin(pin(target="/new")))
            return True

        assert not pins.remove_gone("a", old, write_late)
    assert [one.target for one in pins.read().pins] == ["/new"]


def test_a_new_file_made_while_the_old_one_is_removed_keeps_its_pins(pins: PinDirectory) -> None:
    append(pins, pin())
    append(pins, pin(root="/back"))
    old = judged(pins)
    with open(f"{pins.path}/a", "ab", buffering=0) as launcher:

        def recreate() -> bool:
            launcher.write(render_pin(pin(root="/late")))
            append(pins, pin(target="/new"))
            return False

        assert not pins.remove_gone("a", old, recreate)
    assert os.listdir(pins.path) == ["a"]
    found = {one.root: one.target for one in pins.read().pins}
    assert found == {"/r": "/new", "/late": "/usr/bin/runc", "/back": "/usr/bin/runc"}, "one of them is not gone"


def test_a_new_file_to_which_a_launcher_is_about_to_write_keeps_its_pin_as_the_last_line(
    pins: PinDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(pins, pin())
    old = judged(pins)
    made, appending = threading.Event(), threading.Event()

    def create() -> None:
        with open(f"{pins.path}/a", "ab", buffering=0) as launcher:
            made.set()
            appending.wait(0.1)
            launcher.write(render_pin(pin(target="/new")))

    launching = threading.Thread(target=create)
    append_now = pins._append

    def append_late(name: str, new: Pin) -> None:
        appending.set()
        launching.join()
        append_now(name, new)

    monkeypatch.setattr(pins, "_append", append_late)
    monkeypatch.setattr(runtimed.host.pins, "_WRITE_S", PATIENCE_S)

    def begin() -> bool:
        launching.start()
        made.wait()
        return False  # the bundle of the new container is there

    assert not pins.remove_gone("a", old, begin)
    launching.join()
    assert [one.target for one in pins.read().pins] == ["/new"]


def test_an_empty_file_that_nobody_writes_to_gets_the_pins_of_the_one_that_is_aside(pins: PinDirectory) -> None:
    append(pins, pin())
    old = judged(pins)

    def fail() -> bool:
        with open(f"{pins.path}/a", "ab"):
            return False

    assert not pins.remove_gone("a", old, fail)
    assert pins.read().files["a"].pins == old.pins


def test_a_new_file_in_the_place_of_a_removed_one_is_read(pins: PinDirectory) -> None:
    append(pins, pin(target="/one"))
    old = judged(pins)
    # Some file systems give the same inode again.
    status = os.stat(f"{pins.path}/a")
    assert pins.remove_gone("a", old, lambda: True)
    append(pins, pin(target="/two"))
    os.utime(f"{pins.path}/a", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert [one.target for one in pins.read().pins] == ["/two"]


def test_what_a_killed_daemon_left_aside_gets_its_name_back(pins: PinDirectory) -> None:
    append(pins, pin())
    append(pins, pin("odd id"))
    append(pins, pin("b"))
    for name in ("a", ".other", "b"):
        os.rename(f"{pins.path}/{name}", f"{pins.path}/.aside.{name}")
    append(pins, pin("b", target="/new"))
    assert len(list(pins.read().pins)) == 4, "they are references meanwhile"
    assert pins.make() is None
    assert sorted(os.listdir(pins.path)) == [".other", "a", "b"]
    assert {one.id: one.target for one in pins.read().pins} == {
        "a": "/usr/bin/runc",
        "odd id": "/usr/bin/runc",
        "b": "/new",
    }


def test_the_pins_of_an_earlier_exec_root_are_taken_over_once(pins: PinDirectory, tmp_path: Path) -> None:
    other = PinDirectory(str(tmp_path / "other"))
    assert other.make() is None
    append(other, pin("a", target="/newer"))
    append(other, pin("b"))
    # Left by the time before the earlier exec root was in use.
    append(pins, pin("a", target="/older"))
    append(pins, pin("c"))
    for _ in range(2):
        assert pins.take_over(other.path) == ()
        assert {one.id: one.target for one in pins.read().pins} == {
            "a": "/newer",
            "b": "/usr/bin/runc",
            "c": "/usr/bin/runc",
        }
    assert Path(pins.path, "a").read_bytes().count(b"\n1\t") == 2


def test_an_earlier_exec_root_that_is_gone_or_unreadable_is_told(pins: PinDirectory, tmp_path: Path) -> None:
    assert pins.take_over(str(tmp_path / "none")) == ()
    (tmp_path / "file").write_text("")
    assert pins.take_over(str(tmp_path / "file")) == (f"{tmp_path}/file cannot be taken over: Not a directory",)


@AS_ROOT
def test_an_earlier_exec_root_of_another_user_is_not_taken_over(pins: PinDirectory, tmp_path: Path) -> None:
    other = PinDirectory(str(tmp_path / "other"))
    assert other.make() is None
    append(other, pin())
    os.chown(other.path, 65534, 65534)
    (fault,) = pins.take_over(other.path)
    assert "belongs to user 65534" in fault
    assert list(pins.read().pins) == []


LAUNCHER = """
import os, sys, time
path, line, rounds = sys.argv[1], sys.argv[2].encode(), int(sys.argv[3])
for number in range(rounds):
    # A launcher appends, reads again, and appends again where its pin is not there.
    for _ in range(10):
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, line.replace(b"@", str(number).encode()))
        os.close(fd)
        try:
            with open(path, "rb") as file:
                if line.replace(b"@", str(number).encode()) in file.read():
                    break
        except FileNotFoundError:
            pass
    else:
        sys.exit("the pin is lost")
    print(number, flush=True)
    sys.stdin.readline()
    end = time.perf_counter() + number % 40 * 1e-5
    while time.perf_counter() < end:
        pass
"""


def test_no_pin_of_a_live_container_is_lost_in_400_races_with_a_launcher(pins: PinDirectory) -> None:
    rounds = 400
    line = render_pin(pin(target="/@")).decode()
    command = [sys.executable, "-S", "-c", LAUNCHER, f"{pins.path}/a", line, str(rounds)]
    launcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert launcher.stdin is not None
    assert launcher.stdout is not None
    removed = 0
    try:
        for number in range(rounds):
            # All earlier containers are gone; the one that is being created must keep its pin.
            gone = {f"/{earlier}" for earlier in range(number)}
            while not select.select([launcher.stdout], [], [], 0)[0]:
                found = pins.read().files.get("a")
                if found is not None and found.pins and all(one.target in gone for one in found.pins):
                    removed += pins.remove_gone("a", found, lambda: True)
            assert launcher.stdout.readline() == f"{number}\n"
            assert [one.target for one in pins.read().pins] == [f"/{number}"]
            launcher.stdin.write("\n")
            launcher.stdin.flush()
        assert launcher.wait(60) == 0
    finally:
        launcher.kill()
        launcher.communicate()
    assert removed
    assert os.listdir(pins.path) == ["a"]
