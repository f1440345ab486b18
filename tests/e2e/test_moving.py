"""What is exported is taken by the real engines, and what they have comes in. Needs root, dockerd and containerd.

There is no ``dockerd --validate`` before 23.0, so a dockerd has to start with it, list it, and run it. Layout 3 of
containerd is not shown here: no Debian has a containerd 2 yet that these tests are run with.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tarfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from e2e.harness.cri import running_cri
from e2e.harness.dockerd import DEBIAN_CLI, RunningDockerd, run_docker, running_dockerd
from harness.daemon import PATIENCE_S, RunningDaemon, new_daemon
from harness.runtimectl import runtimectl

# dockerd alone may take two minutes to start.
pytestmark = pytest.mark.timeout(600)

CRI = "io.containerd.grpc.v1.cri"
RUNC = "io.containerd.runc.v2"
KATA = {"runtimeType": "io.containerd.kata.v2", "options": {"ConfigPath": "/etc/kata.toml"}}
# Notes its first argument, which is the wrapper's, where it is to create a container, and is runc for the rest. (It
# is asked for its version and features as well, by both daemons and at any time.)
NOTING = """\
#!/bin/sh
case " $* " in *" create "*) printf '%s\\n' "$1" >> "${0%/*}/noted" ;; esac
shift
exec runc "$@"
"""
# What Debian's package puts at /etc/containerd/config.toml.
DEBIAN = """\
version = 2

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"
      conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.internal.v1.opt"]
    path = "/var/lib/containerd/opt"
"""


@pytest.fixture
def daemon() -> Iterator[RunningDaemon]:
    """Yield a daemon whose wrapped runtimes run containers."""
    assert os.geteuid() == 0, "these tests need root"
    with new_daemon() as made:
        noting = made.root / "noting"
        noting.write_text(NOTING)
        noting.chmod(0o755)
        made.install("containerd-shim-kata-v2")
        configure(made, "first words")
        yield made.start()


def configure(daemon: RunningDaemon, argument: str) -> None:
    runtimes = {
        "wrapped": {"path": str(daemon.root / "noting"), "runtimeArgs": [argument]},
        "a/b c": {"path": "/usr/bin/crun"},
        "kata": KATA,
    }
    daemon.write({"runtimes": runtimes, "default-runtime": "wrapped"})


def noted(daemon: RunningDaemon) -> set[str]:
    with contextlib.suppress(FileNotFoundError):
        return set((daemon.root / "noted").read_text().splitlines())
    return set()


def exported(daemon: RunningDaemon, *args: str) -> str:
    run = runtimectl("export", *args, on=daemon)
    assert run.returncode == 0, run.stderr
    return run.stdout


def docker(dockerd: RunningDockerd, *words: str, status: int = 0) -> str:
    """Return what ``docker`` prints; its exit status must be ``status``."""
    done = run_docker(DEBIAN_CLI, dockerd.socket, *words)
    assert done.returncode == status, (words, done.stderr, (dockerd.root / "log").read_text())
    return done.stdout


def info(dockerd: RunningDockerd, template: str) -> Any:
    return json.loads(docker(dockerd, "info", "--format", f"{{{{json {template}}}}}"))


def import_busybox(dockerd: RunningDockerd) -> str:
    """Make an image of busybox alone, and return its name."""
    archive = dockerd.root / "image.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(str(shutil.which("busybox")), "bin/busybox")
    docker(dockerd, "import", str(archive), "busybox:test")
    return "busybox:test"


def imported(engine: str, text: str, *args: str) -> tuple[dict[str, Any], list[str]]:
    """Return the drop-in and what was told."""
    run = runtimectl("import", engine, "-", *args, input=text)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout), run.stderr.splitlines()


def config_of(*words: str, file: Path | None = None) -> str:
    """Return what ``containerd config`` prints."""
    command = ["containerd", *(() if file is None else ("--config", str(file))), "config", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_S).stdout


def dumped(file: Path) -> dict[str, Any]:
    """Return the CRI plugin's section as containerd has read it from ``file``."""
    return dict(tomllib.loads(config_of("dump", file=file))["plugins"][CRI])


