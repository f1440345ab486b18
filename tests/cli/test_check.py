"""Tests of ``runtimectl check`` and ``runtimed --validate``: streams, masks, ignored and overridden keys."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from harness.daemon import PATIENCE_S
from harness.runtimectl import COMMAND, runtimectl

from runtimed.cli.render import render_notes
from runtimed.core.configuration import keys

NVIDIA = {"runtimes": {"nvidia": {"args": [], "path": "nvidia-container-runtime"}}}
MANY = dict.fromkeys(sorted(keys.IGNORED), 1)


@pytest.mark.parametrize("name", ["-", "/dev/stdin", "/dev/fd/0"])
def test_standard_input_is_checked_under_each_of_its_names(name: str) -> None:
    run = runtimectl("check", name, input=json.dumps(NVIDIA))
    shown = "stdin" if name == "-" else name
    assert run.returncode == 0
    assert run.stdout.startswith(f"{shown}: OK (2 of 3 available; nvidia: nvidia-container-runtime: ")
    assert f"note: {shown}:1:26: /runtimes/nvidia/args: unknown key of a runtime" in run.stdout
    run = runtimectl("check", name, input='{"runtime": {}}')
    assert run.returncode == 1
    assert run.stdout.startswith(f"{shown}:1:2: /runtime: ")


def test_a_process_substitution_and_a_masked_dropin_are_checked(tmp_path: Path) -> None:
    (tmp_path / "10.json").symlink_to("/dev/null")
    script = f"{' '.join(COMMAND)} check <(echo '{{}}') {tmp_path}/10.json <(echo '{{\"hostz\": 1}}')"
    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert run.returncode == 1
    (line,) = run.stdout.splitlines()
    assert line.startswith("/dev/fd/")
    assert '"hostz"' in line


def test_many_ignored_keys_are_counted_and_named_with_verbose() -> None:
    text = json.dumps(MANY)
    lines = runtimectl("check", "-", input=text).stdout.splitlines()
    assert lines[1:] == [
        f"ignored: {len(MANY)} keys that dockerd knows and runtimed has no use for (--verbose names them)"
    ]
    lines = runtimectl("check", "--verbose", "-", input=text).stdout.splitlines()
    assert len(lines) == 1 + len(MANY)
    assert json.loads(runtimectl("check", "--json", "-", input=text).stdout)["ignored"] == list(MANY)
    empty = dict.fromkeys(("remarks", "restart_required", "overridden", "repaired", "unavailable", "kept"), ())
    report = {**empty, "ignored": list(MANY), "runtime_count": 0}
    assert render_notes(report) == [f"ignored, of no use to runtimed: {len(MANY)} keys, which --verbose names"]
    assert "zzz" not in render_notes(report, verbose=True)[0]
    assert list(MANY)[-1] in render_notes(report, verbose=True)[0]


def test_an_overridden_value_is_named_and_does_not_reject(tmp_path: Path) -> None:
    config = tmp_path / "daemon.json"
    config.write_text('{"hosts": ["tcp://0.0.0.0:2375"], "log-level": "verbose"}')
    flags = ["-H", f"unix://{tmp_path}/s.sock", "--log-level", "info"]
    command = [sys.executable, "-m", "runtimed", "--validate", "--config", str(config), *flags]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert run.returncode == 0
    assert run.stdout.splitlines() == [
        f"{config}: OK (2 runtimes)",
        "overridden: hosts, which a flag of the command line sets",
        "overridden: log-level, which a flag of the command line sets",
    ]
