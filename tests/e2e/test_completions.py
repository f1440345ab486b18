"""The completions in the shells they are for: typed in a terminal, with a key, and run."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness.daemon import PATIENCE_S, RunningDaemon, new_daemon
from harness.screen import Screen
from harness.shell_names import COMPLETIONS, ODD

pytestmark = pytest.mark.timeout(600)

FINISHED = "that was it"
# A person gets no completion from a daemon that takes a second. These tests wait, however busy the machine is.
PROGRAM = f"""
import sys
from runtimed.cli import complete, ctl
complete._TIMEOUT_S = {PATIENCE_S}
sys.exit(ctl.main())
"""


@dataclass(frozen=True, slots=True)
class Shell:
    """A shell, how it is started for a person, and what has it know the completions."""

    command: Sequence[str]
    setup: str


SHELLS = {
    "bash": Shell(["bash", "--norc", "--noprofile", "-i"], "source {here}/runtimectl; bind 'set bell-style none'"),
    "zsh": Shell(["zsh", "-f", "-i"], "fpath=({here} $fpath); autoload -Uz compinit; compinit -u -D; unsetopt beep"),
    # It finds them by itself, below XDG_DATA_HOME.
    "fish": Shell(["fish", "-i"], "set fish_greeting"),
}


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    with new_daemon() as made:
        made.write({"runtimes": {name: {"path": "/bin/sh"} for name in ODD}})
        yield made.start()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home directory with runtimectl, and the completions under the names they are installed under."""
    home = tmp_path_factory.mktemp("home")
    program = home / "runtimectl-program/runtimectl"
    program.parent.mkdir()
    program.with_suffix(".py").write_text(PROGRAM)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$0.py" "$@"\n')
    program.chmod(0o755)
    shutil.copy(COMPLETIONS / "runtimectl.bash", home / "runtimectl")
    shutil.copy(COMPLETIONS / "runtimectl.zsh", home / "_runtimectl")
    (home / "fish/vendor_completions.d").mkdir(parents=True)
    shutil.copy(COMPLETIONS / "runtimectl.fish", home / "fish/vendor_completions.d/runtimectl.fish")
    return home


def environment(home: Path, socket: Path) -> dict[str, str]:
    path = f"{home}/runtimectl-program:{os.environ['PATH']}"
    places = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"), str(home))
    more = {"LC_ALL": "C.UTF-8", "INPUTRC": "/dev/null", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    return {"PATH": path, **places, **more, "RUNTIMED_SOCKET": str(socket), "PS1": "$ "}


@pytest.mark.parametrize("shell", SHELLS)
def test_every_name_is_completed_from_its_beginning_and_is_that_name_when_it_is_run(
    daemon: RunningDaemon, home: Path, shell: str
) -> None:
    with Screen(SHELLS[shell].command, environment(home, daemon.socket)) as screen:
        screen.type(SHELLS[shell].setup.format(here=home) + "; printf '%s %s\\n' that 'was it'\r")
        screen.until(FINISHED)
        for name in ODD:
            begun = name[:1] if name[0].isalnum() else f"\\{name[0]}"
            screen.type(f"runtimectl resolve --json {begun}\t\r")
            screen.until(f'"runtime":{json.dumps(name)}')


@pytest.mark.parametrize(
    ("shell", "setup"),
    [
        ("bash", "source <(runtimectl completion bash)"),
        ("zsh", "autoload -Uz compinit; compinit -u -D; unsetopt beep; source <(runtimectl completion zsh)"),
        ("fish", "set fish_greeting; runtimectl completion fish | source"),
    ],
)
def test_the_script_that_is_printed_completes_once_it_is_sourced(
    daemon: RunningDaemon, home: Path, tmp_path: Path, shell: str, setup: str
) -> None:
    environ = {**environment(home, daemon.socket), "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    with Screen(SHELLS[shell].command, environ) as screen:
        screen.type(setup + "; printf '%s %s\\n' that 'was it'\r")
        screen.until(FINISHED)
        screen.type("runtimectl resolve --json nota\t\r")
        screen.until('"runtime":"nota:bene"')


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("typed", ["'two w", '"two w', "two\\ w"])
def test_what_is_begun_in_quotation_marks_is_completed_in_them(
    daemon: RunningDaemon, home: Path, shell: str, typed: str
) -> None:
    with Screen(SHELLS[shell].command, environment(home, daemon.socket)) as screen:
        screen.type(SHELLS[shell].setup.format(here=home) + "; printf '%s %s\\n' that 'was it'\r")
        screen.until(FINISHED)
        screen.type(f"runtimectl resolve --json {typed}\t\r")
        screen.until('"runtime":"two words"')


@pytest.mark.parametrize("shell", SHELLS)
def test_without_a_daemon_verbs_are_completed_and_nobody_is_told_anything(home: Path, shell: str) -> None:
    with Screen(SHELLS[shell].command, environment(home, home / "none")) as screen:
        screen.type(SHELLS[shell].setup.format(here=home) + "; printf '%s %s\\n' that 'was it'\r")
        screen.until(FINISHED)
        screen.type("runtimectl resolve x\t")
        screen.type("\x15runtimectl vers\t--js\t\r")
        screen.until("\nhint: start it")
        # On stdout and on stderr, by the run itself.
        assert screen.shown.count("no answer from a daemon") == 2
