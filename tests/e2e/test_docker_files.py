"""The table in a daemon.json with other settings: a dockerd that starts or reloads has its runtimes."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from e2e.harness.dockerd import RunningDockerd
from e2e.harness.engine_root import NEWER, EngineRoot, new_engine_root
from e2e.harness.engines import Docker
from harness.daemon import RunningDaemon, UnixConnection, new_daemon, wait_until
from harness.runtimectl import COMMAND

from runtimed.core.engines.docker import ENGINE
from runtimed.core.engines.docker.plan import FILE, RECORD
from runtimed.core.engines.docker.version import parse_version
from runtimed.core.engines.docker.view import ASKING
from runtimed.core.engines.docker.write import write_docker
from runtimed.core.engines.engine import ExportOptions, Found, View
from runtimed.core.engines.verification import Difference, compare_views
from runtimed.core.errors import ConfigurationRejected

pytestmark = pytest.mark.timeout(600)

BOTH = pytest.mark.parametrize("newer", [None, NEWER], ids=["20.10", "28"])
# Formatted by hand, with a runtime of somebody else. The labels have what a careless edit would count as brackets.
THEIRS = """{
\t"labels": ["rack={1}", "x=\\"runtimes\\": {"],  "max-concurrent-downloads" : 4,

\t"runtimes": { "mine": {"path": "/usr/bin/crun", "runtimeArgs": []} },
\t"shutdown-timeout": 5
}
"""
RUNC: Mapping[str, Any] = {"path": "/usr/sbin/runc"}
CRUN: Mapping[str, Any] = {"path": "/usr/bin/crun"}
# dockerd has it since 24.0.
TYPED: Mapping[str, Any] = {"runtimeType": "io.containerd.runc.v2"}


class Node:
    """A dockerd whose daemon.json is in its usual place, in a namespace, and a daemon that has the table."""

    def __init__(self, daemon: RunningDaemon, root: EngineRoot) -> None:
        self.daemon = daemon
        self.root = root
        self.dockerd = RunningDockerd(daemon.root / "docker", root.enter)
        self.dockerd.root.mkdir()
        self.dockerd.config.symlink_to(FILE)
        self.version = root.run("dockerd", "--version").stdout

    @property
    def text(self) -> str:
        return self.root.path(FILE).read_text()

    def put(self, text: str) -> None:
        self.root.path(FILE).write_text(text)

    def write(self, default: str, **runtimes: Mapping[str, Any]) -> dict[str, Any]:
        """Give runtimed's daemon another table, and return it."""
        self.daemon.write({"runtimes": runtimes, "default-runtime": default})
        if self.daemon.process is None:
            self.daemon.start()
        else:
            # The daemon may have read the file by itself.
            assert self.daemon.reload()["outcome"] in ("applied", "unchanged")
        table = self.daemon.table()
        assert table["default_runtime"] == default
        return table

    def export(self, table: Mapping[str, Any], command_line: tuple[str, ...] = ()) -> None:
        """Write dockerd's file as `runtimectl export --write` does, which cannot run in every namespace."""
        assert ENGINE.writing is not None
        inputs = [path for path in ENGINE.writing.inputs if self.root.path(path).exists()]
        files = {path: self.root.path(path).read_bytes() for path in inputs}
        found = Found(files, self.version, str(self.dockerd.root / "scratch"), command_line)
        plan = ENGINE.writing.plan(table, ExportOptions(), found)
        for name, data in plan.scratch.items():
            path = Path(found.scratch) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        for check in plan.checks:
            done = self.root.run(*check.words)
            assert done.returncode == 0 or str(plan.unknown) in done.stderr, done
            assert (done.returncode == 0) == self.has_types, "a check for the newer one"
        for write in plan.writes:
            self.root.path(write.path).write_bytes(write.data)

    @property
    def has_types(self) -> bool:
        version = parse_version(self.version)
        assert version is not None
        return version >= (24, 0)

    def view(self) -> View:
        """Return what dockerd says that it has."""
        connection = UnixConnection(str(self.dockerd.socket))
        try:
            connection.request("GET", "/info")
            return ASKING.answered({"info": connection.getresponse().read()})
        finally:
            connection.close()

    def differences(self, table: Mapping[str, Any]) -> list[Difference]:
        expected = ASKING.expected(write_docker(table, parse_version(self.version)).document)
        return compare_views(expected, self.view(), table)

    def follow(self, table: Mapping[str, Any]) -> None:
        """Write the file, have dockerd read it, and see that it has the table then."""
        self.export(table)
        assert self.differences(table), "nothing to tell"
        self.dockerd.hang_up()
        wait_until(lambda: not self.differences(table), "dockerd to follow")

    def runtimectl(self, *words: str, status: int = 0) -> str:
        socket = f"RUNTIMED_SOCKET={self.daemon.socket}"
        done = self.root.run("env", socket, "COLUMNS=0", *COMMAND, *words)
        assert done.returncode == status, (words, done.stdout, done.stderr)
        return done.stdout


@contextlib.contextmanager
def new_node(newer: Path | None) -> Iterator[Node]:
    with new_daemon() as daemon, new_engine_root(newer) as root:
        node = Node(daemon, root)
        # Where runtimectl asks dockerd, whose socket has another place for the test to see it.
        root.run("mount", "-t", "tmpfs", "-o", "mode=0755", "none", "/run")
        root.run("ln", "-s", str(node.dockerd.socket), "/run/docker.sock")
        try:
            yield node
        finally:
            node.dockerd.stop()


