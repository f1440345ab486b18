"""The promises of test_trust.py, kept by the service in its real unit, which shows it most of the node read-only."""

from __future__ import annotations

import inspect
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e import test_trust
from e2e.harness.installed import CONFIG, SERVICE, TABLE, Installed, new_installation
from e2e.test_trust import (
    NOBODY,
    NestedDaemon,
    test_a_change_of_mode_is_noticed_without_being_asked,
    test_a_group_that_does_not_exist_is_refused,
    test_a_link_that_another_user_owns_is_refused_and_roots_own_is_followed,
    test_a_reload_refuses_what_another_user_could_change,
    test_a_start_refuses_what_another_user_could_change,
    test_a_sticky_directory_is_no_place_of_roots_own,
    test_missing_directories_are_made_that_only_root_may_change,
    test_what_is_believed_below_the_roots_is_checked,
    test_what_is_roots_own_in_a_sticky_directory_is_accepted,
)
from harness.daemon import RunningDaemon, put, put_executable, wait_until

__all__ = [
    "test_a_change_of_mode_is_noticed_without_being_asked",
    "test_a_group_that_does_not_exist_is_refused",
    "test_a_link_that_another_user_owns_is_refused_and_roots_own_is_followed",
    "test_a_reload_refuses_what_another_user_could_change",
    "test_a_start_refuses_what_another_user_could_change",
    "test_a_sticky_directory_is_no_place_of_roots_own",
    "test_missing_directories_are_made_that_only_root_may_change",
    "test_what_is_believed_below_the_roots_is_checked",
    "test_what_is_roots_own_in_a_sticky_directory_is_accepted",
]

# The unit may not give a socket to a group: its socket unit does, which test_systemd_node.py tries.
BY_THE_SOCKET_UNIT = {"test_a_member_of_the_group_may_ask_and_not_change_and_others_may_not_even_ask"}
pytestmark = pytest.mark.timeout(900)
DROPIN = "etc/systemd/system/runtimed.service.d/trust.conf"
BINARY = "/opt/tools/bin/my-runtime"


class UnitDaemon(NestedDaemon):
    """The service of ``node``, with its unit as it is but for the places that ``arguments`` name."""

    def __init__(self, root: Path, node: Installed) -> None:
        super().__init__(root)
        self.node = node

    def launch(self, *more: str) -> subprocess.Popen[bytes]:
        """Start the service; the process returned is that of ``systemctl start``, which waits for it."""
        command = ["/usr/local/bin/runtimed", *self.arguments(), *more]
        # The parents of the places that it writes stay read-only for it, as they are under the shipped unit.
        places = [path if path.exists() else self.root for path in (self.data, self.exec, self.socket.parent)]
        lines = [
            *("[Service]", "ExecStart=", f"ExecStart={' '.join(command)}", "Restart=no"),
            *(f"ReadWritePaths={' '.join(map(str, places))}", f"StandardError=append:{self.log_file}"),
        ]
        text = "\n".join([*lines, ""])
        dropin = self.node.machine.root / DROPIN
        # Most starts have the same drop-in, and systemd takes its time to read all units again.
        if not dropin.exists() or dropin.read_text() != text:
            put(dropin, text)
            self.node.systemctl("daemon-reload")
        self.process = subprocess.Popen([*self.enter(), "systemctl", "start", SERVICE], stderr=subprocess.DEVNULL)
        return self.process

    def start(self, *more: str) -> RunningDaemon:
        status = self.launch(*more).wait()
        assert status == 0, self.log_file.read_text()
        return self

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert number == signal.SIGTERM
        self.node.systemctl("stop", SERVICE)
        return int(self.node.show("ExecMainStatus"))

    def kill(self) -> None:
        self.node.systemctl("stop", SERVICE)

    def enter(self) -> list[str]:
        return self.node.machine.entering()


@pytest.fixture(scope="module")
def shared() -> Iterator[Path]:
    """A directory that the machine of these tests has at the same path."""
    with tempfile.TemporaryDirectory(prefix="rtd", dir="/var/tmp") as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.fixture(scope="module")
def node(shared: Path) -> Iterator[Installed]:
    with new_installation(f"--bind={shared}") as node:
        yield node


@pytest.fixture
def daemon(shared: Path, node: Installed) -> Iterator[UnitDaemon]:
    # The same path for all tests, and so the same drop-in.
    root = shared / "test"
    root.mkdir()
    root.chmod(0o755)
    node.systemctl("stop", SERVICE)
    daemon = UnitDaemon(root, node)
    daemon.write(test_trust.TABLE)
    put(daemon.dropins / "a.json", {})
    try:
        yield daemon
    finally:
        daemon.kill()
        shutil.rmtree(root)


