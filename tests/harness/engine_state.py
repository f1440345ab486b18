"""Makes directories that look like an engine and its processes, for tests of reference scans."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.daemon import short_directory, wait_until

from runtimed.core.collection.references import ReferenceScan
from runtimed.core.config import Engine
from runtimed.core.containerd.api import Container, ContainerdUnknown
from runtimed.core.containerd.options import RUNC, encode_options, make_options
from runtimed.host.containers import scan_references

SHIM = "io.containerd.runc.v2"
SHIM_BINARY = "/usr/bin/containerd-shim-runc-v2"
ROOT = "/data-root-of-a-test"
WRAPPER = f"{ROOT}/wrappers/gvisor-0123456789abcdef0123456789abcdef"


class EngineState:
    """A node below a directory: one engine, and a /proc with the processes that the test puts there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.engine = Engine(str(root / "c.sock"), str(root / "state"), str(root / "root"))
        self.tasks = root / "state/io.containerd.runtime.v2.task"
        self.proc = root / "proc"
        (self.proc / "1").mkdir(parents=True)
        (self.proc / "1/cmdline").write_bytes(b"/sbin/init\0")
        self.listed: list[Container] | None = []

    def bundle(self, name: str, namespace: str = "moby", **files: str | bytes) -> Path:
        """Make a bundle; ``files`` name their contents, "_" stands for "-" and "__" for "."."""
        bundle = self.tasks / namespace / name
        bundle.mkdir(parents=True)
        for file, content in files.items():
            path = bundle / file.replace("__", ".").replace("_", "-")
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return bundle

    def start_engine(self) -> None:
        """Make the files that a containerd makes at its start."""
        (self.root / "c.sock").touch()
        (self.root / "root/io.containerd.metadata.v1.bolt").mkdir(parents=True, exist_ok=True)
        self.tasks.mkdir(parents=True, exist_ok=True)

    def list(self, address: str) -> list[Container]:
        assert address == self.engine.address
        if self.listed is None:
            raise ContainerdUnknown(address, "does not answer")
        return self.listed

    def scan(self, proc: str | None = None) -> ReferenceScan:
        return scan_references(
            [self.engine],
            below=ROOT,
            list_containers=self.list,
            proc=proc or str(self.proc),
            root=str(self.root / "host"),
        )

    def found(self) -> set[tuple[str, str]]:
        """Return (path, holder) of every reference; there must be no fault."""
        result = self.scan()
        assert result.unknown == ()
        return {(reference.path, reference.holder) for reference in result.references}

    def unknown(self) -> str:
        """Return the faults; there must be one."""
        result = self.scan()
        assert result.unknown
        return "\n".join(result.unknown)


@contextlib.contextmanager
def new_node() -> Iterator[EngineState]:
    """Yield a node whose engine has started and has no containers."""
    with short_directory() as root:
        root.chmod(0o755)
        node = EngineState(root)
        node.start_engine()
        yield node


@contextlib.contextmanager
def ordinary_user() -> Iterator[None]:
    """Be an ordinary user for a while, because root may read every file."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@contextlib.contextmanager
def process(argv: Sequence[str], cwd: str | Path = "/") -> Iterator[int]:
    """Run a process that waits; its arguments begin with argv[0] and end with the rest of ``argv``."""
    command = [argv[0], "-c", "read x", *argv]
    child = subprocess.Popen(command, executable="/bin/sh", stdin=subprocess.PIPE, cwd=cwd)
    try:
        # For a moment after execve a process has no arguments yet.
        wait_until(Path(f"/proc/{child.pid}/cmdline").read_bytes, "the process has begun")
        yield child.pid
    finally:
        child.communicate()


def container(identifier: str, binary: str | None, namespace: str = "moby", shim: str = SHIM) -> Container:
    options = make_options(RUNC, {"binary_name": binary} if binary else {"root": "/r"})
    return Container(namespace, identifier, shim, RUNC, encode_options(options))
