"""Launching: the time that a launcher adds to a call of its binary and to the start of a container, in pairs."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from table import Row

from runtimed.core.table.launcher import make_launcher
from runtimed.core.table.script import Script
from runtimed.core.table.wrapper import make_wrapper

PAIRS = 1000
STARTS = 10
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
        if os.geteuid() == 0 and (runc := shutil.which("runc")) is not None:
            launcher = _write(place, make_launcher("started", runc, [], runc, str(pins), ""))
            added_ms, noise_ms = _added_to_a_start_ms(Path(place), launcher, runc)
            name, peer = f"the start of a container through a launcher, {STARTS} pairs", "quartiles of runc's own"
            yield Row(name, added_ms, "ms", peer, noise_ms, added_ms / noise_ms, 1.0)


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


def _added_to_a_start_ms(place: Path, launcher: str, runc: str) -> tuple[float, float]:
    """Return the median of what the launcher adds to a container's start, and the spread of starts without it."""
    (place / "rootfs").mkdir()
    shutil.copy(shutil.which("busybox") or "", place / "rootfs" / "busybox")
    subprocess.run([runc, "spec"], cwd=place, check=True)
    config = json.loads((place / "config.json").read_text())
    config["process"] |= {"args": ["/busybox", "true"], "terminal": False}
    (place / "config.json").write_text(json.dumps(config))
    own: list[float] = []
    differences: list[float] = []
    for pair in range(STARTS):
        took = {}
        for program in (launcher, runc) if pair % 2 else (runc, launcher):
            words = [program, "--root", str(place / "states"), "run", "--bundle", str(place), f"b{pair}"]
            took[program] = _call(words, status=0)
        own.append(took[runc])
        differences.append(took[launcher] - took[runc])
    first, _, third = statistics.quantiles(own)
    return statistics.median(differences), third - first


def _call(command: list[str], status: int | None = None) -> float:
    """Run a command and return how many milliseconds it took; ``status`` is the exit status that it must have."""
    begin = time.perf_counter()
    _, found = os.waitpid(os.posix_spawn(command[0], command, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}), 0)
    took_ms = (time.perf_counter() - begin) * 1000
    assert status is None or os.waitstatus_to_exitcode(found) == status, command
    return took_ms
