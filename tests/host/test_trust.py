"""Tests of following paths and of checking who can change them."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.daemon import as_user

from runtimed.core.configuration.watched_names import WatchedName
from runtimed.core.errors import PathMissing, PathRefused
from runtimed.core.message_text import printable
from runtimed.host.trust import Trust, Walk, secure_below, secure_directory, walk

REPOSITORY = Path(__file__).parents[2]
ROOT = Trust(frozenset({0}))
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users, mounts, or becomes another user")


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def reached(path: Path | str, trust: Trust = ROOT) -> str:
    with walk(str(path), trust) as found:
        assert found.error is None, found.error
        assert found.status is not None
        assert os.fstat(found.fd).st_ino == found.status.st_ino == Path(found.real_path).stat().st_ino
        return found.real_path


def refused(path: Path | str, trust: Trust = ROOT) -> PathRefused:
    with walk(str(path), trust) as found:
        assert isinstance(found.error, PathRefused), found
        assert found.fd == -1
        return found.error


def missing(path: Path | str) -> tuple[PathMissing, Walk]:
    with walk(str(path), ROOT) as found:
        assert isinstance(found.error, PathMissing), found
        return found.error, found


def watched_below(base: Path, found: Walk) -> set[tuple[str, str | None]]:
    """Return the watched names in or below ``base``, relative to it."""
    return {
        (os.path.relpath(watched.directory, base), watched.name)
        for watched in found.watched_names
        if Path(watched.directory).is_relative_to(base)
    }


@needs_root
def test_a_path_that_root_alone_can_change_is_followed_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    file.write_text("{}")
    assert reached(file) == str(file)
    assert reached(tmp_path) == str(tmp_path)
    assert reached("/") == "/"


@needs_root
def test_every_name_on_the_way_is_watched(tmp_path: Path) -> None:
    with walk(f"{tmp_path}//a/./x", ROOT) as found:
        parts = [*tmp_path.parts[1:], "a"]
        assert found.watched_names == {WatchedName("/" + "/".join(parts[:i]), parts[i]) for i in range(len(parts))}


@needs_root
def test_a_configmap_is_followed_and_its_swapped_link_is_watched(tmp_path: Path) -> None:
    data = tmp_path / "..2024"
    data.mkdir()
    (data / "daemon.json").write_text("{}")
    (tmp_path / "..data").symlink_to("..2024")
    (tmp_path / "daemon.json").symlink_to("..data/daemon.json")
    with walk(f"{tmp_path}/daemon.json", ROOT) as found:
        assert found.real_path == f"{data}/daemon.json"
        assert watched_below(tmp_path, found) == {
            (".", "daemon.json"),
            (".", "..data"),
            (".", "..2024"),
            ("..2024", "daemon.json"),
        }


@needs_root
def test_links_and_parent_directories_are_followed_as_by_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "to-b").symlink_to("a/b")
    (tmp_path / "absolute").symlink_to(f"{tmp_path}/to-b/")
    (tmp_path / "to-file").symlink_to("a/b/../../file")
    for path in ("to-b", "to-b/..", "absolute/../..", "to-file", "to-b/../../file", "a/..", "a/", "absolute/."):
        assert reached(f"{tmp_path}/{path}") == os.path.realpath(f"{tmp_path}/{path}"), path
    assert reached("/..") == "/"


@needs_root
def test_a_relative_path_starts_at_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").touch()
    monkeypatch.chdir(tmp_path)
    assert reached("x") == f"{tmp_path}/x"


@needs_root
@pytest.mark.parametrize("which", ["parent", "file"])
def test_a_file_or_parent_of_another_user_is_refused(tmp_path: Path, which: str) -> None:
    parent = tmp_path / "parent"
    parent.mkdir()
    file = parent / "file"
    file.touch()
    path = parent if which == "parent" else file
    os.chown(path, 1000, 0)
    error = refused(file)
    assert (error.path, error.owner, error.code) == (str(path), 1000, "path-refused")
    assert f"run: chown root: {path}" in error.advice
    assert "user id 1000" in str(error)
    assert reached(file, Trust(frozenset({0, 1000}))) == str(file)
    follow(error)
    assert reached(file) == str(file)


def follow(error: PathRefused) -> None:
    """Run the command that an error advises."""
    command = error.advice.partition("run: ")[2].partition("; otherwise")[0]
    subprocess.run(shlex.split(command), check=True)


@needs_root
def test_a_link_of_another_user_is_refused_whatever_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    link = tmp_path / "link"
    link.symlink_to("file")
    assert reached(link) == f"{tmp_path}/file"  # although every link has mode 0777
    os.chown(link, 1000, 1000, follow_symlinks=False)
    error = refused(link)
    assert error.path == str(link)
    assert "symbolic link" in error.reason
    follow(error)
    assert reached(link) == f"{tmp_path}/file"


@needs_root
@pytest.mark.parametrize(("mode", "who"), [(0o775, "its group"), (0o757, "everybody"), (0o777, "and everybody else")])
@pytest.mark.parametrize("which", ["parent", "file"])
def test_a_path_that_group_or_others_can_write_is_refused(tmp_path: Path, which: str, mode: int, who: str) -> None:
    parent = tmp_path / "a parent"
    parent.mkdir()
    file = parent / "file"
    file.touch()
    path = parent if which == "parent" else file
    path.chmod(mode)
    error = refused(file)
    assert (error.path, error.mode) == (str(path), mode)
    assert who in error.reason
    assert f"{mode:04o}" in error.reason
    follow(error)
    assert reached(file) == str(file)


@needs_root
def test_a_sticky_directory_is_fine_on_the_way_but_not_at_the_end(tmp_path: Path) -> None:
    sticky = tmp_path / "sticky"
    sticky.mkdir()
    (sticky / "roots").touch()
    (sticky / "alices").touch()
    os.chown(sticky / "alices", 1000, 1000)
    sticky.chmod(0o1777)
    assert reached(sticky / "roots") == f"{sticky}/roots"
    assert refused(sticky / "alices").owner == 1000
    assert refused(sticky).mode == 0o1777
    assert refused(f"{sticky}/").mode == 0o1777


@needs_root
def test_a_missing_name_is_reported_with_the_names_up_to_it(tmp_path: Path) -> None:
    error, found = missing(tmp_path / "a" / "b" / "c")
    assert (error.path, error.link) == (f"{tmp_path}/a", None)
    assert watched_below(tmp_path, found) == {(".", "a")}


@needs_root
def test_a_dangling_link_differs_from_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "dir").symlink_to("real")
    (tmp_path / "link").symlink_to("real/gone")
    error, found = missing(tmp_path / "link")
    assert (error.path, error.link) == (f"{tmp_path}/real/gone", f"{tmp_path}/link")
    assert watched_below(tmp_path, found) == {(".", "link"), (".", "real"), ("real", "gone")}
    # The link to the directory leads somewhere; it is the file in it that is missing.
    assert missing(tmp_path / "dir" / "gone")[0].link is None


@needs_root
def test_links_in_a_circle_end_with_a_message(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert "more than 40 symbolic links" in refused(tmp_path / "a").reason


@needs_root
def test_forty_links_are_followed_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "0").touch()
    for i in range(41):
        (tmp_path / str(i + 1)).symlink_to(str(i))
    assert reached(tmp_path / "40") == f"{tmp_path}/0"
    assert "symbolic links" in refused(tmp_path / "41").reason


@needs_root
def test_a_path_that_goes_on_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refused(tmp_path / "file" / "x").path == f"{tmp_path}/file"
    assert "not a directory" in refused(f"{tmp_path}/file/").reason
    assert "name too long" in refused(tmp_path / ("x" * 300)).reason
    assert "not a path" in refused("/a\0b").reason


@needs_root
def test_special_files_are_reached_without_being_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        (tmp_path / "socket").chmod(0o600)
    for name in ("fifo", "socket"):
        assert reached(tmp_path / name) == f"{tmp_path}/{name}"


def test_bytes_that_are_no_utf_8_are_followed_and_shown_escaped(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9\n")
    directory = tmp_path / name
    directory.mkdir()
    assert reached(directory, Trust(None)) == str(directory)
    assert printable(name) == "caf\\xe9\\n"
    error, _ = missing(directory / "gone") if os.geteuid() == 0 else (PathMissing(printable(f"{directory}/gone")), None)
    assert error.path == f"{tmp_path}/caf\\xe9\\n/gone"
    assert str(error).isprintable()


def test_root_trusts_root_and_a_user_trusts_every_readable_file(tmp_path: Path) -> None:
    assert Trust.of_process().owners == (frozenset({0}) if os.geteuid() == 0 else None)
    tmp_path.chmod(0o777)
    (tmp_path / "file").touch(0o666)
    assert reached(tmp_path / "file", Trust(None)) == f"{tmp_path}/file"


@needs_root
def test_a_directory_that_a_user_may_not_search_is_named() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        Path(base).chmod(0o755)
        shut = Path(base, "shut")
        shut.mkdir(0o700)
        shut.chmod(0o700)
        found = as_user(65534, lambda: str(walk(f"{shut}/file", Trust.of_process()).error))
        assert found.startswith(f"{shut}: may not be searched by user id 65534 (permission denied); see who may")


@needs_root
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_missing_directories_are_made_with_the_modes_asked_for(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        assert secure_directory(f"{tmp_path}/a/b/c/", ROOT, 0o710) == f"{tmp_path}/a/b/c"
    finally:
        os.umask(before)
    modes = [(tmp_path / name).stat().st_mode & 0o7777 for name in ("a", "a/b", "a/b/c")]
    assert modes == [0o755, 0o755, 0o710]


@needs_root
def test_a_directory_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(0o700)
    assert secure_directory(f"{tmp_path}/a", ROOT, 0o755) == f"{tmp_path}/a"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


@needs_root
def test_files_below_a_directory_are_checked_and_damage_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "out").symlink_to("theirs")
    (tmp_path / "theirs").mkdir()
    secure_below(str(tmp_path), ["missing", "file", "file/below", "circle", "out"], ROOT)
    os.chown(tmp_path / "theirs", 1000, 1000)
    with pytest.raises(PathRefused, match="theirs: belongs to user id 1000"):
        secure_below(str(tmp_path), ["out"], ROOT)
    listed: list[str] = []

    def names() -> Iterator[str]:
        yield "theirs"
        listed.append("below it")
        yield "theirs/x"

    with pytest.raises(PathRefused):
        secure_below(str(tmp_path), names(), ROOT)
    assert listed == [], "nothing is read of a directory that is refused"


@needs_root
def test_no_directory_is_made_without_create(tmp_path: Path) -> None:
    with pytest.raises(PathMissing):
        secure_directory(f"{tmp_path}/a", ROOT, create=False)
    assert list(tmp_path.iterdir()) == []


@needs_root
def test_no_directory_is_made_below_an_untrusted_one(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(PathRefused, match="chmod go-w"):
        secure_directory(f"{tmp_path}/open/a/b", ROOT)
    assert list((tmp_path / "open").iterdir()) == []


@needs_root
def test_no_directory_is_made_through_a_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("disk/that/is/not/mounted")
    with pytest.raises(PathMissing, match="symbolic link"):
        secure_directory(f"{tmp_path}/link", ROOT)
    with pytest.raises(PathMissing, match="symbolic link"):
        secure_directory(f"{tmp_path}/link/below", ROOT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link"]


@needs_root
def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PathRefused, match="is not a directory"):
        secure_directory(f"{tmp_path}/file", ROOT)
    with pytest.raises(PathRefused, match="is not a directory"):
        secure_directory(f"{tmp_path}/file/below", ROOT)


@needs_root
def test_a_directory_that_cannot_be_made_is_refused_with_the_reason() -> None:
    with pytest.raises(PathRefused, match="/proc/runtimed: cannot be created: no such file or directory"):
        secure_directory("/proc/runtimed/x", ROOT)
