"""Tests that binding replaces no live socket, deletes no other file and never shows an unfinished socket."""

from __future__ import annotations

import grp
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtimed.api.sockets import BoundSocket, bind_socket, group_id, parse_host, peer_of
from runtimed.core.errors import AlreadyRunning, SocketRefused, UnknownGroup


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path, with no descriptor left behind; pytest's own would not fit into a socket's address."""
    before = len(os.listdir("/proc/self/fd"))
    path = Path(tempfile.mkdtemp(dir="/tmp"))
    yield path
    shutil.rmtree(path)
    assert len(os.listdir("/proc/self/fd")) <= before


def connect(path: Path) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError as exc:
            return type(exc).__name__
    return "connected"


def leave_stale_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()


def test_a_bound_socket_has_its_mode_and_takes_connections(directory: Path) -> None:
    path = directory / "s"
    old = os.umask(0o077)
    try:
        bound = bind_socket(str(path), mode=0o660)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.lstat().st_mode) == 0o660
    assert connect(path) == "connected"
    assert sorted(os.listdir(directory)) == ["s", "s.lock"]
    assert (directory / "s.lock").read_text() == f"{os.getpid()}\n"
    assert stat.S_IMODE((directory / "s.lock").lstat().st_mode) == 0o600
    assert not os.get_inheritable(bound.sock.fileno())
    bound.close()
    bound.close()
    assert os.listdir(directory) == ["s.lock"]


@pytest.mark.skipif(os.getuid() != 0, reason="gives a file away")
def test_a_bound_socket_has_its_group(directory: Path) -> None:
    bound = bind_socket(str(directory / "s"), gid=4242)
    assert (directory / "s").lstat().st_gid == 4242
    bound.close()


def test_a_client_never_finds_an_unfinished_socket(directory: Path) -> None:
    paths = [directory / str(n) for n in range(300)]
    seen: set[str] = set()

    def watch() -> None:
        for path in paths:
            while (result := connect(path)) == "FileNotFoundError":
                pass
            seen.update((result, oct(path.lstat().st_mode)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    bound = [bind_socket(str(path), mode=0o640, gid=os.getgid()) for path in paths]
    watcher.join()
    assert seen == {"connected", "0o140640"}
    for each in bound:
        each.close()


def test_a_path_of_107_bytes_fits_and_one_more_is_refused(directory: Path) -> None:
    path = str(directory / "x")
    path += "x" * (107 - len(path))
    bound = bind_socket(path)
    assert connect(Path(path)) == "connected"
    bound.close()
    with pytest.raises(SocketRefused, match="108 bytes long and a Unix socket's may have 107"):
        bind_socket(path + "x")
    with pytest.raises(SocketRefused, match="109 bytes"):
        bind_socket(path[:-1] + "é" + "x")
    assert os.listdir(directory) == [os.path.basename(path) + ".lock"]


def test_a_second_bind_fails_with_the_pid_of_the_first(directory: Path) -> None:
    path = directory / "s"
    first = bind_socket(str(path))
    with pytest.raises(AlreadyRunning) as caught:
        bind_socket(str(path))
    assert (caught.value.path, caught.value.pid) == (str(path), os.getpid())
    assert connect(path) == "connected"
    first.close()
    bind_socket(str(path)).close()


def test_one_of_many_processes_that_bind_at_once_succeeds(directory: Path) -> None:
    program = (
        "import sys; from runtimed.api.sockets import bind_socket; from runtimed.core.errors import AlreadyRunning\n"
        "try: bound = bind_socket(sys.argv[1])\n"
        "except AlreadyRunning as error: print('refused', flush=True)\n"
        "else: print('bound', flush=True)\n"
        "sys.stdin.read()"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(directory / "s")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    said = [process.stdout.readline().strip() for process in started if process.stdout]
    assert sorted(said) == ["bound"] + ["refused"] * 5
    assert connect(directory / "s") == "connected"
    for process in started:
        process.communicate("")
    # The winner ended without cleaning up: its socket is stale now, its lock is free.
    bind_socket(str(directory / "s")).close()


def test_a_live_socket_is_not_replaced_even_if_its_lock_is_free(directory: Path) -> None:
    path = directory / "s"
    with socket.socket(socket.AF_UNIX) as foreign:
        foreign.bind(str(path))
        foreign.listen(0)
        before = path.lstat().st_ino
        with pytest.raises(AlreadyRunning) as caught:
            bind_socket(str(path))
        assert caught.value.pid == os.getpid()
        # The first attempt's question has filled its queue.
        with pytest.raises(AlreadyRunning) as caught:
            bind_socket(str(path))
        assert caught.value.pid is None
        assert path.lstat().st_ino == before


def test_a_live_socket_of_another_type_is_not_replaced(directory: Path) -> None:
    path = directory / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as foreign:
        foreign.bind(str(path))
        with pytest.raises(SocketRefused, match="wrong type"):
            bind_socket(str(path))
        assert path.is_socket()


@pytest.mark.parametrize("name", ["s", "~"])
def test_a_stale_socket_is_replaced(directory: Path, name: str) -> None:
    """Also under the temporary name, where a start that was killed leaves it."""
    leave_stale_socket(directory / name)
    bound = bind_socket(str(directory / "s"))
    assert connect(directory / "s") == "connected"
    assert sorted(os.listdir(directory)) == ["s", "s.lock"]
    bound.close()


@pytest.mark.parametrize("name", ["s", "~", "s.lock"])
@pytest.mark.parametrize("kind", ["file", "directory", "link", "dangling", "fifo"])
def test_a_file_that_is_not_a_socket_is_refused_and_kept(directory: Path, name: str, kind: str) -> None:
    path = directory / name
    match kind:
        case "file":
            path.write_text("precious")
        case "directory":
            path.mkdir()
        case "link":
            leave_stale_socket(directory / "elsewhere")
            path.symlink_to("elsewhere")
        case "dangling":
            path.symlink_to("nowhere")
        case "fifo":
            os.mkfifo(path)
    if (name, kind) == ("s.lock", "file"):
        bind_socket(str(directory / "s")).close()  # a lock file is a regular file
        return
    before = path.lstat()
    with pytest.raises(SocketRefused) as caught:
        bind_socket(str(directory / "s"))
    assert str(path) in str(caught.value)
    assert path.lstat() == before
    assert not (directory / "nowhere").exists()
    assert not os.path.lexists(directory / "s") or not stat.S_ISSOCK((directory / "s").lstat().st_mode)


def test_closing_does_not_remove_a_file_that_replaced_the_socket(directory: Path) -> None:
    path = directory / "s"
    bound = bind_socket(str(path))
    path.unlink()
    path.write_text("somebody else's")
    bound.close()
    assert path.read_text() == "somebody else's"


def test_closing_after_the_directory_was_removed_does_nothing(directory: Path) -> None:
    (directory / "d").mkdir()
    bound = bind_socket(str(directory / "d/s"))
    shutil.rmtree(directory / "d")
    bound.close()


def test_a_missing_directory_is_named(directory: Path) -> None:
    with pytest.raises(SocketRefused, match=f"its directory {directory}/none does not exist"):
        bind_socket(f"{directory}/none/s")


def test_an_error_of_the_system_leaves_no_file(directory: Path) -> None:
    program = (
        "import sys, os; from runtimed.api.sockets import bind_socket; from runtimed.core.errors import SocketRefused\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: bind_socket(sys.argv[1], gid=0)\n"
        "except SocketRefused as error: print(error)\n"
    )
    directory.chmod(0o777)
    done = subprocess.run(
        [sys.executable, "-c", program, str(directory / "s")], capture_output=True, text=True, check=True
    )
    assert "Operation not permitted" in done.stdout, done
    assert os.listdir(directory) == ["s.lock"]


def test_the_peers_credentials_are_the_kernels() -> None:
    left, right = socket.socketpair()
    assert peer_of(left) == (os.getpid(), os.getuid(), os.getgid())
    assert peer_of(left).uid == os.getuid()
    left.close()
    right.close()


def test_a_group_is_found_by_name_and_by_number() -> None:
    group = grp.getgrgid(0)
    assert group_id(group.gr_name) == 0
    assert group_id("4242") == 4242
    assert group_id("4294967294") == 4294967294


@pytest.mark.parametrize("name", ["", "no such group", "-1", "4294967295", "99999999999", "1\n", "٣", "a\0b", "0x1"])
def test_a_group_that_does_not_exist_is_named(name: str) -> None:
    with pytest.raises(UnknownGroup) as caught:
        group_id(name)
    assert repr(name) in str(caught.value)


def test_a_host_is_a_unix_address_with_an_absolute_path() -> None:
    assert parse_host("unix:///run/runtimed/runtimed.sock") == "/run/runtimed/runtimed.sock"
    assert parse_host("unix:///a b?c%20") == "/a b?c%20"


@pytest.mark.parametrize(
    "host",
    [
        "",
        "/run/s",
        "unix:/run/s",
        "unix://run/s",
        "unix://",
        "unix:///",
        "unix:///d/",
        "tcp://0.0.0.0:1",
        "unix:///a\0b",
    ],
)
def test_any_other_host_is_refused(host: str) -> None:
    with pytest.raises(SocketRefused, match="expected unix://"):
        parse_host(host)


def test_a_bound_socket_is_closed_once(directory: Path) -> None:
    """A second close() must not close a descriptor that has got the number of the lock since."""
    bound: BoundSocket = bind_socket(str(directory / "s"))
    lock_fd = bound._lock_fd
    bound.close()
    other = os.open("/dev/null", os.O_RDONLY)
    os.dup2(other, lock_fd)
    bound.close()
    os.fstat(lock_fd)
    os.close(lock_fd)
    if other != lock_fd:
        os.close(other)
