"""A real daemon and its messages to a service manager; tests/e2e has systemd itself."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.daemon import PATIENCE_S, RunningDaemon, new_daemon, short_directory, wait_until

GOOD = {"runtimes": {"a": {"path": "/bin/sh"}}}


class Manager:
    """Receives the messages to the service manager."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(path)
        self._sock.settimeout(PATIENCE_S)

    def close(self) -> None:
        self._sock.close()

    def next(self, *passing: str) -> dict[str, str]:
        """Return the next message that has other keys than ``passing``."""
        while True:
            message = dict(line.split("=", 1) for line in self._sock.recv(65536).decode().splitlines())
            if not message.keys() <= {*passing}:
                return message

    def drain(self) -> None:
        """Drop the messages that have arrived."""
        self._sock.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._sock.recv(65536)
        self._sock.settimeout(PATIENCE_S)


@pytest.fixture
def manager() -> Iterator[Manager]:
    with short_directory() as directory:
        manager = Manager(f"{directory}/notify")
        yield manager
        manager.close()


@pytest.fixture
def daemon(manager: Manager) -> Iterator[RunningDaemon]:
    with new_daemon(environ={"NOTIFY_SOCKET": manager.path}) as daemon:
        daemon.write(GOOD)
        yield daemon


def test_ready_is_sent_when_the_socket_responds_and_stopping_before_the_end(
    manager: Manager, daemon: RunningDaemon
) -> None:
    daemon.launch()
    assert manager.next() == {"READY": "1", "STATUS": "generation 1, 3 runtimes"}
    assert daemon.resolve("a")["generation"] == 1
    daemon.send(signal.SIGTERM)
    assert manager.next("STATUS") == {"STOPPING": "1", "STATUS": "stopping"}


@pytest.mark.parametrize("trigger", ["api", "hangup", "file"])
def test_ready_with_the_status_follows_every_reload_and_every_rejection(
    manager: Manager, daemon: RunningDaemon, trigger: str
) -> None:
    daemon.start()
    assert manager.next()["READY"] == "1"

    daemon.write("[]\n")
    if trigger == "api":
        daemon.reload()
    elif trigger == "hangup":
        daemon.send(signal.SIGHUP)
    message = manager.next("STATUS")
    assert message["RELOADING"] == "1"
    assert int(message["MONOTONIC_USEC"]) > 0
    # A look at the binaries compares the health as well, also before the report of the rejection.
    messages = [manager.next()]
    while messages[-1].keys() == {"STATUS"}:
        messages.append(manager.next())
    assert messages[-1]["READY"] == "1"
    while not any("degraded: configuration:" in message.get("STATUS", "") for message in messages):
        messages.append(manager.next())
    # The watcher may have reloaded as well.
    wait_until(lambda: daemon.status()["health"]["status"] == "degraded", "the rejection")
    daemon.write({"runtimes": {"b": {"path": "/bin/sh"}, "c": {"path": "/bin/sh"}}})
    while "generation 2, 4 runtimes" not in (message := manager.next()).get("STATUS", ""):
        assert message.keys() <= {"READY", "RELOADING", "MONOTONIC_USEC", "STATUS"}


def test_a_broken_start_without_an_earlier_generation_never_sends_ready(
    manager: Manager, daemon: RunningDaemon
) -> None:
    daemon.write("{")
    daemon.fail_to_start()
    manager._sock.settimeout(0)
    with contextlib.suppress(BlockingIOError):
        while True:
            assert "READY" not in manager.next()


def test_the_watchdog_is_fed_only_while_the_loop_serves(manager: Manager) -> None:
    environ = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "300000"}
    with new_daemon(environ=environ) as daemon:
        daemon.write(GOOD)
        daemon.start()
        for document in (GOOD, "[]\n"):
            daemon.write(document)
            daemon.reload()
            # Those of a slow reload do not count.
            manager.drain()
            # A degraded daemon feeds it as well, because a restart would not help.
            for _ in range(3):
                assert manager.next("READY", "STATUS", "RELOADING", "MONOTONIC_USEC") == {"WATCHDOG": "1"}
        with daemon.paused():
            manager.drain()
            manager._sock.settimeout(0.5)
            with pytest.raises(TimeoutError):
                manager.next()


# Executes its arguments with the socket of descriptor 0 at descriptor 3, as systemd passes it.
HAND_OVER = 'exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=runtimed exec "$@"'


@contextlib.contextmanager
def activated(daemon: RunningDaemon, listening: socket.socket, *hosts: str) -> Iterator[subprocess.Popen[bytes]]:
    arguments = daemon.arguments()
    arguments[arguments.index("-H") :] = [word for host in hosts for word in ("-H", host)]
    with daemon.log_file.open("ab") as log:
        process = subprocess.Popen(
            ["/bin/sh", "-c", HAND_OVER, "sh", sys.executable, "-m", "runtimed", *arguments],
            stdin=listening.fileno(), stdout=log, stderr=log, cwd=daemon.root,
        )  # fmt: skip
    daemon.process = process
    try:
        yield process
    finally:
        daemon.kill()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with short_directory() as directory, socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{directory}/s")
        sock.listen(1000)
        yield sock


@pytest.mark.parametrize("host", ["fd://", "fd://runtimed"])
def test_an_inherited_socket_serves_earlier_clients_and_outlives_the_daemon(
    listening: socket.socket, host: str
) -> None:
    with new_daemon() as daemon:
        daemon.write(GOOD)
        path = listening.getsockname()
        daemon.socket = Path(path)
        for generation in (1, 1):
            with socket.socket(socket.AF_UNIX) as early:
                # Before the daemon runs.
                early.connect(path)
                early.sendall(b"GET /v1/resolve?runtime=a HTTP/1.0\r\n\r\n")
                with activated(daemon, listening, host) as process:
                    answer = b"".join(iter(lambda: early.recv(65536), b""))
                    assert b'"generation":%d' % generation in answer
                    process.send_signal(signal.SIGTERM)
                    assert process.wait(PATIENCE_S) == 0
            assert os.path.exists(path), "the service manager owns the path"


def test_an_inherited_socket_and_a_bound_one_work_together(listening: socket.socket) -> None:
    with new_daemon() as daemon:
        daemon.write(GOOD)
        own = f"unix://{daemon.socket}"
        with activated(daemon, listening, "fd://runtimed", own):
            wait_until(daemon.answers, "an answer on its own socket")
            daemon.socket = Path(listening.getsockname())
            assert daemon.resolve("a")["generation"] == 1
            assert daemon.status()["hosts"] == [f"unix://{daemon.socket}", own]


@pytest.mark.parametrize("host", ["fd://other", "fd://"])
def test_a_socket_that_systemd_did_not_pass_is_an_error_with_the_remedy(listening: socket.socket, host: str) -> None:
    with new_daemon() as daemon:
        daemon.write(GOOD)
        if host == "fd://other":
            with activated(daemon, listening, host) as process:
                assert process.wait(PATIENCE_S) == 1
        else:
            arguments = daemon.arguments()
            daemon.arguments = lambda: [*arguments[: arguments.index("-H")], "-H", host]  # type: ignore[method-assign]
            daemon.fail_to_start()
        assert "start runtimed.socket first" in daemon.log_file.read_text()
