"""A dockerd of one's own, as a peer: below a directory, without network, and gone afterwards."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from harness.daemon import UnixConnection, wait_until
from load import on_server_cpu


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

    def reload_ms(self, document: object) -> float:
        """Return how long it takes from SIGHUP to its reload event, with ``document`` as its configuration."""
        with socket.socket(socket.AF_UNIX) as events:
            events.settimeout(60)
            events.connect(str(self.socket))
            events.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
            data = events.recv(4096)
            while b"\r\n\r\n" not in data:
                data += events.recv(4096)
            self.config.write_text(json.dumps(document))
            begun_s = time.perf_counter()
            self.process.send_signal(signal.SIGHUP)
            # Its event is one line, which holds all runtimes and may be long.
            while b'"Action":"reload"' not in data:
                data += events.recv(1 << 20)
            return (time.perf_counter() - begun_s) * 1000


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
        dockerd.process.wait(30)
