"""Tests that text from files and requests is escaped for terminals, and exact with --json."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from harness.daemon import PATIENCE_S, RunningDaemon
from harness.runtimectl import Run, runtimectl

# ESC, BEL, DEL, CSI as a C1 control, a mark that turns the direction of writing, a line separator.
HOSTILE = "a\x1b[31m\x07\x7f\x9b2J\u202e\u2028\nb"
GOOD = {
    "runtimes": {
        HOSTILE: {"path": f"/nowhere/{HOSTILE}", "runtimeArgs": [HOSTILE]},
        f"{HOSTILE}.shim": {"runtimeType": "io.containerd.kata.v2", "options": {"ConfigPath": HOSTILE}},
    },
    "default-runtime": HOSTILE,
    HOSTILE: 1,
}
BAD = {"runtimes": {HOSTILE: {HOSTILE: 1, "path": "/x"}}, "default-runtime": HOSTILE, f"{HOSTILE}2": 1}


def is_clean(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


def said(run: Run) -> str:
    assert run.stdout + run.stderr
    assert is_clean(run.stdout), ascii(run.stdout)
    assert is_clean(run.stderr), ascii(run.stderr)
    return run.stdout + run.stderr


def test_every_verb_escapes_control_characters(own_daemon: RunningDaemon) -> None:
    own_daemon.write(GOOD)
    own_daemon.reload()
    for words in (
        ("list",), ("explain", HOSTILE), ("status",), ("resolve", HOSTILE), ("resolve", f"no{HOSTILE}"),
        ("explain", f"no{HOSTILE}"), ("resolve", f"{HOSTILE}.shim", "--format", "ctr"), ("reload",), ("plan",),
        ("diff", "1", "2"), ("generations",), ("gc", "--dry-run"), ("export", "docker"), ("export", "containerd"),
        ("history",), ("history", "--since", HOSTILE),
        ("resolve", "--digest", HOSTILE, "--generation", "1"), (HOSTILE,), ("list", HOSTILE), ("check", HOSTILE),
    ):  # fmt: skip
        said(runtimectl(*words, on=own_daemon))
    own_daemon.write(BAD)
    for words in (("reload",), ("plan",), ("status",), ("check", str(own_daemon.config))):
        assert r"a\x1b[31m\x07\x7f\x9b2J\u202e\u2028\nb" in said(runtimectl(*words, on=own_daemon))
    command = [sys.executable, "-m", "runtimed.cli.ctl", "--socket", str(own_daemon.socket), "watch", "--since", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        line = next(line for line in lines if "rejected" in line)
        process.kill()
    assert is_clean(line)


def test_json_has_every_character(own_daemon: RunningDaemon) -> None:
    own_daemon.write(BAD)
    for words in (("reload", "--json"), ("check", "--json", str(own_daemon.config))):
        report = json.loads(said(runtimectl(*words, on=own_daemon)))
        assert report["problems"][0]["pointer"] == f"/runtimes/{HOSTILE}/{HOSTILE}"


@pytest.mark.parametrize("engine", ["docker", "containerd"])
def test_an_import_escapes_control_characters(tmp_path: Path, engine: str) -> None:
    key = json.dumps(HOSTILE)
    (tmp_path / "docker").write_text(json.dumps({**BAD, "hostz": HOSTILE}))
    (tmp_path / "containerd").write_text(
        f'version = 2\nimports = [{key}]\n[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{key}]\n'
        f'runtime_type = 5\n{key} = "x"\n'
    )
    run = runtimectl("import", engine, str(tmp_path / engine))
    assert run.returncode == 1
    assert r"\x9b2J\u202e" in said(run)
    assert "note: " in run.stderr  # the remarks are kept where it is refused
    refused = json.loads(runtimectl("import", "--json", engine, str(tmp_path / engine)).stdout)
    assert refused["remarks"]
    assert refused["problems"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_log_of_the_daemon_escapes_control_characters(own_daemon: RunningDaemon, form: str) -> None:
    own_daemon.write(BAD)
    root = own_daemon.root
    places = ["--config", str(own_daemon.config), "--data-root", str(root / "2"), "--exec-root", str(root / "run")]
    command = [sys.executable, "-m", "runtimed", *places, "--log-format", form]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert run.returncode == 1
    assert r"\u202e" in said(run)
