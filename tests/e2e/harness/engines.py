"""Engines that start containers through a stable path: containerd, its CRI plugin, dockerd, podman."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType

from e2e.harness.containerd import RUNC_OPTIONS, RunningContainerd, running_containerd
from e2e.harness.cri import RunningCri, running_cri
from e2e.harness.dockerd import RunningDockerd, running_dockerd
from e2e.harness.engine_root import EngineRoot
from harness.daemon import short_directory, wait_until

from runtimed.core.containerd.options import RUNC, encode_options, make_options

_CRI = 'plugins."io.containerd.grpc.v1.cri".containerd.runtimes'
# Its exit status tells that a process was executed: on a busy machine an engine may lose its output.
_EXIT_42 = ("/bin/busybox", "sh", "-c", "exit 42")
_SLEEP = ("/bin/busybox", "sleep", "1000")


class Engine(ABC):
    """An engine that has been given ``stable_path``, and that is not told of any change of the table."""

    # Whether it runs what it runs by gVisor's runtime without gVisor's shim.
    runs_gvisor = True

    def __init__(self, root: EngineRoot, stable_path: Path) -> None:
        self.root = root
        self.stable_path = stable_path

    @abstractmethod
    def run(self) -> str:
        """Start a container through the stable path and return its id."""

    @abstractmethod
    def exec(self, identifier: str) -> None:
        """See that a process is executed in a running container."""

    @abstractmethod
    def restart(self, identifier: str) -> str:
        """Stop a running container by force and start it again; return its id, which may be another one."""

    @abstractmethod
    def remove(self, identifier: str) -> None:
        """Kill a running container and delete it."""

    @property
    @abstractmethod
    def states(self) -> Sequence[str]:
        """The directories in which runtimes keep the states of this engine's containers."""

    def kind(self, identifier: str) -> str:
        """Return which runtime has the state of a container: runc, crun or runsc."""
        found = set()
        for directory in map(self.root.path, self.states):
            if (directory / identifier / "state.json").exists():
                found.add("runc")
            if (directory / identifier / "status").exists():
                found.add("crun")
            if list(directory.glob(f"{identifier}_sandbox:*")):
                found.add("runsc")
        assert len(found) == 1, (identifier, found)
        return found.pop()


class Containerd(Engine):
    """containerd by its API; a container's options name the stable path."""

    def __init__(self, root: EngineRoot, stable_path: Path, containerd: RunningContainerd) -> None:
        super().__init__(root, stable_path)
        self._containerd = containerd
        self._root = f"{containerd.root}/r"

    def run(self) -> str:
        options = make_options(RUNC, {"binary_name": str(self.stable_path), "root": self._root})
        return self._containerd.run(RUNC_OPTIONS, encode_options(options))

    def exec(self, identifier: str) -> None:
        words = ("tasks", "exec", "--exec-id", uuid.uuid4().hex, identifier)
        self._containerd.ctr(*words, "/bin/sh", "-c", "exit 42", status=42)

    def restart(self, identifier: str) -> str:
        self._containerd.kill(identifier)
        self._containerd.delete_task(identifier)
        self._containerd.start_task(identifier)
        return identifier

    def remove(self, identifier: str) -> None:
        self._containerd.remove(identifier)

    @property
    def states(self) -> Sequence[str]:
        return (f"{self._root}/default",)


class Cri(Engine):
    """containerd's CRI plugin: each container is in another pod; a RuntimeClass's handler names the stable path."""

    # runc's shim does not see the end of gVisor's pods.
    runs_gvisor = False

    def __init__(self, root: EngineRoot, stable_path: Path, cri: RunningCri) -> None:
        super().__init__(root, stable_path)
        self._cri = cri
        self._pods: dict[str, str] = {}

    def run(self) -> str:
        pod = self._cri.run_pod("w")
        container = self._cri.run_container(pod)
        self._pods[container] = pod
        return container

    def exec(self, identifier: str) -> None:
        self._cri.exec(identifier)

    def restart(self, identifier: str) -> str:
        # As a kubelet does it: another container in the same pod.
        self._cri.remove_container(identifier)
        pod = self._pods.pop(identifier)
        container = self._cri.run_container(pod)
        self._pods[container] = pod
        return container

    def remove(self, identifier: str) -> None:
        self._cri.remove_container(identifier)
        self._cri.remove_pod(self._pods.pop(identifier))

    @property
    def states(self) -> Sequence[str]:
        return ("/run/containerd/runc/k8s.io",)


