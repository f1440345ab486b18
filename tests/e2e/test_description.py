"""Whether a daemon is as it describes itself: schemathesis asks everything that the description allows, and more.

`RUNTIMED_TEST_EXAMPLES` makes it ask for longer, as many cases for each operation, and others every time.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from e2e.harness.relay import relay
from harness.daemon import RunningDaemon, new_daemon
from harness.description import close, find_path

EXAMPLES = os.environ.get("RUNTIMED_TEST_EXAMPLES")
# The same cases in every run, so that a run that fails is the fault of the change in it.
HOW_MUCH = ["--max-examples", EXAMPLES] if EXAMPLES else ["--max-examples", "30", "--generation-deterministic"]
SCHEMATHESIS = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"]
# All checks are on. One has to be told of a status: it takes whatever has the form that is described for something that
# must be accepted, but a name of the right form may mean nothing, which /v1/resolve answers with 400 as dockerd does
# (and not with 404, which it would take), and a digest alone means nothing either, which OpenAPI has no words for.
CONFIGURATION = """
[[operations]]
include-name = "GET /v1/resolve"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 404, 409]
"""


def start(daemon: RunningDaemon) -> None:
    """Start a daemon with two generations, in which the names and numbers of the description's examples mean something.

    Every binary is there: where one is missing 503 is the right answer, and to schemathesis any 5xx is a failure.
    """
    daemon.install("containerd-shim-kata-v2")
    daemon.write({"runtimes": {"gvisor": {"path": "/bin/sh", "runtimeArgs": ["-e"]}}})
    daemon.start()
    kata = {"runtimeType": "io.containerd.kata.v2", "options": {"ConfigPath": "/etc/kata.toml"}}
    daemon.write({"runtimes": {"gvisor": {"path": "/bin/sh", "runtimeArgs": ["-x"]}, "kata": kata}})
    daemon.reload()
    assert daemon.status()["generation"] == 2


async def run_schemathesis(directory: Path, url: str) -> tuple[int, str]:
    """Return its exit status and what it said, after at most the test's own time."""
    # Closed by a header, so that a stream has no chunks and may end anywhere.
    options = ["--checks", "all", "--header", "Connection: close", "--url", url, *HOW_MUCH]
    # How long anything takes on a busy machine says nothing.
    options += ["--request-timeout", "60", "--suppress-health-check", "too_slow"]
    command = [*SCHEMATHESIS, "--config-file", "schemathesis.toml", "run", "openapi.json", *options]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=directory, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode()


@pytest.mark.timeout(3600 if EXAMPLES else 600)
async def test_a_daemon_is_as_it_describes_itself(tmp_path: Path) -> None:
    with new_daemon() as daemon:
        start(daemon)
        document = close(daemon.get("/openapi.json")[1])
        (tmp_path / "openapi.json").write_text(json.dumps(document))
        (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
        async with relay(str(daemon.socket)) as way:
            status, said = await run_schemathesis(tmp_path, way.url)
        sys.stdout.write(said)
        assert status == 0, said
        asked = {
            (method.lower(), find_path(document, target.partition("?")[0]), answered)
            for method, target, answered in way.seen
        }
        operations = {(method, path) for path, methods in document["paths"].items() for method in methods}
        assert {(method, path) for method, path, answered in asked if answered == 200} >= operations
        assert {answered for _, _, answered in asked} >= {200, 400, 404, 405}
        assert [event for event in daemon.log() if event["event"] == "request.failed"] == []
        assert daemon.get("/healthz") == (200, {"status": "ok"})
