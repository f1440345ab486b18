"""Tests of wrapper scripts by executing them."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runtimed.core.table.script import Script
from runtimed.core.table.wrapper import make_wrapper

# coreutils' printf: prints each argument after the format, followed by a NUL.
PRINTF = "/usr/bin/printf"
FORMAT = "%s\\0"

ARGUMENT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40),
    st.text(" '\"$;*?[]{}()<>|&\\`!#~=-%\n\t\r@", max_size=12),
    st.sampled_from(
        ("", "-n", "--", "$@", '"$@"', "'", "''", "\\", "$(id)", "`id`", "*", "~", "a b", "\n", "é", "日本", "\u202e")
    ),
)
ARGUMENTS = st.lists(ARGUMENT, max_size=6)
SHELLS = [shell for shell in ("dash", "bash", "busybox", "ksh", "zsh") if shutil.which(shell)]


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with TemporaryDirectory() as path:
        yield Path(path)


def write(directory: Path, wrapper: Script) -> Path:
    path = directory / wrapper.file
    if not path.exists():
        path.write_bytes(wrapper.text)
        path.chmod(0o700)
    return path


def printed(command: Sequence[str | Path], called_with: Sequence[str]) -> list[str]:
    output = subprocess.run([*command, *called_with], check=True, stdout=subprocess.PIPE, timeout=60).stdout
    assert output.endswith(b"\0")
    return output[:-1].decode().split("\0")


@settings(max_examples=150, deadline=None)
@given(args=ARGUMENTS, called_with=ARGUMENTS)
@example(args=["x" * 100_000], called_with=["y" * 100_000])
@example(args=["'" * 25_000], called_with=[])
@example(args=["\\\n$x;*"], called_with=["\\\n$x;*"])
def test_every_argument_reaches_the_program_byte_for_byte(
    directory: Path, args: list[str], called_with: list[str]
) -> None:
    path = write(directory, make_wrapper("w", PRINTF, [FORMAT, *args]))
    assert printed([path], called_with) == ([*args, *called_with] or [""])


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_that_may_be_sh_passes_the_arguments_on(directory: Path, shell: str) -> None:
    binary = shutil.which(shell)
    assert binary is not None
    (directory / shell).mkdir()
    # Called sh, which makes it behave as one.
    sh = directory / shell / "sh"
    sh.symlink_to(binary)

    @settings(max_examples=60, deadline=None)
    @given(args=ARGUMENTS, called_with=ARGUMENTS)
    @example(args=["\u00e9\\'\n", "!x", "a=b", "~root", "x" * 100_000], called_with=["-c", "--", "!x"])
    def check(args: list[str], called_with: list[str]) -> None:
        path = write(directory, make_wrapper("w", PRINTF, [FORMAT, *args]))
        assert printed([sh, path], called_with) == ([*args, *called_with] or [""])

    check()


@settings(max_examples=30, deadline=None)
@given(name=st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=40))
@example(name="-n")
@example(name="a b'c\"d$e;f*\n")
@example(name="~")
def test_a_program_is_found_under_any_path(directory: Path, name: str) -> None:
    if name in (".", ".."):
        return
    place = directory / "programs"
    place.mkdir(exist_ok=True)
    (place / name).unlink(missing_ok=True)
    (place / name).symlink_to(PRINTF)
    path = write(directory, make_wrapper("w", f"{place}/{name}", [FORMAT, "x"]))
    assert printed([path], []) == ["x"]


def test_a_program_without_a_slash_is_found_on_the_path(directory: Path) -> None:
    path = write(directory, make_wrapper("w", "printf", [FORMAT, "a b"]))
    assert printed([path], ["c"]) == ["a b", "c"]


@pytest.mark.parametrize("status", [0, 1, 42, 255])
def test_the_exit_status_is_that_of_the_program(directory: Path, status: int) -> None:
    path = write(directory, make_wrapper("w", "/bin/sh", ["-c", f"exit {status}"]))
    assert subprocess.run([path], check=False, timeout=60).returncode == status


def test_a_signal_reaches_the_program_itself(directory: Path) -> None:
    # exec: the process that was started is the program, and no shell stands in between.
    path = write(
        directory, make_wrapper("w", "/bin/sh", ["-c", "trap 'exit 7' TERM; echo $$; while :; do sleep 0.05; done"])
    )
    with subprocess.Popen([path], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert int(process.stdout.readline()) == process.pid
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 7
        finally:
            process.kill()


def test_a_missing_program_fails_as_in_any_shell(directory: Path) -> None:
    path = write(directory, make_wrapper("w", "/no/such/program", ["x"]))
    result = subprocess.run([path], check=False, timeout=60, stderr=subprocess.PIPE)
    assert result.returncode == 127
    assert b"/no/such/program" in result.stderr


def test_the_program_inherits_streams_and_environment(directory: Path) -> None:
    path = write(directory, make_wrapper("w", "/bin/sh", ["-c", 'cat; echo "$MARK"; echo error >&2']))
    result = subprocess.run(
        [path], check=True, timeout=60, input=b"in\n", capture_output=True, env={**os.environ, "MARK": "a  b"}
    )
    assert (result.stdout, result.stderr) == (b"in\na  b\n", b"error\n")


def test_mode_0700_is_enough(directory: Path) -> None:
    path = write(directory, make_wrapper("mode", PRINTF, [FORMAT, "x"]))
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert printed([path], []) == ["x"]