class Docker(Engine):
    """dockerd; a runtime in its daemon.json names the stable path."""

    def __init__(self, root: EngineRoot, stable_path: Path, dockerd: RunningDockerd) -> None:
        super().__init__(root, stable_path)
        self._dockerd = dockerd
        image = dockerd.root / "image.tar"
        subprocess.run(["tar", "-C", str(build_rootfs(dockerd.root / "rootfs")), "-cf", str(image), "."], check=True)
        self._docker("import", str(image), "busybox:test")

    def run(self) -> str:
        return self._docker("run", "--detach", "--runtime", "w", "--network", "none", "busybox:test", *_SLEEP).strip()

    def exec(self, identifier: str) -> None:
        self._docker("exec", identifier, *_EXIT_42, status=42)

    def restart(self, identifier: str) -> str:
        self._docker("restart", "--time", "0", identifier)
        return identifier

    def remove(self, identifier: str) -> None:
        self._docker("kill", identifier)
        self._docker("wait", identifier)
        self._docker("rm", identifier)

    @property
    def states(self) -> Sequence[str]:
        return (f"{self._dockerd.root}/exec/runtime-runc/moby",)

    def _docker(self, *words: str, status: int = 0) -> str:
        return run(self.root, "docker", "--host", f"unix://{self._dockerd.socket}", *words, status=status)


class Podman(Engine):
    """podman, whose command line names the stable path; a container's later commands do not."""

    def __init__(self, root: EngineRoot, stable_path: Path, directory: Path) -> None:
        super().__init__(root, stable_path)
        self._options = [
            *("--root", f"{directory}/storage", "--runroot", f"{directory}/run", "--tmpdir", f"{directory}/tmp"),
            *("--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file"),
        ]
        self._rootfs = build_rootfs(directory / "rootfs")

    def run(self) -> str:
        # The limits that podman sets by itself are more than a container that runs these tests may set.
        limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
        words = ("run", "--detach", "--network", "none", *limits, "--rootfs", str(self._rootfs), *_SLEEP)
        return self._podman("--runtime", str(self.stable_path), *words).strip()

    def exec(self, identifier: str) -> None:
        self._podman("exec", identifier, *_EXIT_42, status=42)

    def restart(self, identifier: str) -> str:
        self._podman("stop", "--time", "0", identifier)
        # podman's clean-up after the stop may otherwise end what is started: seen with podman 5.8.
        wait_until(lambda: not _processes_of(identifier), "podman to clean up")
        self._podman("start", identifier)
        return identifier

    def remove(self, identifier: str) -> None:
        self._podman("kill", identifier)
        self._podman("wait", identifier)
        wait_until(lambda: not _processes_of(identifier), "podman to clean up")
        self._podman("rm", identifier)

    @property
    def states(self) -> Sequence[str]:
        return ("/run/runc", "/run/crun", "/run/runsc", "/run/w")

    def _podman(self, *words: str, status: int = 0) -> str:
        return run(self.root, "podman", *self._options, *words, status=status)


def run(root: EngineRoot, *words: str, status: int = 0) -> str:
    """Return what a program in the namespace prints; its exit status must be ``status``."""
    done = root.run(*words)
    assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
    return done.stdout


def _processes_of(identifier: str) -> list[str]:
    """Return the processes whose arguments name a container."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if identifier.encode() in (entry / "cmdline").read_bytes():
                found.append(entry.name)
    return found


def build_rootfs(directory: Path) -> Path:
    """Make a root file system of busybox alone, and return ``directory``."""
    (directory / "bin").mkdir(parents=True)
    for name in ("proc", "dev", "sys", "tmp", "etc"):
        (directory / name).mkdir()
    shutil.copy(str(shutil.which("busybox")), directory / "bin/busybox")
    return directory


@contextlib.contextmanager
def _containerd(root: EngineRoot, stable_path: Path) -> Iterator[Engine]:
    with running_containerd(root.enter) as containerd:
        yield Containerd(root, stable_path, containerd)


@contextlib.contextmanager
def _cri(root: EngineRoot, stable_path: Path) -> Iterator[Engine]:
    # The default one has to be there.
    handlers = "".join(f'[{_CRI}.{name}]\nruntime_type = "io.containerd.runc.v2"\n' for name in ("runc", "w"))
    handlers += f'[{_CRI}.w.options]\nBinaryName = "{stable_path}"\n'
    with short_directory() as directory, running_cri(directory / "c", handlers, root.enter) as cri:
        yield Cri(root, stable_path, cri)


@contextlib.contextmanager
def _docker(root: EngineRoot, stable_path: Path) -> Iterator[Engine]:
    with running_dockerd({"runtimes": {"w": {"path": str(stable_path)}}}, root.enter) as dockerd:
        yield Docker(root, stable_path, dockerd)


@contextlib.contextmanager
def _podman(root: EngineRoot, stable_path: Path) -> Iterator[Engine]:
    with short_directory() as directory:
        yield Podman(root, stable_path, directory)


# Each starts an engine that knows a stable path, in a namespace.
ENGINES: Mapping[str, Callable[[EngineRoot, Path], AbstractContextManager[Engine]]] = MappingProxyType(
    {"containerd": _containerd, "cri": _cri, "dockerd": _docker, "podman": _podman}
)