def test_dockerd_lists_and_runs_what_is_exported_for_it(daemon: RunningDaemon) -> None:
    with running_dockerd(exported(daemon, "docker")) as dockerd:
        runtimes = info(dockerd, ".Runtimes")
        assert runtimes["wrapped"]["path"] == f"{daemon.data}/runtimes/wrapped"
        assert runtimes["a/b c"]["path"] == f"{daemon.data}/runtimes/a%2fb%20c"
        assert info(dockerd, ".DefaultRuntime") == "wrapped"
        image = import_busybox(dockerd)
        run = ("run", "--rm", "--network", "none")
        # Its exit status tells that it ran: dockerd waits only so long for its output.
        ends = ("/bin/busybox", "sh", "-c", "exit 42")
        docker(dockerd, *run, "--runtime", "a/b c", image, *ends, status=42)
        assert noted(daemon) == set()
        # The default one, and by its name.
        docker(dockerd, *run, image, *ends, status=42)
        assert noted(daemon) == {"first words"}
        # dockerd was told a path that stays: what it runs from now on is what the table says from now on.
        configure(daemon, "other words")
        assert daemon.reload()["outcome"] in ("applied", "unchanged")
        (daemon.root / "noted").unlink()
        docker(dockerd, *run, "--runtime", "wrapped", image, *ends, status=42)
        assert noted(daemon) == {"other words"}


def test_dockerds_own_file_comes_in_and_means_what_dockerd_makes_of_it(daemon: RunningDaemon) -> None:
    noting = str(daemon.root / "noting")
    written = {"x": {"path": noting, "runtimeArgs": ["'split'  --version"]}, "y": {"path": "/usr/bin/crun", "note": 1}}
    document = {"runtimes": written, "log-level": "warn", "max-concurrent-downloads": 2}
    with running_dockerd(document) as dockerd:
        # It is content with all of this, and its wrapper says what its shell makes of it.
        wrapper = next(path for path in (dockerd.root / "data/runtimes").rglob("x*") if path.is_file())
        subprocess.run([str(wrapper), "create"], check=True, capture_output=True)
        assert noted(daemon) == {"split"}
        assert info(dockerd, ".Runtimes")["y"]["path"] == "/usr/bin/crun"
    dropin, remarks = imported("docker", json.dumps(document))
    assert dropin["runtimes"] == {
        "x": {"path": noting, "runtimeArgs": ["split", "--version"]},
        "y": {"path": "/usr/bin/crun"},
    }
    assert len(remarks) == 4
    daemon.write(dropin)
    assert daemon.reload()["outcome"] in ("applied", "unchanged")
    (daemon.root / "noted").unlink()
    subprocess.run([f"{daemon.data}/runtimes/x", "create"], check=True, capture_output=True)
    assert noted(daemon) == {"split"}


