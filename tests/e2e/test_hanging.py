"""A configuration, or a data root, on a file system that hangs: answers go on, and the daemon can be stopped.

Bounds are for a failing test; only the reading time-out itself is a time that is waited for.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e.harness.asking import asking
from e2e.harness.hanging import FuseDirectory, hanging_directory, served_directory
from harness.daemon import RunningDaemon, new_daemon, wait_until

from runtimed.daemon.configuration_reader import READ_TIMEOUT_S

TOO_LONG = "reading the configuration took longer than 5 s; is its file system there?"
# A daemon that waits for its configuration until it is stopped, however long the test takes for that.
PATIENT = """
import sys
from runtimed import __main__
from runtimed.daemon import configuration_reader
configuration_reader.READ_TIMEOUT_S = 3600.0
sys.exit(__main__.main())
"""
# Resolutions that have to come while the file is being read.
ANSWERS_MEANWHILE = 10


def table(argument: str) -> dict[str, Any]:
    return {"runtimes": {"w": {"path": "/bin/echo", "runtimeArgs": [argument]}}}


@dataclass
class HangingConfiguration:
    """A daemon part of whose configuration lies on a file system that can be told to hang."""

    daemon: RunningDaemon
    name: str
    files: FuseDirectory

    def write(self, argument: str) -> None:
        self.files.write(self.name, json.dumps(table(argument)).encode())


@contextlib.contextmanager
def main_file() -> Iterator[HangingConfiguration]:
    with new_daemon() as daemon, served_directory(daemon.root / "etc", {}) as files:
        daemon.config = daemon.root / "etc" / "daemon.json"
        yield HangingConfiguration(daemon, "daemon.json", files)
        daemon.kill()


@contextlib.contextmanager
def dropin_directory() -> Iterator[HangingConfiguration]:
    with new_daemon() as daemon, served_directory(daemon.dropins, {}) as files:
        daemon.write({})
        yield HangingConfiguration(daemon, "w.json", files)
        daemon.kill()


PLACES = {"main file": main_file, "drop-in directory": dropin_directory}


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Iterator[HangingConfiguration]:
    with PLACES[getattr(request, "param", "main file")]() as place:
        place.write("one")
        yield place


def argument(daemon: RunningDaemon) -> str:
    """Return what w's wrapper gives to its binary, from where the answer says that it lies."""
    wrapper = daemon.resolve("w")["options"]["fields"]["binary_name"]
    return subprocess.run([wrapper], capture_output=True, text=True, check=True).stdout.strip()


def launch_until_it_hangs(daemon: RunningDaemon) -> None:
    """Start the daemon and see it catch SIGTERM and get no further."""
    daemon.program = ["-c", PATIENT]
    process = daemon.launch()
    status = Path(f"/proc/{process.pid}/status")

    def catches_sigterm() -> bool:
        caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt:"))
        return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)

    wait_until(catches_sigterm, "SIGTERM to be caught")
    # It hangs from soon after on; were it stopped a little earlier, that should do as well.
    time.sleep(1)
    assert not daemon.has_ended()
    assert not daemon.socket.exists()


def messages(report: dict[str, Any]) -> list[str]:
    return [problem["message"] for problem in report["problems"]]


def stopped_in_s(daemon: RunningDaemon) -> float:
    """Stop the daemon, see it end well, and return how long that took.

    An end that waited for what hangs would not come at all.
    """
    begun_s = time.monotonic()
    assert daemon.stop() == 0
    return time.monotonic() - begun_s


