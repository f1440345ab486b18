"""Damage to what a running daemon has published: noticed within ten seconds, repaired where that is safe, and told."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.daemon import RunningDaemon, UnixConnection, new_daemon, wait_until

WELL = {"status": "ok", "reasons": {}}

pytestmark = pytest.mark.timeout(300)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


# A daemon that finds damage only at a reload.
UNWATCHING = """
import functools, sys
from runtimed import __main__
from runtimed.daemon import components
components.PublishedWatch = functools.partial(components.PublishedWatch, every_s=3600)
sys.exit(__main__.main())
"""


def table(argument: str) -> dict[str, Any]:
    return {"runtimes": {"w": {"path": "/bin/echo", "runtimeArgs": [argument]}}}


@pytest.fixture
def daemon(request: pytest.FixtureRequest) -> Iterator[RunningDaemon]:
    with new_daemon() as daemon:
        daemon.program = list(getattr(request, "param", daemon.program))
        daemon.write(table("one"))
        with daemon.running():
            daemon.write(table("two"))
            assert daemon.reload()["generation"] == 2
            yield daemon
            assert "Traceback" not in daemon.log_file.read_text()


def wrapper(daemon: RunningDaemon) -> Path:
    return Path(daemon.resolve("w")["options"]["fields"]["binary_name"])


def works(daemon: RunningDaemon) -> bool:
    """Return whether the runtime resolves, and its wrapper and its stable path print what they should."""
    status, resolution = daemon.get("/v1/resolve?runtime=w")
    if status == 503:
        assert resolution["code"] == "runtime-unavailable"
        return False
    assert status == 200, resolution
    paths = (daemon.data / "runtimes/w", Path(resolution["options"]["fields"]["binary_name"]))
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return [subprocess.check_output([path]) for path in paths] == [b"two\n"] * 2
    return False


def reasons(daemon: RunningDaemon) -> dict[str, str]:
    return dict(daemon.status()["health"]["reasons"])


def repairs(daemon: RunningDaemon) -> list[dict[str, Any]]:
    return [event for event in daemon.log() if event["event"] == "store.repaired"]


def truncate(daemon: RunningDaemon) -> None:
    os.truncate(wrapper(daemon), 0)


def forbid(daemon: RunningDaemon) -> None:
    wrapper(daemon).chmod(0)


DAMAGES: dict[str, tuple[Callable[[RunningDaemon], object], int]] = {
    "wrapper removed": (lambda daemon: wrapper(daemon).unlink(), 2),
    "wrapper truncated": (truncate, 2),
    "wrapper forbidden": (forbid, 2),
    "runtimes removed": (lambda daemon: (daemon.data / "runtimes").unlink(), 2),
    "generations removed": (lambda daemon: (daemon.data / "generations").rename(daemon.root / "removed"), 3),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_noticed_and_repaired_without_being_asked(daemon: RunningDaemon, damage: str) -> None:
    strike, number = DAMAGES[damage]
    reload_before = daemon.status()["last_reload"]
    strike(daemon)
    wait_until(lambda: works(daemon), "the repair")
    wait_until(lambda: repairs(daemon), "the log line")
    wait_until(lambda: daemon.resolve("w")["generation"] == number, "the generation")
    wait_until(lambda: daemon.status()["health"] == WELL, "health")
    assert daemon.status()["last_reload"] == reload_before
    command = [sys.executable, "-m", "runtimed.cli.ctl", "--socket", str(daemon.socket), "watch", "--since", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        try:
            line = next(line for line in watch.stdout if "(repair)" in line)
        finally:
            watch.kill()
    assert str(daemon.data) in line


@pytest.mark.parametrize("daemon", [["-c", UNWATCHING]], indirect=True, ids=[""])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_reload_without_a_change_repairs_damage_and_says_so(daemon: RunningDaemon, damage: str) -> None:
    strike, number = DAMAGES[damage]
    strike(daemon)
    report = daemon.reload()
    assert (report["outcome"], report["generation"]) == ("unchanged" if number == 2 else "applied", number)
    assert any(str(daemon.data) in words for words in report["repaired"])
    assert works(daemon)
    assert daemon.reload()["repaired"] == []


@needs_root
def test_a_data_root_that_something_is_mounted_over_is_told_and_not_written_to(daemon: RunningDaemon) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "none", daemon.data], check=True)
    try:
        wait_until(lambda: "mounted over" in reasons(daemon).get("store", ""), "the fault")
        daemon.write(table("three"))
        report = daemon.reload()
        assert (report["outcome"], report["cause"]) == ("rejected", "store")
        daemon.write(table("two"))
        assert daemon.reload()["outcome"] == "rejected"
        assert os.listdir(daemon.data) == []
        assert any(event["event"] == "degraded" and "store" in event for event in daemon.log())
    finally:
        # The daemon may be looking at it.
        subprocess.run(["umount", "--lazy", daemon.data], check=True)
    wait_until(lambda: daemon.status()["health"] == WELL, "health")
    assert works(daemon)


# A host, whose process 1 is this shell, and a daemon with mounts of its own, as under its unit.
HOST = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", '"$@"; exit $?', "sh"]
OWN_MOUNTS = ["unshare", "--mount", "--propagation", "private"]


@needs_root
def test_a_daemon_with_private_mounts_sees_a_host_mount_over_its_data_root() -> None:
    with new_daemon([*HOST, *OWN_MOUNTS]) as daemon:
        daemon.write(table("two"))
        with daemon.running():
            first = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()[0]
            on_host = ["nsenter", "--mount", "--target", first]
            subprocess.run([*on_host, "mount", "-t", "tmpfs", "none", daemon.data], check=True)
            wait_until(lambda: "host" in reasons(daemon).get("store", ""), "the fault")
            subprocess.run([*on_host, "umount", daemon.data], check=True)
            wait_until(lambda: daemon.status()["health"] == WELL, "health")


@needs_root
def test_a_data_root_that_is_remounted_noexec_is_told_with_the_remedy(daemon: RunningDaemon) -> None:
    subprocess.run(["mount", "--bind", daemon.data, daemon.data], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,noexec", daemon.data], check=True)
        wait_until(lambda: "remount,exec" in reasons(daemon).get("store", ""), "the fault")
    finally:
        subprocess.run(["umount", "--lazy", daemon.data], check=True)
    wait_until(lambda: daemon.status()["health"] == WELL, "health")


def unlink(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


def remove_directory(path: Path) -> None:
    shutil.rmtree(path.parent)


@pytest.mark.parametrize("strike", [unlink, replace, remove_directory])
def test_a_socket_path_that_is_lost_is_bound_anew_without_losing_a_connection(
    daemon: RunningDaemon, strike: Callable[[Path], None]
) -> None:
    with contextlib.closing(UnixConnection(str(daemon.socket))) as connection:
        connection.request("GET", "/_ping")
        assert connection.getresponse().read() == b"OK"
        mode = daemon.socket.stat().st_mode
        with daemon.paused():
            strike(daemon.socket)
        wait_until(daemon.answers, "the new socket")
        connection.request("GET", "/_ping")
        assert connection.getresponse().read() == b"OK"
    assert daemon.socket.stat().st_mode == mode
    wait_until(lambda: daemon.status()["health"] == WELL, "health")
    assert [e["path"] for e in daemon.log() if e["event"] == "socket.renewed"] == [str(daemon.socket)]
    assert any(event["event"] == "degraded" and "socket" in event for event in daemon.log())
    assert daemon.stop() == 0
    assert not daemon.socket.exists()


def test_a_socket_path_that_another_process_serves_is_left_to_it_and_told(daemon: RunningDaemon) -> None:
    with contextlib.closing(UnixConnection(str(daemon.socket))) as connection, socket.socket(socket.AF_UNIX) as other:
        connection.connect()
        with daemon.paused():
            daemon.socket.unlink()
            other.bind(str(daemon.socket))
            other.listen()
        wait_until(lambda: any("cannot be bound anew" in str(e.get("socket")) for e in daemon.log()), "it")
        assert f"belongs to process {os.getpid()}" in daemon.log_file.read_text()
        connection.request("GET", "/_ping")
        assert connection.getresponse().status == 200


def test_a_rolled_back_data_root_gives_no_number_a_second_meaning(daemon: RunningDaemon) -> None:
    assert daemon.stop() == 0
    shutil.copytree(daemon.data, daemon.root / "snapshot", symlinks=True)
    daemon.start()
    daemon.write(table("three"))
    assert daemon.reload()["generation"] == 3
    assert daemon.stop() == 0
    shutil.rmtree(daemon.data)
    (daemon.root / "snapshot").rename(daemon.data)
    daemon.write(table("two"))
    daemon.start()
    assert daemon.resolve("w")["generation"] == 4
    assert any(event["event"] == "store.rolled_back" for event in daemon.log())


def test_a_data_root_that_is_rolled_back_under_the_daemon_is_noticed(daemon: RunningDaemon) -> None:
    with daemon.paused():
        (daemon.data / "runtimes").unlink()
        (daemon.data / "runtimes").symlink_to("generations/00000001/runtimes")
        shutil.rmtree(daemon.data / "generations/00000002")
    wait_until(lambda: works(daemon), "the repair")
    wait_until(lambda: daemon.resolve("w")["generation"] == 3, "the generation")
    wait_until(
        lambda: {one["generation"] for one in daemon.get("/v1/generations")[1]["generations"]} == {1, 3}, "the list"
    )
