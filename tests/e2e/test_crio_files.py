"""runtimed's file among those of CRI-O, by the format: CRI-O itself is in no Debian, so a double reads the files."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.harness.engine_root import EngineRoot, new_engine_root
from harness.daemon import RunningDaemon, new_daemon, put_executable, wait_until
from harness.runtimectl import COMMAND

from runtimed.core.engines.crio.plan import FILE

pytestmark = pytest.mark.timeout(600)

TESTS = Path(__file__).parent.parent
DIRECTORY = "/etc/crio/crio.conf.d"
PACKAGE = f"{DIRECTORY}/10-crio.conf"
OTHER = f"{DIRECTORY}/90-other.conf"
# What CRI-O's package installs, with binaries of this machine.
OF_PACKAGE = """\
[crio.runtime]
default_runtime = "crun"
[crio.runtime.runtimes.crun]
runtime_path = "/usr/bin/crun"
monitor_path = "/usr/bin/conmon"
allowed_annotations = ["io.containers.trace-syscall"]
[crio.runtime.runtimes.runc]
runtime_path = "/usr/sbin/runc"
"""
RUNTIMES: dict[str, Any] = {
    "small": {
        "path": "/usr/bin/crun",
        "engines": {"crio": {"monitor_env": ["A=1"], "monitor_path": "/usr/bin/conmon"}},
    },
    "Odd name": {"path": "/usr/sbin/runc", "runtimeArgs": ["--debug"]},
    "kata": {"runtimeType": "io.containerd.kata.v2", "options": {"ConfigPath": "/etc/hostname"}},
}


class Node:
    """CRI-O's files in a namespace, and a daemon that has the table."""

    def __init__(self, root: EngineRoot, daemon: RunningDaemon) -> None:
        self.root = root
        self.daemon = daemon
        for path in ("/etc/crio", "/run/crio", "/usr/local/sbin"):
            root.path(path).mkdir(exist_ok=True)
            assert root.run("mount", "-t", "tmpfs", "-o", "mode=0755", "none", path).returncode == 0
        root.path(DIRECTORY).mkdir()
        root.path(PACKAGE).write_text(OF_PACKAGE)
        # The name of the process is that of the script.
        program = f"import sys; sys.path.insert(0, {str(TESTS)!r}); from e2e.harness.crio import main; sys.exit(main())"
        put_executable(root.path("/usr/local/sbin/crio"), f"#!{sys.executable}\n{program}\n")

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        """Yield a CRI-O that has started with the files as they are."""
        command = [*self.root.enter, "/usr/local/sbin/crio"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                assert process.stdout.readline() == "ready\n"
                yield process
            finally:
                process.kill()
                self.root.path("/run/crio/crio.sock").unlink(missing_ok=True)

    def write(self, status: int = 0) -> Any:
        found, document = self.ctl("export", "crio", "--write")
        assert found == status, document
        return document

    def verify(self) -> dict[str, Any]:
        """Return the verification; the exit status says whether CRI-O follows."""
        status, document = self.ctl("verify", "crio")
        (engine,) = document["engines"]
        assert (status == 0) == (engine["state"] == "follows")
        return dict(engine)

    def ctl(self, *words: str) -> tuple[int, Any]:
        done = self.root.run("env", f"RUNTIMED_SOCKET={self.daemon.socket}", *COMMAND, *words, "--json")
        return done.returncode, json.loads(done.stdout)

    def change(self, default: str, **runtimes: Any) -> None:
        self.daemon.write({"runtimes": runtimes, "default-runtime": default})
        # The daemon may have read the file by itself.
        assert self.daemon.reload()["outcome"] in ("applied", "unchanged")
        assert self.daemon.resolve()["runtime"] == default


@pytest.fixture
def node() -> Iterator[Node]:
    with new_daemon() as daemon, new_engine_root() as root:
        daemon.install("containerd-shim-kata-v2")
        daemon.write({"runtimes": RUNTIMES, "default-runtime": "small"})
        yield Node(root, daemon.start())


def test_crio_has_the_runtimes_of_the_table_and_those_of_its_package(node: Node) -> None:
    written = node.write()
    assert written["written"] == [FILE]
    assert written["takes_effect"] == "restart"
    assert node.root.path(FILE).stat().st_mode & 0o777 == 0o644
    with node.running():
        assert node.verify()["state"] == "follows"
        assert node.write()["unchanged"] == [FILE]
    assert node.verify()["state"] == "not-running"
    # Everything in the directory is read, so nothing else may be in it.
    assert {each.name for each in node.root.path(DIRECTORY).iterdir()} == {Path(FILE).name, Path(PACKAGE).name}


def test_a_runtime_that_another_file_has_is_named(node: Node) -> None:
    node.write()
    other = '[crio.runtime]\ndefault_runtime = "crun"\n[crio.runtime.runtimes.small]\nruntime_path = "/usr/sbin/runc"\n'
    node.root.path(OTHER).write_text(other)
    with node.running():
        engine = node.verify()
    assert engine["state"] == "differs"
    small = f"{node.daemon.data}/runtimes/small"
    assert engine["differences"] == [
        {"name": None, "ours": "small", "theirs": "crun"},
        {"name": "small", "ours": small, "theirs": "/usr/sbin/runc"},
    ]


def test_a_change_of_the_table_is_not_told_until_a_restart(node: Node) -> None:
    node.write()
    with node.running() as crio:
        node.change("fresh", fresh={"path": "/usr/sbin/runc"})
        assert node.verify()["state"] == "differs", "the file is not written yet"
        node.write()
        engine = node.verify()
        assert engine["state"] == "not-told"
        assert "systemctl restart crio" in engine["detail"]
        # CRI-O then prints the new handlers, and does not use them.
        crio.send_signal(signal.SIGHUP)
        wait_until(lambda: not node.verify()["differences"], "CRI-O to print its new configuration")
        assert node.verify()["state"] == "not-told"
    with node.running():
        assert node.verify()["state"] == "follows"


def test_an_edit_behind_our_back_is_named_and_undone(node: Node) -> None:
    node.write()
    file = node.root.path(FILE)
    right = file.read_bytes()
    file.write_text(right.decode().replace(f"{node.daemon.data}/runtimes/small", "/usr/sbin/runc"))
    with node.running():
        engine = node.verify()
        assert engine["state"] == "differs"
        small = f"{node.daemon.data}/runtimes/small"
        assert {"name": "small", "ours": small, "theirs": "/usr/sbin/runc"} in engine["differences"]
    node.write()
    assert file.read_bytes() == right


def test_a_file_that_crio_refuses_is_not_written(node: Node) -> None:
    node.write()
    right = node.root.path(FILE).read_bytes()
    node.change("bad", bad={"path": "/usr/bin/crun", "engines": {"crio": {"monitor_env": "no list"}}})
    document = node.write(status=1)
    assert "incompatible types for monitor_env" in document["problems"][0]["message"]
    assert node.root.path(FILE).read_bytes() == right
    with node.running():
        pass


def test_without_crios_program_the_file_is_written_with_a_remark(node: Node) -> None:
    node.root.path("/usr/local/sbin/crio").unlink()
    document = node.write()
    assert document["written"] == [FILE]
    assert any("without a check" in remark["message"] for remark in document["remarks"])
