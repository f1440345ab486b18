"""The sample configuration with the real runtimes of this machine: runc, crun and runsc. Needs root and strace."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.daemon import PATIENCE_S, RunningDaemon, new_daemon

SAMPLE = Path(__file__).parents[2] / "etc" / "runtimed" / "daemon.json"
SHIM = "io.containerd.runc.v2"


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    assert os.geteuid() == 0, "these tests need root"
    for program in ("runc", "crun", "runsc", "strace"):
        assert shutil.which(program), f"install {program}"
    with new_daemon() as daemon:
        daemon.install("containerd-shim-kata-v2")
        daemon.write(SAMPLE.read_text())
        yield daemon.start()


def described(daemon: RunningDaemon, name: str) -> dict[str, Any]:
    status, body = daemon.get(f"/v1/runtimes/{name}")
    assert status == 200, body
    return dict(body)


def binary_name(daemon: RunningDaemon, name: str) -> str:
    answer = daemon.resolve(name)
    assert answer["shim"] == SHIM
    assert answer["options"]["type_url"] == "containerd.runc.v1.Options"
    return str(answer["options"]["fields"]["binary_name"])


def executed(command: list[str], directory: Path) -> tuple[list[list[str]], subprocess.CompletedProcess[str]]:
    """Return the argv of every successful execve of ``command``, and how it went."""
    trace = directory / "trace"
    options = ["-f", "-qq", "-s", "1000000", "-v", "-e", "trace=execve", "-e", "signal=none", "-o", str(trace)]
    result = subprocess.run(
        ["strace", *options, "-E", "MARK=1", *command], check=False, capture_output=True, text=True, timeout=PATIENCE_S
    )
    lines = [line for line in trace.read_text().splitlines() if re.search(r"execve\(.*\) = 0$", line)]
    found = [re.search(r'execve\("[^"]*", (\[.*?\]), \[', line) for line in lines]
    return [json.loads(match[1]) for match in found if match], result


def test_the_sample_is_accepted_as_it_is(daemon: RunningDaemon) -> None:
    status = daemon.status()
    assert status["health"] == {"status": "ok", "reasons": {}}
    assert {"crun", "gvisor", "kata", "nvidia"} <= set(json.loads(SAMPLE.read_text())["runtimes"])
    assert status["last_reload"]["problems"] == []


def test_runc_is_the_nodes_own(daemon: RunningDaemon) -> None:
    assert binary_name(daemon, "runc") == "runc"
    runc = described(daemon, "runc")
    assert (runc["available"], runc["binary"]) == (True, shutil.which("runc"))


def test_crun_is_its_real_path_without_a_wrapper(daemon: RunningDaemon) -> None:
    path = binary_name(daemon, "crun")
    assert Path(path).samefile(shutil.which("crun") or "")
    assert described(daemon, "crun")["wrapper"] is None
    version = subprocess.run([path, "--version"], check=True, capture_output=True, text=True, timeout=PATIENCE_S)
    assert version.stdout.startswith("crun ")


def test_the_wrapper_of_runsc_runs_runsc_with_its_arguments(daemon: RunningDaemon, tmp_path: Path) -> None:
    entry = json.loads(SAMPLE.read_text())["runtimes"]["gvisor"]
    assert entry["runtimeArgs"], "the sample shows arguments"
    wrapper = binary_name(daemon, "gvisor")
    assert wrapper == described(daemon, "gvisor")["wrapper"]["path"]
    assert f"_rd_target={wrapper}\n" in (daemon.data / "runtimes" / "gvisor").read_text()
    assert described(daemon, "gvisor")["binary"] == entry["path"]
    assert Path(entry["path"]).samefile(shutil.which("runsc") or "")
    for path in (wrapper, str(daemon.data / "runtimes" / "gvisor")):
        calls, result = executed([path, "--version"], tmp_path)
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith("runsc version ")
        assert calls[-1] == [entry["path"], *entry["runtimeArgs"], "--version"]


def test_runsc_takes_the_arguments_for_its_own(daemon: RunningDaemon) -> None:
    # An effect that only these arguments can have: runsc itself refuses one that is wrong, naming it.
    daemon.write(
        {"runtimes": {"wrong": {"path": "/usr/bin/runsc", "runtimeArgs": ["--platform=no such one", "--debug"]}}}
    )
    daemon.reload()
    try:
        result = subprocess.run(
            [binary_name(daemon, "wrong"), "list"], check=False, capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert result.returncode != 0
        assert "no such one" in result.stdout + result.stderr
    finally:
        daemon.write(SAMPLE.read_text())
        daemon.reload()


def test_kata_is_a_shim_with_options(daemon: RunningDaemon) -> None:
    entry = json.loads(SAMPLE.read_text())["runtimes"]["kata"]
    answer = daemon.resolve("kata")
    assert answer["shim"] == entry["runtimeType"]
    assert answer["options"]["type_url"] == "runtimeoptions.v1.Options"
    assert answer["options"]["fields"] == {"config_path": entry["options"]["ConfigPath"]}


def test_a_runtime_that_is_not_installed_is_known_and_said_to_be_missing(daemon: RunningDaemon) -> None:
    path = json.loads(SAMPLE.read_text())["runtimes"]["nvidia"]["path"]
    assert shutil.which(path) is None, "this test wants a machine without it"
    nvidia = described(daemon, "nvidia")
    assert (nvidia["available"], nvidia["binary"]) == (False, None)
    assert path in nvidia["reason"]
    status, problem = daemon.get("/v1/resolve?runtime=nvidia")
    assert (status, problem["code"]) == (503, "runtime-unavailable")
    assert path in problem["detail"]
