"""Containers that are started through a stable path by a runtime's command line, as an engine does it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from e2e.harness.engine_root import EngineRoot
from harness.daemon import PATIENCE_S, wait_until


class CommandLine:
    """Calls runtimes below ``directory``, each container with a bundle that is removed with it."""

    def __init__(self, root: EngineRoot, directory: Path, rootfs: Path) -> None:
        self._root = root
        self._directory = directory
        self._rootfs = rootfs
        # What runtimes are told by --root.
        self.states = directory / "states"

    def call(self, stable_path: Path, *words: str, status: int | None = 0) -> str:
        """Call the runtime at ``stable_path``, and return its output; its exit status must be ``status``."""
        command = [*self._root.enter, str(stable_path), "--root", str(self.states), *words]
        log = self._directory / "output"
        # A file, because a container keeps it open.
        with log.open("wb") as output:
            done = subprocess.run(
                command, check=False, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=PATIENCE_S
            )
        text = log.read_text(errors="replace")
        assert status is None or done.returncode == status, (command, done.returncode, text)
        return text

    def run(self, stable_path: Path, identifier: str, *, status: int = 0) -> None:
        """Start a container that sleeps; ``status`` is the exit status that is expected."""
        bundle = self._directory / f"bundle-{identifier}"
        bundle.mkdir(exist_ok=True)
        (bundle / "config.json").write_text(json.dumps(self._specification(identifier)))
        self.call(stable_path, "run", "--detach", "--bundle", str(bundle), identifier, status=status)

    def exec(self, stable_path: Path, identifier: str) -> None:
        """See that a process is executed in a running container."""
        self.call(stable_path, "exec", identifier, "/bin/busybox", "sh", "-c", "exit 42", status=42)

    def kill(self, stable_path: Path, identifier: str) -> None:
        """Kill a container and delete its state; the bundle stays."""
        self.call(stable_path, "kill", identifier, "KILL")
        wait_until(lambda: self._has_stopped(stable_path, identifier), f"the end of {identifier}")
        self.call(stable_path, "delete", identifier)

    def remove(self, stable_path: Path, identifier: str) -> None:
        """Kill a container, delete its state, remove its bundle."""
        self.kill(stable_path, identifier)
        shutil.rmtree(self._directory / f"bundle-{identifier}")

    def _has_stopped(self, stable_path: Path, identifier: str) -> bool:
        return bool(json.loads(self.call(stable_path, "state", identifier))["status"] == "stopped")

    def _specification(self, identifier: str) -> dict[str, Any]:
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": ["/bin/busybox", "sleep", "1000"],
                "env": ["PATH=/bin"],
                "cwd": "/",
            },
            "root": {"path": str(self._rootfs), "readonly": True},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {
                "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")],
                "cgroupsPath": f"/{identifier}",
            },
        }
