"""Launching: what a call costs through a launcher, more than a call of the same binary, in pairs of calls."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from table import Row

from runtimed.core.table.launcher import make_launcher
from runtimed.core.table.script import Script
from runtimed.core.table.wrapper import make_wrapper

PAIRS = 1000
BINARY = "/bin/true"
# As containerd's CRI plugin has them.
ROOT = "/run/containerd/runc/k8s.io"
BUNDLE = "/run/containerd/io.containerd.runtime.v2.task/k8s.io"
# The most milliseconds that a launcher may add.
LIMIT_MS = 1.0
LIMIT_OF_TWO_SHELLS_MS = 1.5


def measure() -> Iterator[Row]:
    """Yield a row for each kind of call: the added time, beside the limit for it."""
    # The exec root is a tmpfs; the data root is on disk, but in its cache.
    with TemporaryDirectory(dir="/dev/shm") as place:
        pins = Path(place, "pins")
        pins.mkdir(0o700)
        plain = _write(place, make_launcher("runc", BINARY, [], BINARY, str(pins), ""))
        wrapper = make_wrapper("gvisor", BINARY, ["--platform=kvm", "--network=none"])
        target = str(Path(place, wrapper.file))
        Path(target).write_bytes(wrapper.text)
        Path(target).chmod(0o700)
        args = ["--platform=kvm", "--network=none"]
        wrapped = _write(place, make_launcher("gvisor", BINARY, args, target, str(pins), ""))
        _call([plain, *_create(_id(-1))])
        _call([wrapped, *_create(_id(-2))])
        rows: list[tuple[str, Callable[[int], Sequence[str]], float]] = [
            ("without a container", lambda _: ["features"], LIMIT_MS),
            ("without a pin", lambda _: _exec(_id(-3)), LIMIT_MS),
            ("pinned, without arguments", lambda _: _exec(_id(-1)), LIMIT_MS),
            ("create", lambda pair: _create(_id(pair)), LIMIT_MS),
            ("create of an id that is used again", lambda _: _create(_id(-1)), LIMIT_MS),
            # Through another definition's launcher, so that the wrapper is a second shell.
            ("pinned, with arguments", lambda _: _exec(_id(-2)), LIMIT_OF_TWO_SHELLS_MS),
        ]
        for name, words, limit_ms in rows:
            added_ms = _added_ms(plain, words)
            yield Row(f"a call through a launcher, {name}", added_ms, "ms", "limit", limit_ms, added_ms / limit_ms, 1.0)


def _write(place: str, script: Script) -> str:
    path = Path(place, script.file)
    path.write_bytes(script.text)
    path.chmod(0o700)
    return str(path)


def _id(number: int) -> str:
    return f"{number:064d}".replace("-", "f")


def _engine(container: str) -> list[str]:
    return ["--root", ROOT, "--log", f"{BUNDLE}/{container}/log.json", "--log-format", "json"]


def _create(container: str) -> list[str]:
    bundle = f"{BUNDLE}/{container}"
    return [*_engine(container), "create", "--bundle", bundle, "--pid-file", f"{bundle}/init.pid", container]


def _exec(container: str) -> list[str]:
    files = ["--process", "/tmp/runc-process123", "--pid-file", f"{BUNDLE}/{container}/1.pid"]
    return [*_engine(container), "exec", *files, "--detach", container]


def _added_ms(launcher: str, words: Callable[[int], Sequence[str]]) -> float:
    """Return the median of the differences between a call of the launcher and one of the binary."""
    differences = []
    for pair in range(PAIRS):
        arguments = words(pair)
        # Whichever comes second finds warmer caches.
        order = (launcher, BINARY) if pair % 2 else (BINARY, launcher)
        took = {program: _call([program, *arguments]) for program in order}
        differences.append(took[launcher] - took[BINARY])
    return statistics.median(differences)


def _call(command: list[str]) -> float:
    """Run a command and return how many milliseconds it took."""
    begin = time.perf_counter()
    os.waitpid(os.posix_spawn(command[0], command, {"PATH": "/usr/bin:/bin"}), 0)
    return (time.perf_counter() - begin) * 1000
