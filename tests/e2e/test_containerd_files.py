"""runtimed's file among those of a real containerd: its refusals, and the runtimes of the CRI plugin."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.harness.cri import SANDBOX_IMAGE, RunningCri
from e2e.harness.engine_root import NEWER, EngineRoot, new_engine_root
from harness.daemon import RunningDaemon, new_daemon

from runtimed.core.engines.containerd import ENGINE
from runtimed.core.engines.containerd.imports import DIRECTORY, MAIN_FILE, USUAL
from runtimed.core.engines.containerd.layout import PLUGINS
from runtimed.core.engines.containerd.plan import FILE
from runtimed.core.engines.engine import CriStatus, ExportOptions, Found, View
from runtimed.core.errors import ConfigurationRejected
from runtimed.host.engines.questions import ask

pytestmark = pytest.mark.timeout(600)

RUNC = "io.containerd.runc.v2"
# The newer containerd merges sections, so it can have an image of another name; the older one has this one.
OLD_IMAGE = "registry.k8s.io/pause:3.6"
# Where these tests run, root may not be allowed to protect a process from the OOM killer, as CRI wants it.
NOTING = """\
#!/bin/sh
case " $* " in *" create "*)
  printf '%s\\n' "$1" >> "${0%/*}/noted"
  bundle=$(printf '%s\\n' "$@" | sed -n '/^--bundle$/{n;p}')
  sed -i 's/"oomScoreAdj":-[0-9]*/"oomScoreAdj":0/' "$bundle/config.json" ;;
esac
shift
exec runc "$@"
"""
CARRIED = {"pod_annotations": ["a.*", "b"], "cni_max_conf_num": 3, "privileged_without_host_devices": True}


class Node:
    """A containerd's files in a namespace, and a daemon that has the table."""

    def __init__(self, root: EngineRoot, daemon: RunningDaemon) -> None:
        self.root = root
        self.daemon = daemon
        assert ENGINE.writing is not None
        assert ENGINE.asking is not None
        self.writing, self.asking = ENGINE.writing, ENGINE.asking
        assert root.run("mount", "-t", "tmpfs", "none", "/etc/containerd").returncode == 0
        root.path(DIRECTORY).mkdir()

    def put(self, path: str, text: str) -> None:
        self.root.path(path).write_text(text)

    def write(self, config_version: int | None = None) -> bytes:
        """Write runtimed's file, as `runtimectl export --write` does, and return its bytes."""
        paths = [str(Path(path).parent / found.name) for path in self.writing.inputs for found in self._found(path)]
        files = {path: self.root.path(path).read_bytes() for path in paths}
        scratch = "/etc/containerd/.new"
        self.root.path(scratch).mkdir(exist_ok=True)
        assert self.writing.version is not None
        version = self.root.run(*self.writing.version.words).stdout
        plan = self.writing.plan(self.daemon.table(), ExportOptions(config_version), Found(files, version, scratch))
        for name, data in plan.scratch.items():
            self.root.path(f"{scratch}/{name}").write_bytes(data)
        runs = [self.root.run(*check.words) for check in plan.checks]
        assert [run.stderr for run in runs if run.returncode] == []
        if problems := plan.judge([run.stdout.encode() for run in runs]):
            raise ConfigurationRejected(tuple(problems))
        (written,) = plan.writes
        self.root.path(written.path).write_bytes(written.data)
        return written.data

    def refused(self) -> list[str]:
        with pytest.raises(ConfigurationRejected) as caught:
            self.write()
        return [str(problem) for problem in caught.value.problems]

    def _found(self, pattern: str) -> Iterator[Path]:
        return self.root.path(pattern).parent.glob(Path(pattern).name)

    def views(self, cri: RunningCri, version: int) -> tuple[View, View]:
        """Return what containerd should execute, and what it says that it would."""
        document = ENGINE.write(self.daemon.table(), ExportOptions(version)).document
        ((name, question),) = self.asking.questions(document).items()
        assert isinstance(question, CriStatus)
        answer = ask(CriStatus(cri.address), lambda _: b"")
        return self.asking.expected(document), self.asking.answered({name: answer})

    @contextlib.contextmanager
    def running(self) -> Iterator[RunningCri]:
        """Yield a containerd that has started with the files as they are."""
        directory = self.daemon.root / "c"
        directory.mkdir()
        cri = RunningCri(directory, "", self.root.enter)
        (directory / "config.toml").unlink()
        (directory / "config.toml").symlink_to(MAIN_FILE)
        try:
            cri.start()
            cri.ctr("images", "tag", SANDBOX_IMAGE, OLD_IMAGE)
            yield cri
        except BaseException:
            print(f"containerd's log:\n{cri.log_file.read_text()}")  # noqa: T201 - for pytest to show
            raise
        finally:
            cri.stop()

    def head(self, version: int) -> str:
        """Return the beginning of a main file that imports what lies in conf.d."""
        state = self.daemon.root / "c"
        return (
            f'version = {version}\nroot = "{state}/root"\nstate = "{state}/state"\nimports = ["{USUAL}"]\n'
            f'disabled_plugins = ["io.containerd.internal.v1.opt"]\n[grpc]\naddress = "{state}/c.sock"\n'
        )


