"""A real dockerd with a configuration of its own, and containers that it really runs."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support import PATIENCE_S, wait_until

PROGRAMS = ("dockerd", "docker", "containerd", "runc", "busybox", "unshare")
# A mount namespace of its own, with one kind of cgroups, without the system's containerd, because dockerd starts one
# of its own where it finds none, and with a place for the key that it writes to /etc/docker.
_PRIVATE = (
    "if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi; "
    "for directory in /run/containerd /etc/docker; do mkdir -p $directory; mount -t tmpfs none $directory; done; "
    'exec "$@"'
)
_OFF = ("--iptables=false", "--ip-forward=false", "--bridge=none", "--storage-driver=vfs")


class DockerEngine:
    """A dockerd below ``root`` (a short path) that reads ``config``."""

    def __init__(self, root: Path, config: Path) -> None:
        self.root = root
        self.config = config
        self.socket = f"unix://{root}/d.sock"
        self.log_file = root / "dockerd.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> DockerEngine:
        """Start it and wait until it answers."""
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _PRIVATE, "sh"]
        command += ["dockerd", "--config-file", str(self.config), "--host", self.socket, *_OFF]
        command += ["--data-root", f"{self.root}/docker", "--exec-root", f"{self.root}/exec"]
        command += ["--pidfile", f"{self.root}/pid"]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(lambda: self._answers() or self._ended(), "dockerd answers")
        assert not self._ended(), self.log_file.read_text()
        return self

    def stop(self) -> None:
        """Remove every container, and stop it and the containerd that it started."""
        if self.process is None or self.process.poll() is not None:
            return
        try:
            if containers := self.docker("ps", "--all", "--quiet").split():
                self.docker("rm", "--force", *containers)
        finally:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE_S)

    def docker(self, *words: str) -> str:
        """Return what ``docker`` prints."""
        command = ["docker", "--host", self.socket, *words]
        done = subprocess.run(command, check=False, capture_output=True, timeout=PATIENCE_S)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.decode()

    def info(self, template: str) -> Any:
        return json.loads(self.docker("info", "--format", f"{{{{json {template}}}}}"))

    def import_busybox(self) -> str:
        """Make an image of busybox alone, and return its name."""
        busybox = shutil.which("busybox")
        assert busybox is not None
        archive = self.root / "image.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(busybox, "bin/busybox")
        self.docker("import", str(archive), "busybox:test")
        return "busybox:test"

    def _answers(self) -> bool:
        command = ["docker", "--host", self.socket, "version"]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    def _ended(self) -> bool:
        return self.process is None or self.process.poll() is not None


@contextlib.contextmanager
def running_engine(root: Path, config: Path) -> Iterator[DockerEngine]:
    """Yield a dockerd that answers; at the end it is stopped."""
    for program in PROGRAMS:
        assert shutil.which(program), f"install {program}"
    root.mkdir()
    dockerd = DockerEngine(root, config)
    try:
        yield dockerd.start()
    except BaseException:
        print(f"dockerd's log:\n{dockerd.log_file.read_text()}")  # noqa: T201 - for pytest to show
        raise
    finally:
        dockerd.stop()
