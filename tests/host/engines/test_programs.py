"""Tests of the programs of engines: their environment, and the reports of failures."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest
from harness.daemon import put_executable

import runtimed.host.engines.programs
from runtimed.core.engines.engine import NoAnswer, Run
from runtimed.host.engines.programs import failure_of, output_of, run_program
from runtimed.host.features.command import run_command


def output(*words: str, **environ: str) -> bytes:
    run = Run(words, environ)
    return output_of(run, run_program(run, run_command))


def test_a_program_gets_a_fixed_environment_and_its_own_and_no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/x")
    lines = output("env", MORE="x").decode().splitlines()
    assert {line.partition("=")[0] for line in lines} == {"PATH", "LC_ALL", "HOME", "MORE"}
    assert "LC_ALL=C" in lines
    assert output("cat") == b""


def test_a_program_that_is_missing_is_no_failure() -> None:
    run = Run(("no-such-engine", "--version"))
    assert run_program(run, run_command) is None
    with pytest.raises(NoAnswer, match="there is no program no-such-engine on this node") as error:
        output_of(run, None)
    assert error.value.missing


def test_a_program_that_cannot_be_executed_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "engine").write_text("")
    with pytest.raises(NoAnswer, match="cannot be started: Permission denied") as error:
        output(f"{tmp_path}/engine")
    assert not error.value.missing


def test_a_failure_is_told_with_the_end_of_stderr_and_without_control_characters(tmp_path: Path) -> None:
    script = "for n in 1 2 3 4 5 6; do echo line $n >&2; done; printf '\\033[31mred\\n\\n' >&2; exit 3"
    program = put_executable(tmp_path / "bin/engine", f"#!/bin/sh\n{script}\n")
    with pytest.raises(NoAnswer) as error:
        output(str(program), "check")
    assert str(error.value) == f"{program} check: line 3; line 4; line 5; line 6; \\x1b[31mred"
    program = put_executable(tmp_path / "bin/silent", "#!/bin/sh\nexit 4\n")
    with pytest.raises(NoAnswer, match="exit status 4"):
        output(str(program))
    program = put_executable(tmp_path / "bin/killed", "#!/bin/sh\nkill -9 $$\n")
    with pytest.raises(NoAnswer, match="killed by signal 9"):
        output(str(program))


def test_a_program_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimed.host.engines.programs, "_TIMEOUT_S", 0.2)
    outcome = run_program(Run(("sleep", "1000")), run_command)
    assert outcome is not None
    assert failure_of(outcome) == "did not end within 0.2 s and was killed"


def test_the_home_is_that_of_the_user_also_of_one_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/elsewhere")
    assert output("sh", "-c", "echo $HOME").decode().strip() == pwd.getpwuid(os.geteuid()).pw_dir
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    assert output("sh", "-c", "echo $HOME") == b"/\n"
