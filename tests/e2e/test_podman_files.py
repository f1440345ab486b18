"""A real podman with runtimed's file among its own: its runtimes, its check, its answers, and an edit of the file."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.harness.engine_root import NEWER, EngineRoot, new_engine_root
from e2e.harness.engines import build_rootfs, run
from harness.daemon import RunningDaemon, new_daemon
from harness.runtimectl import COMMAND

from runtimed.core.engines.engine import ExportOptions, Found, Run, View
from runtimed.core.engines.podman import ENGINE
from runtimed.core.engines.podman.plan import FILE
from runtimed.core.engines.verification import compare_views

pytestmark = pytest.mark.timeout(600)

TABLE: dict[str, Any] = {
    "runtimes": {
        "small": {"path": "/usr/bin/crun"},
        "big": {"path": "/usr/sbin/runc", "runtimeArgs": ["--rootless", "false"]},
        "Odd 'name'/x": {"path": "/usr/bin/crun"},
        # podman describes no runtime that cannot print its version.
        "broken": {"path": "/nowhere/runtime"},
        "kata": {"runtimeType": "io.containerd.kata.v2"},
    },
    "default-runtime": "small",
}
OTHER = "/etc/containers/containers.conf.d/90-other.conf"


class Node:
    """A podman with its own configuration files in a namespace, and a daemon that has the table."""

    def __init__(self, root: EngineRoot, daemon: RunningDaemon) -> None:
        self.root = root
        self.daemon = daemon
        assert ENGINE.writing is not None
        assert ENGINE.asking is not None
        self.writing, self.asking = ENGINE.writing, ENGINE.asking
        configuration = daemon.root / "containers"
        run(root, "cp", "-a", "/etc/containers", str(configuration))
        run(root, "mount", "--bind", str(configuration), "/etc/containers")
        root.path(FILE).parent.mkdir(exist_ok=True)

    def check(self, document: bytes | None = None) -> tuple[bytes, int, str]:
        """Return the bytes of the file, and the status and the errors of podman's check of it, or of ``document``."""
        scratch = self.daemon.root / "scratch"
        scratch.mkdir(exist_ok=True)
        plan = self.writing.plan(self.daemon.table(), ExportOptions(), Found({}, "", str(scratch)))
        for name, data in plan.scratch.items():
            (scratch / name).write_bytes(data if document is None else document)
        ((check,), (write,)) = (plan.checks, plan.writes)
        done = self.execute(check)
        return write.data, done[0], done[2]

    def views(self) -> tuple[View, View]:
        """Return the expected runtimes, and those of podman's answers."""
        document = ENGINE.write(self.daemon.table(), ExportOptions()).document
        answers = {}
        for name, question in self.asking.questions(document).items():
            assert isinstance(question, Run)
            status, output, errors = self.execute(question)
            assert status == 0, errors
            answers[name] = output.encode()
        return self.asking.expected(document), self.asking.answered(answers)

    def execute(self, program: Run) -> tuple[int, str, str]:
        environ = [f"{key}={value}" for key, value in program.environ.items()]
        done = self.root.run("env", *environ, *program.words)
        return done.returncode, done.stdout, done.stderr

    def write(self) -> None:
        """Put the file into place, as `runtimectl export --write` does."""
        data, status, errors = self.check()
        assert status == 0, errors
        self.root.path(FILE).write_bytes(data)

    def stable_path(self, name: str) -> str:
        return next(str(each["stable_path"]) for each in self.daemon.table()["runtimes"] if each["name"] == name)

    def ctl(self, *words: str) -> tuple[int, Any]:
        done = self.root.run("env", f"RUNTIMED_SOCKET={self.daemon.socket}", *COMMAND, *words, "--json")
        return done.returncode, json.loads(done.stdout)


@contextlib.contextmanager
def new_node(newer: Path | None) -> Iterator[Node]:
    with new_daemon() as daemon, new_engine_root(newer) as root:
        daemon.write(TABLE)
        daemon.start()
        yield Node(root, daemon)


@pytest.fixture(params=[None, NEWER], ids=["machine", "newer"])
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    with new_node(request.param) as made:
        yield made


