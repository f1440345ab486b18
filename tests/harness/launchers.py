"""Launchers in a directory, executed by each shell that is installed: what they execute, and their pins."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.daemon import PATIENCE_S

from runtimed.core.pins import Pin, pin_file, read_pins, render_pin
from runtimed.core.table.launcher import make_launcher
from runtimed.core.table.wrapper import make_wrapper

# The shells that are found, by their paths. bash has a mode of its own for scripts of sh.
SHELLS = [
    (found, *options)
    for shell, *options in (("/bin/sh",), ("dash",), ("busybox", "sh"), ("bash",), ("bash", "--posix"))
    if (found := shutil.which(shell)) and shell != Path("/bin/sh").resolve().name
]


@dataclass(frozen=True, slots=True)
class Call:
    """The outcome of a call: the name of the program that was executed, its arguments; or a message and a status."""

    program: str
    args: tuple[bytes, ...]
    error: bytes
    status: int


@dataclass(frozen=True, slots=True)
class Launcher:
    """A launcher, and the target of its pins."""

    path: Path
    target: str


@dataclass(frozen=True, slots=True)
class Node:
    """A directory with programs, launchers and pins, and the shell that executes the launchers."""

    place: Path
    shell: tuple[str, ...]

    @property
    def pins(self) -> Path:
        return self.place / "pins"

    @property
    def root(self) -> str:
        """The directory of the containers' states."""
        return f"{self.place}/state"

    def program(self, name: str) -> str:
        """Return the path of a program that prints its own name and its arguments, each with a NUL."""
        path = self.place / name
        if not path.exists():
            text = f"#!/bin/sh\nexec /usr/bin/printf '%s\\0' '{name}' \"$@\"\n"
            path.write_bytes(os.fsencode(text))
            path.chmod(0o755)
        return str(path)

    def launcher(self, name: str, *args: str, search: str = "", bare: bool = False) -> Launcher:
        """Return the launcher of a definition of the runtime "gvisor" whose program is called ``name``."""
        program = name if bare else self.program(name)
        target = program
        if args:
            wrapper = make_wrapper("gvisor", program, args)
            target = self._write(wrapper.file, wrapper.text)
        script = make_launcher("gvisor", program, args, target, str(self.pins), search)
        return Launcher(Path(self._write(script.file, script.text)), target)

    def _write(self, file: str, text: bytes) -> str:
        path = self.place / file
        path.write_bytes(text)
        path.chmod(0o755)
        return str(path)

    def call(
        self,
        launcher: Launcher,
        *words: str | bytes,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        full: bool = False,
    ) -> Call:
        """Call a launcher with the arguments ``words``; ``full`` makes each write to a file fail."""
        result = subprocess.run(
            [*(["prlimit", "--fsize=0"] if full else []), *self.shell, launcher.path, *words],
            check=False,
            capture_output=True,
            timeout=PATIENCE_S,
            env=env,
            cwd=cwd,
            restore_signals=not full,  # SIGXFSZ stays ignored.
        )
        printed = result.stdout.split(b"\0")[:-1] or [b""]
        return Call(printed[0].decode(), tuple(printed[1:]), result.stderr, result.returncode)

    def executed(self, launcher: Launcher, *words: str) -> str:
        """Call a launcher and return the name of the program that it executed, which must get these arguments."""
        call = self.call(launcher, *words)
        assert (call.error, call.status) == (b"", 0)
        assert call.args[len(call.args) - len(words) :] == tuple(map(os.fsencode, words))
        return call.program

    def pin(self, launcher: Launcher, container: str, root: str | None = None, state: str | None = None) -> Pin:
        """Record a pin as ``create`` does, and return it."""
        root = self.root if root is None else root
        pin = Pin("gvisor", root, container, root if state is None else state, "", launcher.target)
        with (self.pins / pin_file(container)).open("ab") as file:
            file.write(render_pin(pin))
        return pin

    def pinned(self, container: str) -> Sequence[Pin]:
        """Return the pins that the file of the container ``container`` holds."""
        path = self.pins / pin_file(container)
        return read_pins(path.read_bytes()) if path.exists() else ()

    def state(self, container: str) -> Path:
        """Make the state of a container exist, and return its path."""
        path = Path(self.root, container)
        path.mkdir(parents=True)
        return path


def new_node(place: Path, shell: tuple[str, ...]) -> Node:
    """Return a node in the directory ``place``, with a directory of pins."""
    node = Node(place, shell)
    node.pins.mkdir(0o700)
    Path(node.root).mkdir()
    return node
