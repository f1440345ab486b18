"""The required proof with a real runtime: each remedy of a rejection is followed as it is written, and works."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e.harness.engine_root import EngineRoot, new_engine_root
from e2e.harness.volumes import run
from harness.daemon import PATIENCE_S, RunningDaemon, new_daemon, put_executable
from harness.runtimectl import COMMAND

CRUN = Path("/usr/bin/crun")
OK: dict[str, object] = {"status": "ok", "reasons": {}}
pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True, slots=True)
class Node:
    """A daemon with two copies of crun, and an administrator who runs the commands of its messages."""

    daemon: RunningDaemon
    root: EngineRoot

    @property
    def health(self) -> object:
        return self.daemon.status()["health"]

    def install(self, name: str = "tested") -> None:
        """Put the binary of a runtime in place, or another one by rename as a package manager does."""
        path = self.daemon.root / "programs" / name
        path.parent.mkdir(exist_ok=True)
        shutil.copy(CRUN, new := path.with_name(f".{name}"))
        new.rename(path)

    def write(self, **more: object) -> None:
        """Write the configuration, which the daemon need not have read yet."""
        names = ("tested", "other")
        runtimes: dict[str, Any] = {name: {"path": str(self.daemon.root / "programs" / name)} for name in names}
        if arguments := more.pop("arguments", None):
            runtimes["tested"]["runtimeArgs"] = arguments
        self.daemon.write({"runtimes": runtimes, "default-runtime": "tested", **more})

    def apply(self, **more: object) -> None:
        self.write(**more)
        report = self.daemon.reload()
        assert report["outcome"] in ("applied", "unchanged"), report
        assert self.health == OK

    def rejection(self, **more: object) -> str:
        """Return the message about a configuration, or about the present one, that a reload rejects."""
        before = self.daemon.status()["generation"]
        if more:
            self.write(**more)
        report = self.daemon.reload()
        assert (report["outcome"], report["generation"], report["cause"]) == ("rejected", before, "configuration")
        (problem,) = report["problems"]
        assert problem["file"] == str(self.daemon.config)
        assert problem["pointer"] == "/default-runtime"
        return str(problem["message"])

    def run_printed(self, message: str) -> None:
        """Run the command that a message ends with, or has before its next step, in a shell."""
        command = re.search(r"run: (.*?)(?:;|$)", message)
        assert command, message
        done = self.run(command[1])
        assert done.returncode == 0, (command[1], done.stdout, done.stderr)

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        environ = [f"RUNTIMED_SOCKET={self.daemon.socket}", f"PATH={self.daemon.root}/admin:/usr/bin:/bin"]
        words = [*self.root.enter, "env", *environ, "sh", "-c", command]
        return subprocess.run(words, check=False, capture_output=True, text=True, timeout=PATIENCE_S)

    def proof(self, name: str = "tested") -> str:
        return str(self.daemon.get(f"/v1/runtimes/{name}")[1]["proof"]["state"])


@pytest.fixture
def node() -> Iterator[Node]:
    with new_daemon() as daemon, new_node(daemon) as made:
        yield made


@contextlib.contextmanager
def new_node(daemon: RunningDaemon) -> Iterator[Node]:
    with new_engine_root() as root:
        found = Node(daemon, root)
        checkout = Path(__file__).parents[2]
        program = f'#!/bin/sh\nPYTHONPATH={checkout} exec {" ".join(COMMAND)} "$@"\n'
        put_executable(daemon.root / "admin" / "runtimectl", program)
        for name in ("tested", "other"):
            found.install(name)
        yield found
        assert "Traceback" not in daemon.log_file.read_text()


def fill(path: Path) -> None:
    """Fill the file system of ``path``."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))


REQUIRED = {"runtimed": {"require-proof": True}}
LIFTED = {"runtimed": {"require-proof": False}}


