"""Tests of ``runtimectl verify``: an engine is asked, and its answer and its file are compared with the table."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness.daemon import PATIENCE_S, RunningDaemon
from harness.engine import TABLE, SmallEngine
from harness.runtimectl import runtimectl

import runtimed.core.engines
from runtimed.cli.engine_files import write_files
from runtimed.cli.terminal import PLAIN, Terminal
from runtimed.cli.verify import hang_up_engine, verify, verify_engine
from runtimed.core.engines.engine import ExportOptions
from runtimed.core.engines.verification import Verification
from runtimed.core.errors import ConfigurationRejected

# A process with a name, which ends at SIGHUP, also where the tests run under nohup.
PROCESS = """
import signal, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)
open("/proc/self/comm", "w").write("{name}")
print("ready", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallEngine:
    """Return an engine without a daemon, the only one that runtimectl knows."""
    return install(SmallEngine(tmp_path), monkeypatch)


def install(small: SmallEngine, monkeypatch: pytest.MonkeyPatch) -> SmallEngine:
    monkeypatch.setattr(runtimed.core.engines, "load_engine", lambda _: small.engine())
    monkeypatch.setattr(runtimed.core.engines, "NAMES", ("small",))
    return small


def write(small: SmallEngine) -> None:
    write_files(small.node(), TABLE, ExportOptions())


def found(_: SmallEngine) -> Verification:
    return verify_engine("small", TABLE)


@contextmanager
def process(name: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PROCESS.format(name=name), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        try:
            yield running
        finally:
            running.kill()


def test_an_engine_that_has_read_its_file_follows(small: SmallEngine) -> None:
    write(small)
    assert dict(found(small)) == {
        "engine": "small",
        "state": "follows",
        "detail": "",
        "file": str(small.file),
        "differences": [],
        "takes_effect": "at once",
    }


def test_runtimes_that_the_engine_is_not_asked_for_are_counted(small: SmallEngine) -> None:
    write(small)
    small.unasked = 8
    assert found(small)["detail"].startswith("small was not asked for 8 of the runtimes")


def test_an_engine_without_its_file_differs_by_what_it_lacks(small: SmallEngine) -> None:
    result = found(small)
    assert (result["state"], result["detail"]) == (
        "differs",
        f"{small.file} does not exist; runtimectl export small --write makes it",
    )
    stable = "/var/lib/runtimed/runtimes/crun"
    assert list(map(dict, result["differences"])) == [
        {"name": None, "ours": "crun", "theirs": "none"},
        {"name": "crun", "ours": stable, "theirs": None},
    ]


def test_an_edit_of_the_file_is_named_by_its_line(small: SmallEngine) -> None:
    write(small)
    small.file.write_text(small.file.read_text().replace("/runtimes/crun", "/runtimes/evil"))
    result = found(small)
    assert (result["state"], result["detail"]) == (
        "differs",
        f"{small.file} differs from the table; runtimectl export small --write replaces it",
    )
    assert [each["name"] for each in result["differences"]] == ["crun", f"{small.file}:3"]
    assert result["differences"][1]["theirs"] == "crun /var/lib/runtimed/runtimes/evil"


def test_the_table_in_a_file_of_another_name_counts_too(small: SmallEngine) -> None:
    small.file.parent.mkdir()
    text = "default crun\ncrun /var/lib/runtimed/runtimes/crun\n"
    (small.file.parent / "10-mine.conf").write_text(text)
    assert (found(small)["state"], found(small)["detail"]) == ("follows", "")
    # In place of the file that runtimectl writes it is in the way, though the engine follows.
    (small.file.parent / "10-mine.conf").rename(small.file)
    result = found(small)
    assert result["state"] == "differs"
    assert result["detail"].startswith(f"{small.file}:1: was not written by runtimectl")
    assert [each["name"] for each in result["differences"]] == [f"{small.file}:1"]


def test_a_runtime_that_this_version_of_the_engine_cannot_have_is_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = install(SmallEngine(tmp_path, without="crun"), monkeypatch)
    write(small)
    assert "/crun" not in small.file.read_text()
    assert found(small)["state"] == "follows"


def test_an_answer_that_is_not_understood_is_unknown_with_the_reason(small: SmallEngine) -> None:
    write(small)
    (small.file.parent / "x").write_text("garbage")
    result = found(small)
    assert result["state"] == "unknown"
    assert result["detail"].startswith("its answer is not understood: garbage in ")


def test_a_program_that_fails_is_unknown_and_a_missing_one_does_not_run(small: SmallEngine) -> None:
    write(small)
    text = small.program.read_text()
    small.program.write_text(text.replace("show)", "show) exit 3;;\n  no)"))
    result = found(small)
    assert (result["state"], result["detail"]) == ("unknown", f"{small.program} show: exit status 3")
    small.program.unlink()
    result = found(small)
    assert (result["state"], result["detail"]) == ("not-running", f"there is no program {small.program} on this node")


def test_an_engine_whose_process_is_missing_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = install(SmallEngine(tmp_path, process="no-such-engine", takes_effect="restart"), monkeypatch)
    result = found(small)
    assert (result["state"], result["detail"]) == ("not-running", "there is no process no-such-engine on this node")
    assert result["differences"] == []
    assert not hang_up_engine("small")


def test_an_edit_of_the_file_is_named_also_while_the_engine_does_not_run_or_cannot_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = install(SmallEngine(tmp_path, process="no-such-engine", takes_effect="restart"), monkeypatch)
    write(small)
    small.file.write_text(small.file.read_text().replace("/runtimes/crun", "/runtimes/evil"))
    result = found(small)
    assert (result["state"], [each["name"] for each in result["differences"]]) == ("not-running", [f"{small.file}:3"])
    small.process = None
    text = small.program.read_text()
    small.program.write_text(text.replace("show)", "show) exit 3;;\n  no)"))
    result = found(small)
    assert (result["state"], [each["name"] for each in result["differences"]]) == ("unknown", [f"{small.file}:3"])


def test_a_file_that_is_newer_than_the_process_was_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"e{os.getpid()}"
    small = install(SmallEngine(tmp_path, process=name, takes_effect="restart"), monkeypatch)
    write(small)
    with process(name):
        assert found(small)["state"] == "follows"
        time.sleep(0.05)
        small.file.unlink()
        write(small)
        result = found(small)
        assert (result["state"], result["detail"]) == (
            "not-told",
            f"small has not read {small.file}, which changed after its start; run: systemctl restart small",
        )
    with process(name):
        assert found(small)["state"] == "follows"
    assert found(small)["state"] == "not-running"


def test_the_command_line_of_the_process_is_part_of_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"c{os.getpid()}"
    small = install(SmallEngine(tmp_path, process=name), monkeypatch)
    with process(name, "--closed"), pytest.raises(ConfigurationRejected, match="is closed by --closed"):
        write(small)
    with process(name):
        write(small)


def test_an_engine_is_hung_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"h{os.getpid()}"
    install(SmallEngine(tmp_path, process=name, takes_effect="reload"), monkeypatch)
    with process(name) as running:
        assert hang_up_engine("small")
        assert running.wait(PATIENCE_S) == -1


# The verb


class Table:
    """A client with TABLE."""

    def runtimes(self) -> Any:
        return TABLE


def run_verb(
    capsys: pytest.CaptureFixture[str], engine: str | None = None, *, as_json: bool = False, terminal: Terminal = PLAIN
) -> tuple[int, str, str]:
    args = argparse.Namespace(engine=engine, json=as_json, terminal=terminal)
    status = verify(Table(), args)  # type: ignore[arg-type]
    out, err = capsys.readouterr()
    return status, out, err


def test_the_states_are_a_table_and_the_differences_another(
    small: SmallEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run_verb(capsys)
    assert (status, err) == (1, "")
    assert out.splitlines() == [
        "ENGINE  STATE    DETAIL",
        f"small   differs  {small.file} does not exist; runtimectl export small --write makes it",
        "",
        "ENGINE  NAME             TABLE                            ENGINE HAS",
        "small   default runtime  crun                             none",
        "small   crun             /var/lib/runtimed/runtimes/crun  none",
    ]
    write(small)
    assert run_verb(capsys) == (0, "ENGINE  STATE    DETAIL\nsmall   follows\n", "")


def test_in_a_narrow_terminal_no_value_is_cut(small: SmallEngine, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run_verb(capsys, terminal=Terminal(40))
    words = f"{small.file} does not exist; runtimectl export small --write makes it"
    head, rest = out.split("\n\n", 1)
    assert head.split() == ["ENGINE", "STATE", "small", "differs", *words.split()]
    assert rest.splitlines() == [
        "small: default runtime",
        "  table  crun",
        "  small  none",
        "",
        "small: crun",
        "  table  /var/lib/runtimed/runtimes/crun",
        "  small  none",
    ]


def test_what_an_engine_has_cannot_control_the_terminal(small: SmallEngine, capsys: pytest.CaptureFixture[str]) -> None:
    write(small)
    small.file.write_text(small.file.read_text() + "crun \x1b[31mred\n")
    for terminal in (PLAIN, Terminal(40)):
        _, out, _ = run_verb(capsys, terminal=terminal)
        assert "\x1b" not in out
        assert r"\x1b[31mred" in out


def test_json_has_the_generation_and_the_engines(small: SmallEngine, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run_verb(capsys, as_json=True)
    assert status == 1
    assert json.loads(out) == {"generation": 7, "engines": [found(small)]}


def test_an_engine_that_does_not_run_is_listed_if_it_is_named(
    small: SmallEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    small.program.unlink()
    assert run_verb(capsys) == (0, "this node runs no engine that runtimectl can ask\n", "")
    assert run_verb(capsys, as_json=True)[:2] == (0, '{"generation":7,"engines":[]}\n')
    status, out, _ = run_verb(capsys, "small")
    assert (status, "not-running" in out) == (1, True)


def test_an_engine_that_is_not_on_the_node_is_a_usage_error(
    small: SmallEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = small.engine()
    monkeypatch.setattr(
        runtimed.core.engines,
        "load_engine",
        lambda _: type(engine)(write=engine.write, render=engine.render),
    )
    status, out, err = run_verb(capsys, "small")
    assert (status, out) == (2, "")
    assert err.startswith("runtimectl: small has no file and no process on this node to verify\nhint: ")


def test_without_a_daemon_the_exit_status_is_2(daemon: RunningDaemon) -> None:
    run = runtimectl("verify")
    assert (run.returncode, run.stdout) == (2, "")
    run = runtimectl("verify", "--json", on=daemon)
    assert json.loads(run.stdout)["generation"] == daemon.status()["generation"]
    assert runtimectl("verify", "nothing", on=daemon).returncode == 2
