"""A dockerd of one's own, as a peer: below a directory, without network, and gone afterwards."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.machine import on_server_cpu
from harness.daemon import UnixConnection, wait_until

_PATIENCE_S = 30


class Dockerd:
    """A running one; ``socket`` answers, ``config`` is its daemon.json."""

    def __init__(self, root: Path) -> None:
        self.config = root / "daemon.json"
        self.socket = root / "d.sock"
        self.config.write_text("{}")
        command = [
            *on_server_cpu(), "dockerd", f"--config-file={self.config}", f"--data-root={root}/data",
            f"--exec-root={root}/exec", f"--host=unix://{self.socket}", f"--pidfile={root}/pid",
            "--bridge=none", "--iptables=false", "--ip-forward=false", "--storage-driver=vfs",
        ]  # fmt: skip
        with (root / "log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    @property
    def version(self) -> str:
        """Which dockerd it is."""
        connection = UnixConnection(str(self.socket))
        connection.request("GET", "/version")
        return str(json.loads(connection.getresponse().read())["Version"])

    def answers(self) -> bool:
        """Return whether it is ready."""
        if self.process.poll() is not None:
            raise AssertionError("dockerd has ended; its log says why")
        try:
            connection = UnixConnection(str(self.socket))
            connection.request("GET", "/_ping")
            return connection.getresponse().status == 200
        except OSError:
            return False


@contextlib.contextmanager
def new_dockerd(root: Path) -> Iterator[Dockerd | None]:
    """Yield a dockerd that answers, None where there is no such program."""
    if shutil.which("dockerd") is None:
        yield None
        return
    root.mkdir()
    dockerd = Dockerd(root)
    try:
        wait_until(dockerd.answers, "dockerd answers")
        yield dockerd
    finally:
        dockerd.process.terminate()
        try:
            dockerd.process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            dockerd.process.kill()
            dockerd.process.wait()
