"""Tests of reading the command line of a process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from runtimed.host.peers import COMMAND_MAX, read_command

SLEEP = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]


@pytest.mark.parametrize(
    ("arguments", "end"),
    [
        ([], "'import time; print(flush=True); time.sleep(60)'"),
        (["two words", "", "a'b"], """'two words' '' 'a'"'"'b'"""),
        (["a\nb\x1b[2J\u202e"], r"'a\nb\x1b[2J\u202e'"),
        ([b"\xff"], r"'\xff'"),
    ],
)
def test_a_command_line_is_printable_and_in_shell_syntax(arguments: list[str | bytes], end: str) -> None:
    with subprocess.Popen([*SLEEP, *arguments], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = read_command(process.pid)
        process.kill()
    assert found is not None
    assert found.startswith(sys.executable)
    assert found.endswith(end)
    assert found.isprintable()


@pytest.mark.parametrize("argument", ["x" * 4096, "\u20ac" * 1300, "\x1b" * 4096])
def test_a_long_command_line_is_cut(argument: str) -> None:
    with subprocess.Popen([*SLEEP, argument], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = read_command(process.pid)
        process.kill()
    assert found is not None
    assert len(found) == COMMAND_MAX
    assert found.endswith("…")


def test_a_process_that_has_ended_has_no_command_line() -> None:
    with subprocess.Popen(["/bin/true"]) as process:
        # Until it is waited for it is a zombie.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert read_command(process.pid) is None
    assert read_command(process.pid) is None
    assert read_command(0) is None