@BOTH
def test_dockerd_follows_the_table_in_a_file_with_other_settings(newer: Path | None) -> None:
    with new_node(newer) as node:
        node.put(THEIRS)
        node.dockerd.launch()
        before = node.view()
        table = node.write("w", w=RUNC, second=CRUN, typed=TYPED)
        node.follow(table)
        merged = node.text
        w, second = (f'"{name}": {{"path": "{node.daemon.data}/runtimes/{name}"}}' for name in ("w", "second"))
        typed = ', "typed": {"runtimeType": "io.containerd.runc.v2"}' if node.has_types else ""
        mine = '"mine": {"path": "/usr/bin/crun", "runtimeArgs": []}'
        expected = THEIRS.replace(mine, f"{mine}, {second}{typed}, {w}")
        expected = expected.replace("5\n}", '5,\n\t"default-runtime": "w"\n}')
        assert merged == expected

        docker = Docker(node.root, node.daemon.data / "runtimes/w", node.dockerd)
        container = docker.run()
        assert docker.kind(container) == "runc"
        docker.exec(container)
        docker.remove(container)

        # A start reads the same file.
        node.dockerd.stop()
        node.dockerd.launch()
        assert node.differences(table) == []

        # A dropped name and another default runtime.
        table = node.write("second", second=CRUN)
        node.follow(table)
        assert node.view().runtimes.keys() - before.runtimes.keys() == {"second"}
        assert node.view().runtimes["mine"] == "/usr/bin/crun"
        # All is dropped.
        table = node.write("runc")
        node.follow(table)
        assert node.text == THEIRS.replace("5\n}", '5,\n\t"default-runtime": "runc"\n}')


@BOTH
def test_dockerd_runs_on_when_its_default_runtime_cannot_be_written_any_more(newer: Path | None) -> None:
    # dockerd 20.10 crashes when a reload drops its default runtime, and cannot run a runtimeType.
    with new_node(newer) as node:
        node.export(node.write("w", w=RUNC))
        node.dockerd.launch()
        node.follow(node.write("w", w=TYPED, second=CRUN))
        wait_until(lambda: node.view().default == ("w" if node.has_types else "runc"), "the default runtime")
        assert ("w" in node.view().runtimes) == node.has_types
        if node.has_types:
            docker = Docker(node.root, node.daemon.data / "runtimes/w", node.dockerd)
            docker.remove(docker.run())


@BOTH
def test_the_stock_shim_as_the_default_runtime_does_not_crash_an_old_dockerd(newer: Path | None) -> None:
    with new_node(newer) as node:
        node.put("{}")
        node.dockerd.launch()
        table = node.write("io.containerd.runc.v2", second=CRUN)
        node.follow(table)
        assert node.view().default == ("io.containerd.runc.v2" if node.has_types else "runc")
        assert node.dockerd.answers()


@BOTH
def test_an_entry_of_another_program_is_in_the_way_until_it_is_gone(newer: Path | None) -> None:
    with new_node(newer) as node:
        node.put(THEIRS)
        node.dockerd.launch()
        table = node.write("mine", mine=RUNC)
        with pytest.raises(ConfigurationRejected, match=r"daemon.json:4:16: /runtimes/mine: runtimectl did not write"):
            node.export(table)
        assert node.text == THEIRS
        node.put(re.sub(r'\{ "mine".*', "{},", THEIRS))
        node.follow(table)
        assert node.view().runtimes["mine"] == f"{node.daemon.data}/runtimes/mine"


@BOTH
def test_a_default_runtime_on_its_command_line_would_keep_dockerd_from_starting(newer: Path | None) -> None:
    with new_node(newer) as node:
        table = node.write("w", w=RUNC)
        flags = ("dockerd", "--default-runtime", "runc")
        with pytest.raises(ConfigurationRejected, match="remove the flag"):
            node.export(table, flags)
        node.export(table)
        done = node.root.run(*flags)
        assert done.returncode == 1
        assert "specified both as a flag and in the configuration file: default-runtime" in done.stderr


def test_runtimectl_writes_verifies_and_says_when_dockerd_was_not_told() -> None:
    with new_node(None) as node:
        node.put(THEIRS)
        node.dockerd.launch()
        node.write("w", w=RUNC)
        node.runtimectl("verify", "docker", status=1)
        assert f"wrote {FILE}" in node.runtimectl("export", "docker", "--write")
        assert json.loads(node.root.path(RECORD).read_text())["default-runtime"] == ["w"]
        inode = node.root.path(FILE).stat().st_ino
        assert node.runtimectl("export", "docker", "--write") == f"unchanged {FILE}\n"
        assert node.root.path(FILE).stat().st_ino == inode
        states = [engine["state"] for engine in verified(node, 1)]
        assert states == ["not-told"]
        node.dockerd.hang_up()
        wait_until(lambda: node.view().default == "w", "dockerd to follow")
        assert [engine["state"] for engine in verified(node, 0)] == ["follows"]


def verified(node: Node, status: int) -> list[dict[str, Any]]:
    return list(json.loads(node.runtimectl("verify", "docker", "--json", status=status))["engines"])
