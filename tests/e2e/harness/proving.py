"""A daemon with real and broken runtimes, and ``runtimectl test`` in a mount namespace with a private /run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.harness.broken_runtimes import CRUN, broken_runtimes
from e2e.harness.engine_root import EngineRoot, new_engine_root
from harness.daemon import PATIENCE_S, RunningDaemon, listing, new_daemon, put_executable, wait_until

from runtimed.host.proof.bundle import inspect_node, new_bundle

RUNC, RUNSC = "/usr/sbin/runc", "/usr/bin/runsc"
ID = re.compile(r"runtimed-test-[0-9a-f]{12}")
# The number of a processor in the header of a program (elf.h).
_AARCH64 = 183
ODD = ("-dash", "a/b?c=d&e%41+\N{LATIN SMALL LETTER E WITH ACUTE}", "two words", "new\nline", "$(reboot)")


@dataclass(frozen=True, slots=True)
class Proving:
    """The daemon, and the namespace in which runtimes are tested."""

    daemon: RunningDaemon
    root: EngineRoot

    def command(self, *args: str) -> list[str]:
        """Return the words that run ``runtimectl test`` in the namespace."""
        environ = [f"RUNTIMED_SOCKET={self.daemon.socket}", f"PYTHONPATH={Path(__file__).parents[3]}", "COLUMNS=0"]
        # Whatever has started the tests: a shell in the background ignores SIGINT, and nohup SIGHUP.
        environ[:0] = ["--default-signal=HUP", "--default-signal=INT"]
        return [*self.root.enter, "env", *environ, sys.executable, "-m", "runtimed.cli.ctl", "test", *args]

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run ``runtimectl test``."""
        return subprocess.run(self.command(*args), check=False, capture_output=True, text=True, timeout=3 * PATIENCE_S)

    def evidence(self, *args: str) -> tuple[dict[str, Any], int]:
        """Return the evidence of the test of one runtime, and the exit status."""
        run = self.run("--json", *args)
        assert run.stderr == "", run
        (found,) = json.loads(run.stdout)["tests"]
        return dict(found), run.returncode

    @contextlib.contextmanager
    def slow_test(self, name: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
        """Yield ``runtimectl test`` of a slow runtime when it is at the slow step, and the id of the test."""
        mark = self._mark(name)
        mark.unlink(missing_ok=True)
        with subprocess.Popen(self.command(name), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as tester:
            try:
                wait_until(lambda: mark.exists() or tester.poll() is not None, "the slow step")
                assert mark.exists(), tester.communicate()
                (identifier,) = self.bundles()
                yield tester, identifier
            finally:
                tester.kill()

    def end_slow_step(self, name: str) -> None:
        """Have the slow step end of a runtime whose slow step ends when its mark is removed."""
        self._mark(name).unlink()

    def _mark(self, name: str) -> Path:
        return self.daemon.root / "marks" / name

    def bundles(self) -> list[str]:
        """Return the ids of the tests that have a bundle."""
        return sorted(name for name in os.listdir(self.root.path("/run")) if ID.fullmatch(name))

    def listing(self) -> dict[str, list[str]]:
        """Return everything in the places that only this daemon and this namespace use."""
        exec_root = self.daemon.root / "run"
        return {
            "run": sorted(os.listdir(self.root.path("/run"))),
            "mounts": sorted(words[4] for words in self._mounts() if not _is_of_others(words[4], self.daemon.root)),
            "states": sorted(os.listdir(exec_root / "runtime-runc")),
            "pins": sorted(os.listdir(exec_root / "pins")),
            "processes": sorted(self._processes()),
        }

    def assert_unchanged(self, before: dict[str, list[str]]) -> None:
        """See that `listing` is what it was ``before``, as soon as the processes that were killed have ended."""
        with contextlib.suppress(AssertionError):
            wait_until(lambda: self.listing() == before, "an end of all processes")
        assert self.listing() == before

    def assert_no_traces(self, identifier: str) -> None:
        """See that a test has left nothing, as soon as the processes that were killed have ended."""
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not self.traces(identifier), "an end of all processes")
        assert self.traces(identifier) == []

    def traces(self, identifier: str) -> list[str]:
        """Return the control groups and processes of a test."""
        points = [words[4] for words in self._mounts() if words[words.index("-") + 1] in ("cgroup", "cgroup2")]
        found = self.root.run("find", *points, "-type", "d", "-name", f"*{identifier}*").stdout.splitlines()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdecimal() and identifier.encode() in (entry / "environ").read_bytes():
                    found.append(f"process {entry.name}")
        return found

    def _mounts(self) -> Iterator[list[str]]:
        lines = Path(f"/proc/{self.root.holder}/mountinfo").read_text().splitlines()
        return (line.split() for line in lines)

    def _processes(self) -> Iterator[str]:
        here = os.readlink(f"/proc/{self.root.holder}/ns/mnt")
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdecimal() and os.readlink(entry / "ns" / "mnt") == here:
                    yield entry.name


def _is_of_others(mount_point: str, root: Path) -> bool:
    """Return whether a mount may vanish with the directory of another test that runs at the same time."""
    return mount_point.startswith("/tmp/") and not mount_point.startswith(str(root))


@contextlib.contextmanager
def new_proving() -> Iterator[Proving]:
    """Yield a running daemon with real and broken runtimes."""
    with new_daemon() as daemon, new_engine_root() as root:
        made = root.run("mount", "-t", "tmpfs", "-o", "mode=0755", "none", "/run")
        assert made.returncode == 0, made
        # mount(8) makes it.
        root.path("/run/mount").mkdir()
        proving = Proving(daemon, root)
        _write(proving)
        daemon.start()
        try:
            yield proving
        finally:
            # This crun makes its control group also where the second version was mounted.
            root.run("sh", "-c", "rmdir /sys/fs/cgroup/unified/runtimed-test-*")


@contextlib.contextmanager
def production(proving: Proving) -> Iterator[Callable[[], object]]:
    """Yield a function that returns everything about a container that was started through a stable path before."""
    daemon, name = proving.daemon, f"production-{uuid.uuid4().hex[:8]}"
    bundle, pin = daemon.root / name, daemon.root / "run" / "pins" / name
    with new_bundle(inspect_node(), systemd_cgroup=False, directory=str(daemon.root)) as made:
        shutil.copytree(made.path, bundle, symlinks=True)
    config = json.loads((bundle / "config.json").read_text())
    config["root"]["path"], config["linux"]["cgroupsPath"] = str(bundle / "rootfs"), f"/{name}"
    config["process"].update(args=["/bin/sleep", "1000"], env=["PATH=/usr/bin:/bin"])
    (bundle / "config.json").write_text(json.dumps(config))
    state = daemon.root / "run" / "runtime-runc" / "moby"
    runtime = [str(daemon.data / "runtimes" / "crun"), "--root", str(state)]
    # Its process must not hold a pipe of this one open.
    quiet = ("sh", "-c", 'exec "$@" >/dev/null 2>&1', "sh")
    started = proving.root.run(*quiet, *runtime, "run", "-d", "-b", str(bundle), name)
    assert started.returncode == 0, started

    def observe() -> object:
        found = json.loads(proving.root.run(*runtime, "state", name).stdout)
        proc = Path("/proc") / str(found["pid"])
        fields = (proc / "stat").read_text().rpartition(")")[2].split()
        files = [(proc / each).read_bytes() for each in ("cgroup", "mountinfo", "environ")]
        # Its state, its parent and the time of its start.
        return found, fields[:2], fields[19], files, pin.read_bytes(), listing(state), listing(bundle)

    try:
        yield observe
    finally:
        proving.root.run(*runtime, "delete", "--force", name)
        pin.unlink(missing_ok=True)
        shutil.rmtree(state)


def _write(proving: Proving) -> None:
    daemon = proving.daemon
    programs = daemon.root / "runtimes"
    runtimes: dict[str, dict[str, Any]] = {
        "crun": {"path": CRUN},
        "runc-with-arguments": {"path": RUNC, "runtimeArgs": ["--rootless", "false"]},
        "gvisor": {"path": RUNSC, "runtimeArgs": ["--network=none", "--ignore-cgroups"]},
        "by-shim": {"runtimeType": "io.containerd.runc.v2", "options": {"BinaryName": CRUN}},
        "kata": {"runtimeType": "io.containerd.kata.v2"},
        "missing": {"path": str(programs / "missing")},
        **{name: {"path": CRUN, "runtimeArgs": ["--log-format", "text"]} for name in ODD},
    }
    (daemon.root / "marks").mkdir()
    for name, text in broken_runtimes(str(daemon.root / "marks")).items():
        runtimes[name] = {"path": str(put_executable(programs / name, text))}
    foreign = programs / "other-processor"
    program = bytearray(Path(CRUN).read_bytes())
    program[18:20] = _AARCH64.to_bytes(2, "little")
    foreign.write_bytes(program)
    foreign.chmod(0o755)
    runtimes["other-processor"] = {"path": str(foreign)}
    nowhere = str(daemon.root / "nowhere")
    containerd = [{"address": f"{nowhere}/c.sock", "state": nowhere, "root": nowhere}]
    # Probes would find out about some of them before.
    daemon.write({"runtimed": {"containerd": containerd, "probe": {"enabled": False}}, "runtimes": runtimes})
    (daemon.root / "run" / "runtime-runc").mkdir(parents=True)
