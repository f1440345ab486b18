"""Runs the programs of engines with limits on time and output, in a fixed environment."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from threading import Event
from typing import Protocol

from runtimed.core.engines.engine import NoAnswer, Run
from runtimed.core.message_text import printable

_TIMEOUT_S = 10.0
_OUTPUT_BYTES = 16 * 1024 * 1024
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# The error is at the end of an engine's log.
_LINES = 5


class Outcome(Protocol):
    """The result of a run."""

    @property
    def status(self) -> int:
        """The exit status, as in :mod:`subprocess`."""

    @property
    def stdout(self) -> bytes:
        """The output."""

    @property
    def stderr(self) -> bytes:
        """The messages."""

    @property
    def cut_short(self) -> str | None:
        """The reason if the run was killed."""


# Runs a command that may hang or print without end (host.features.command.run_command).
RunCommand = Callable[..., Outcome]


def run_program(run: Run, run_command: RunCommand) -> Outcome | None:
    """Return the outcome of ``run``, None if there is no such program.

    Raises:
        NoAnswer: the program cannot be started.
    """
    environment = {"PATH": _PATH, "LC_ALL": "C", "HOME": _home(), **run.environ}
    try:
        return run_command(
            run.words, timeout_s=_TIMEOUT_S, output_bytes=_OUTPUT_BYTES, stopped=Event(), environment=environment
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NoAnswer(f"{run.words[0]} cannot be started: {error.strerror}") from error


def output_of(run: Run, outcome: Outcome | None) -> bytes:
    """Return the stdout of ``run``. Raises: NoAnswer: the program is missing, or it failed."""
    if outcome is None:
        raise NoAnswer(f"there is no program {run.words[0]} on this node", missing=True)
    if (reason := failure_of(outcome)) is not None:
        raise NoAnswer(f"{' '.join(run.words)}: {reason}")
    return outcome.stdout


def failure_of(outcome: Outcome) -> str | None:
    """Return why a run failed, with the end of its stderr; None if it succeeded."""
    if outcome.cut_short is not None:
        return outcome.cut_short
    if outcome.status == 0:
        return None
    lines = [line for line in outcome.stderr.decode(errors="backslashreplace").splitlines() if line.strip()]
    reason = f"exit status {outcome.status}" if outcome.status > 0 else f"killed by signal {-outcome.status}"
    return printable("; ".join(lines[-_LINES:])) or reason


def _home() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return "/"
