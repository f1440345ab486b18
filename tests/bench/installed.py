"""Installs the program as a user has it.

A checkout's environment finds the package by an import hook, which takes longer than a whole `runtimectl`.
"""

from __future__ import annotations

import compileall
import contextlib
import shutil
import sysconfig
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.daemon import short_directory

import runtimed


@dataclass(frozen=True, slots=True)
class Installation:
    """The interpreter and the command of an installation."""

    python: str
    runtimectl: str


@contextlib.contextmanager
def new_installation() -> Iterator[Installation]:
    """Yield an environment with a copy of the package, its byte code, and the command that pip wrote for this one."""
    with short_directory() as root:
        venv.create(root, symlinks=True)
        python = root / "bin" / "python3"
        packages = Path(sysconfig.get_path("purelib", vars={"base": str(root)}))
        shutil.copytree(Path(runtimed.__file__).parent, packages / "runtimed", ignore=shutil.ignore_patterns("*.pyc"))
        # What the package depends on, without the hooks that its own file names there are not read in this way.
        (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        compileall.compile_dir(packages, quiet=1)
        command = root / "bin" / "runtimectl"
        text = (Path(sysconfig.get_path("scripts")) / "runtimectl").read_text()
        command.write_text(text.replace(text.partition("\n")[0], f"#!{python}", 1))
        command.chmod(0o755)
        yield Installation(str(python), str(command))
