"""systemd's protocols, with real sockets instead of a service manager."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.daemon import PATIENCE_S, short_directory

from runtimed.core.errors import SocketRefused
from runtimed.host.systemd import Notifier, _inherited, speaks_to_journal, take_sockets


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as path:
        yield path


def manager(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(address)
    sock.settimeout(PATIENCE_S)
    return sock


@pytest.mark.parametrize("abstract", [False, True])
def test_each_notification_arrives_as_one_message(directory: Path, abstract: bool) -> None:
    name = f"{directory}/notify"
    with manager("\0" + name if abstract else name) as sock:
        notifier = Notifier({"NOTIFY_SOCKET": ("@" if abstract else "") + name})
        notifier.ready("generation 1,\n6 runtimes")
        notifier.reloading()
        notifier.status("well")
        notifier.alive()
        notifier.stopping()
        messages = [sock.recv(4096).decode() for _ in range(5)]
    assert messages[0] == "READY=1\nSTATUS=generation 1, 6 runtimes"
    reloading, monotonic = messages[1].split("\n")
    assert reloading == "RELOADING=1"
    assert monotonic.removeprefix("MONOTONIC_USEC=").isdecimal()
    assert messages[2:] == ["STATUS=well", "WATCHDOG=1", "STOPPING=1\nSTATUS=stopping"]


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "relative", "@gone"])
def test_without_a_listening_manager_notifications_are_dropped(address: str) -> None:
    Notifier({"NOTIFY_SOCKET": address}).ready("x")
    Notifier({}).ready("x")


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        # For another process.
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_interval_comes_from_the_environment(environ: dict[str, str], seconds: float | None) -> None:
    assert Notifier(environ).watchdog_s == seconds


def test_a_ready_that_could_not_be_sent_precedes_the_next_message(directory: Path) -> None:
    name = f"{directory}/notify"
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready("first")
    notifier.ready("second")
    with manager(name) as sock:
        notifier.alive()
        messages = [sock.recv(4096).decode() for _ in range(2)]
        notifier.alive()
        messages.append(sock.recv(4096).decode())
    assert messages == ["READY=1\nSTATUS=second", "WATCHDOG=1", "WATCHDOG=1"]


def test_a_descriptor_that_is_not_open_is_refused() -> None:
    with pytest.raises(SocketRefused, match="is no listening Unix stream socket"):
        _inherited(987, "x")


# Prints the sockets that the function returns for the inherited descriptors.
TAKE = """
import os, sys
from runtimed.core.errors import SocketRefused
from runtimed.host.systemd import take_sockets
environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": sys.argv[1], "LISTEN_FDNAMES": sys.argv[2]}
try:
    for one in take_sockets(environ):
        print(one.name, one.path, one.sock.getblocking(), os.get_inheritable(one.sock.fileno()))
        one.close()
except SocketRefused as error:
    print("refused:", error)
print(environ)
"""


def taken(names: str, *sockets: socket.socket) -> str:
    """Return the output of TAKE in a process that inherits ``sockets`` from descriptor 3 on."""
    # Duplicated first, because descriptors 3 and up may be in use here.
    kept = [os.dup(sock.fileno()) for sock in sockets]

    def pass_on() -> None:
        high = [os.dup2(fd, 200 + number) for number, fd in enumerate(kept)]
        for number, fd in enumerate(high):
            os.dup2(fd, 3 + number, inheritable=True)

    result = subprocess.run(
        [sys.executable, "-c", TAKE, str(len(sockets)), names],
        preexec_fn=pass_on, pass_fds=range(3, 3 + len(sockets)), capture_output=True, text=True, check=True,
    )  # fmt: skip
    for fd in kept:
        os.close(fd)
    return result.stdout


def listening(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen()
    return sock


def test_inherited_sockets_keep_their_names_and_paths(directory: Path) -> None:
    paths = [f"{directory}/a", f"{directory}/b"]
    with listening(paths[0]) as one, listening(paths[1]) as two:
        output = taken("runtimed.socket:other", one, two)
        assert output.splitlines() == [
            f"runtimed.socket {paths[0]} False False",
            f"other {paths[1]} False False",
            "{}",
        ]
        # The process closed only its own descriptors.
        for path in paths:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)


def test_a_socket_that_does_not_listen_or_is_no_stream_is_refused(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as idle, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        for sock in (idle, datagrams):
            assert "refused: socket fd://: descriptor 3 (x) is no listening Unix stream socket" in taken("x", sock)


@pytest.mark.parametrize(
    "environ",
    [{}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"}],
)
def test_sockets_for_another_process_are_not_taken(environ: dict[str, str]) -> None:
    assert take_sockets(environ) == ()
    assert environ == {}, "children are not to take it either"


def test_a_descriptor_of_a_file_is_refused() -> None:
    with open(os.devnull) as file, pytest.raises(SocketRefused, match="is no listening Unix stream socket"):
        _inherited(file.fileno(), "x")


def test_a_stream_to_the_journal_is_recognized_by_device_and_inode(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w") as stream:
        status = os.fstat(stream.fileno())
        assert speaks_to_journal({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}, stream)
        assert not speaks_to_journal({"JOURNAL_STREAM": f"{status.st_dev}:1"}, stream)
        assert not speaks_to_journal({}, stream)
    assert not speaks_to_journal({"JOURNAL_STREAM": "1:1"}, stream)