def test_an_edit_and_an_upgrade_are_rejected_until_the_printed_command_was_run(node: Node) -> None:
    node.write()
    with node.daemon.running():
        message = node.rejection(**REQUIRED)
        assert "(it was never tested)" in message
        node.run_printed(message)
        assert node.health == OK
        assert node.daemon.status()["proofs"]["required"]
        # An upgrade of the binary
        node.install()
        assert node.proof() == "outdated"
        message = node.rejection()
        assert "(a binary changed after the test)" in message
        node.run_printed(message)
        assert node.health == OK
        # An upgrade while the daemon is stopped
        served = node.daemon.resolve()
        node.daemon.stop()
        node.install()
        node.daemon.start()
        (message,) = node.daemon.status()["health"]["reasons"].values()
        assert node.daemon.resolve() == served
        node.run_printed(message)
        assert (node.health, node.daemon.resolve()) == (OK, served)


def test_a_new_resolution_is_tested_while_the_proved_runtime_that_the_message_names_is_the_default(node: Node) -> None:
    node.write()
    with node.daemon.running():
        assert node.run("runtimectl test other && runtimectl test tested").returncode == 0
        node.apply(**REQUIRED)
        wanted: dict[str, Any] = {**REQUIRED, "arguments": ["--log-format", "text"]}
        message = node.rejection(**wanted)
        meanwhile, last = (json.loads(f"{{{text}}}") for text in re.findall(r'"default-runtime": "\w+"', message))
        assert meanwhile == {"default-runtime": "other"}
        node.apply(**wanted, **meanwhile)
        node.run_printed(message)
        node.apply(**{**wanted, **last})
        assert node.daemon.resolve()["runtime"] == "tested"


def test_the_requirement_is_lifted_for_the_first_test_where_no_runtime_is_proved(node: Node) -> None:
    node.write(**REQUIRED)
    log = node.daemon.fail_to_start()
    (message,) = json.loads(log.splitlines()[-1])["problems"]
    assert 'apply the change with "require-proof": false; then run: ' in message
    assert message.endswith('then set "require-proof": true')
    node.write(**LIFTED)
    with node.daemon.running():
        node.run_printed(message)
        node.apply(**REQUIRED)


def test_a_runtime_that_works_no_more_does_not_become_the_default(node: Node) -> None:
    node.write(**{"default-runtime": "other"})
    with node.daemon.running():
        assert node.run("runtimectl test other && runtimectl test tested").returncode == 0
        node.apply(**REQUIRED, **{"default-runtime": "other"})
        put_executable(node.daemon.root / "programs" / "tested", "#!/bin/sh\nexit 3\n")
        message = node.rejection(**REQUIRED)
        assert "(a binary changed after the test)" in message
        command = re.search(r"run: (.*)", message)
        assert command is not None
        assert node.run(command[1]).returncode == 1
        assert "(its last test failed: " in node.rejection()
        assert node.daemon.resolve()["runtime"] == "other"


@contextlib.contextmanager
def small_disk(path: Path) -> Iterator[None]:
    """Have a small file system at ``path``."""
    path.mkdir()
    run("mount", "-t", "tmpfs", "-o", "mode=0711,size=1m", "none", path)
    try:
        yield
    finally:
        run("umount", path)


def test_a_full_disk_keeps_the_proof_of_before() -> None:
    # Mounted first, so that the namespace of the test has it as well.
    with new_daemon() as daemon, small_disk(daemon.data), new_node(daemon) as node:
        node.write()
        with daemon.running():
            assert node.run("runtimectl test tested").returncode == 0
            before = (daemon.data / "proofs.json").read_bytes()
            fill(daemon.data / "ballast")
            done = node.run("runtimectl test tested")
            assert done.returncode == 1
            assert "No space left on device" in done.stdout + done.stderr
            assert (daemon.data / "proofs.json").read_bytes() == before
            assert node.proof() == "proved"
            assert [path.name for path in daemon.data.glob(".tmp-*")] == []


def test_an_edited_file_is_no_proof(node: Node) -> None:
    node.write()
    path = node.daemon.data / "proofs.json"
    with node.daemon.running():
        assert node.run("runtimectl test tested").returncode == 0
        node.apply(**REQUIRED)
        node.daemon.stop()
        path.write_bytes(path.read_bytes().replace(b'"direct"', b'"forged"'))
        node.daemon.start()
        assert "its checksum does not match" in str(node.daemon.status()["proofs"]["remark"])
        (message,) = node.daemon.status()["health"]["reasons"].values()
        assert "(it was never tested)" in message
        node.run_printed(message)
        assert node.health == OK
