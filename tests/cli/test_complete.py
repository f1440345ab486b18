"""Tests of the completion of command lines, as far as it is the same in every shell."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from harness.daemon import PATIENCE_S, RunningDaemon, new_daemon, short_directory
from harness.runtimectl import COMMAND, Run, runtimectl
from harness.shell_names import COMPLETIONS, ODD
from hypothesis import given
from hypothesis import strategies as st

from runtimed.cli.bash import read_line

# bash's own default.
BREAKS = " \t\n\"'@><=;|&(:"
FILES = 3
VERBS = [
    *("resolve", "list", "explain", "containers", "status", "watch", "metrics", "check", "plan", "reload"),
    *("generations", "history", "diff", "gc"),
]

# runtimectl that waits for a daemon on a busy machine: a person does not wait so long for a completion.
PATIENT = f"""
import sys
from runtimed.cli import complete, ctl
complete._TIMEOUT_S = {PATIENCE_S}
sys.exit(ctl.main())
"""


def words(*typed: str, on: RunningDaemon | None = None) -> Run:
    """Return the run that completes the last of the words."""
    command = COMMAND if on is None else (sys.executable, "-c", PATIENT)
    run = runtimectl("__complete", "words", *typed, on=on, command=command)
    assert run.stderr == ""
    return run


def candidates(*typed: str, on: RunningDaemon | None = None) -> list[str]:
    run = words(*typed, on=on)
    assert run.returncode == 0
    return [line.split("\t")[0] for line in run.stdout.splitlines()]


# Candidates


def test_verbs_and_options_need_no_daemon() -> None:
    assert candidates("")[: len(VERBS)] == VERBS
    assert candidates("re") == ["resolve", "reload"]
    assert candidates("plan", "--") == ["--help", "--socket", "--json", "--exit-code", "--verbose"]
    assert candidates("--") == ["--help", "--socket", "--json", "--version"]
    # Only an option can come next.
    assert candidates("reload", "") == ["--help", "--socket", "--json", "--dry-run", "--verbose"]
    assert candidates("resolve", "--format", "") == ["ctr", "nerdctl", "json", "any", "path"]
    assert candidates("resolve", "--format=p") == ["--format=path"]
    assert candidates("resolve", "--digest", "") == []
    assert candidates("lsit", "") == []
    assert candidates("export", "d") == candidates("verify", "d") == ["docker"]
    assert candidates("export", "containerd", "--") == [
        *("--help", "--socket", "--json", "--write", "--config-version", "--node-selector"),
    ]
    assert candidates("export", "containerd", "--config-version", "") == ["2", "3", "4"]
    assert candidates("test", "--engine", "") == ["direct", "containerd"]
    assert candidates("test", "--timeout", "") == []


def test_names_and_numbers_come_from_the_daemon(daemon: RunningDaemon, twice: RunningDaemon) -> None:
    assert candidates("resolve", "wr", on=daemon) == ["wrapped"]
    assert candidates("explain", "--json", "ka", on=daemon) == candidates("test", "ka", on=daemon) == ["kata"]
    assert words("resolve", "pl", on=daemon).stdout == "plain\t/bin/sh, the default runtime\n"
    assert candidates("diff", "", on=twice) == candidates("diff", "1", "", on=twice) == ["2", "1"]
    assert candidates("resolve", "x", "--generation", "", on=twice) == ["2", "1"]
    # The name is there; only options are left.
    assert candidates("resolve", "x", "w", on=daemon) == []
    # The command line says which daemon is meant.
    for typed in (["--socket", str(daemon.socket), "resolve"], ["resolve", f"--socket={daemon.socket}"]):
        assert candidates(*typed, "wr", on=twice) == ["wrapped"]


def test_a_name_that_cannot_be_typed_is_not_suggested(daemon: RunningDaemon) -> None:
    assert candidates("resolve", "red", on=daemon) == []
    assert candidates("resolve", "", on=daemon)[0] == "a/b?c=d&e%41+\N{LATIN SMALL LETTER E WITH ACUTE}"


def test_a_name_that_looks_like_an_option_is_suggested_only_after_two_dashes(own_daemon: RunningDaemon) -> None:
    own_daemon.write({"runtimes": {"-dash": {"path": "/bin/sh"}}})
    own_daemon.reload()
    assert "-dash" not in candidates("resolve", "", on=own_daemon)
    assert candidates("resolve", "--", "-", on=own_daemon) == ["-dash"]


@pytest.mark.parametrize("typed", [("resolve", ""), ("explain", "x"), ("diff", ""), ("resolve", "--generation", "")])
def test_without_a_daemon_there_are_no_names_and_no_errors(typed: tuple[str, ...]) -> None:
    run = words(*typed)
    assert (run.returncode, run.stdout) == (0, "")


def test_a_daemon_that_hangs_delays_no_completion() -> None:
    with short_directory() as place, closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(place / "s"))
        listener.listen()
        run = words("--socket", str(place / "s"), "resolve", "")
    assert (run.returncode, run.stdout) == (0, "")


@pytest.mark.parametrize("typed", [("check", ""), ("check", "a", "b"), ("list", "--socket", ""), ("--socket=/x",)])
def test_file_names_are_left_to_the_shell(typed: tuple[str, ...]) -> None:
    run = words(*typed)
    assert (run.returncode, run.stdout) == (FILES, "")


def test_no_word_is_completed_like_an_empty_word() -> None:
    assert runtimectl("__complete").stdout == words("").stdout


# How bash has it


@pytest.mark.parametrize(
    ("typed", "whole", "current"),
    [
        ("runtimectl ", ["runtimectl"], ""),
        ("runtimectl res", ["runtimectl"], "res"),
        (r"runtimectl resolve two\ w", ["runtimectl", "resolve"], "two w"),
        ("runtimectl resolve 'two w", ["runtimectl", "resolve"], "two w"),
        (r'runtimectl resolve "say \"h', ["runtimectl", "resolve"], 'say "h'),
        (r'runtimectl resolve "a\b', ["runtimectl", "resolve"], r"a\b"),
        ("runtimectl resolve '' x", ["runtimectl", "resolve", ""], "x"),
        ("runtimectl resolve a'b c'd", ["runtimectl", "resolve"], "ab cd"),
        ("runtimectl --socket=/a  list\t", ["runtimectl", "--socket=/a", "list"], ""),
        # The file of a redirection is no argument.
        ("runtimectl list 2> err resolve ", ["runtimectl", "list", "resolve"], ""),
        ("runtimectl list >", ["runtimectl", "list"], ""),
        ("runtimectl list\\", ["runtimectl"], "list"),
    ],
)
def test_a_line_is_read_as_bash_reads_it(typed: str, whole: list[str], current: str) -> None:
    line = read_line(typed, BREAKS)
    assert (line.words, line.current) == (whole, current)


def test_the_file_of_a_redirection_is_left_to_the_shell() -> None:
    run = runtimectl("__complete", "bash", "runtimectl list > fi", BREAKS)
    assert (run.returncode, run.stdout) == (FILES, "")


WORD = st.text(
    st.characters(exclude_categories=("C", "Z"), include_characters=" ", exclude_characters="$`"),
    min_size=1,
    max_size=12,
)


@given(WORD, st.integers(0, 12), st.sampled_from(["", "'", '"']))
def test_a_word_is_completed_to_itself_in_any_quotation(word: str, length: int, quote: str) -> None:
    begun = word[:length]
    typed = {
        "": "".join(c if c.isalnum() else f"\\{c}" for c in begun),
        "'": "'" + begun.replace("'", r"'\''"),
        '"': '"' + "".join(f"\\{c}" if c in '\\"$`' else c for c in begun),
    }[quote]
    line = read_line(f"runtimectl resolve {typed}", BREAKS)
    assert line.current == begun
    # readline keeps the text up to an open quotation mark, and closes the mark.
    kept = {"": "", "'": typed[: typed.rfind("'") + 1], '"': '"'}[quote]
    assert shlex.split(f"{kept}{line.replacement(word)}{quote}") == [word]


@pytest.mark.parametrize(
    ("typed", "word", "put"),
    [
        ("--format=", "--format=ctr", "ctr"),
        ("a:", "a:b c", r"b\ c"),
        (r"a\:", r"a:b", "a:b"),
        ("'a:", "a:b", "a:b"),
        ("a:'b", "a:b c", "b c"),
        ("", "~x", r"\~x"),
        # Text that the standard library's shlex reads differently than a shell.
        ('"', "$x`\\", r"\$x\`\\"),
        ("'", "$x`\\", "$x`\\"),
        ("", "gr\N{LATIN SMALL LETTER O WITH DIAERESIS}n", "gr\N{LATIN SMALL LETTER O WITH DIAERESIS}n"),
    ],
)
def test_the_part_that_readline_keeps_is_not_inserted_again(typed: str, word: str, put: str) -> None:
    assert read_line(f"runtimectl resolve {typed}", BREAKS).replacement(word) == put


# The scripts


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_printed(shell: str) -> None:
    run = runtimectl("completion", shell)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == (COMPLETIONS / f"runtimectl.{shell}").read_text()


def test_a_shell_and_a_verb_are_completed() -> None:
    assert candidates("completion", "") == ["bash", "zsh", "fish"]
    assert candidates("help", "re") == ["resolve", "reload"]


# The real bash

# Calls the completion as bash does; each candidate is put there, and the line is then read as bash reads it.
DRIVER = """
runtimectl() { "$PYTHON" -c "$PATIENT" "$@"; }
source "$SCRIPT"
[[ $(complete -p runtimectl) =~ -F\\ ([^\\ ]+) ]]
COMP_LINE="runtimectl resolve $1" COMP_WORDS=(runtimectl resolve "$1") COMP_CWORD=2
COMP_POINT=${#COMP_LINE}
"${BASH_REMATCH[1]}" runtimectl "$1" resolve
for each in "${COMPREPLY[@]}"; do eval "printf '%s\\n' $each"; done
"""


@pytest.fixture(scope="module")
def odd() -> Iterator[RunningDaemon]:
    with new_daemon() as made:
        made.write({"runtimes": {name: {"path": "/bin/sh"} for name in ODD}})
        yield made.start()


def in_bash(typed: str, on: Path) -> list[str]:
    script = str(COMPLETIONS / "runtimectl.bash")
    environ = {**os.environ, "PYTHON": sys.executable, "PATIENT": PATIENT, "SCRIPT": script}
    environ["RUNTIMED_SOCKET"] = str(on)
    command = ["bash", "--norc", "-c", DRIVER, "bash", typed]
    run = subprocess.run(command, check=True, capture_output=True, text=True, env=environ, timeout=PATIENCE_S)
    assert run.stderr == ""
    return run.stdout.splitlines()


def test_bash_inserts_every_name_with_correct_quotation(odd: RunningDaemon) -> None:
    assert in_bash("", odd.socket) == sorted([*ODD, "runc", "io.containerd.runc.v2"])
    assert in_bash("two", odd.socket) == ["two words"]


def test_bash_without_a_daemon_prints_nothing(tmp_path: Path) -> None:
    assert in_bash("", tmp_path / "none") == []
