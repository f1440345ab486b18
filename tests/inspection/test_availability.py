"""The availability of runtimes: a real daemon and runtimectl report the same, with the reason."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.daemon import RunningDaemon, new_daemon, wait_until

from runtimed.core.features import Features
from runtimed.host.features import Prober
from runtimed.inspection.binaries import NodeInspector


@pytest.fixture
def daemon() -> Iterator[RunningDaemon]:
    with new_daemon() as daemon:
        daemon.drift_every_s = 0.2
        try:
            yield daemon
        finally:
            daemon.kill()


def runtimectl(daemon: RunningDaemon, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runtimed.cli.ctl", "--socket", str(daemon.socket), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def make(path: Path, content: bytes = b"#!/bin/sh\n") -> Path:
    new = path.with_name(f".{path.name}")
    new.write_bytes(content)
    new.chmod(0o755)
    new.rename(path)
    return path


def reasons(daemon: RunningDaemon) -> dict[str, str]:
    reasons: dict[str, str] = daemon.status()["health"]["reasons"]
    return reasons


def test_a_default_that_is_missing_from_the_start_is_reported_everywhere(daemon: RunningDaemon) -> None:
    absent = daemon.root / "crunn"
    daemon.write({"runtimes": {"crun": {"path": str(absent)}}, "default-runtime": "crun"})
    daemon.start()
    line = f"2 of 3 available; crun: {absent}: no such file"
    wait_until(lambda: reasons(daemon), "the first look")
    assert reasons(daemon) == {"default-runtime": f"crun is unavailable: {absent}: no such file"}
    assert line in runtimectl(daemon, "status").stdout
    for words, shown in ((("plan",), f"warning: {line}"), (("check", str(daemon.config)), f"OK ({line})")):
        run = runtimectl(daemon, *words)
        assert (run.returncode, shown in run.stdout + run.stderr) == (0, True), words
    for path in ("/v1/resolve", "/v1/resolve?runtime=crun"):
        status, body = daemon.get(path)
        assert (status, body["code"], body["path"]) == (503, "runtime-unavailable", str(absent))
    make(absent)
    wait_until(lambda: daemon.get("/v1/resolve")[0] == 200, "the binary to be seen")
    wait_until(lambda: not reasons(daemon), "health to be ok")


def test_a_requested_reload_accepts_an_unavailable_default(daemon: RunningDaemon) -> None:
    binary = make(daemon.root / "crun")
    daemon.write({"runtimes": {"crun": {"path": str(binary)}}, "default-runtime": "crun"})
    daemon.start()
    wait_until(lambda: daemon.get("/v1/resolve")[0] == 200, "the binary")
    binary.unlink()
    wait_until(lambda: reasons(daemon), "the loss")
    run = runtimectl(daemon, "reload")
    assert (run.returncode, f"warning: 2 of 3 available; crun: {binary}: no such file" in run.stdout) == (0, True)
    wait_until(lambda: not reasons(daemon), "the reload to accept it")
    assert daemon.get("/v1/resolve")[0] == 503


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "neither a program for this machine nor a script"),
        (b"<!DOCTYPE html>\n", "neither a program for this machine nor a script"),
        (b"\x7fELF\x01\x01\x01" + bytes(64), "neither a program for this machine nor a script"),
        (b"#!/none/such\n", "the interpreter that it names (/none/such) does not exist"),
        (b"#!/etc/passwd\n", "the interpreter that it names (/etc/passwd) cannot be executed"),
    ],
)
def test_a_file_that_the_kernel_refuses_is_unavailable_everywhere(
    daemon: RunningDaemon, content: bytes, words: str
) -> None:
    binary = make(daemon.root / "crun", content)
    daemon.write({"runtimes": {"crun": {"path": str(binary)}}, "default-runtime": "crun"})
    daemon.start()
    wait_until(lambda: (got := daemon.get("/v1/resolve"))[0] == 503 and words in got[1]["detail"], "the probe")
    described = daemon.get("/v1/runtimes/crun")[1]
    assert (described["available"], words in described["reason"]) == (False, True)
    assert "not-executable" in [lint["code"] for lint in described["lint"]]
    wait_until(lambda: words in reasons(daemon).get("default-runtime", ""), "the fault")
    assert daemon.status()["drift"] == [], "nothing has changed since the load"
    assert [each["runtime"] for each in daemon.status()["unavailable"]] == ["crun"]
    make(binary)
    wait_until(lambda: daemon.get("/v1/resolve")[0] == 200, "another file to be seen")
    wait_until(lambda: not reasons(daemon), "health to be ok")


def test_a_wrapper_that_is_not_there_is_a_503(daemon: RunningDaemon) -> None:
    daemon.write({"runtimes": {"w": {"path": "/bin/true", "runtimeArgs": ["x"]}}})
    daemon.start()
    wrapper = Path(daemon.resolve("w")["options"]["fields"]["binary_name"])
    generation = daemon.resolve("w")["generation"]
    wrapper.rename(wrapper.with_name("elsewhere"))
    wait_until(lambda: daemon.get("/v1/resolve?runtime=w")[0] == 503, "the wrapper to be missed")
    status, body = daemon.get(f"/v1/resolve?runtime=w&generation={generation}")
    assert (status, body["path"]) == (503, str(wrapper))
    assert not daemon.get("/v1/runtimes/w")[1]["available"]


def test_a_configured_shim_that_is_not_found_is_unavailable(daemon: RunningDaemon) -> None:
    entry = {"runtimeType": "io.containerd.nosuch.v1"}
    runc = {"runtimeType": "io.containerd.runc.v1", "options": {"BinaryName": "/bin/true"}}
    daemon.environ["PATH"] = str(daemon.root)
    daemon.write({"runtimes": {"x": entry, "old": runc}})
    daemon.start()
    for name, shim in (("x", "containerd-shim-nosuch-v1"), ("old", "containerd-shim-runc-v1")):
        assert daemon.get(f"/v1/resolve?runtime={name}")[1]["path"] == shim
        assert not daemon.get(f"/v1/runtimes/{name}")[1]["available"]
    assert daemon.get("/v1/resolve?runtime=io.containerd.nosuch.v1")[0] == 200, "an implicit runtime names no file"
    make(daemon.root / "containerd-shim-nosuch-v1")
    wait_until(lambda: daemon.get("/v1/resolve?runtime=x")[0] == 200, "the shim to be seen")


def test_a_probe_that_was_killed_by_a_signal_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("runtimed.host.features.RETRY_S", 0.0)
    found: list[Features] = []
    prober = Prober(trusted=lambda _path: None, on_result=lambda _binary, features: found.append(features))
    mark = tmp_path / "second"
    structure = '{"ociVersionMin": "1.0.0"}'
    text = f"#!/bin/sh\n[ -e {mark} ] || {{ [ $1 = features ] || >{mark}; kill -KILL $$; }}\necho '{structure}'\n"
    binary = make(tmp_path / "runtime", text.encode())
    try:
        wait_until(lambda: prober.get(str(binary)).status == "known", "a second probe")
    finally:
        prober.stop()
    assert "signal 9" in str(found[0].reason)


def test_the_inspector_ends_its_threads(tmp_path: Path) -> None:
    inspector = NodeInspector(str(tmp_path), lambda _binary, _features: None)
    make(tmp_path / "x")
    assert inspector.look_up_all(["x", "y"])["x"] == f"{tmp_path}/x"
    inspector.stop()
    assert os.listdir(tmp_path) == ["x"]
