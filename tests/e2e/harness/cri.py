"""A real containerd with its CRI plugin, and pods that it really runs: what a kubelet would ask for, without one.

There is no crictl in Debian 12, and the few messages that are needed are short: they are put together here.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
from harness.daemon import PATIENCE_S, wait_until

PROGRAMS = ("containerd", "containerd-shim-runc-v2", "ctr", "runc", "busybox", "unshare")
SANDBOX_IMAGE = "registry.k8s.io/pause:test"
# A mount namespace of its own, with one kind of cgroups.
_PRIVATE = 'if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi; exec "$@"'
# NamespaceMode.NODE of k8s.io/cri-api: the pod is on the node's network, so nobody has to make it one.
_NODE = 2
# uname's word -> that of an image.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class RunningCri:
    """A containerd below ``root`` (a short path) that has the tables in ``exported``, and a sandbox image."""

    def __init__(self, root: Path, exported: str, enter: Sequence[str] = ()) -> None:
        self.root = root
        # The words before a program that runs in another namespace; none: containerd gets a new one.
        self.enter = list(enter)
        self.address = f"{root}/c.sock"
        self.log_file = root / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        # Pod -> what it was made with.
        self._pods: dict[str, bytes] = {}
        head = f'version = 2\nroot = "{root}/root"\nstate = "{root}/state"\n'
        head += 'disabled_plugins = ["io.containerd.internal.v1.opt"]\n'
        # Where these tests run, root may not be allowed to make a process safer from the kernel's OOM killer.
        head += '[plugins."io.containerd.grpc.v1.cri"]\nrestrict_oom_score_adj = true\n'
        head += f'sandbox_image = "{SANDBOX_IMAGE}"\n'
        tables = exported.removeprefix("version = 2\n")
        (root / "config.toml").write_text(f'{head}{tables}\n[grpc]\naddress = "{self.address}"\n')

    def start(self) -> RunningCri:
        """Start it and wait until it answers; its CRI plugin has to be there."""
        command = self.enter or ["unshare", "--mount", "--propagation", "private", "sh", "-c", _PRIVATE, "sh"]
        command = [*command, "containerd", "--config", f"{self.root}/config.toml"]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(lambda: self._answers() or self.process is None or self.process.poll() is not None, "an answer")
        listed = self.ctr("plugins", "ls", "id==cri")
        assert listed.split()[-1] == "ok", self.log_file.read_text()
        wait_until(self._serves_pods, "the CRI plugin")
        self._import_image()
        # It learns of the image by an event.
        wait_until(self._has_image, "the sandbox image")
        return self

    def stop(self) -> None:
        """Remove every pod, and stop it."""
        if self.process is not None and self.process.poll() is None:
            for identifier in list(self._pods):
                self.remove_pod(identifier)
            self.process.terminate()
            self.process.wait(PATIENCE_S)

    def ctr(self, *words: str, given: bytes | None = None) -> str:
        """Return what ``ctr`` prints."""
        command = [*self.enter, "ctr", "--address", self.address, "--namespace", "k8s.io", *words]
        return subprocess.run(command, check=True, capture_output=True, input=given, timeout=PATIENCE_S).stdout.decode()

    def run_pod(self, handler: str) -> str:
        """Start a pod, which is one container that sleeps, and return its id; ``handler`` is a RuntimeClass's."""
        name = f"pod{next(self._numbers)}".encode()
        metadata = _bytes(1, name) + _bytes(2, name) + _bytes(3, b"default")
        linux = _bytes(2, _bytes(1, bytes([1 << 3, _NODE])))
        config = _bytes(1, metadata) + _bytes(8, linux)
        # The answer is a message of one string: its tag, its length, itself.
        identifier = self._call("RunPodSandbox", _bytes(1, config) + _bytes(2, handler.encode()))[2:].decode()
        self._pods[identifier] = config
        return identifier

    def run_container(self, pod: str) -> str:
        """Start a container that sleeps in a pod, and return its id."""
        metadata = _bytes(1, f"container{next(self._numbers)}".encode())
        words = b"".join(_bytes(3, word) for word in (b"/bin/busybox", b"sleep", b"1000"))
        config = _bytes(1, metadata) + _bytes(2, _bytes(1, SANDBOX_IMAGE.encode())) + words
        request = _bytes(1, pod.encode()) + _bytes(2, config) + _bytes(3, self._pods[pod])
        identifier = self._call("CreateContainer", request)[2:].decode()
        self._call("StartContainer", _bytes(1, identifier.encode()))
        return identifier

    def exec(self, container: str) -> None:
        """See that a process is executed in a container: its exit status is returned."""
        words = b"".join(_bytes(2, word) for word in (b"/bin/busybox", b"sh", b"-c", b"exit 42"))
        # The third field: the exit status.
        assert self._call("ExecSync", _bytes(1, container.encode()) + words) == bytes([3 << 3, 42])

    def remove_container(self, container: str) -> None:
        """Stop a container by force, and remove it."""
        for method in ("StopContainer", "RemoveContainer"):
            self._call(method, _bytes(1, container.encode()))

    def remove_pod(self, identifier: str) -> None:
        """End a pod and remove it."""
        for method in ("StopPodSandbox", "RemovePodSandbox"):
            self._call(method, _bytes(1, identifier.encode()))
        del self._pods[identifier]

    def _call(self, method: str, request: bytes, service: str = "RuntimeService") -> bytes:
        with grpc.insecure_channel(f"unix://{self.address}") as channel:
            return bytes(channel.unary_unary(f"/runtime.v1.{service}/{method}")(request, timeout=PATIENCE_S))

    def _serves_pods(self) -> bool:
        """Return whether the CRI plugin is ready, which it is a moment after containerd answers."""
        try:
            self._call("ListPodSandbox", b"")
        except grpc.RpcError:
            return False
        return True

    def _has_image(self) -> bool:
        # The first field of an answer is the image, if there is one.
        request = _bytes(1, _bytes(1, SANDBOX_IMAGE.encode()))
        return self._call("ImageStatus", request, "ImageService").startswith(bytes([1 << 3 | 2]))

    def _answers(self) -> bool:
        command = [*self.enter, "ctr", "--address", self.address, "version"]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    def _import_image(self) -> None:
        """Give it an image of busybox alone under the name of the sandbox image."""
        layer, image = io.BytesIO(), io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as tar:
            tar.add(str(shutil.which("busybox")), "bin/busybox")
        digest = hashlib.sha256(layer.getvalue()).hexdigest()
        config = {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Entrypoint": ["/bin/busybox", "sleep", "1000"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
        manifest = [{"Config": "config.json", "RepoTags": [SANDBOX_IMAGE], "Layers": ["layer.tar"]}]
        files = {
            "config.json": json.dumps(config).encode(),
            "manifest.json": json.dumps(manifest).encode(),
            "layer.tar": layer.getvalue(),
        }
        with tarfile.open(fileobj=image, mode="w") as tar:
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        self.ctr("images", "import", "-", given=image.getvalue())


def _bytes(number: int, data: bytes) -> bytes:
    """Return field ``number`` of a protobuf message: a string, or a message within."""
    assert len(data) < 128 * 128, "its length takes two bytes at most"
    length = [len(data)] if len(data) < 128 else [len(data) & 127 | 128, len(data) >> 7]
    return bytes([number << 3 | 2, *length]) + data


@contextlib.contextmanager
def running_cri(root: Path, exported: str, enter: Sequence[str] = ()) -> Iterator[RunningCri]:
    """Yield a containerd that runs pods; at the end it is stopped, and every pod is gone.

    ``enter``: see `RunningCri`.
    """
    for program in PROGRAMS:
        assert shutil.which(program), f"install {program}"
    root.mkdir()
    cri = RunningCri(root, exported, enter)
    try:
        yield cri.start()
    except BaseException:
        print(f"containerd's log:\n{cri.log_file.read_text()}")  # noqa: T201 - for pytest to show
        raise
    finally:
        cri.stop()
