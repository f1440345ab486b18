"""A real containerd with containers that really run, for tests that ask about them and do things to them."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
from harness.daemon import PATIENCE_S, short_directory, wait_until

from runtimed.core.config import Engine
from runtimed.core.containerd.api import new_message

SHIM = "io.containerd.runc.v2"
RUNC_OPTIONS = "containerd.runc.v1.Options"
# How containerd names the OCI specification of a container, which is JSON in an Any.
SPEC = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
FOREVER = ("/bin/sleep", "1000")
PROGRAMS = ("containerd", "containerd-shim-runc-v2", "ctr", "runc", "crun", "runsc", "busybox", "unshare")

# crun and runsc take a hybrid hierarchy for a unified one; without the second mount they see cgroup 1 only.
_PRIVATE = 'if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi; exec "$@"'
_PLUGINS_OFF = ("grpc.v1.cri", "internal.v1.opt", *(f"snapshotter.v1.{kind}" for kind in ("aufs", "btrfs", "zfs")))


class RunningContainerd:
    """A containerd below ``root`` (a short path), in a mount namespace of its own, started and stopped at will.

    Ids of containers must be unique on the machine unless the options name a runc root: where they do not,
    it is ``/run/containerd/runc/<namespace>`` for every containerd. ``new_id`` makes such ids.
    """

    def __init__(self, root: Path, enter: Sequence[str] = ()) -> None:
        self.root = root
        # The words before a program that runs in another namespace; none: containerd gets a new one.
        self.enter = list(enter)
        self.address = str(root / "c.sock")
        self.state = root / "state"
        self.engine = Engine(self.address, str(self.state), str(root / "root"))
        self.tasks = self.state / "io.containerd.runtime.v2.task"
        self.rootfs = root / "rootfs"
        # First on its PATH: shims and runtimes that only this containerd has.
        self.programs = root / "bin"
        self.log_file = root / "containerd.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)

    def start(self) -> RunningContainerd:
        """Start it and wait until it answers; again after a stop, with what it had."""
        config = self.root / "config.toml"
        off = ", ".join(f'"io.containerd.{name}"' for name in _PLUGINS_OFF)
        lines = ["version = 2", f'root = "{self.root}/root"', f'state = "{self.state}"', f"disabled_plugins = [{off}]"]
        config.write_text("\n".join([*lines, "[grpc]", f'address = "{self.address}"', ""]))
        command = self.enter or ["unshare", "--mount", "--propagation", "private", "sh", "-c", _PRIVATE, "sh"]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "containerd", "--config", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PATH": f"{self.programs}:{os.environ['PATH']}"},
            )
        wait_until(lambda: self._answers() or self._ended(), "containerd answers")
        assert not self._ended(), self.log_file.read_text()
        return self

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop containerd alone: its shims and containers go on, as they do when it is restarted."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(number)
            self.process.wait(PATIENCE_S)
            self.process = None

    def clean(self) -> None:
        """Remove every container, stop, and see that nothing is left."""
        try:
            if self._ended():
                self.start()
            for namespace in self.ctr("namespaces", "ls", "-q").split():
                for identifier in self.ctr("containers", "ls", "-q", namespace=namespace).split():
                    self.remove(identifier, namespace=namespace)
        finally:
            self.stop()
            # Shims whose tasks were deleted a moment ago are just ending.
            with contextlib.suppress(AssertionError):
                wait_until(lambda: not self._processes(), "an end of all shims")
            left = self._processes()
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        assert not left, f"processes were left: {left}"
        assert str(self.root) not in Path("/proc/self/mounts").read_text()

    def new_id(self) -> str:
        """Return an id that no container on this machine has."""
        return f"t{next(self._numbers)}-{uuid.uuid4().hex[:12]}"

    def ctr(self, *words: str, namespace: str = "default", status: int = 0) -> str:
        """Return what ``ctr`` prints; its exit status must be ``status``."""
        command = [*self.enter, "ctr", "--address", self.address, "--namespace", namespace, *words]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == status, (command, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def create_container(
        self,
        identifier: str,
        type_url: str,
        value: bytes,
        shim: str = SHIM,
        args: Sequence[str] = FOREVER,
        *,
        namespace: str = "default",
    ) -> str:
        """Create a container over the gRPC API, its options exactly ``type_url`` and ``value``; return its id.

        No options message at all where ``type_url`` is empty. The container has no task yet.
        """
        request = new_message("ContainerMessage")
        request.container.id = identifier
        request.container.runtime.name = shim
        if type_url:
            request.container.runtime.options.type_url = type_url
            request.container.runtime.options.value = value
        request.container.spec.type_url = SPEC
        request.container.spec.value = json.dumps(self._spec(identifier, args)).encode()
        method = "/containerd.services.containers.v1.Containers/Create"
        with grpc.insecure_channel(f"unix://{self.address}") as channel:
            header = (("containerd-namespace", namespace),)
            channel.unary_unary(method)(request.SerializeToString(), timeout=PATIENCE_S, metadata=header)
        return identifier

    def start_task(self, identifier: str, *, namespace: str = "default") -> None:
        """Start a container that has no task."""
        self.ctr("tasks", "start", "--null-io", "--detach", identifier, namespace=namespace)

    def run(
        self,
        type_url: str,
        value: bytes,
        shim: str = SHIM,
        args: Sequence[str] = FOREVER,
        *,
        namespace: str = "default",
    ) -> str:
        """Create and start a container with a new id, and return it."""
        identifier = self.create_container(self.new_id(), type_url, value, shim, args, namespace=namespace)
        self.start_task(identifier, namespace=namespace)
        return identifier

    def exec(self, identifier: str, *args: str, namespace: str = "default") -> str:
        """Return what a further process in a running container prints."""
        name = uuid.uuid4().hex[:8]
        return self.ctr("tasks", "exec", "--exec-id", name, identifier, *args, namespace=namespace)

    def kill(self, identifier: str, *, namespace: str = "default") -> None:
        """Kill a running container, and wait until its task has stopped; the task is still there."""
        self.ctr("tasks", "kill", "--signal", "KILL", identifier, namespace=namespace)
        self.wait_for_status(identifier, "STOPPED", namespace=namespace)

    def delete_task(self, identifier: str, *, namespace: str = "default") -> None:
        """Delete a stopped task; the container is still there."""
        self.ctr("tasks", "rm", identifier, namespace=namespace)
        assert not (self.tasks / namespace / identifier).exists()

    def delete(self, identifier: str, *, namespace: str = "default") -> None:
        """Delete a container that has no task."""
        self.ctr("containers", "rm", identifier, namespace=namespace)

    def remove(self, identifier: str, *, namespace: str = "default") -> None:
        """Delete a container in whatever state it is."""
        if status := self.status(identifier, namespace=namespace):
            if status != "STOPPED":
                self.kill(identifier, namespace=namespace)
            self.delete_task(identifier, namespace=namespace)
        self.delete(identifier, namespace=namespace)

    def status(self, identifier: str, *, namespace: str = "default") -> str | None:
        """Return the status of a container's task (RUNNING, STOPPED, ...), None where it has none."""
        rows = (line.split() for line in self.ctr("tasks", "ls", namespace=namespace).splitlines()[1:])
        return next((row[-1] for row in rows if row[0] == identifier), None)

    def wait_for_status(self, identifier: str, status: str, *, namespace: str = "default") -> None:
        wait_until(lambda: self.status(identifier, namespace=namespace) == status, f"{identifier} is {status}")

    def containers_info(self, identifier: str, *, namespace: str = "default") -> dict[str, Any]:
        """Return what ``ctr containers info`` says: ["Runtime"]["Options"] is type_url and value, in base64."""
        return dict(json.loads(self.ctr("containers", "info", identifier, namespace=namespace)))

    def _spec(self, identifier: str, args: Sequence[str]) -> dict[str, Any]:
        capabilities = ["CAP_KILL", "CAP_NET_RAW"]
        process = {
            "user": {"uid": 0, "gid": 0},
            "args": list(args),
            "env": ["PATH=/bin"],
            "cwd": "/",
            "noNewPrivileges": True,
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
        }
        mounts = [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        ]
        namespaces = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")]
        return {
            "ociVersion": "1.0.2",
            "process": process,
            # Read-only, so that containers can share it.
            "root": {"path": str(self.rootfs), "readonly": True},
            "hostname": "test",
            "mounts": mounts,
            "linux": {"namespaces": namespaces, "cgroupsPath": f"/{identifier}"},
        }

    def build_rootfs(self) -> None:
        """Make a root file system of busybox alone."""
        (self.rootfs / "bin").mkdir(parents=True)
        for directory in ("proc", "dev", "sys", "tmp", "etc"):
            (self.rootfs / directory).mkdir()
        busybox = shutil.which("busybox")
        assert busybox is not None
        shutil.copy(busybox, self.rootfs / "bin/busybox")
        for name in ("sh", "sleep", "echo", "cat", "true"):
            (self.rootfs / "bin" / name).symlink_to("busybox")

    def _answers(self) -> bool:
        command = [*self.enter, "ctr", "--address", self.address, "version"]
        done = subprocess.run(command, check=False, capture_output=True)
        return done.returncode == 0

    def _ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def _processes(self) -> list[int]:
        """Return the processes (shims, mostly) whose arguments name this directory."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    if f"{self.root}/".encode() in (entry / "cmdline").read_bytes():
                        found.append(int(entry.name))
        return found


@contextlib.contextmanager
def running_containerd(enter: Sequence[str] = ()) -> Iterator[RunningContainerd]:
    """Yield a containerd that answers; at the end nothing of it is left. ``enter``: see `RunningContainerd`."""
    assert os.geteuid() == 0, "these tests need root"
    for program in PROGRAMS:
        assert shutil.which(program), f"install {program}"
    with short_directory() as root:
        containerd = RunningContainerd(root, enter)
        containerd.build_rootfs()
        try:
            yield containerd.start()
        except BaseException:
            print(f"containerd's log:\n{containerd.log_file.read_text()}")  # noqa: T201 - for pytest to show
            raise
        finally:
            containerd.clean()
