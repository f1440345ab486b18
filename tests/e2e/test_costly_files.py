"""A daemon with 1 GB of memory, and configuration files that are made to cost more."""

from __future__ import annotations

import json

import pytest
from harness.costly_files import CASES
from harness.daemon import new_daemon, put

GOOD = {"runtimes": {"w": {"path": "/bin/sh", "runtimeArgs": ["-e"]}}}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", ["wrong arguments", "empty objects", "engines"])
def test_a_costly_file_is_refused_also_after_a_restart(case: str) -> None:
    with new_daemon(command=["prlimit", f"--as={1 << 30}"]) as daemon:
        daemon.write(GOOD)
        daemon.start()
        before = daemon.ask("GET", "/v1/resolve?runtime=w")
        # By one rename: a part of the file is another one, and is read as well.
        put(daemon.config, CASES[case]())
        status, report = daemon.ask("POST", "/v1/reload")
        assert status == 422
        assert len(report["problems"]) <= 1000
        assert report["problem_count"] >= len(report["problems"])
        assert daemon.ask("GET", "/v1/resolve?runtime=w") == before
        daemon.stop()
        daemon.start()
        assert daemon.ask("GET", "/v1/resolve?runtime=w") == before
        health = daemon.status()["health"]
        assert health["status"] == "degraded"
        assert len(json.dumps(health)) < 10_000