@contextlib.contextmanager
def new_node(newer: Path | None) -> Iterator[Node]:
    with new_daemon() as daemon, new_engine_root(newer) as root:
        noting = daemon.root / "noting"
        noting.write_text(NOTING)
        noting.chmod(0o755)
        daemon.install("containerd-shim-kata-v2")
        runtimes = {
            "wrapped": {"path": str(noting), "runtimeArgs": ["noted words"]},
            "a/b c": {"path": "/usr/bin/crun", "engines": {"containerd": CARRIED}},
            "kata": {"runtimeType": "io.containerd.kata.v2", "options": {"ConfigPath": "/etc/kata.toml"}},
            "own": {
                "runtimeType": RUNC,
                "options": {"BinaryName": "/usr/bin/crun", "SystemdCgroup": True, "IoUid": 7},
                "engines": {"containerd": {"container_annotations": ["x/y"]}},
            },
        }
        daemon.write({"runtimes": runtimes, "default-runtime": "wrapped"})
        yield Node(root, daemon.start())


@pytest.fixture
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    with new_node(getattr(request, "param", None)) as made:
        yield made


def sandbox_image(version: int) -> str:
    if version == 2:
        return f'[plugins."{PLUGINS[2]}"]\nsandbox_image = "{SANDBOX_IMAGE}"\n'
    return f'[plugins."io.containerd.cri.v1.images".pinned_images]\nsandbox = "{SANDBOX_IMAGE}"\n'


@pytest.mark.parametrize(("node", "version"), [(None, 2), (NEWER, 2), (NEWER, 3)], indirect=["node"])
def test_the_cri_plugin_has_exactly_the_table_and_runs_pods_by_it(node: Node, version: int) -> None:
    newer = node.root.run("containerd", "--version").stdout.split()[2].startswith("2.")
    node.put(MAIN_FILE, node.head(version) + (sandbox_image(version) if newer else ""))
    # Read before and after runtimed's file.
    for name in ("10-first", "99-last"):
        node.put(f"{DIRECTORY}/{name}.toml", f'version = {version}\n[timeouts]\n"{name}" = "7s"\n')
    first = node.write()
    assert f"\nversion = {version}\n".encode() in first
    # With the file in its place, the plan is the same one.
    assert node.write() == first
    with node.running() as cri:
        expected, answered = node.views(cri, version)
        assert answered == expected
        assert answered.default == "wrapped"
        assert {*answered.runtimes} == {"wrapped", "a/b c", "kata", "own", "runc"}
        assert 'pod_annotations=["a.*", "b"]' in answered.runtimes["a/b c"]
        for handler in ("wrapped", ""):
            pod = cri.run_pod(handler)
            cri.exec(cri.run_container(pod))
            cri.remove_pod(pod)
        assert (node.daemon.root / "noted").read_text().splitlines() == ["noted words"] * 4


