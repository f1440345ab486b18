"""A daemon whose configuration is changed, step by step, and what it made of each step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from e2e.harness.volumes import FILE_SYSTEMS, Volume, directory_for_mounts, new_tmpfs
from harness.daemon import PATIENCE_S, RunningDaemon, put

# A daemon with another interval between its looks by the clock, and whose files are read slowly but do not hang.
_PROGRAM = f"""
import functools, sys
from runtimed import __main__
from runtimed.daemon import configuration_reader, main
from runtimed.host.watch import Intervals
configuration_reader.READ_TIMEOUT_S = {PATIENCE_S}
main.Watcher = functools.partial(main.Watcher, intervals=Intervals(check_s={{check_s}}))
sys.exit(__main__.main())
"""
# The default; and so seldom that a change is seen by its event, or not in time.
_CHECK_S, _SELDOM_S = 30.0, 3600.0
# How long a second report for the same change would have to show itself: debounce, or waiting for a half-written file.
AFTERWARDS_S = 2.6
# What follows from new watches is over by then.
SETTLING_S = 1.2
# Of any other edit: a file that is empty or half written for as long as this is not rejected yet.
HALF_WRITTEN_S = 1.8
# Of an edit with a moment at which the configuration is not whole; less than the daemon waits for quiet.
AT_ONCE_S = 0.15
ATTEMPTS = 20
AT_ONE_TIME = 16

OUTCOMES = ("reload.applied", "reload.unchanged", "reload.rejected")
# Of a log, with an error.
LINES_SHOWN = 40

Table = Mapping[str, str]
ONE = {"w": "/opt/one", "d": "/opt/b"}


def main_file(word: str) -> dict[str, object]:
    return {"runtimes": {"w": {"path": f"/opt/{word}"}}}


def dropin(word: str, name: str = "d") -> dict[str, object]:
    return {"runtimes": {name: {"path": f"/opt/{word}"}}}


def fill(base: Path, word: str = "one") -> None:
    """Put the table with which nearly all begin below ``base``."""
    etc = base / "etc"
    (etc / "daemon.json.d").mkdir(parents=True)
    put(etc / "daemon.json", main_file(word))
    put(etc / "daemon.json.d" / "10-a.json", dropin("a"))
    put(etc / "daemon.json.d" / "20-b.json", dropin("b"))


@dataclass(frozen=True)
class ConfigurationOnVolume:
    """A running daemon, and the file system on which its configuration lies."""

    daemon: RunningDaemon
    volume: Volume

    @property
    def root(self) -> Path:
        """A directory beside that file system."""
        return self.daemon.root

    @property
    def base(self) -> Path:
        return self.volume.point

    @property
    def etc(self) -> Path:
        return self.base / "etc"

    @property
    def main(self) -> Path:
        return self.etc / "daemon.json"

    @property
    def dropins(self) -> Path:
        return self.etc / "daemon.json.d"

    def table(self) -> dict[str, str]:
        """Return what is configured: name -> path of the binary."""
        found = self.daemon.get("/v1/runtimes")[1]["runtimes"]
        return {one["name"]: one["definition"]["path"] for one in found if one["source"] == "configured"}

    def reports(self) -> list[str]:
        """Return how the reloads ended that were logged so far; a line that is no event stands for itself."""
        names = [event["event"] or event["raw"] for event in self.daemon.log()]
        return [name.removeprefix("reload.") for name in names if name in OUTCOMES or " " in name]

    def see(self, condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> float:
        """Wait until a condition holds; return after how many seconds it did."""
        begun_s = time.monotonic()
        while not condition():
            waited_s = time.monotonic() - begun_s
            assert waited_s < patience_s, f"waited {waited_s:.0f} s in vain: {what}"
            time.sleep(0.05)
        return time.monotonic() - begun_s

    def watcher(self) -> dict[str, Any]:
        return dict(self.daemon.status()["watcher"])


@dataclass(frozen=True)
class Step:
    """What is done to the configuration, how the reloads that follow end, and what the table is then."""

    do: Callable[[ConfigurationOnVolume], object]
    reports: tuple[str, ...]
    table: Table
    # A configuration that is not whole for longer than this is another case, because the daemon may then read it.
    within_s: float = HALF_WRITTEN_S


@dataclass(frozen=True)
class ChangeCase:
    """A way in which a configuration changes: how it begins, and the steps."""

    steps: Sequence[Step]
    fill: Callable[[Path], object] = fill
    command: Sequence[str] = ()
    # Relative to the file system.
    main: str = "etc/daemon.json"
    more: Sequence[str] = ()
    mode: str | None = "inotify"
    begins: Table = field(default_factory=lambda: ONE)
    # Whether the daemon looks at everything by the clock as well.
    by_clock: bool = False


class TooSlow(Exception):
    """The machine was too busy to do at once what is to be done at once."""


def follow_case(file_system: Callable[[Path, Callable[[Path], object]], Volume], case: ChangeCase) -> str:
    """Go through all steps, each seen and reported as often as it should be; return how long that took."""
    for _ in range(ATTEMPTS):
        try:
            with scene(file_system, case) as it:
                return ", ".join(f"{follow_step(it, step):.1f} s" for step in case.steps)
        except TooSlow:
            continue
    raise AssertionError(f"{ATTEMPTS} times too slow: this machine cannot do at once what is to be done at once")


@contextmanager
def scene(
    file_system: Callable[[Path, Callable[[Path], object]], Volume], case: ChangeCase
) -> Iterator[ConfigurationOnVolume]:
    """Yield a daemon that is running, with the table with which ``case`` begins."""
    with directory_for_mounts() as root:
        daemon = RunningDaemon(root, case.command)
        daemon.program = ["-c", _PROGRAM.format(check_s=_CHECK_S if case.by_clock else _SELDOM_S)]
        found = ConfigurationOnVolume(daemon, file_system(root / "fs", case.fill))
        daemon.config = found.base / case.main
        try:
            daemon.start(*(one.format(base=found.base) for one in case.more))
            assert found.table() == case.begins
            time.sleep(SETTLING_S)
            yield found
            if case.mode is not None:
                found.see(lambda: found.watcher()["mode"] == case.mode, f"the mode {case.mode}")
                assert found.watcher()["alive"]
            assert daemon.stop() == 0
        except TooSlow:
            raise
        except BaseException as exc:
            lines = daemon.log_file.read_text().splitlines() if daemon.log_file.exists() else []
            exc.add_note("\n".join(["the daemon's log:", *lines[-LINES_SHOWN:]]))
            raise
        finally:
            daemon.kill()


def follow_step(it: ConfigurationOnVolume, step: Step) -> float:
    """Do one thing and see what comes of it, and that no more comes of it; return how many seconds it took."""
    before = len(it.reports())
    begun_s = time.monotonic()
    step.do(it)
    was_slow = time.monotonic() - begun_s > step.within_s
    try:
        return _see_outcome(it, step, before)
    except AssertionError:
        if was_slow:
            # The daemon may have read the configuration at a moment at which it was not whole.
            raise TooSlow from None
        raise


def _see_outcome(it: ConfigurationOnVolume, step: Step, before: int) -> float:
    """See what comes of a step after so many reports, and that no more comes of it; return how many seconds it took."""
    seen_s = it.see(lambda: len(it.reports()) - before >= len(step.reports), f"{step.reports}, {it.reports()[before:]}")
    assert it.table() == step.table
    time.sleep(AFTERWARDS_S)
    assert tuple(it.reports()[before:]) == step.reports
    assert it.table() == step.table
    return seen_s


@dataclass(frozen=True)
class Trial:
    """Something that takes long, mostly waiting; it returns what there is to tell of it."""

    name: str
    function: Callable[[], str]


def trials_of(cases: Mapping[str, ChangeCase]) -> Iterator[Trial]:
    """Yield every case on every file system."""
    for kind, file_system in FILE_SYSTEMS.items():
        for name, case in cases.items():
            yield Trial(f"{kind}: {name}", partial(follow_case, file_system, case))


def trials_in_memory(cases: Mapping[str, ChangeCase]) -> Iterator[Trial]:
    """Yield every case on tmpfs alone."""
    for name, case in cases.items():
        yield Trial(name, partial(follow_case, new_tmpfs, case))


@contextmanager
def side_by_side(trials: Sequence[Trial]) -> Iterator[Mapping[str, Future[str]]]:
    """Begin all of them, and yield what they will return."""
    pool = ThreadPoolExecutor(AT_ONE_TIME)
    try:
        yield {trial.name: pool.submit(trial.function) for trial in trials}
    finally:
        pool.shutdown(cancel_futures=True)
