"""Tests of ``runtimectl import`` and ``export``: documents on stdout, notes on stderr, exit statuses."""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from harness.daemon import RunningDaemon
from harness.engine import TABLE, SmallEngine
from harness.runtimectl import runtimectl
from harness.shell_names import KATA_SHIM

import runtimed.core.engines
from runtimed.cli.translate import export_configuration
from runtimed.core.engines.engine import TakesEffect

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


@pytest.fixture
def small(tmp_path: Path) -> SmallEngine:
    return SmallEngine(tmp_path)


class Table:
    """A client with TABLE."""

    def runtimes(self) -> Any:
        return TABLE


def export(
    small: SmallEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, as_json: bool = False
) -> tuple[int, str, str]:
    monkeypatch.setattr(runtimed.core.engines, "load_engine", lambda _: small.engine())
    args = argparse.Namespace(engine="small", json=as_json, write=True, config_version=None, node_selector=False)
    status = export_configuration(Table(), args)  # type: ignore[arg-type]
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize(
    ("takes_effect", "note"),
    [
        ("at once", "small reads the file at each command"),
        ("reload", "small follows the file after: systemctl reload small"),
        ("restart", "small follows the file after: systemctl restart small"),
    ],
)
def test_the_paths_are_printed_and_how_the_engine_follows(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    takes_effect: TakesEffect,
    note: str,
) -> None:
    small = SmallEngine(tmp_path, takes_effect=takes_effect)
    remarks = "note: a remark\nnote: version 1.2\n"
    assert export(small, monkeypatch, capsys) == (0, f"wrote {small.file}\n", f"{remarks}note: {note}\n")
    assert export(small, monkeypatch, capsys) == (0, f"unchanged {small.file}\n", remarks)
    status, out, err = export(small, monkeypatch, capsys, as_json=True)
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert [remark["message"] for remark in found.pop("remarks")] == ["a remark", "version 1.2"]
    expected = {"written": [], "unchanged": [str(small.file)], "takes_effect": takes_effect, "problems": []}
    assert found == expected


def test_a_refusal_has_every_place_and_a_hint(
    small: SmallEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (small.directory / "main.conf").write_text("closed")
    status, out, err = export(small, monkeypatch, capsys)
    assert (status, out) == (1, "")
    note, first, omitted, last, hint = err.splitlines()
    assert note == "note: a remark"
    assert first == f"{small.directory}/main.conf:3: is closed"
    assert omitted == "and 2 more problems"
    assert last == "runtimectl: the files of small are not written"
    assert hint.startswith("hint: ")
    status, out, _ = export(small, monkeypatch, capsys, as_json=True)
    found = json.loads(out)
    assert (status, found["written"], found["unchanged"]) == (1, [], [])
    assert [problem["line"] for problem in found["problems"]] == [3]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("docker", "--node-selector"), "--node-selector is for kubernetes"),
        (("docker", "--config-version", "3"), "--config-version is for containerd"),
        (("docker", "--write", "--config-version", "3"), "--config-version is for containerd"),
        (("containerd", "--config-version", "5"), "invalid choice"),
        (("kubernetes", "--write"), "hint: use: runtimectl export kubernetes | kubectl apply -f -"),
    ],
)
def test_an_option_of_another_engine_is_a_usage_error(
    daemon: RunningDaemon, words: tuple[str, ...], reason: str
) -> None:
    run = runtimectl("export", *words, on=daemon)
    assert (run.returncode, run.stdout) == (2, "")
    assert reason in run.stderr


def test_an_engine_without_a_file_on_the_node_has_another_way(
    small: SmallEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(SmallEngine, "writing", lambda _: None)
    status, out, err = export(small, monkeypatch, capsys)
    assert (status, out) == (2, "")
    assert err.endswith("hint: use: runtimectl export small | kubectl apply -f -\n")
