"""A program in a terminal of its own, for tests that look at what a person would see and type what one would."""

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

# Makes the terminal the one that Ctrl-C works in. Whoever starts the tests in the background has SIGINT ignored.
_TAKE_OVER = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Screen:
    """What ``command`` shows on a terminal that is ``columns`` wide; ended with the block, whatever it does."""

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
        """Return all that was shown once ``text`` is among it."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.shown:
            assert time.monotonic() < deadline, f"waited in vain for {text!r} in {self.shown!r}"
            assert self._read(), f"it ended without {text!r}: {self.shown!r}"
        return self.shown

    def end(self) -> tuple[int, str]:
        """Return the exit status and all that was shown, with the line ends of a file."""
        deadline = time.monotonic() + PATIENCE_S
        while self._read():
            assert time.monotonic() < deadline, f"it does not end: {self.shown!r}"
        return self._process.wait(PATIENCE_S), self.shown.replace("\r\n", "\n")

    def _read(self) -> bool:
        """Read what is there, or wait for a moment; return whether there may be more."""
        if not select.select([self._master], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:
            # Linux's way of saying that nobody has the terminal open any more.
            return False
        self._seen += data
        self.shown = self._seen.decode(errors="replace")
        return bool(data)