def test_containerd_reads_what_is_exported_for_it_by_imports(daemon: RunningDaemon) -> None:
    dropin, main = daemon.root / "runtimed.toml", daemon.root / "config.toml"
    dropin.write_text(exported(daemon, "containerd"))
    main.write_text(f'version = 2\nimports = ["{dropin}"]\n')
    containerd = dumped(main)["containerd"]
    assert containerd["default_runtime_name"] == "wrapped"
    assert containerd["runtimes"].keys() == {"wrapped", "a/b c", "kata", "runc"}
    wrapped, kata = containerd["runtimes"]["wrapped"], containerd["runtimes"]["kata"]
    assert (wrapped["runtime_type"], wrapped["options"]["BinaryName"]) == (RUNC, f"{daemon.data}/runtimes/wrapped")
    assert (kata["runtime_type"], kata["options"]["ConfigPath"]) == ("io.containerd.kata.v2", "/etc/kata.toml")
    # What it has read, with all that it wrote out besides, comes in again and means the same.
    text = config_of("dump", file=main)
    back, _ = imported("containerd", text)
    assert back["default-runtime"] == "wrapped"
    stable = {name: back["runtimes"][name]["options"]["BinaryName"] for name in ("wrapped", "a/b c")}
    assert stable == {"wrapped": f"{daemon.data}/runtimes/wrapped", "a/b c": f"{daemon.data}/runtimes/a%2fb%20c"}
    kata_before = daemon.resolve("kata")["options"]
    # This daemon refuses its stable paths, which would lead to themselves.
    daemon.write(back)
    assert "a stable path of runtimed itself" in daemon.reload()["problems"][0]["message"]
    daemon.write({"runtimes": {"kata": back["runtimes"]["kata"]}})
    assert daemon.reload()["outcome"] in ("applied", "unchanged")
    assert daemon.resolve("kata")["options"] == kata_before


def test_an_import_replaces_the_section_as_the_note_says(daemon: RunningDaemon) -> None:
    # If this fails, a containerd of version 1 merges now, and the note can go.
    dropin, main = daemon.root / "runtimed.toml", daemon.root / "config.toml"
    dropin.write_text(exported(daemon, "containerd"))
    main.write_text(f'imports = ["{dropin}"]\n{DEBIAN}')
    assert dumped(main)["cni"]["bin_dir"] != "/usr/lib/cni"
    # The way out that the note names: the same tables in the main file.
    main.write_text(DEBIAN + dropin.read_text().replace("version = 2\n", ""))
    assert dumped(main)["cni"]["bin_dir"] == "/usr/lib/cni"
    assert "wrapped" in dumped(main)["containerd"]["runtimes"]


def test_containerds_cri_plugin_runs_what_is_exported_for_it(daemon: RunningDaemon) -> None:
    with running_cri(daemon.root / "c", exported(daemon, "containerd")) as cri:
        for handler in ("wrapped", ""):
            pod = cri.run_pod(handler)
            assert noted(daemon) == {"first words"}
            cri.remove_pod(pod)
            (daemon.root / "noted").unlink()
        # containerd was told a path that stays: what it runs from now on is what the table says from now on.
        configure(daemon, "other words")
        assert daemon.reload()["outcome"] in ("applied", "unchanged")
        cri.remove_pod(cri.run_pod("wrapped"))
        assert noted(daemon) == {"other words"}
        with pytest.raises(grpc.RpcError, match='no runtime for "nosuch" is configured'):
            cri.run_pod("nosuch")


def test_containerds_default_configuration_comes_in_and_goes_out_again(daemon: RunningDaemon) -> None:
    dropin, remarks = imported("containerd", config_of("default"))
    assert dropin == {"exec-opts": ["native.cgroupdriver=cgroupfs"], "default-runtime": "runc"}
    # One is of runc; the others are of what stands around the runtimes, which differs from one version to the next.
    assert sum("is the stock runc with native.cgroupdriver=cgroupfs" in remark for remark in remarks) == 1
    assert len(remarks) < 10
    daemon.write(dropin)
    assert daemon.reload()["outcome"] in ("applied", "unchanged")
    main = daemon.root / "config.toml"
    main.write_text(exported(daemon, "containerd"))
    containerd = dumped(main)["containerd"]
    assert (containerd["default_runtime_name"], list(containerd["runtimes"])) == ("runc", ["runc"])
    assert imported("containerd", main.read_text())[0] == dropin


def test_debians_containerd_configuration_imports_without_runtimes() -> None:
    dropin, remarks = imported("containerd", DEBIAN)
    assert dropin == {}
    assert len(remarks) == 1
    installed = Path("/etc/containerd/config.toml")
    # Whoever has changed it has another one; Debian's is what this test knows.
    assert not installed.exists() or imported("containerd", installed.read_text())
