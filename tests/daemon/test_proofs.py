"""Proofs in a real daemon: recording, faults, restarts, the required proof."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from harness.daemon import RunningDaemon, as_user, new_daemon, put_executable, wait_until
from harness.runtimectl import runtimectl

from runtimed.client import Client, Forbidden, ProofOutdated, StoreFailed

REQUIRED: dict[str, Any] = {"runtimed": {"require-proof": True}}


@pytest.fixture
def daemon() -> Iterator[RunningDaemon]:
    with new_daemon() as daemon:
        daemon.drift_every_s = 0.05
        put_executable(daemon.root / "old")
        put_executable(daemon.root / "new")
        daemon.write(table(daemon))
        yield daemon.start()
        assert "Traceback" not in daemon.log_file.read_text()


def table(daemon: RunningDaemon, default: str = "old", **more: Any) -> dict[str, object]:
    runtimes = {name: {"path": str(daemon.root / name)} for name in ("old", "new")}
    return {"default-runtime": default, "runtimes": runtimes, **more}


def record(daemon: RunningDaemon, name: str, outcome: Any = "passed", **more: str) -> Mapping[str, Any]:
    """Record a test of a runtime as it is now, as `runtimectl test` does."""
    client = Client(str(daemon.socket))
    found = client.explain(name)
    test = {"digest": found["digest"], "identity": found["identity"] or "", **more}
    return client.record_proof(name, outcome=outcome, engine="direct", **test)


def proof(daemon: RunningDaemon, name: str) -> Mapping[str, Any]:
    return dict(daemon.get(f"/v1/runtimes/{name}")[1]["proof"])


def fault(daemon: RunningDaemon) -> str:
    return str(daemon.status()["health"]["reasons"].get("configuration", ""))


def test_a_recorded_proof_is_shown_everywhere_and_survives_a_restart(daemon: RunningDaemon) -> None:
    number = daemon.status()["generation"]
    recorded = record(daemon, "old", detail="Linux 6.1")
    expected = {"state": "proved", "engine": "direct", "outcome": "passed", "detail": "Linux 6.1", "generation": number}
    assert {key: recorded[key] for key in expected} == expected
    for _ in range(2):
        assert {"runtime": "old", **proof(daemon, "old")} == recorded
        (listed,) = (each for each in daemon.get("/v1/runtimes")[1]["runtimes"] if each["name"] == "old")
        assert {"runtime": "old", **listed["proof"]} == recorded
        status = daemon.status()["proofs"]
        assert {"runtime": "old", **status["default"]} == recorded
        assert (status["required"], status["remark"]) == (False, None)
        assert status["states"] == {"proved": 1, "not-proved": daemon.status()["runtimes"] - 1, "outdated": 0}
        assert "proof" in runtimectl("explain", "old", on=daemon).stdout
        assert "PROOF" in runtimectl("list", on=daemon).stdout
        assert "1 proved" in runtimectl("status", on=daemon).stdout
        daemon.stop()
        daemon.start()


def test_a_replaced_binary_and_a_changed_definition_outdate_a_proof(daemon: RunningDaemon) -> None:
    record(daemon, "old")
    put_executable(daemon.root / "old")
    assert proof(daemon, "old")["detail"] == "a binary changed after the test"
    wait_until(lambda: daemon.status()["proofs"]["default"]["state"] == "outdated", "a look")
    record(daemon, "old")
    assert daemon.status()["proofs"]["default"]["state"] == "proved"
    changed = table(daemon)
    changed["runtimes"]["old"]["runtimeArgs"] = ["--x"]  # type: ignore[index]
    daemon.write(changed)
    daemon.reload()
    assert proof(daemon, "old")["detail"] == "its resolution changed after the test"
    assert daemon.status()["proofs"]["states"]["outdated"] == 1


def test_a_test_of_a_new_binary_counts_before_the_next_look_at_all_binaries() -> None:
    with new_daemon() as daemon:
        daemon.drift_every_s = 600.0
        for name in ("old", "new"):
            put_executable(daemon.root / name)
        daemon.write(table(daemon))
        with daemon.running():
            wait_until(lambda: daemon.get("/v1/runtimes")[1]["runtimes"][0]["identity"], "the first look")
            put_executable(daemon.root / "old")
            record(daemon, "old")
            assert daemon.status()["proofs"]["default"]["state"] == "proved"


def test_a_changed_state_is_an_event_and_the_same_again_is_none(daemon: RunningDaemon) -> None:
    client = Client(str(daemon.socket))
    since = client.status()["events"]["seq"]
    record(daemon, "old")
    record(daemon, "old")
    put_executable(daemon.root / "old")
    states = []
    for event in client.watch(since):
        if event["type"] == "proof":
            states.append((event["runtime"], event["state"]))
        if len(states) == 2:
            break
    assert states == [("old", "proved"), ("old", "outdated")]


def test_a_test_of_a_binary_or_a_resolution_that_changed_since_is_refused(daemon: RunningDaemon) -> None:
    before = Client(str(daemon.socket)).explain("old")
    put_executable(daemon.root / "old")
    with pytest.raises(ProofOutdated, match="a binary of old changed since the test; test the runtime again"):
        record(daemon, "old", identity=str(before["identity"]))
    with pytest.raises(ProofOutdated, match="the resolution of old changed since the test"):
        record(daemon, "old", digest="sha256:0")
    assert proof(daemon, "old")["state"] == "not-proved"
    assert not (daemon.data / "proofs.json").exists()


def test_a_proof_that_cannot_be_written_changes_nothing(daemon: RunningDaemon) -> None:
    record(daemon, "old")
    before, number = (daemon.data / "proofs.json").read_bytes(), daemon.status()["events"]["seq"]
    # The name under which the new file is written.
    obstacle = daemon.data / ".tmp-proofs.json"
    obstacle.mkdir()
    with pytest.raises(StoreFailed, match=r"writing .*proofs\.json") as caught:
        record(daemon, "old", "failed")
    assert caught.value.status == 507
    assert proof(daemon, "old")["state"] == "proved"
    assert daemon.status()["events"]["seq"] == number
    assert (daemon.data / "proofs.json").read_bytes() == before
    obstacle.rmdir()
    assert record(daemon, "old", "failed")["state"] == "not-proved"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_another_user_records_nothing(daemon: RunningDaemon) -> None:
    found = Client(str(daemon.socket)).explain("old")
    daemon.socket.chmod(0o666)
    daemon.root.chmod(0o755)

    def try_it() -> str:
        try:
            client = Client(str(daemon.socket))
            test = {"digest": found["digest"], "identity": str(found["identity"])}
            client.record_proof("old", outcome="passed", engine="direct", **test)
        except Forbidden as error:
            return str(error)
        return "recorded"

    assert as_user(65534, try_it).startswith("permission denied")
    assert not (daemon.data / "proofs.json").exists()


def test_a_damaged_file_is_no_proof_and_a_remark_until_the_next_test(daemon: RunningDaemon) -> None:
    record(daemon, "old")
    daemon.stop(signal.SIGKILL)
    (daemon.data / "proofs.json").write_bytes(b"{}")
    daemon.start()
    status = daemon.status()
    assert status["health"]["status"] == "ok"
    assert "its checksum does not match its content" in status["proofs"]["remark"]
    assert status["proofs"]["remark"] in runtimectl("status", on=daemon).stdout.replace("\n", " ")
    assert proof(daemon, "old")["state"] == "not-proved"
    record(daemon, "old")
    assert daemon.status()["proofs"]["remark"] is None


def test_the_proofs_of_removed_runtimes_are_dropped_with_the_next_test(daemon: RunningDaemon) -> None:
    for name in ("old", "new", "io.containerd.kata.v2"):
        record(daemon, name)
    daemon.write({"runtimes": {"new": {"path": str(daemon.root / "new")}}})
    daemon.reload()
    record(daemon, "new")
    kept = json.loads((daemon.data / "proofs.json").read_text())["proofs"]
    assert sorted(kept) == ["io.containerd.kata.v2", "new"]


def test_a_default_runtime_that_is_not_proved_is_rejected_until_it_is_tested(daemon: RunningDaemon) -> None:
    assert daemon.reload()["outcome"] == "unchanged"
    number = daemon.status()["generation"]
    daemon.write(table(daemon, **REQUIRED))
    assert daemon.reload()["outcome"] == "rejected"
    assert fault(daemon).endswith("run: runtimectl test old && runtimectl reload")
    assert fault(daemon).startswith(f"{daemon.config}:2:")
    assert daemon.reload("?dry_run=true")["outcome"] == "rejected"
    assert "hint: the message has the command to run;" in runtimectl("plan", on=daemon).stderr
    record(daemon, "old", "failed", detail="create hangs")
    assert daemon.reload()["problems"][0]["message"].count("(its last test failed: create hangs)") == 1
    assert daemon.status()["generation"] == number
    record(daemon, "old")
    assert daemon.reload()["outcome"] == "applied"
    assert daemon.status()["health"] == {"status": "ok", "reasons": {}}
    # Another runtime that is proved may become the default at once; one that is not proved may not.
    record(daemon, "new")
    daemon.write(table(daemon, "new", **REQUIRED))
    assert daemon.reload()["outcome"] in ("applied", "unchanged")
    daemon.write(table(daemon, "runc", **REQUIRED))
    assert daemon.reload()["outcome"] == "rejected"


def test_a_new_definition_is_tested_while_another_runtime_is_the_default(daemon: RunningDaemon) -> None:
    record(daemon, "old")
    daemon.write(table(daemon, **REQUIRED))
    assert daemon.reload()["outcome"] in ("applied", "unchanged")
    wanted = table(daemon, "new", **REQUIRED)
    wanted["runtimes"]["new"]["runtimeArgs"] = ["--x"]  # type: ignore[index]
    daemon.write(wanted)
    (problem,) = daemon.reload()["problems"]
    assert 'apply the change with "default-runtime": "old", which is proved' in problem["message"]
    daemon.write({**wanted, "default-runtime": "old"})
    assert daemon.reload()["outcome"] in ("applied", "unchanged")
    record(daemon, "new")
    daemon.write(wanted)
    assert daemon.reload()["outcome"] in ("applied", "unchanged")
    assert daemon.resolve()["runtime"] == "new"


def test_a_start_with_an_outdated_default_serves_the_last_good_generation(daemon: RunningDaemon) -> None:
    record(daemon, "old")
    daemon.write(table(daemon, **REQUIRED))
    assert daemon.reload()["outcome"] in ("applied", "unchanged")
    served = daemon.table()
    daemon.stop()
    put_executable(daemon.root / "old")
    daemon.start()
    assert fault(daemon).endswith("run: runtimectl test old && runtimectl reload")
    assert [each["digest"] for each in daemon.table()["runtimes"]] == [each["digest"] for each in served["runtimes"]]
    assert daemon.table()["generation"] == served["generation"]
    record(daemon, "old")
    assert daemon.reload()["outcome"] == "unchanged"
    assert fault(daemon) == ""


def test_a_first_start_without_a_proof_fails_with_a_way_out_that_works() -> None:
    with new_daemon() as daemon:
        put_executable(daemon.root / "old")
        put_executable(daemon.root / "new")
        daemon.write(table(daemon, **REQUIRED))
        log = daemon.fail_to_start()
        assert 'apply the change with \\"require-proof\\": false; then run: runtimectl test old; then set' in log
        daemon.write(table(daemon, runtimed={"require-proof": False}))
        daemon.start()
        record(daemon, "old")
        daemon.write(table(daemon, **REQUIRED))
        assert daemon.reload()["outcome"] in ("applied", "unchanged")


def test_the_check_without_a_daemon_says_that_it_knows_no_proofs(daemon: RunningDaemon) -> None:
    daemon.write(table(daemon, **REQUIRED))
    command = [sys.executable, "-m", "runtimed", "--validate", str(daemon.config)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "require-proof is not checked: only a running daemon knows the proofs" in found.stdout
    assert runtimectl("plan", on=daemon).returncode == 1
