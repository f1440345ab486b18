"""``runtimectl export --write`` and ``verify`` with a real containerd, dockerd and podman on one node."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.harness.engine_root import EngineRoot, new_engine_root
from harness.daemon import PATIENCE_S, RunningDaemon, new_daemon, paused, wait_until
from harness.runtimectl import COMMAND

pytestmark = pytest.mark.timeout(900)
# dockerd starts slowly on a busy machine.
START_S = 180.0

TABLE: dict[str, Any] = {
    "runtimes": {
        "small": {"path": "/usr/bin/crun"},
        "big": {"path": "/usr/sbin/runc"},
        # podman and an old dockerd cannot have it.
        "kata": {"runtimeType": "io.containerd.kata.v2"},
    },
    "default-runtime": "small",
}
# containerd and dockerd use directories below /run, as they would on a node.
MOUNTS = """
mount -t tmpfs -o mode=0755 none /run
mount -t tmpfs -o mode=0755 none /etc/containerd
mkdir /run/containerd
"""
MAIN_FILE = """\
version = 2
root = "{root}/containerd"
imports = ["/etc/containerd/conf.d/*.toml"]
disabled_plugins = ["io.containerd.internal.v1.opt"]
"""
FILES = {
    "docker": "/etc/docker/daemon.json",
    "containerd": "/etc/containerd/conf.d/50-runtimed.toml",
    "podman": "/etc/containers/containers.conf.d/50-runtimed.conf",
}


class Node:
    """A mount namespace with engines, and a daemon with the table."""

    def __init__(self, root: EngineRoot, daemon: RunningDaemon) -> None:
        self.root = root
        self.daemon = daemon
        assert root.run("sh", "-ec", MOUNTS).returncode == 0
        configuration = daemon.root / "containers"
        for words in (
            ("cp", "-a", "/etc/containers", configuration),
            ("mount", "--bind", configuration, "/etc/containers"),
        ):
            assert root.run(*map(str, words)).returncode == 0
        root.path("/etc/containerd/config.toml").write_text(MAIN_FILE.format(root=daemon.root))
        self.commands = {
            "containerd": ["containerd"],
            "docker": [
                *("dockerd", "--data-root", f"{daemon.root}/docker", "--storage-driver", "vfs"),
                *("--iptables=false", "--bridge=none"),
            ],
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, engine: str) -> None:
        """Start an engine, and wait until it can be asked."""
        log = (self.daemon.root / f"{engine}.log").open("ab")
        with log:
            command = [*self.root.enter, *self.commands[engine]]
            self.processes[engine] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(
            lambda: self.verify(engine)["state"] not in ("unknown", "not-running"), f"a start of {engine}", START_S
        )

    def stop(self, engine: str) -> None:
        process = self.processes.pop(engine)
        process.terminate()
        process.wait(PATIENCE_S)

    def ctl(self, *words: str) -> tuple[int, str, str]:
        done = self.root.run("env", f"RUNTIMED_SOCKET={self.daemon.socket}", "COLUMNS=0", *COMMAND, *words)
        return done.returncode, done.stdout, done.stderr

    def configure(self, table: dict[str, Any]) -> None:
        """Give the daemon another table."""
        before = self.daemon.status()["generation"]
        self.daemon.write(table)
        # The watcher may have been first.
        report = self.daemon.reload()
        assert report["outcome"] in ("applied", "unchanged"), report
        assert report["generation"] > before

    def write(self, engine: str) -> None:
        status, out, errors = self.ctl("export", engine, "--write")
        assert (status, f"wrote {FILES[engine]}\n" in out) == (0, True), errors

    def verify(self, engine: str) -> dict[str, Any]:
        status, out, _ = self.ctl("verify", engine, "--json")
        (found,) = json.loads(out)["engines"]
        assert status == (0 if found["state"] == "follows" else 1)
        return dict(found)

    def states(self) -> dict[str, str]:
        """Return the state of each engine that runs."""
        status, out, _ = self.ctl("verify", "--json")
        found = {each["engine"]: each["state"] for each in json.loads(out)["engines"]}
        assert status == (0 if set(found.values()) <= {"follows"} else 1)
        return found


@pytest.fixture
def node() -> Iterator[Node]:
    with new_daemon() as daemon, new_engine_root() as root:
        daemon.write(TABLE)
        made = Node(root, daemon.start())
        try:
            yield made
        except BaseException:
            for log in daemon.root.glob("*.log"):
                print(f"{log.name}:\n{log.read_text()[-3000:]}")  # noqa: T201 - for pytest to show
            raise
        finally:
            for engine in list(made.processes):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    made.stop(engine)


def test_each_engine_follows_once_it_has_read_its_file(node: Node) -> None:
    assert node.states() == {"podman": "differs"}
    for engine in FILES:
        node.write(engine)
    node.start("containerd")
    node.start("docker")
    assert node.states() == {"docker": "follows", "containerd": "follows", "podman": "follows"}
    # The table gets another name. podman has it at once, dockerd at a reload, containerd at a restart.
    node.configure({**TABLE, "runtimes": {**TABLE["runtimes"], "third": {"path": "/usr/bin/crun"}}})
    assert node.states() == dict.fromkeys(FILES, "differs")
    for engine in FILES:
        node.write(engine)
    assert node.states() == {"docker": "not-told", "containerd": "not-told", "podman": "follows"}
    found = node.verify("docker")
    assert found["detail"].endswith("run: systemctl reload docker")
    assert [each["name"] for each in found["differences"]] == ["third"]
    assert node.verify("containerd")["detail"].endswith("run: systemctl restart containerd")
    node.processes["docker"].send_signal(signal.SIGHUP)
    wait_until(lambda: node.verify("docker")["state"] == "follows", "a reload")
    node.stop("containerd")
    assert node.verify("containerd")["state"] == "not-running"
    node.start("containerd")
    assert node.states() == dict.fromkeys(FILES, "follows")


@pytest.mark.parametrize("engine", FILES)
def test_an_edit_of_the_file_behind_our_back_is_named(node: Node, engine: str) -> None:
    node.write(engine)
    if engine in node.commands:
        node.start(engine)
    assert node.verify(engine)["state"] == "follows"
    file = node.root.path(FILES[engine])
    text = file.read_text()
    line = next(number for number, each in enumerate(text.splitlines(), 1) if "/runtimes/big" in each)
    file.write_text(text.replace("/runtimes/big", "/runtimes/evil"))
    found = node.verify(engine)
    assert found["state"] == "differs"
    assert FILES[engine] in found["detail"]
    assert any(str(each["name"]).startswith(f"{FILES[engine]}:") for each in found["differences"]), (line, found)


def test_a_dockerd_with_a_containerd_of_its_own_is_not_a_containerd_of_the_node(node: Node) -> None:
    node.write("docker")
    node.start("docker")
    assert "containerd" not in node.states()
    assert node.verify("containerd")["detail"] == "there is no process containerd on this node"


def test_an_engine_that_is_stopped_is_unknown_in_time(node: Node) -> None:
    node.write("docker")
    node.start("docker")
    with paused(node.processes["docker"].pid):
        found = node.verify("docker")
    assert (found["state"], "does not answer within 10 s" in found["detail"]) == ("unknown", True)


def test_a_file_that_the_engines_check_refuses_is_not_written(node: Node) -> None:
    node.write("containerd")
    before = node.root.path(FILES["containerd"]).read_bytes()
    # An error that only containerd finds.
    main = node.root.path("/etc/containerd/config.toml")
    main.write_text(f'{main.read_text()}oom_score = "high"\n')
    node.configure({**TABLE, "runtimes": {"third": {"path": "/usr/bin/crun"}}, "default-runtime": "third"})
    status, out, errors = node.ctl("export", "containerd", "--write")
    assert (status, out) == (1, "")
    assert "is not written, because `containerd --config /etc/containerd/.runtimectl.new/check/" in errors
    assert node.root.path(FILES["containerd"]).read_bytes() == before
    assert ".runtimectl.new" not in [path.name for path in Path(node.root.path("/etc/containerd")).iterdir()]
