"""Tests of the descriptor limit: the daemon raises it, and child processes get the old one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harness.daemon import new_daemon, wait_until

SCRIPT = """
import resource, sys, threading
from runtimed.daemon.main import run
from runtimed.host.process import raise_descriptor_limit
from runtimed.host.features.command import run_command
raise_descriptor_limit()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
print(run_command((sys.argv[1],), timeout_s=60, output_bytes=9999, stopped=threading.Event()).stdout.decode())
"""


def test_a_child_has_the_soft_limit_that_the_daemon_was_started_with(tmp_path: Path) -> None:
    binary = tmp_path / "runtime"
    # The limit is lowered when the process runs.
    binary.write_text("#!/bin/sh\nuntil [ $(ulimit -Sn) = 200 ]; do sleep 0.01; done\nulimit -Sn\nulimit -Hn\n")
    binary.chmod(0o700)
    command = ["prlimit", "--nofile=200:300", sys.executable, "-c", SCRIPT, str(binary)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert run.stdout.split() == ["300", "300", "200", "300"]


def test_a_daemon_raises_its_soft_limit_to_the_hard_limit() -> None:
    with new_daemon(["prlimit", "--nofile=200:2048"]) as daemon:
        daemon.write({})
        daemon.start()
        limits = Path(f"/proc/{daemon.pid}/limits").read_text()
        assert next(line for line in limits.splitlines() if line.startswith("Max open files")).split()[3:5] == [
            "2048",
            "2048",
        ]
        wait_until(lambda: daemon.status()["health"]["status"] == "ok", "health")
