"""Binaries on a file system that hangs: every other answer goes on, and the daemon can be stopped."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from e2e.harness.hanging import hanging_directory, served_directory
from harness.daemon import RunningDaemon, new_daemon, wait_until

from runtimed.host.directory_pool import TIMEOUT_S

# A bound on a failing test.
PATIENCE_S = 60 * TIMEOUT_S
# A daemon that waits long for a file system: what waited for it as well would take this long.
LONG_S = 6.0
ANSWER_MOST_S = 0.75 * LONG_S
# Time in which the request for what hangs has certainly begun.
BEGUN_S = 1.0
PATIENT = f"""
import functools, sys
from runtimed import __main__
from runtimed.inspection import binaries
binaries.DirectoryPool = functools.partial(binaries.DirectoryPool, timeout_s={LONG_S})
sys.exit(__main__.main())
"""


def table(mount: Path) -> dict[str, Any]:
    hung = {f"hung{number}": {"path": f"{mount}/runtime{number}", "runtimeArgs": ["x"]} for number in range(100)}
    return {
        "runtimes": {
            **hung,
            "bare": {"path": f"{mount}/bare"},
            "shim": {"runtimeType": f"{mount}/containerd-shim-x-v2"},
            "well": {"path": "/bin/true", "runtimeArgs": ["x"]},
            "plain": {"path": "/bin/true"},
        },
        "default-runtime": "well",
    }


@pytest.fixture
def daemon(request: pytest.FixtureRequest) -> Iterator[RunningDaemon]:
    with new_daemon() as daemon, hanging_directory(daemon.root / "nfs") as end:
        daemon.program = list(getattr(request, "param", daemon.program))
        daemon.write(table(daemon.root / "nfs"))
        try:
            yield daemon.start()
        finally:
            daemon.kill()
            end()


def timed(daemon: RunningDaemon, path: str) -> tuple[float, int, Any]:
    begun_s = time.monotonic()
    status, body = daemon.get(path)
    return time.monotonic() - begun_s, status, body


@pytest.mark.timeout(400)
@pytest.mark.parametrize("daemon", [["-c", PATIENT]], indirect=True, ids=[""])
@pytest.mark.parametrize("name", ["hung0", "bare", "shim"])
def test_one_request_for_a_binary_that_hangs_stops_no_other_answer(daemon: RunningDaemon, name: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(daemon.get, f"/v1/resolve?runtime={name}")
        until_s = time.monotonic() + BEGUN_S
        while time.monotonic() < until_s:
            for path in (
                "/healthz",
                "/v1/resolve?runtime=well",
                "/v1/resolve?runtime=plain",
                "/v1/resolve?runtime=runc",
            ):
                took_s, status, _ = timed(daemon, path)
                assert (status, took_s < ANSWER_MOST_S) == (200, True), path
        status, body = asked.result(PATIENCE_S)
    assert (status, body["code"]) == (503, "runtime-unavailable")
    assert "its file system does not answer" in body["detail"]
    took_s, status, _ = timed(daemon, f"/v1/resolve?runtime={name}")
    assert (status, took_s < ANSWER_MOST_S) == (503, True), "it is known to hang"


@pytest.mark.timeout(400)
def test_requests_for_many_binaries_that_hang_take_few_threads(daemon: RunningDaemon) -> None:
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(daemon.get, f"/v1/resolve?runtime=hung{number % 100}") for number in range(400)]
        assert {each.result(PATIENCE_S)[0] for each in asked} == {503}
    assert daemon.get("/v1/resolve?runtime=well")[0] == 200
    assert len(list(Path(f"/proc/{daemon.pid}/task").iterdir())) < 40


@pytest.mark.timeout(400)
def test_list_explain_info_and_metrics_answer_while_binaries_hang(daemon: RunningDaemon) -> None:
    for path in ("/v1/runtimes", "/v1/runtimes/hung1", "/v1.44/info", "/v1/status", "/v1/runtimes"):
        took_s, status, body = timed(daemon, path)
        # A hundred that hang one after the other take longer.
        assert (status, took_s < PATIENCE_S) == (200, True), path
    by_name = {runtime["name"]: runtime for runtime in body["runtimes"]}
    assert by_name["well"]["available"]
    assert not by_name["hung1"]["available"]
    assert "does not answer" in by_name["hung1"]["reason"]
    wait_until(lambda: daemon.status()["unavailable"], "the look at the binaries")
    assert {each["runtime"] for each in daemon.status()["unavailable"]} >= {"bare", "shim", "hung99"}
    status, report = daemon.ask("POST", "/v1/reload")
    assert (status, report["unavailable_count"], report["runtime_count"]) == (200, 102, 106)


@pytest.mark.timeout(400)
def test_drift_is_found_when_another_binary_begins_to_hang_and_when_that_ends() -> None:
    with new_daemon() as daemon, served_directory(daemon.root / "nfs", {"far": b"#!/bin/sh\n"}) as files:
        daemon.drift_every_s = 0.2
        near = daemon.root / "near"
        near.write_text("#!/bin/sh\n")
        near.chmod(0o755)
        daemon.write({"runtimes": {"far": {"path": f"{daemon.root}/nfs/far"}, "near": {"path": str(near)}}})
        daemon.start()

        def drift() -> set[tuple[str, str]]:
            return {(each["binary"], each["kind"]) for each in daemon.status()["drift"]}

        def reasons() -> str:
            return str(daemon.status()["unavailable"])

        wait_until(lambda: "not executable" in reasons(), "the first look")
        files.hang()
        wait_until(lambda: "does not answer" in reasons(), "a look while the check hangs")
        near.unlink()
        wait_until(lambda: (str(near), "removed") in drift(), "drift while the check hangs")
        files.go_on()
        wait_until(lambda: "not executable" in reasons(), "a look after the check")
        near.write_text("#!/bin/sh\n")
        near.chmod(0o755)
        wait_until(lambda: (str(near), "replaced") in drift(), "drift after the check")


@pytest.mark.timeout(400)
def test_a_daemon_whose_binaries_hang_stops_all_the_same(daemon: RunningDaemon) -> None:
    with socket.socket(socket.AF_UNIX) as asker:
        asker.connect(str(daemon.socket))
        asker.sendall(b"GET /v1/resolve?runtime=hung0 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.1)
        # What waited for the file system would not come at all.
        assert daemon.stop(signal.SIGTERM) == 0
