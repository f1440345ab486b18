"""A publish that dies or fails at any of its system calls leaves the old generation or the new one, whole.

Needs root and strace. A seeded sample is tried; RUNTIMED_TEST_FAULTS=all tries every point, and
RUNTIMED_TEST_SEED repeats a sample.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import queue
import random
import shutil
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from subprocess import SubprocessError
from typing import Literal, TypeVar

import pytest
from e2e.harness.sites import LAST, NEW, OLD, Asker, Site, key, new_site
from e2e.harness.syscalls import (
    CHANGING,
    Call,
    Recording,
    attached,
    fail_at,
    fail_from,
    from_the_beginning,
    injected,
    kill_at,
    read_recording,
    read_start,
    recording,
    threads,
)
from harness.daemon import PATIENCE_S, wait_until

from runtimed.core.table.script import is_intact

# On a slow machine the daemon's own look at the files, every 30 s, may come between; then a trial tells nothing.
BY_THE_CLOCK = (b'"reason": "file-change', b'"reason": "retry"')
T = TypeVar("T")

# All of it takes a while.
pytestmark = pytest.mark.timeout(3600)

EVERYTHING = os.environ.get("RUNTIMED_TEST_FAULTS") == "all"
SEED = int(os.environ.get("RUNTIMED_TEST_SEED") or time.time())
WORKERS = 2
ERRORS = ("ENOSPC", "EDQUOT", "EIO", "EROFS", "EACCES", "EMFILE")
# How many of each are tried where not all are.
KILLS, FAILURES, LASTING, STARTS = 12, 24, 8, 5
RECORDINGS_MOST = 5


# Calls whose failure a publish survives on purpose, by name and the beginning of the path, each with the reason.
HARMLESS = {
    ("newfstatat", "wrappers"): "where it cannot be seen that a wrapper is there, it is written again, by rename",
    ("rename", "../run/.tmp-table.json"): "after the swap the table file is written once more at once",
    ("newfstatat", "../run/table.json"): "as above",
}


@dataclasses.dataclass(slots=True)
class CrashCounters:
    """What was tried, for the summary."""

    points: int = 0
    kills: Counter[str] = dataclasses.field(default_factory=Counter)
    starts: Counter[str] = dataclasses.field(default_factory=Counter)
    failures: Counter[str] = dataclasses.field(default_factory=Counter)
    answered: int = 0
    lost: int = 0

    def __str__(self) -> str:
        kills = ", ".join(f"{self.kills[what]} {what}" for what in ("old", "new", "broken"))
        failures = ", ".join(f"{count} {what}" for what, count in sorted(self.failures.items()))
        return (
            f"{self.points} calls in a publish; {self.kills.total()} kills: {kills}; "
            f"{self.starts.total()} of a start, {self.starts['broken']} broken; "
            f"{self.failures.total()} errors: {failures}; {self.answered} answers, {self.lost} lost; seed {SEED}"
        )


@pytest.fixture(scope="module")
def counters() -> Iterator[CrashCounters]:
    found = CrashCounters()
    yield found
    print(f"\n{found}")  # noqa: T201


@pytest.fixture(scope="module")
def sites() -> Iterator[list[Site]]:
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(new_site()) for _ in range(WORKERS)]
        with ThreadPoolExecutor(WORKERS) as pool:
            yield list(pool.map(Site.prepare, made))


@pytest.fixture(scope="module")
def publish(sites: list[Site], counters: CrashCounters) -> Recording:
    """What a publish of NEW does, in every place the same."""
    with ThreadPoolExecutor(WORKERS) as pool:
        found, *others = pool.map(record, sites)
    for other in others:
        assert (other.thread, [*map(str, other.calls)]) == (found.thread, [*map(str, found.calls)])
    counters.points = len(found.calls)
    return found


def record(site: Site) -> Recording:
    """Return what the publish of NEW does."""
    directory = site.root / "calls"
    for _ in range(RECORDINGS_MOST):
        with site.old_daemon():
            with recording(directory, site.pid):
                report = site.reload(NEW)
            found = read_recording(directory, site.data)
        shutil.rmtree(directory)
        # "unchanged": the daemon read the file by itself first, and the recording has its checks after the publish.
        if report["outcome"] == "applied":
            return found
    raise AssertionError(report)


class MissedError(AssertionError):
    """Another call was hit than the one that was meant, because the thread did something else before it than usual."""


def see_hit(hit: Call, call: Call, log: Path) -> None:
    if str(hit) != str(call):
        raise MissedError(f"{hit} was hit: {log.read_text()}")


@contextlib.contextmanager
def fault(site: Site, call: Call, options: Sequence[str], thread: int) -> Iterator[None]:
    """Have strace do to the publishing thread what ``options`` say, and see that ``call`` was hit first."""
    log = site.root / "strace"
    with attached(log, threads(site.pid)[thread], *options):
        yield
    see_hit(injected(log, site.data), call, log)


def swap_of(found: Recording) -> int:
    """Return the position of the call that moves the link."""
    (position,) = (n for n, call in enumerate(found.calls) if call.name == "rename" and call.paths[-1] == "runtimes")
    return position


def sample(points: Sequence[T], count: int, always: Sequence[T] = ()) -> list[T]:
    """Return all ``points``, or some of them with ``always`` among them."""
    if EVERYTHING:
        return list(points)
    others = [point for point in points if point not in always]
    return [*always, *random.Random(SEED).sample(others, min(count - len(always), len(others)))]


def attempts(sites: Sequence[Site], points: Sequence[T], attempt: Callable[[Site, T], str]) -> list[str]:
    """Return what came of ``attempt`` at each of ``points``, which begins with ``broken`` where it failed."""
    free: queue.SimpleQueue[Site] = queue.SimpleQueue()
    for site in sites:
        free.put(site)

    def attempt_one(point: T, tries: int = 6) -> str:
        site = free.get()
        logged = len(site.logged)
        try:
            return attempt(site, point)
        except (AssertionError, OSError, HTTPException, SubprocessError, ValueError, KeyError) as error:
            where = [f"{frame.name}: {frame.line}" for frame in traceback.extract_tb(error.__traceback__)]
            outcome = f"broken: {point}: {error!r} in {where[-1]}"
            # On a busy machine the event of the start may be written as late, for instance.
            clock = any(reason in site.logged[logged:] for reason in BY_THE_CLOCK)
            interfered = clock or isinstance(error, MissedError)
        finally:
            site.daemon.kill()
            free.put(site)
        return attempt_one(point, tries - 1) if interfered and tries > 1 else outcome

    with ThreadPoolExecutor(len(sites)) as pool:
        return list(pool.map(attempt_one, points))


def broken(outcomes: Sequence[str]) -> str:
    return "\n".join(outcome for outcome in outcomes if outcome.startswith("broken"))


def test_all_that_a_generation_consists_of_is_on_the_disk_before_the_link_moves(publish: Recording) -> None:
    swap = swap_of(publish)
    directory = f"generations/{LAST + 1:08d}"
    files = ["parts/-*", "parts", f"{directory}/config.json", f"{directory}/manifest.json"]
    (links,) = {call.paths[0] for call in publish.calls if call.name == "fsync" and call.paths[0].startswith("links/")}
    directories = [links, directory, "wrappers", "generations"]
    order = [call.paths[0] for call in publish.calls[:swap] if call.name == "fsync"]
    scripts = [name for name in order if name.startswith("wrappers/")]
    assert len(scripts) == 6, "few new ones are synced, each before its rename where it replaces something"
    # The daemon does not know whether the last swap, of another process, is on the disk.
    assert order == [*scripts, ".", *files, *directories]
    # A wrapper and a launcher have the same name but for the digest, which is left out: the last counts.
    synced = {call.paths[0]: n for n, call in enumerate(publish.calls[:swap]) if call.name == "fsync"}
    synced = {name: position for name, position in synced.items() if not name.startswith(("wrappers/.", "."))}
    for name, position in synced.items():
        last_changed = max(n for n, call in enumerate(publish.calls[:swap]) if call.alters(name))
        assert last_changed < position, name
    assert [call.paths for call in publish.calls[swap:] if call.name == "fsync"] == [(".",)]


def test_a_kill_at_any_call_leaves_the_old_generation_or_the_new_one_whole(
    sites: list[Site], publish: Recording, counters: CrashCounters
) -> None:
    def attempt(site: Site, call: Call | None) -> str:
        with site.old_daemon() as daemon:
            assert daemon.process is not None
            if call is None:
                site.reload(NEW)
                daemon.send(signal.SIGKILL)
            else:
                with fault(site, call, kill_at(call), publish.thread):
                    assert site.reload(NEW) == {}
            assert daemon.process.wait(PATIENCE_S) == -signal.SIGKILL
        state = site.outcome()
        site.keep("left")
        for config in (NEW, OLD):
            site.restore("left")
            site.check_start(config, state)
        return state

    swap = swap_of(publish)
    points = [call for call in publish.calls if call.changes]
    around = points.index(publish.calls[swap])
    chosen = sample([*points, None], KILLS, [*points[around : around + 2], None])
    outcomes = attempts(sites, chosen, attempt)
    counters.kills.update(outcome.partition(":")[0] for outcome in outcomes)
    assert not broken(outcomes)
    after = {*publish.calls[swap + 1 :], None}
    assert outcomes == ["new" if call in after else "old" for call in chosen]


def nothing(site: Site) -> None:
    """Make it a first start."""
    shutil.rmtree(site.data, ignore_errors=True)


def disorder(site: Site) -> None:
    """Leave much to be mended: the current generation, wrappers, and what an interrupted publish left."""
    site.restore("prepared")
    generations = site.data / "generations"
    shutil.copytree(generations / f"{LAST:08d}", generations / f"{LAST + 1:08d}", symlinks=True)
    (generations / f"{LAST + 1:08d}" / "manifest.json").unlink()
    (generations / f"{LAST:08d}" / "manifest.json").write_bytes(b"")
    (site.data / ".tmp-runtimes").symlink_to("nowhere")
    for link in ("earlier", "dropped"):
        (site.data / "runtimes" / link).resolve().write_bytes(b"")


@pytest.mark.parametrize("beginning", [nothing, disorder])
def test_a_kill_at_any_call_of_a_start_is_made_good_by_the_next(
    sites: list[Site], counters: CrashCounters, beginning: Callable[[Site], None]
) -> None:
    def attempt(site: Site, call: Call) -> str:
        beginning(site)
        with killed_at(site, call) as log:
            assert site.daemon.launch().wait(PATIENCE_S) == -signal.SIGKILL
        see_hit(read_start(log, site.data)[-1], call, log)
        if beginning is disorder:
            for link in ("same", "changed"):
                wrapper = (site.data / "runtimes" / link).resolve(strict=True)
                assert is_intact(wrapper.name, wrapper.read_bytes())
        numbers = []
        for _ in range(2):
            with site.running(NEW) as daemon:
                assert daemon.status()["health"] == {"status": "ok", "reasons": {}}
                numbers.append(daemon.status()["generation"])
                assert site.answers() == site.fresh[key(NEW)]
                assert site.published()[0] == numbers[-1]
                retained = site.retained()
                assert beginning is nothing or site.told(LAST - 1) == site.past[LAST - 1]
        assert numbers[0] == numbers[1] > (0 if beginning is nothing else LAST)
        site.check_tidy(retained)
        return "new"

    beginning(sites[0])
    log = sites[0].root / "strace"
    sites[0].daemon.command = from_the_beginning(log, "-e", f"trace={','.join(CHANGING)}")
    with sites[0].running(NEW):
        pass
    sites[0].daemon.command = []
    # The interpreter has opened far more than the publish does.
    points = [call for call in read_start(log, sites[0].data) if call.name != "openat"]
    assert len(points) > 30
    assert any(call.paths[-1] == "runtimes" and call.name == "rename" for call in points)
    outcomes = attempts(sites, sample(points, STARTS), attempt)
    counters.starts.update(outcome.partition(":")[0] for outcome in outcomes)
    assert not broken(outcomes)


@contextlib.contextmanager
def killed_at(site: Site, call: Call) -> Iterator[Path]:
    """Have the next start of the daemon end at ``call``; yield the path of the log of that."""
    log = site.root / "strace"
    site.daemon.write(NEW)
    site.daemon.command = from_the_beginning(log, *kill_at(call))
    try:
        yield log
        # strace may end after what it follows.
        wait_until(lambda: "+++ killed by" in log.read_text(), "the log")
    finally:
        site.daemon.command = []


def test_an_error_of_any_call_is_told_and_the_old_answers_go_on(
    sites: list[Site], publish: Recording, counters: CrashCounters
) -> None:
    def attempt(site: Site, point: tuple[Call, str]) -> str:
        call, error = point
        result = meet_error(site, publish, counters, point, fail_at(call, error))
        assert result == ("stands" if is_harmless(publish, call) else expected(publish, call))
        return result

    points = [(call, error) for call in publish.calls for error in ERRORS]
    (*_, root_sync) = (call for call in publish.calls if call.name == "fsync")
    chosen = sample(points, FAILURES, [(publish.calls[swap_of(publish)], "EIO"), (root_sync, "EIO")])
    outcomes = attempts(sites, chosen, attempt)
    counters.failures.update(outcome.partition(":")[0] for outcome in outcomes)
    assert not broken(outcomes)


def test_a_disk_that_fails_from_any_call_on_is_reported_and_answers_continue(
    sites: list[Site], publish: Recording, counters: CrashCounters
) -> None:
    def attempt(site: Site, point: tuple[Call, str]) -> str:
        result = meet_error(site, publish, counters, point, fail_from(publish, *point))
        assert result == expected(publish, point[0])
        return result

    points = [(call, error) for call in publish.calls if call.name in CHANGING for error in ERRORS]
    chosen = sample(points, LASTING, [(publish.calls[swap_of(publish)], "EROFS")])
    outcomes = attempts(sites, chosen, attempt)
    counters.failures.update(outcome.partition(":")[0] for outcome in outcomes)
    assert not broken(outcomes)


def is_harmless(publish: Recording, call: Call) -> bool:
    # The check of the owners, which looks at the data root first, is not harmless.
    if call.paths == ("wrappers",) and publish.calls[publish.calls.index(call) - 1].paths == (".",):
        return False
    return any(call.name == name and call.paths[0].startswith(path) for name, path in HARMLESS)


def expected(publish: Recording, call: Call) -> Literal["rejected", "degraded"]:
    """Return what a failure of ``call`` leads to: until the link has moved nothing has changed, then all stands."""
    return "rejected" if call in publish.calls[: swap_of(publish) + 1] else "degraded"


def meet_error(
    site: Site, publish: Recording, counters: CrashCounters, point: tuple[Call, str], options: Sequence[str]
) -> Literal["rejected", "degraded", "stands"]:
    """Reload while ``options`` make calls fail, and again when they do not; return what became of the first."""
    call, error = point
    with site.old_daemon() as daemon:
        with Asker(site) as asker, fault(site, call, options, publish.thread):
            report = site.reload(NEW)
            health = daemon.status()["health"]
        counters.answered += asker.answered.total()
        counters.lost += len(asker.lost)
        assert not asker.lost, asker.lost
        words = os.strerror(getattr(errno, error))
        result: Literal["rejected", "degraded", "stands"]
        if report["outcome"] == "rejected":
            result = "rejected"
            assert words in report["problems"][0]["message"], report
            assert words in health["reasons"]["store"], health
            assert asker.answered.keys() == {"old"}
        else:
            assert report["outcome"] == "applied", report
            result = "stands" if health["status"] == "ok" else "degraded"
            assert result == "stands" or words in health["reasons"]["store"], health
        assert site.outcome() == ("old" if result == "rejected" else "new")
        config = NEW if result == "rejected" else OLD
        again = site.reload(config)
        assert (again["outcome"], again["problems"]) == ("applied", []), again
        assert again["generation"] > report["generation"]
        assert daemon.status()["health"] == {"status": "ok", "reasons": {}}
        assert site.answers() == site.fresh[key(config)]
        told = {number: site.told(number) for number in site.retained()}
        assert all(told[number] == site.past[number] for number in told if number in site.past)
        assert set(told) >= {LAST, again["generation"]}
    with site.running(config) as daemon:
        assert daemon.status()["generation"] == again["generation"]
        assert site.answers() == site.fresh[key(config)]
        site.check_tidy(site.retained())
    return result