@pytest.fixture
def machine() -> Iterator[Node]:
    with new_node(None) as made:
        yield made


def test_podman_has_the_runtimes_and_the_default_of_the_table(node: Node) -> None:
    node.write()
    expected, answered = node.views()
    assert answered == expected
    assert answered.default == "small"
    assert answered.runtimes == {name: node.stable_path(name) for name in ("small", "big", "Odd 'name'/x", "broken")}
    # The questions leave nothing behind.
    assert list(node.root.path("/var/lib/containers").iterdir()) == []


def test_a_container_runs_by_its_runtimes_name_and_by_the_default(node: Node) -> None:
    node.write()
    directory = node.daemon.root
    podman = (
        *("podman", "--root", f"{directory}/storage", "--runroot", f"{directory}/run", "--tmpdir", f"{directory}/tmp"),
        *("--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file"),
    )
    rootfs = build_rootfs(directory / "rootfs")
    limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
    words = ("run", "--detach", "--network", "none", *limits, "--rootfs", str(rootfs), "/bin/busybox", "sleep", "1000")
    runtimes = {"small": "crun", "big": "runc", "Odd 'name'/x": "crun", None: "crun"}
    for name, kind in runtimes.items():
        options = () if name is None else ("--runtime", name)
        identifier = run(node.root, *podman, *options, *words).strip()
        run(node.root, *podman, "exec", identifier, "/bin/busybox", "sh", "-c", "exit 42", status=42)
        inspected = run(node.root, *podman, "inspect", "--format", "{{.OCIRuntime}}", identifier).strip()
        assert inspected == (name or "small")
        states = [each for each in ("crun", "runc") if node.root.path(f"/run/{each}/{identifier}").exists()]
        assert states == [kind], name
        run(node.root, *podman, "rm", "--force", "--time", "0", identifier)


def test_an_entry_of_a_later_file_and_a_missing_one_are_told(node: Node) -> None:
    node.write()
    overriding = '[engine]\nruntime = "big"\n[engine.runtimes]\nsmall = ["/usr/sbin/runc"]\n'
    node.root.path(OTHER).write_text(overriding)
    expected, answered = node.views()
    small = node.stable_path("small")
    assert compare_views(expected, answered, node.daemon.table()) == [
        {"name": None, "ours": "small", "theirs": "big"},
        {"name": "small", "ours": small, "theirs": "/usr/sbin/runc"},
    ]
    node.root.path(OTHER).unlink()
    # Without the file, podman has none of these names.
    node.root.path(FILE).unlink()
    expected, answered = node.views()
    assert answered.runtimes == {}
    assert {each["name"] for each in compare_views(expected, answered, node.daemon.table())} == {
        None,
        *expected.runtimes,
    }


def test_the_questions_need_no_directory_of_podman_to_be_writable(node: Node) -> None:
    # As in a hardened unit. podman 5 locks the network's configuration there.
    node.write()
    for path in ("/tmp", "/run/lock"):
        run(node.root, "mount", "--bind", path, path)
    # Of these not each is a mount on every machine.
    for path in ("/", "/run", "/etc/containers", "/var/lib/containers", "/run/containers", "/run/libpod"):
        node.root.run("mount", "-o", "remount,bind,ro", path)
        assert node.root.run("touch", f"{path}/x").returncode == 1, path
    expected, answered = node.views()
    assert answered == expected


