"""Runs a program in a terminal, for tests that type keys and look at the screen."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from harness.daemon import PATIENCE_S

# Makes the terminal the one that Ctrl-C works in. A shell that runs the tests in the background has SIGINT ignored.
_TAKE_OVER = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Screen:
    """A terminal of ``columns`` columns that runs ``command``, which is killed at the end of the block."""

    def __init__(self, command: Sequence[str], environ: dict[str, str], columns: int = 80) -> None:
        self._master, slave = os.openpty()
        termios.tcsetwinsize(slave, (24, columns))
        self._process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_OVER, *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={"TERM": "xterm", **environ},
            start_new_session=True,
        )
        os.close(slave)
        self.shown = ""
        self._seen = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def type(self, text: str) -> None:
        """Type ``text``, Enter being a carriage return."""
        os.write(self._master, text.encode())

    def until(self, text: str) -> str:
        """Return the whole output once ``text`` is in it."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.shown:
            assert time.monotonic() < deadline, f"waited in vain for {text!r} in {self.shown!r}"
            assert self._read(), f"it ended without {text!r}: {self.shown!r}"
        return self.shown

    def end(self) -> tuple[int, str]:
        """Return the exit status and the whole output, with the line ends of a file."""
        deadline = time.monotonic() + PATIENCE_S
        while self._read():
            assert time.monotonic() < deadline, f"it does not end: {self.shown!r}"
        return self._process.wait(PATIENCE_S), self.shown.replace("\r\n", "\n")

    def _read(self) -> bool:
        """Read available output, or wait for a moment; return whether there may be more."""
        if not select.select([self._master], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:
            # Linux raises this when no process has the terminal open any more.
            return False
        self._seen += data
        self.shown = self._seen.decode(errors="replace")
        return bool(data)
