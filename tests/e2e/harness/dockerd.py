"""A real dockerd and the real Docker CLIs of this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.daemon import UnixConnection, put, short_directory, wait_until

# Far beyond what a start takes on a busy machine.
PATIENCE_S = 120.0
# Whatever directories it is given, it leaves a key in the one and a place for plugins in the other, and takes the
# containerd that answers in the third instead of starting its own. The network that it may set up is its own as well.
# crun takes a hybrid hierarchy for a unified one; without the second mount it sees cgroup 1 only, as runc does.
_APART = (
    "if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi; "
    "for d in /etc/docker /run/docker /run/containerd; do mkdir -p $d && mount -t tmpfs none $d || exit; done; "
    'exec "$@"'
)
DEBIAN_CLI = "/usr/bin/docker"


def command_lines() -> list[str]:
    """Return the CLI of Debian's package, which must be here, and the one on PATH if that is another."""
    found = {os.path.realpath(path): path for path in (DEBIAN_CLI, shutil.which("docker")) if path is not None}
    return list(found.values())


def run_docker(
    cli: str, socket: Path, *arguments: str, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a Docker CLI on a socket, with nothing of whoever runs the tests, and return what it printed."""
    assert os.path.exists(cli), "install docker.io"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
    with short_directory() as config:
        return subprocess.run(
            [cli, "--config", str(config), "--host", f"unix://{socket}", *arguments],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE_S,
            env={**inherited, "LC_ALL": "C", **(environ or {})},
        )


class RunningDockerd:
    """A dockerd below ``root``, with a containerd of its own, without networks and images."""

    def __init__(self, root: Path, enter: Sequence[str] = ()) -> None:
        self.root = root
        # The words before a program that runs in another namespace; none: dockerd gets a new one.
        self.enter = list(enter)
        self.socket = root / "d.sock"
        self.config = root / "daemon.json"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, document: object) -> None:
        """Start with ``document`` as its daemon.json, and wait until it answers."""
        put(self.config, document)
        self.launch()

    def launch(self) -> None:
        """Start with the daemon.json that is there, and wait until it answers."""
        command = [
            *(self.enter or ("unshare", "--mount", "--net", "sh", "-c", _APART, "sh")),
            *("dockerd", "--config-file", str(self.config), "--pidfile", str(self.root / "pid")),
            *("--data-root", str(self.root / "data"), "--exec-root", str(self.root / "exec")),
            *("-H", f"unix://{self.socket}", "--storage-driver", "vfs", "--iptables=false", "--bridge=none"),
        ]
        with (self.root / "log").open("wb") as log:
            self.process = process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(lambda: self.answers() or process.poll() is not None, "dockerd to start", PATIENCE_S)
        assert process.poll() is None, (self.root / "log").read_text()

    def answers(self) -> bool:
        """Return whether it is ready."""
        connection = UnixConnection(str(self.socket))
        try:
            connection.request("GET", "/_ping")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def hang_up(self) -> None:
        """Have it read its configuration again."""
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """End it, and the containerd that it has started."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            with contextlib.suppress(OSError, ValueError):
                os.kill(int((self.root / "exec/containerd/containerd.pid").read_text()), signal.SIGKILL)


@contextlib.contextmanager
def running_dockerd(document: object, enter: Sequence[str] = ()) -> Iterator[RunningDockerd]:
    """Yield a dockerd whose daemon.json is ``document``; nothing of it is left at the end.

    ``enter``: see `RunningDockerd`.
    """
    assert shutil.which("dockerd"), "install docker.io"
    with short_directory() as root:
        dockerd = RunningDockerd(root, enter)
        try:
            dockerd.start(document)
            yield dockerd
        finally:
            dockerd.stop()
