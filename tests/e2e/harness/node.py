"""A node: a daemon and a containerd side by side, and containers that are started through the one's answers."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.harness.containerd import FOREVER, RunningContainerd, running_containerd
from e2e.harness.volumes import unmount
from harness.daemon import PATIENCE_S, RunningDaemon, UnixConnection, new_daemon

# The store retains this many generations at most; younger than an hour they go no other way.
GENERATIONS_MOST = 1000
# A node retains fewer, so that tests need fewer reloads until a generation is gone.
_NODE_GENERATIONS_MOST = 100
STOCK = ("runc", "io.containerd.runc.v2")


def any_of(answer: Mapping[str, Any]) -> tuple[str, bytes]:
    """Return type_url and value of the options in a resolution, exactly as they came; empty where it has none."""
    options = answer["options"]
    return (options["type_url"], base64.b64decode(options["value"])) if options is not None else ("", b"")


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection answered: wrapper file -> (verdict, reason), and what could not be known."""

    verdicts: Mapping[str, tuple[str, str]]
    unknown: Sequence[str]


class ContainerdNode:
    """A daemon that knows of a containerd, and the containers that are started through its answers."""

    def __init__(self, daemon: RunningDaemon, containerd: RunningContainerd, grace: str = "2s") -> None:
        self.daemon = daemon
        self.daemon.generations_most = _NODE_GENERATIONS_MOST
        self.containerd = containerd
        engine = containerd.engine
        self.own: dict[str, Any] = {
            "grace": grace,
            "retain": 1,
            "containerd": [{"address": engine.address, "state": engine.state, "root": engine.root}],
        }

    @property
    def wrappers(self) -> Path:
        return self.daemon.data / "wrappers"

    def files(self) -> set[str]:
        """Return the names of all wrapper files."""
        return {path.name for path in self.wrappers.iterdir()} if self.wrappers.exists() else set()

    def write(self, runtimes: Mapping[str, object], default: str = STOCK[0]) -> None:
        self.daemon.write({"runtimed": self.own, "runtimes": runtimes, "default-runtime": default})

    def configure(self, runtimes: Mapping[str, object], default: str = STOCK[0]) -> dict[str, Any]:
        """Write the table and reload; return the report."""
        self.write(runtimes, default)
        report = self.daemon.reload()
        assert report["outcome"] in ("applied", "unchanged"), report
        return report

    def create(self, answer: Mapping[str, Any], args: Sequence[str] = FOREVER) -> str:
        """Create a container just as ``answer`` says and return its id; it has no task yet."""
        return self.containerd.create_container(self.containerd.new_id(), *any_of(answer), answer["shim"], args)

    def run(self, answer: Mapping[str, Any], args: Sequence[str] = FOREVER) -> str:
        """Create and start a container just as ``answer`` says, and return its id."""
        return self.containerd.run(*any_of(answer), answer["shim"], args)

    def restart_task(self, identifier: str) -> None:
        """Kill and remove a container's task, and start it again."""
        self.containerd.kill(identifier)
        self.containerd.delete_task(identifier)
        self.containerd.start_task(identifier)

    def collect(self, timeout_s: float = 3 * PATIENCE_S) -> Collected:
        """Have wrappers collected. A scan takes a minute at most, and may have to wait for another one."""
        status, body = self._post("/v1/gc", timeout_s)
        assert status == 200, body
        verdicts = {one["file"]: (one["verdict"], one["reason"]) for one in body["wrappers"]}
        return Collected(verdicts, body["unknown"])

    def outlive(self, runtimes: Mapping[str, object]) -> None:
        """Reload until no generation is retained that is there now; ``runtimes`` is the table from now on."""
        last = now = self.configure(runtimes)["generation"]
        default = 0
        # Not counted: the watcher may have been first, and the answer to us be "unchanged".
        while now < last + _NODE_GENERATIONS_MOST:
            default = 1 - default
            now = self.configure(runtimes, STOCK[default])["generation"]
        retained = [one["generation"] for one in self.daemon.get("/v1/generations")[1]["generations"]]
        assert min(retained) > last
        assert len(retained) == _NODE_GENERATIONS_MOST

    def latencies_ms(self, during: Future[Any], least: int = 0) -> list[float]:
        """Return how long each of many resolutions of runc took while ``during`` was going on."""
        found: list[float] = []
        connection = UnixConnection(str(self.daemon.socket))
        with contextlib.closing(connection):
            while not during.done() or len(found) < least:
                begun = time.perf_counter()
                connection.request("GET", "/v1/resolve?runtime=runc")
                assert connection.getresponse().read().startswith(b'{"runtime":"runc"')
                found.append((time.perf_counter() - begun) * 1000)
                time.sleep(0.001)
        return found

    def _post(self, path: str, timeout_s: float) -> tuple[int, Any]:
        with contextlib.closing(UnixConnection(str(self.daemon.socket), timeout_s)) as connection:
            connection.request("POST", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())


@contextlib.contextmanager
def in_memory(directory: Path) -> Iterator[None]:
    """Make ``directory`` one that forgets, for tests that write generations by the thousand and pull no plug."""
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "none", str(directory)], check=True)
    try:
        yield
    finally:
        unmount(directory)


@contextlib.contextmanager
def new_node(command: Sequence[str] = (), grace: str = "2s") -> Iterator[ContainerdNode]:
    """Yield a node whose containerd is running and whose daemon is not yet; at the end nothing of it is left."""
    with new_daemon(command) as daemon, in_memory(daemon.data), running_containerd() as containerd:
        try:
            yield ContainerdNode(daemon, containerd, grace)
            if not daemon.has_ended():
                assert daemon.stop() == 0
        finally:
            daemon.kill()
