"""Launching: the time that a launcher adds to a call of its binary and to the start of a container, in pairs."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.budget import Budget
from bench.intervals import Figure, median_figure
from bench.rounds import OURS, Rounds, interleave
from bench.rows import Row

from runtimed.core.table.launcher import make_launcher
from runtimed.core.table.script import Script
from runtimed.core.table.wrapper import make_wrapper

PEER = "the binary"
BINARY = "/bin/true"
# As containerd's CRI plugin has them.
ROOT = "/run/containerd/runc/k8s.io"
BUNDLE = "/run/containerd/io.containerd.runtime.v2.task/k8s.io"
# The most milliseconds that a launcher may add.
LIMIT_MS = 1.0
LIMIT_OF_TWO_SHELLS_MS = 1.5


def measure(budget: Budget) -> Iterator[Row]:
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
        numbers = itertools.count()
        calls: list[tuple[str, Callable[[], Sequence[str]], float]] = [
            ("without a container", lambda: ["features"], LIMIT_MS),
            ("without a pin", lambda: _exec(_id(-3)), LIMIT_MS),
            ("pinned, without arguments", lambda: _exec(_id(-1)), LIMIT_MS),
            ("create", lambda: _create(_id(next(numbers))), LIMIT_MS),
            ("create of an id that is used again", lambda: _create(_id(-1)), LIMIT_MS),
            # Through another definition's launcher, so that the wrapper is a second shell.
            ("pinned, with arguments", lambda: _exec(_id(-2)), LIMIT_OF_TWO_SHELLS_MS),
        ]
        # The last case is the start of a container.
        for case, until_s in budget.split([*calls, None]):
            if case is not None:
                name, words, limit_ms = case
                yield _added_to_a_call(f"a call through a launcher, {name}", plain, words, limit_ms, until_s)
            elif os.geteuid() == 0 and (runc := shutil.which("runc")) is not None:
                launcher = _write(place, make_launcher("started", runc, [], runc, str(pins), ""))
                yield _added_to_a_start(Path(place), launcher, runc, until_s)


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


def _added_to_a_call(
    measure: str, launcher: str, words: Callable[[], Sequence[str]], limit_ms: float, until_s: float
) -> Row:
    sides = {
        OURS: lambda: {"call": _call([launcher, *words()])},
        PEER: lambda: {"call": _call([BINARY, *words()])},
    }
    rounds = interleave(sides, [_added], until_s)
    return _row(measure, rounds, "limit", limit_ms)


def _added(rounds: Rounds) -> Sequence[float]:
    return rounds.differences("call", PEER)


def _row(measure: str, rounds: Rounds, peer: str, limit_ms: float) -> Row:
    """Return the row of the added time beside a limit for it."""
    added = median_figure(_added(rounds))
    ratio = median_figure([each / limit_ms for each in _added(rounds)])
    return Row(measure, added, "ms", peer, Figure(limit_ms), ratio, 1.0)


def _added_to_a_start(place: Path, launcher: str, runc: str, until_s: float) -> Row:
    """Return what the launcher adds to a container's start, beside the spread of starts without it."""
    (place / "rootfs").mkdir()
    shutil.copy(shutil.which("busybox") or "", place / "rootfs" / "busybox")
    subprocess.run([runc, "spec"], cwd=place, check=True)
    config = json.loads((place / "config.json").read_text())
    config["process"] |= {"args": ["/busybox", "true"], "terminal": False}
    (place / "config.json").write_text(json.dumps(config))
    numbers = itertools.count()

    def start(program: str) -> Callable[[], Mapping[str, float]]:
        words = ["--root", str(place / "states"), "run", "--bundle", str(place)]
        return lambda: {"call": _call([program, *words, f"b{next(numbers)}"], status=0)}

    rounds = interleave({OURS: start(launcher), PEER: start(runc)}, [_added], until_s)
    plain = rounds.values("call", PEER)
    first, _, third = statistics.quantiles(plain) if len(plain) > 1 else (0.0, 0.0, plain[0])
    return _row("the start of a container through a launcher", rounds, "quartiles of runc's own", third - first)


def _call(command: list[str], status: int | None = None) -> float:
    """Run a command and return how many milliseconds it took; ``status`` is the exit status that it must have."""
    begin = time.perf_counter()
    _, found = os.waitpid(os.posix_spawn(command[0], command, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}), 0)
    took_ms = (time.perf_counter() - begin) * 1000
    assert status is None or os.waitstatus_to_exitcode(found) == status, command
    return took_ms