def test_podman_of_a_user_without_root_runs_containers_by_the_same_names_without_pins(node: Node) -> None:
    node.write()
    # The home is in a directory that outlives the processes of podman.
    node.daemon.root.chmod(0o755)
    home = node.daemon.root / "home"
    rootfs = build_rootfs(home / "rootfs")
    run(node.root, "chown", "-R", "12345:12345", str(home))
    user = ("setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups")
    options = ("--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file")
    podman = (*user, "env", f"HOME={home}", f"XDG_RUNTIME_DIR={home}", "podman", *options)
    words = ("run", "--detach", "--network", "none", "--rootfs", str(rootfs), "/bin/busybox", "sleep", "1000")
    for name in (None, "Odd 'name'/x"):
        chosen = () if name is None else ("--runtime", name)
        path = run(node.root, *podman, *chosen, "info", "--format", "{{.Host.OCIRuntime.Path}}").strip()
        assert path == node.stable_path(name or "small")
        identifier = run(node.root, *podman, *chosen, *words).strip()
        assert Path(home, "crun", identifier).exists()
        run(node.root, *podman, "exec", identifier, "/bin/busybox", "sh", "-c", "exit 42", status=42)
        run(node.root, *podman, "rm", "--force", "--time", "0", identifier)
    assert list((node.daemon.root / "run" / "pins").iterdir()) == []
    # Users without root read the launchers, and neither the configuration nor the names of files.
    view = Path(node.stable_path("small")).parent
    generation = Path(node.daemon.data, view.readlink()).parent
    hidden = (node.daemon.data, generation, view.resolve(), view.resolve().parent)
    for command in (*(("ls", str(each)) for each in hidden), ("cat", str(generation / "config.json"))):
        refused = node.root.run(*user, "env", "LC_ALL=C", *command)
        assert "Permission denied" in refused.stderr, command


@pytest.mark.parametrize(
    "document",
    [b"[engine\n", b'[engine]\nruntime = "nosuch"\n', b"[engine]\nruntime = 5\n"],
    ids=["syntax", "name", "type"],
)
def test_podmans_check_refuses_a_file_that_podman_cannot_use(node: Node, document: bytes) -> None:
    _, status, errors = node.check(document)
    assert status != 0
    assert "50-runtimed.conf" in errors or '"nosuch" not found' in errors


def test_a_configuration_that_podman_cannot_read_is_no_answer(node: Node) -> None:
    node.write()
    node.root.path(OTHER).write_text("[engine\n")
    with pytest.raises(ValueError, match=r"90-other\.conf"):
        node.views()


def test_runtimectl_writes_the_file_and_names_an_edit_behind_its_back(machine: Node) -> None:
    status, written = machine.ctl("export", "podman", "--write")
    assert (status, written["written"]) == (0, [FILE]), json.dumps(written)
    file = machine.root.path(FILE)
    assert file.stat().st_mode & 0o777 == 0o644
    status, verified = machine.ctl("verify", "podman")
    assert (status, verified["engines"][0]["state"]) == (0, "follows"), verified
    assert machine.ctl("export", "podman", "--write")[1]["unchanged"] == [FILE]

    file.write_text(file.read_text().replace("/runtimes/small", "/runtimes/big"))
    status, verified = machine.ctl("verify", "podman")
    (engine,) = verified["engines"]
    assert (status, engine["state"]) == (1, "differs")
    assert "small" in [each["name"] for each in engine["differences"]]
    assert machine.ctl("export", "podman", "--write")[1]["written"] == [FILE]
    assert machine.ctl("verify", "podman")[0] == 0

    # The directory has nothing but the file: an engine may read each file there.
    assert [each.name for each in file.parent.iterdir()] == [file.name]
    assert not [each.name for each in file.parent.parent.iterdir() if each.name.startswith(".")]


def test_runtimectl_writes_nothing_that_podman_refuses(machine: Node) -> None:
    # Where nothing has this name, podman would not find its default runtime.
    machine.daemon.write({"runtimes": {"gone": {"path": "/usr/bin/crun"}}, "default-runtime": "gone"})
    machine.daemon.reload()
    stable = Path(machine.stable_path("gone"))
    stable_copy = machine.daemon.root / "empty"
    stable_copy.mkdir()
    run(machine.root, "mount", "--bind", str(stable_copy), str(stable.parent.resolve()))
    status, refused = machine.ctl("export", "podman", "--write")
    assert (status, refused["written"]) == (1, [])
    assert 'default OCI runtime \\"gone\\" not found' in json.dumps(refused["problems"])
    assert not machine.root.path(FILE).exists()


def test_runtimectl_leaves_a_file_of_another_program_as_it_is(machine: Node) -> None:
    file = machine.root.path(FILE)
    file.write_text("[engine]\n")
    status, refused = machine.ctl("export", "podman", "--write")
    assert (status, refused["written"]) == (1, [])
    assert file.read_text() == "[engine]\n"