@pytest.mark.parametrize("node", [None, NEWER], indirect=True)
def test_an_edit_behind_runtimeds_back_is_seen_in_the_answer(node: Node) -> None:
    node.put(MAIN_FILE, node.head(2))
    node.write()
    edited = node.root.path(FILE).read_text().replace("/usr/bin/crun", "/usr/bin/other").replace('"b"', '"c"')
    node.put(FILE, edited)
    with node.running() as cri:
        expected, answered = node.views(cri, 2)
    different = {name for name in expected.runtimes if expected.runtimes[name] != answered.runtimes.get(name)}
    assert different == {"own", "a/b c"}


@pytest.mark.parametrize("other", [None, "nvidia"])
def test_before_containerd_2_the_section_that_counted_is_kept_by_a_copy(node: Node, other: str | None) -> None:
    section = f'[plugins."{PLUGINS[2]}"'
    # As Debian's package has it.
    main = f'{node.head(2)}{section}.cni]\nbin_dir = "/usr/lib/cni"\nconf_dir = "/etc/cni/other.d"\n'
    node.put(MAIN_FILE, f'{main}{section}.containerd.runtimes.main]\nruntime_type = "{RUNC}"\n')
    if other is not None:
        # It hides the main file's section, without runtimed as well.
        text = f'version = 2\n{section}.containerd.runtimes.{other}]\nruntime_type = "{RUNC}"\n'
        node.put(f"{DIRECTORY}/10-{other}.toml", text)
    node.write()
    with node.running() as cri:
        expected, answered = node.views(cri, 2)
        dump = node.root.run("containerd", "--config", MAIN_FILE, "config", "dump").stdout
    assert answered.runtimes == {**expected.runtimes, other or "main": RUNC}
    directory = tomllib.loads(dump)["plugins"][PLUGINS[2]]["cni"]["conf_dir"]
    assert directory == ("/etc/cni/net.d" if other else "/etc/cni/other.d")


@pytest.mark.parametrize("node", [NEWER], indirect=True)
@pytest.mark.parametrize("version", [2, 3])
def test_containerd_2_keeps_what_the_main_file_and_other_files_say(node: Node, version: int) -> None:
    section = f'[plugins."{PLUGINS[version]}"'
    node.put(MAIN_FILE, f'{node.head(version)}{section}.cni]\nconf_dir = "/etc/cni/other.d"\n')
    nvidia = f'version = {version}\n{section}.containerd.runtimes.nvidia]\nruntime_type = "{RUNC}"\n'
    node.put(f"{DIRECTORY}/99-nvidia.toml", nvidia)
    node.write()
    with node.running() as cri:
        expected, answered = node.views(cri, version)
    assert answered.runtimes == {**expected.runtimes, "nvidia": RUNC}
    # Another file changes what runtimed's says: the names of the file and of the difference are told.
    for more, different in {
        f'{section}.containerd]\ndefault_runtime_name = "nvidia"\n': "default_runtime_name",
        f"{section}.containerd.runtimes.kata]\ncni_max_conf_num = 9\n": "runtimes.kata",
        f"{section}.containerd.runtimes.kata.options]\nOther = 9\n": "runtimes.kata",
    }.items():
        node.put(f"{DIRECTORY}/99-nvidia.toml", nvidia + more)
        (problem,) = node.refused()
        assert problem.startswith(f'{DIRECTORY}/99-nvidia.toml: plugins."{PLUGINS[3]}".containerd.{different}: ')


@pytest.mark.parametrize("node", [None, NEWER], indirect=True)
def test_the_line_that_a_refusal_names_makes_containerd_read_the_file(node: Node) -> None:
    head = node.head(2)
    node.put(MAIN_FILE, head.replace(f'imports = ["{USUAL}"]\n', ""))
    (problem,) = node.refused()
    line = problem.split("`")[1]
    node.put(MAIN_FILE, f"{line}\n{node.root.path(MAIN_FILE).read_text()}")
    node.write()
    with node.running() as cri:
        expected, answered = node.views(cri, 2)
        assert answered == expected