@pytest.mark.timeout(400)
@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_a_reload_of_a_hanging_file_is_rejected_in_time_and_delays_no_answer(place: HangingConfiguration) -> None:
    daemon = place.daemon.start()
    before = daemon.resolve("w")
    place.files.hang()
    with asking(daemon, "w") as asked:
        begun_s = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            reloading = pool.submit(daemon.ask, "POST", "/v1/reload")
            wait_until(lambda: [e for e in daemon.log() if e["event"] == "reload.requested"], "the request")
            answers_before = asked.answers
            wait_until(lambda: asked.answers > answers_before + ANSWERS_MEANWHILE or reloading.done(), "answers")
            assert not reloading.done(), "no answers meanwhile"
            daemon.send(signal.SIGHUP)
            status, report = reloading.result()
        took_s = time.monotonic() - begun_s
        wait_until(lambda: [e for e in daemon.reloads("rejected") if "signal" in e["reason"]], "the hangup's reload")
    assert (status, report["outcome"], messages(report)) == (422, "rejected", [TOO_LONG])
    for event in daemon.reloads("rejected"):
        assert TOO_LONG in event["problems"][0]
        assert str(daemon.config) in event["problems"][0]
    # One that waited for the reading would have taken as long.
    assert asked.longest_s < READ_TIMEOUT_S
    assert asked.digests == {before["digest"]}
    print(f"\nanswered after {took_s:.1f} s; {asked.answers} resolutions meanwhile, {asked.longest_s:.3f} s at most")  # noqa: T201
    assert daemon.resolve("w") == before
    health = daemon.status()["health"]
    assert health["status"] == "degraded"
    assert TOO_LONG in health["reasons"]["configuration"]
    status, body = daemon.get("/healthz")
    assert status == 200 or TOO_LONG in body["detail"]
    place.write("two")
    place.files.go_on()
    # Nothing tells the daemon that it is back: a file system over the network makes no events.
    wait_until(lambda: daemon.reload()["outcome"] in ("applied", "unchanged"), "a reading in time")
    assert daemon.status()["health"] == {"status": "ok", "reasons": {}}
    assert argument(daemon) == "two"
    assert daemon.stop() == 0


@pytest.mark.timeout(400)
def test_a_daemon_whose_configuration_hangs_stops_all_the_same(place: HangingConfiguration) -> None:
    daemon = place.daemon.start()
    place.files.hang()
    with ThreadPoolExecutor(1) as pool:
        reloading = pool.submit(daemon.ask, "POST", "/v1/reload")
        wait_until(lambda: [e for e in daemon.log() if e["event"] == "reload.requested"], "the request")
        took_s = stopped_in_s(daemon)
        reloading.exception()
    print(f"\nstopped in {took_s:.1f} s while a reading hung")  # noqa: T201


@pytest.mark.timeout(400)
def test_a_start_with_a_hanging_configuration_serves_the_last_good_generation(place: HangingConfiguration) -> None:
    daemon = place.daemon.start()
    before = daemon.resolve("w")
    assert daemon.stop() == 0
    place.files.hang()
    daemon.start()
    assert daemon.resolve("w") == before
    health = daemon.status()["health"]
    assert health["status"] == "degraded"
    assert TOO_LONG in health["reasons"]["configuration"]
    place.write("two")
    place.files.go_on()
    wait_until(lambda: daemon.status()["health"]["status"] == "ok", "the daemon to see that the files are back")
    assert argument(daemon) == "two"
    assert daemon.stop() == 0


@pytest.mark.timeout(400)
def test_a_first_start_whose_configuration_hangs_fails_with_the_reason(place: HangingConfiguration) -> None:
    place.files.hang()
    text = place.daemon.fail_to_start()
    assert TOO_LONG in text
    assert str(place.daemon.config) in text


@pytest.mark.timeout(400)
def test_a_start_that_waits_for_its_configuration_can_be_stopped(place: HangingConfiguration) -> None:
    place.files.hang()
    launch_until_it_hangs(place.daemon)
    print(f"\nstopped in {stopped_in_s(place.daemon):.1f} s while the first reading hung")  # noqa: T201


@pytest.mark.timeout(400)
@pytest.mark.parametrize("below", [".", "data"])
def test_a_start_whose_data_root_hangs_can_be_stopped(below: str) -> None:
    with new_daemon() as daemon, hanging_directory(daemon.root / "disk"):
        daemon.data = daemon.root / "disk" / below
        daemon.write(table("one"))
        launch_until_it_hangs(daemon)
        print(f"\nstopped in {stopped_in_s(daemon):.1f} s while the data root hung")  # noqa: T201
