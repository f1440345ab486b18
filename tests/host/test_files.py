"""Tests of reading the configuration files at one instant."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.daemon import PATIENCE_S, as_user

from runtimed.core.configuration.inputs import FileStatus, Source
from runtimed.core.configuration.watched_names import WatchedName
from runtimed.core.errors import Problem
from runtimed.host import files
from runtimed.host.files import MAX_BYTES, Snapshot, Walker, read_documents
from runtimed.host.trust import Trust, Walk, walk

REPOSITORY = Path(__file__).parents[2]
OURS = Trust(frozenset({0, os.getuid()}))
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users, or becomes another user")


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def walk_ours(path: str) -> Walk:
    return walk(path, OURS)


def read(base: Path, walker: Walker = walk_ours) -> Snapshot:
    return read_documents(f"{base}/daemon.json", f"{base}/daemon.json.d", walker)


def problem(base: Path) -> Problem:
    [problem] = read(base).documents.problems
    assert problem.found
    assert problem.expected
    return problem


def dropin(base: Path, name: str, text: str = "{}") -> Path:
    path = base / "daemon.json.d" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_the_main_file_and_the_dropins_are_read_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "daemon.json").write_bytes(b"\xff\x00{}\n")
    dropin(tmp_path, "10-gpu.json", '{"a": 1}')
    documents = read(tmp_path).documents
    assert documents.main_path == f"{tmp_path}/daemon.json"
    assert documents.main is not None
    assert (documents.main.path, documents.main.data) == (f"{tmp_path}/daemon.json", b"\xff\x00{}\n")
    assert [(dropin.path, dropin.data) for dropin in documents.dropins] == [
        (f"{tmp_path}/daemon.json.d/10-gpu.json", b'{"a": 1}')
    ]
    assert documents.problems == ()


def test_dropins_are_ordered_by_bytes_without_dot_names_and_other_suffixes(tmp_path: Path) -> None:
    # Of these two, the order by code points is the other way round.
    high, undecodable = "\uffee.json", os.fsdecode(b"\xf0.json")
    for name in ("b.json", "B.json", "10.json", "9.json", high, undecodable, "ä.json", "a.json~", ".hidden.json", "x"):
        dropin(tmp_path, name)
    found = [Path(dropin.path).name for dropin in read(tmp_path).documents.dropins]
    assert found == ["10.json", "9.json", "B.json", "b.json", "ä.json", high, "\\xf0.json"]


def test_a_file_with_another_name_is_a_remark_unless_it_is_an_editors_file(tmp_path: Path) -> None:
    without = read(tmp_path).documents
    for name in ("10-gpu.conf", "a.json~", ".b.json.swp", "JSON", "c.json"):
        dropin(tmp_path, name)
    (tmp_path / "daemon.json.d" / "old").mkdir()
    documents = read(tmp_path).documents
    assert [Path(str(remark.file)).name for remark in documents.remarks] == ["10-gpu.conf", "JSON"]
    assert "ends in .json" in documents.remarks[0].message
    (tmp_path / "daemon.json.d" / "c.json").unlink()
    assert read(tmp_path).documents == without, "no file that is not read causes a reload"


def test_missing_files_are_no_problem(tmp_path: Path) -> None:
    snapshot = read(tmp_path / "not" / "yet")
    assert (snapshot.documents.main, snapshot.documents.dropins, snapshot.documents.problems) == (None, (), ())
    assert WatchedName(str(tmp_path), "not") in snapshot.watched_names


def test_watched_names_are_all_names_that_can_change_the_documents(tmp_path: Path) -> None:
    (tmp_path / "daemon.json").symlink_to("real.json")
    (tmp_path / "real.json").write_text("{}")
    dropin(tmp_path, "..data")
    watched_names = read(tmp_path).watched_names
    assert {watched.name for watched in watched_names if watched.directory == str(tmp_path)} == {
        "daemon.json",
        "real.json",
        "daemon.json.d",
    }
    assert WatchedName(f"{tmp_path}/daemon.json.d", None) in watched_names
    assert WatchedName(str(tmp_path.parent), tmp_path.name) in watched_names


def test_a_dropin_directory_as_a_configmap_is_read_through_its_links(tmp_path: Path) -> None:
    directory = tmp_path / "daemon.json.d"
    (directory / "..2024").mkdir(parents=True)
    (directory / "..2024" / "a.json").write_text("1")
    (directory / "..data").symlink_to("..2024")
    (directory / "a.json").symlink_to("..data/a.json")
    snapshot = read(tmp_path)
    assert [dropin.data for dropin in snapshot.documents.dropins] == [b"1"]
    assert WatchedName(str(directory), "..data") in snapshot.watched_names


def test_no_dropin_is_read_without_a_dropin_directory(tmp_path: Path) -> None:
    dropin(tmp_path, "a.json")
    snapshot = read_documents(f"{tmp_path}/daemon.json", None, walk_ours)
    assert snapshot.documents.dropins == ()


def a_directory(path: Path) -> None:
    path.mkdir()


def a_fifo(path: Path) -> None:
    os.mkfifo(path, 0o600)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    path.chmod(0o600)


def a_device(path: Path) -> None:
    os.mknod(path, 0o020600, os.makedev(1, 3))


@pytest.mark.parametrize("where", ["daemon.json", "daemon.json.d/a.json"])
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (a_directory, "a directory"),
        (a_fifo, "a FIFO (named pipe)"),
        (a_socket, "a socket"),
        pytest.param(a_device, "a character device", marks=needs_root),
    ],
)
def test_a_special_file_is_a_problem_and_does_not_block(
    tmp_path: Path, where: str, make: Callable[[Path], None], kind: str
) -> None:
    (tmp_path / "daemon.json.d").mkdir()
    make(tmp_path / where)
    found = problem(tmp_path)
    assert found.file == f"{tmp_path}/{where}"
    assert found.message == f"is {kind}, not a regular file"
    assert (found.found, found.expected) == (kind, "a regular file")


def test_a_file_in_place_of_the_dropin_directory_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "daemon.json.d").touch()
    assert "is a regular file, not a directory" in problem(tmp_path).message


def test_a_fifo_that_takes_the_place_of_a_checked_file_does_not_block(tmp_path: Path) -> None:
    main = tmp_path / "daemon.json"
    main.write_text("{}")

    @contextlib.contextmanager
    def swapping(path: str) -> Iterator[Walk]:
        with walk(path, OURS) as found:
            if path == str(main):
                main.unlink(missing_ok=True)
                os.mkfifo(main, 0o600)
            yield found
            if path == str(main):
                main.unlink()
                main.write_text("{}")

    found = read(tmp_path, swapping).documents
    assert found.main is None
    assert "kept changing" in found.problems[0].message


def test_the_checked_file_is_the_one_that_is_read(tmp_path: Path) -> None:
    base = tmp_path / "etc"
    for directory in (base, tmp_path / "other"):
        directory.mkdir()
        (directory / "daemon.json").write_text(directory.name)

    @contextlib.contextmanager
    def swapping(path: str) -> Iterator[Walk]:
        with walk(path, OURS) as found:
            base.rename(tmp_path / "checked")
            (tmp_path / "other").rename(base)
            yield found
            # Back again, so that nothing has changed when everything has been read.
            base.rename(tmp_path / "other")
            (tmp_path / "checked").rename(base)

    documents = read(base, swapping).documents
    assert documents.main is None
    assert "kept changing" in documents.problems[0].message


@pytest.mark.parametrize("name", ["daemon.json", "daemon.json.d", "daemon.json.d/a.json"])
def test_a_dangling_link_is_a_problem_that_names_its_target(tmp_path: Path, name: str) -> None:
    if name.endswith("a.json"):
        (tmp_path / "daemon.json.d").mkdir()
    target = f"{tmp_path}/gone/file"
    (tmp_path / name).symlink_to(target)
    found = problem(tmp_path)
    assert found.file == f"{tmp_path}/{name}"
    assert f"{tmp_path}/gone" in found.message
    assert "does not exist" in found.message
    assert "remove the link" in found.message


def test_a_file_over_16_mib_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "daemon.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    started = time.monotonic()
    found = problem(tmp_path)
    assert time.monotonic() - started < PATIENCE_S
    assert (found.found, found.expected) == ("1,099,511,627,776 bytes", "at most 16,777,216 bytes")
    assert "too big" in found.message


def test_a_file_of_exactly_16_mib_is_read(tmp_path: Path) -> None:
    (tmp_path / "daemon.json").write_bytes(b" " * MAX_BYTES)
    main = read(tmp_path).documents.main
    assert main is not None
    assert len(main.data) == MAX_BYTES


@needs_root
def test_a_file_that_another_user_could_change_is_refused_with_the_remedy(tmp_path: Path) -> None:
    bad = dropin(tmp_path, "a.json")
    bad.chmod(0o664)
    dropin(tmp_path, "b.json")
    snapshot = read(tmp_path)
    [found] = snapshot.documents.problems
    assert found.file == str(bad)
    assert f"chmod go-w {bad}" in found.message
    assert found.found == "user id 0, mode 0664"
    assert [Path(dropin.path).name for dropin in snapshot.documents.dropins] == ["b.json"]


@needs_root
def test_a_parent_that_another_user_could_change_is_a_problem_of_each_file_below(tmp_path: Path) -> None:
    parent = tmp_path / "etc"
    parent.mkdir()
    (parent / "daemon.json").write_text("{}")
    parent.chmod(0o777)
    problems = read(parent).documents.problems
    assert [problem.file for problem in problems] == [f"{parent}/daemon.json", f"{parent}/daemon.json.d"]
    assert all(f"chmod go-w {parent}" in problem.message for problem in problems)


def run_without_capabilities(base: Path, *user: str) -> list[str]:
    script = (
        "import sys, functools\n"
        "from runtimed.host.files import read_documents\n"
        "from runtimed.host.trust import Trust, walk\n"
        "base = sys.argv[1]\n"
        "walker = functools.partial(walk, trust=Trust.of_process())\n"
        "snapshot = read_documents(f'{base}/daemon.json', f'{base}/daemon.json.d', walker)\n"
        "print(*snapshot.documents.problems, sep='\\n')\n"
    )
    run = subprocess.run(
        ["setpriv", *user, sys.executable, "-c", script, str(base)],
        capture_output=True, text=True, check=True, cwd=REPOSITORY,
    )  # fmt: skip
    return run.stdout.splitlines()


@needs_root
def test_root_without_the_right_to_override_modes_sees_unreadable_files(tmp_path: Path) -> None:
    main = tmp_path / "daemon.json"
    main.write_text("{}")
    main.chmod(0o000)
    directory = dropin(tmp_path, "a.json").parent
    directory.chmod(0o300)
    caps = "-dac_override,-dac_read_search"
    printed = run_without_capabilities(tmp_path, "--bounding-set", caps, "--inh-caps", caps)
    reason = "cannot be read: permission denied: user id 0, mode {}, and runtimed runs as user id 0"
    assert printed == [
        f"{main}: {reason.format('0000')}; run: chmod u+r {main}",
        f"{directory}: {reason.format('0300')}; run: chmod u+rx {directory}",
    ]


@needs_root
def test_a_user_sees_which_files_are_unreadable() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        base = Path(name)
        base.chmod(0o755)
        (base / "daemon.json").touch(0o600)
        (base / "daemon.json.d").mkdir(0o700)
        main, dropins = as_user(65534, lambda: [str(problem) for problem in read(base).documents.problems])
        assert "permission denied: user id 0, mode 0600, and runtimed runs as user id 65534" in main
        assert f"chmod go+r {base}/daemon.json" in main
        assert "permission denied" in dropins
        assert f"chmod go+rx {base}/daemon.json.d" in dropins


def test_names_that_are_no_utf_8_are_shown_escaped(tmp_path: Path) -> None:
    base = tmp_path / os.fsdecode(b"caf\xe9")
    (base / "daemon.json").mkdir(parents=True)
    found = problem(base)
    assert found.file == f"{tmp_path}/caf\\xe9/daemon.json"
    str(found).encode()


def test_files_that_change_during_a_reading_are_read_again(tmp_path: Path) -> None:
    """A swap of both files after the main one was read must not give the old one beside the new one."""
    main, other = tmp_path / "daemon.json", dropin(tmp_path, "a.json", "old")
    main.write_text("old")
    swaps: list[str] = []

    @contextlib.contextmanager
    def swapping(path: str) -> Iterator[Walk]:
        with walk(path, OURS) as found:
            yield found
        if path == str(main) and not swaps:
            swaps.append(path)
            for file in (main, other):
                (tmp_path / "new").write_text("new")
                (tmp_path / "new").rename(file)

    documents = read(tmp_path, swapping).documents
    assert documents.main is not None
    assert [documents.main.data, *(dropin.data for dropin in documents.dropins)] == [b"new", b"new"]


def test_a_dropin_that_appears_or_disappears_during_a_reading_is_noticed(tmp_path: Path) -> None:
    dropin(tmp_path, "a.json")
    going = dropin(tmp_path, "b.json")
    steps: list[Callable[[], object]] = [lambda: dropin(tmp_path, "c.json"), going.unlink]

    @contextlib.contextmanager
    def changing(path: str) -> Iterator[Walk]:
        with walk(path, OURS) as found:
            yield found
        if path.endswith("a.json") and steps:
            steps.pop()()

    documents = read(tmp_path, changing).documents
    assert [Path(dropin.path).name for dropin in documents.dropins] == ["a.json", "c.json"]
    assert documents.problems == ()


def test_a_file_that_keeps_changing_is_a_problem(tmp_path: Path) -> None:
    main = tmp_path / "daemon.json"
    main.write_text("")
    dropin(tmp_path, "a.json")

    @contextlib.contextmanager
    def writing(path: str) -> Iterator[Walk]:
        with walk(path, OURS) as found:
            yield found
        if path == str(main):
            with main.open("a") as file:
                file.write("x")

    documents = read(tmp_path, writing).documents
    assert (documents.main, documents.dropins) == (None, ())
    [found] = documents.problems
    assert found.file == str(main)
    assert "kept changing while it was read" in found.message
    assert found.incomplete
    assert main.stat().st_size == 2 * files.ATTEMPTS


def test_a_reading_of_files_that_stay_the_same_does_not_sleep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dropin(tmp_path, "a.json")
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    assert len(read(tmp_path).documents.dropins) == 1
    assert pauses == []


def test_readings_during_atomic_replaces_by_another_thread_are_always_whole(tmp_path: Path) -> None:
    main = tmp_path / "daemon.json"
    main.write_text("0" * 100_000)
    done = threading.Event()

    def replace() -> None:
        for i in range(10_000_000):
            if done.is_set():
                return
            (tmp_path / "new").write_text(str(i % 10) * 100_000)
            (tmp_path / "new").rename(main)
            time.sleep(0.002)

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        whole: list[Source] = []
        # A few find only a file that keeps changing.
        while len(whole) < 100:
            if (source := read(tmp_path).documents.main) is not None:
                whole.append(source)
    finally:
        done.set()
        writer.join()
    assert all(len(set(source.data)) == 1 and len(source.data) == 100_000 for source in whole)


def test_each_file_has_the_status_of_the_file_that_was_read(tmp_path: Path) -> None:
    target = dropin(tmp_path, "..2024")
    target.rename(tmp_path / "elsewhere")
    (tmp_path / "daemon.json.d" / "a.json").symlink_to("../elsewhere")
    main = tmp_path / "daemon.json"
    main.write_text("{}")
    os.utime(main, (1.5, 1.5))
    before = read(tmp_path).documents
    (linked,) = before.dropins
    for source, path in ((before.main, main), (linked, tmp_path / "elsewhere")):
        found = path.stat()
        assert source is not None
        assert source.status == FileStatus(found.st_uid, found.st_mtime, found.st_ino)
    assert before.main is not None
    assert before.main.status is not None
    assert before.main.status.mtime_s == 1.5
    # An equal file in its place has another status, and makes no other documents.
    other = tmp_path / "other"
    other.write_text("{}")
    other.rename(main)
    after = read(tmp_path).documents
    assert after.main is not None
    assert after.main.status is not None
    assert after.main.status.inode == main.stat().st_ino != before.main.status.inode
    assert after == before