@pytest.fixture
def shipped(node: Installed) -> Iterator[Installed]:
    """The service with the unit that is shipped, and nothing else."""
    dropin = node.machine.root / DROPIN
    if dropin.exists():
        dropin.unlink()
        node.systemctl("daemon-reload")
    node.mend()
    yield node
    for path in (CONFIG, "/etc/runtimed", "/var/lib", "/run"):
        node.run("chown", "root:root", path)
        node.run("chmod", "go-w", path)


def test_every_promise_about_trust_is_tried_under_the_unit() -> None:
    promises = {
        name
        for name, function in vars(test_trust).items()
        if name.startswith("test_") and "daemon" in inspect.signature(function).parameters
    }
    assert promises - BY_THE_SOCKET_UNIT == set(__all__)


def test_a_daemon_that_sees_its_configuration_read_only_is_under_test(daemon: UnitDaemon) -> None:
    daemon.start()
    pid = daemon.node.pid()
    for path, writable in ((daemon.config, False), (daemon.data.parent, False), (daemon.data, True)):
        found = daemon.node.run("nsenter", "-t", pid, "-m", "test", "-w", str(path), status=None)
        assert (found.returncode == 0) is writable, path


@pytest.mark.parametrize("spoiled", [CONFIG, "/etc/runtimed", "/etc/runtimed/daemon.json.d"])
def test_a_configuration_that_all_users_can_write_is_refused(shipped: Installed, spoiled: str) -> None:
    shipped.run("mkdir", "-p", "/etc/runtimed/daemon.json.d")
    before = shipped.answers()
    shipped.run("chmod", "0777", spoiled)
    wait_until(lambda: shipped.client().status()["health"]["status"] == "degraded", "the change to be noticed")
    assert f"{spoiled}: can be changed" in shipped.ctl("reload", status=1)
    assert shipped.answers() == before
    shipped.run("chmod", "0755", spoiled)
    shipped.mend()


@pytest.mark.parametrize("spoiled", ["/var/lib", "/run"])
def test_a_start_below_a_directory_that_all_users_can_write_is_refused(shipped: Installed, spoiled: str) -> None:
    shipped.systemctl("stop", SERVICE)
    mark = shipped.mark()
    shipped.run("chmod", "0777", spoiled)
    shipped.systemctl("start", "--no-block", SERVICE)
    assert f"{spoiled}: can be changed" in shipped.said(mark, "start.failed").text
    shipped.run("chmod", "0755", spoiled)
    shipped.settle()


def install_runtime(node: Installed, mode: int, directory_mode: int = 0o755) -> None:
    """Install a runtime that leaves a trace when it is executed."""
    script = f'#!/bin/sh\necho executed >&2\nexec /usr/sbin/runc "$@" {" " * (mode & 7)}\n'
    path = node.machine.root / BINARY[1:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(directory_mode)
    # By one rename, because the daemon may look at any moment.
    put_executable(path.with_name("new"), script).chmod(mode)
    path.with_name("new").rename(path)
    node.write({"runtimes": {**TABLE["runtimes"], "mine": {"path": BINARY}}})
    node.systemctl("reload", SERVICE)


def explained(node: Installed, status: str) -> dict[str, Any]:
    """Return the explanation of the runtime once its features have the status; the daemon looks now and then."""

    def found() -> dict[str, Any] | None:
        told: dict[str, Any] = dict(node.client().explain("mine"))
        return told if told["features"]["status"] == status else None

    return dict(wait_until(found, f"{status} features: {node.client().explain('mine')}"))


@pytest.mark.parametrize(("mode", "directory_mode"), [(0o777, 0o755), (0o775, 0o755), (0o755, 0o777)])
def test_a_binary_that_others_could_replace_is_not_executed_and_named(
    shipped: Installed, mode: int, directory_mode: int
) -> None:
    install_runtime(shipped, 0o755)
    explained(shipped, "known")
    mark = shipped.mark()
    install_runtime(shipped, mode, directory_mode)
    spoiled = BINARY if directory_mode == 0o755 else str(Path(BINARY).parent)
    found = explained(shipped, "unknown")
    assert f"{spoiled}: can be changed" in found["features"]["reason"]
    assert f"{spoiled}: can be changed" in found["replaceable"]
    assert "replaceable-binary" in [one["code"] for one in found["lint"]]
    assert f"{spoiled}: can be changed" in shipped.said(mark, "binary.replaceable", BINARY).text
    assert f"yes, but other users can replace it: {spoiled}: can be changed" in shipped.ctl("explain", "mine")
    install_runtime(shipped, 0o755)
    shipped.said(mark, "binary.trusted", BINARY)


def test_a_binary_of_another_user_is_not_executed(shipped: Installed) -> None:
    install_runtime(shipped, 0o755)
    explained(shipped, "known")
    os.chown(shipped.machine.root / BINARY[1:], NOBODY, NOBODY)
    assert f"belongs to user id {NOBODY}" in explained(shipped, "unknown")["features"]["reason"]
