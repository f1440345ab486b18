"""Tests of ``runtimectl import`` and ``export``: documents on stdout, notes on stderr, exit statuses."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from harness.daemon import RunningDaemon
from harness.runtimectl import runtimectl
from harness.shell_names import KATA_SHIM

DOCKER = '{"runtimes": {\n"crun": {"path": "/usr/bin/crun"}},\n"log-driver": "journald"}'
CONTAINERD = """\
version = 2
imports = ["/etc/more.toml"]
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes."\\u001b[31m"]
runtime_type = "io.containerd.kata.v2"
"""


def test_a_daemon_json_becomes_a_dropin_and_a_note_on_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    file.write_text(DOCKER)
    run = runtimectl("import", "docker", str(file))
    assert (run.returncode, json.loads(run.stdout)) == (0, {"runtimes": {"crun": {"path": "/usr/bin/crun"}}})
    assert run.stderr == f"note: {file}:3: /log-driver: configures dockerd only; left out\n"


def test_a_config_toml_is_read_from_standard_input_and_escaped() -> None:
    run = runtimectl("import", "containerd", "-", input=CONTAINERD)
    expected = {"runtimes": {"\x1b[31m": {"runtimeType": "io.containerd.kata.v2"}}}
    assert (run.returncode, json.loads(run.stdout)) == (0, expected)
    assert run.stderr.startswith("note: stdin: imports: ")
    assert "\x1b" not in run.stdout + run.stderr


@pytest.mark.parametrize(
    ("engine", "text", "place"),
    [
        ("docker", '{"runtimes":\n{"runc": {"path": "/x"}}}', "stdin:2:2: /runtimes/runc: runtime name 'runc' is"),
        ("docker", "{\n", "stdin:2:1: "),
        ("containerd", "version = 2\nx = [1", "stdin: not valid TOML: "),
        ("containerd", "version = 2\nx = = 1", "stdin:2:5: not valid TOML: Invalid value"),
        ("containerd", "version = 1", "stdin: version: found version 1, "),
        ("containerd", f"x = {'[' * 100_000}", "stdin: "),
    ],
)
def test_a_file_that_cannot_be_translated_is_refused_with_place_and_hint(engine: str, text: str, place: str) -> None:
    run = runtimectl("import", engine, "-", input=text)
    assert (run.returncode, run.stdout) == (1, "")
    first, *_, last, hint = run.stderr.splitlines()
    assert first.startswith(place)
    assert last == "runtimectl: stdin cannot be translated"
    assert hint.startswith("hint: ")


def test_bytes_that_are_no_text_are_refused_with_their_line(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(b'version = 2\nx = "\xff"\n')
    run = runtimectl("import", "containerd", str(file))
    assert run.returncode == 1
    assert run.stderr.startswith(f"{file}:2: byte 0xff is not UTF-8, which TOML requires\n")


def test_a_go_template_in_place_of_toml_is_called_one() -> None:
    text = 'version = 2\n{{ template "base" . }}\n'
    run = runtimectl("import", "containerd", "-", input=text)
    assert run.returncode == 1
    assert run.stderr.startswith("stdin:2:1: not valid TOML: the file is a Go template, import the config.toml that ")


def test_a_reserved_name_can_be_renamed() -> None:
    text = '{"runtimes": {"runc": {"path": "/x"}}}'
    run = runtimectl("import", "docker", "-", "--rename", "runc=mine", input=text)
    assert (run.returncode, json.loads(run.stdout)) == (0, {"runtimes": {"mine": {"path": "/x"}}})
    for wrong in ("runc", "=x", "runc="):
        assert runtimectl("import", "docker", "-", "--rename", wrong, input=text).returncode == 2


def test_an_engine_that_has_no_file_cannot_be_imported() -> None:
    run = runtimectl("import", "kubernetes", "-", input="")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "runtimectl: kubernetes has no file that could be imported\n"


def test_a_file_that_cannot_be_read_is_exit_status_2(tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(17 * 1024 * 1024)
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "no\n", "No such file"), (big, "16,777,216 bytes")):
        run = runtimectl("import", "docker", str(path))
        assert (run.returncode, run.stdout) == (2, "")
        assert reason in run.stderr
        assert len(run.stderr.splitlines()) == 2


def test_json_has_the_document_the_remarks_and_the_problems() -> None:
    run = runtimectl("import", "docker", "-", "--json", input=DOCKER)
    remark = {"file": "stdin", "line": 3, "place": "/log-driver", "message": "configures dockerd only; left out"}
    document = {"runtimes": {"crun": {"path": "/usr/bin/crun"}}}
    assert (run.returncode, run.stderr) == (0, "")
    assert json.loads(run.stdout) == {"document": document, "remarks": [remark], "problems": []}
    run = runtimectl("--json", "import", "docker", "-", input='{"runtimes": {"x": {}}}')
    found = json.loads(run.stdout)
    assert (run.returncode, found["document"], found["remarks"]) == (1, None, [])
    assert [problem["pointer"] for problem in found["problems"]] == ["/runtimes/x"]


def exported(daemon: RunningDaemon, *args: str, **more: Any) -> str:
    run = runtimectl("export", *args, on=daemon, **more)
    assert run.returncode == 0, run.stderr
    assert all(line.startswith("note: ") for line in run.stderr.splitlines())
    return run.stdout


def test_exports_name_the_stable_path(daemon: RunningDaemon) -> None:
    stable = f"{daemon.data}/runtimes/wrapped"
    docker = json.loads(exported(daemon, "docker"))
    assert docker["default-runtime"] == "plain"
    assert docker["runtimes"]["wrapped"] == {"path": stable}
    for version, plugin in ((2, "io.containerd.grpc.v1.cri"), (3, "io.containerd.cri.v1.runtime")):
        # A name outside of ASCII is in the table, and the file is UTF-8 in any locale.
        text = exported(daemon, "containerd", "--config-version", str(version), environ={"PYTHONIOENCODING": "ascii"})
        document = tomllib.loads(text)
        runtimes = document["plugins"][plugin]["containerd"]["runtimes"]
        assert document["version"] == version
        assert runtimes["wrapped"]["options"]["BinaryName"] == stable
        assert "\x1b" not in text
        assert runtimes.keys() == docker["runtimes"].keys() | {"runc"}
    assert tomllib.loads(exported(daemon, "containerd"))["version"] == 2


def test_an_export_can_be_imported_and_the_daemon_accepts_it(daemon: RunningDaemon, own_daemon: RunningDaemon) -> None:
    own_daemon.stop()
    own_daemon.install(KATA_SHIM, "containerd-shim-runc-v2")
    own_daemon.start()
    for engine in ("docker", "containerd"):
        text = exported(daemon, engine)
        run = runtimectl("import", engine, "-", input=text)
        assert run.returncode == 0, run.stderr
        own_daemon.config.write_text(run.stdout)
        assert own_daemon.reload()["outcome"] in ("applied", "unchanged")
        for name in ("plain", "wrapped", "kata"):
            theirs, ours = (one.resolve(name)["options"]["fields"] for one in (daemon, own_daemon))
            binary = theirs.get("binary_name") if name == "kata" else f"{daemon.data}/runtimes/{name}"
            assert ours.get("binary_name") == binary
            assert ours.get("config_path") == theirs.get("config_path")


def test_json_of_an_export_has_document_and_remarks(daemon: RunningDaemon) -> None:
    found = json.loads(exported(daemon, "containerd", "--json"))
    assert tomllib.loads(tomli_w.dumps(found["document"])) == tomllib.loads(exported(daemon, "containerd"))
    assert {remark["file"] for remark in found["remarks"]} == {None}
    assert found["problems"] == []


@pytest.mark.parametrize(
    "args", [("export", "nothing"), ("export",), ("export", "docker", "--config-version", "2"), ("import", "docker")]
)
def test_a_usage_error_is_exit_status_2(daemon: RunningDaemon, args: tuple[str, ...]) -> None:
    run = runtimectl(*args, on=daemon)
    assert (run.returncode, run.stdout) == (2, "")


def test_an_export_without_a_daemon_is_refused() -> None:
    run = runtimectl("export", "docker")
    assert (run.returncode, run.stdout) == (2, "")
    assert "/nowhere/s" in run.stderr
