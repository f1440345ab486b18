"""The loop of runtimectl sync, with a real daemon and an engine of the test."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from harness.daemon import PATIENCE_S, RunningDaemon, wait_until
from harness.runtimectl import runtimectl

from runtimed.cli import sync
from runtimed.cli.engine_files import Written
from runtimed.cli.sync import Log, Synchronizer
from runtimed.client import Client, DaemonUnreachable
from runtimed.core.errors import ConfigurationRejected, Problem

FILE = "/etc/docker/daemon.json"


class Engine:
    """An engine whose file and running configuration are names of runtimes, and that notes what is done to it."""

    def __init__(self, takes_effect: str) -> None:
        self.takes_effect = takes_effect
        self.file: list[str] = []
        self.has: list[str] = []
        self.is_running = True
        # Whether a reload has the engine read its file.
        self.obeys = True
        self.refusal = ""
        self.done: list[str] = []
        self.stops = False

    def write(self, table: Any) -> Written:
        if self.stops:
            raise Stopped
        names = names_of(table)
        if self.refusal:
            raise ConfigurationRejected((Problem(self.refusal, FILE, 3),))
        if self.file == names:
            return Written([], [FILE], ())
        self.file = names
        self.done.append("write")
        return Written([FILE], [], (Problem("x is left out"),))

    def verify(self, table: Any) -> Any:
        names = sorted({*self.file} ^ {*names_of(table)})
        differences = [{"name": name, "ours": None, "theirs": None} for name in names]
        if not self.is_running:
            return self._verification("not-running", "it does not run")
        if differences:
            return self._verification("differs", "its file differs", differences)
        return self._verification("not-told" if self.has != self.file else "follows")

    def hang_up(self) -> None:
        self.done.append("hang up")
        if self.obeys:
            self.has = self.file

    def _verification(self, state: str, detail: str = "", differences: Any = ()) -> dict[str, Any]:
        found = {"engine": "docker", "state": state, "detail": detail, "file": FILE}
        return {**found, "differences": list(differences), "takes_effect": self.takes_effect}


class Stopped(Exception):
    """The test is over."""


def names_of(table: Any) -> list[str]:
    return sorted(each["name"] for each in table["runtimes"])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_RETRY_S", "_POLL_S"):
        monkeypatch.setattr(sync, name, 0.01)
    monkeypatch.setattr(sync, "_RELOAD_S", 0.05)


@pytest.fixture
def engine() -> Engine:
    return Engine("reload")


def synchronizer(daemon: RunningDaemon, engine: Engine, states: list[str] | None = None) -> Synchronizer:
    ready = ([] if states is None else states).append
    return Synchronizer(
        Client(str(daemon.socket), timeout_s=PATIENCE_S),
        "docker",
        write=engine.write,
        verify=engine.verify,
        hang_up=engine.hang_up,
        log=Log(ready, json=False),
    )


def recorded(daemon: RunningDaemon) -> list[tuple[str, str]]:
    """Return state and detail of each event about the engine since the daemon started."""
    found = []
    for event in Client(str(daemon.socket)).watch(0):
        if event["type"] == "engine":
            found.append((event["state"], event["detail"]))
        if event["type"] == "heartbeat":
            break
    return cast("list[tuple[str, str]]", found)


def test_a_run_writes_the_file_reloads_the_engine_and_records_that_it_follows(
    own_daemon: RunningDaemon, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    states: list[str] = []
    running = synchronizer(own_daemon, engine, states)
    running.run()
    assert engine.done == ["write", "hang up"]
    assert engine.has == ["io.containerd.runc.v2", "plain", "runc"]
    running.run()
    assert engine.done == ["write", "hang up"]
    assert recorded(own_daemon) == [("follows", "")]
    # The service is ready with the file, before the engine, which may be ordered after it, is asked.
    assert states == ["the file is written", "docker follows", "docker follows"]
    assert capsys.readouterr() == ("docker follows\n", f"wrote {FILE}\nnote: x is left out\n")


def test_an_engine_that_has_reloaded_follows_also_if_the_machine_stood_still_meanwhile(
    own_daemon: RunningDaemon, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "_RELOAD_S", 0.0)
    synchronizer(own_daemon, engine).run()
    assert recorded(own_daemon) == [("follows", "")]


def test_an_engine_that_takes_a_moment_to_reload_is_waited_for(
    own_daemon: RunningDaemon, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "_RELOAD_S", PATIENCE_S)
    # Before the reload, and while it takes place.
    states = ["not-told"] * 4
    monkeypatch.setattr(engine, "verify", lambda _: engine._verification(states.pop() if states else "follows"))
    synchronizer(own_daemon, engine).run()
    assert recorded(own_daemon) == [("follows", "")]
    assert engine.done == ["write", "hang up"]


def test_a_change_that_the_answers_of_the_engine_do_not_show_is_reloaded_once(
    own_daemon: RunningDaemon, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "verify", lambda _: engine._verification("follows"))
    running = synchronizer(own_daemon, engine)
    for _ in "abc":
        running.run()
    assert engine.done == ["write", "hang up"]
    own_daemon.write({"runtimes": {"other": {"path": "/bin/sh"}}})
    own_daemon.reload()
    running.run()
    running.run()
    assert engine.done == ["write", "hang up"] * 2
    assert engine.has == engine.file


def test_an_engine_that_starts_after_the_write_is_not_reloaded(own_daemon: RunningDaemon, engine: Engine) -> None:
    engine.is_running = False
    running = synchronizer(own_daemon, engine)
    running.run()
    engine.has, engine.is_running = engine.file, True
    running.run()
    running.run()
    assert engine.done == ["write"]


def test_a_change_of_the_file_by_another_program_is_named_before_it_is_undone(
    own_daemon: RunningDaemon, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    running = synchronizer(own_daemon, engine)
    running.run()
    engine.file = ["plain", "runc"]
    running.run()
    named = "io.containerd.runc.v2: its file differs"
    assert recorded(own_daemon) == [("follows", ""), ("differs", named), ("follows", "")]
    assert capsys.readouterr().out.splitlines() == ["docker follows", f"docker differs: {named}", "docker follows"]


def test_an_engine_that_follows_after_a_restart_is_never_signalled(own_daemon: RunningDaemon) -> None:
    engine = Engine("restart")
    running = synchronizer(own_daemon, engine)
    running.run()
    running.run()
    engine.has = engine.file
    running.run()
    assert engine.done == ["write"]
    assert [state for state, _ in recorded(own_daemon)] == ["not-told", "follows"]


def test_an_engine_that_ignores_a_reload_differs_and_is_told_once_for_each_file(
    own_daemon: RunningDaemon, engine: Engine
) -> None:
    engine.obeys = False
    running = synchronizer(own_daemon, engine)
    running.run()
    running.run()
    assert engine.done == ["write", "hang up"]
    text = f"docker was reloaded; another file or its command line overrides {FILE}"
    assert recorded(own_daemon) == [("differs", text)]
    own_daemon.write({"runtimes": {"other": {"path": "/bin/sh"}}})
    own_daemon.reload()
    running.run()
    assert engine.done == ["write", "hang up"] * 2


def test_a_file_that_cannot_be_written_is_the_detail_and_is_tried_again(
    own_daemon: RunningDaemon, engine: Engine
) -> None:
    running = synchronizer(own_daemon, engine)
    engine.refusal = "No space left\x1b on device"
    running.run()
    running.run()
    text = f"the file was not written: {FILE}:3: No space left\\x1b on device"
    assert recorded(own_daemon) == [("differs", text)], "the same outcome is recorded once"
    engine.refusal = ""
    running.run()
    assert [state for state, _ in recorded(own_daemon)] == ["differs", "follows"]


def test_a_change_by_another_program_that_cannot_be_undone_is_recorded_once(
    own_daemon: RunningDaemon, engine: Engine
) -> None:
    running = synchronizer(own_daemon, engine)
    running.run()
    engine.file, engine.refusal = ["runc"], "Read-only file system"
    for _ in "abc":
        running.run()
    follows, named, failed = recorded(own_daemon)
    assert (follows[0], named[0], failed[0]) == ("follows", "differs", "differs")
    assert named[1] == "io.containerd.runc.v2, plain: its file differs"
    assert failed[1].endswith("Read-only file system")


def test_a_missing_engine_gets_its_file_and_follows_once_it_runs(own_daemon: RunningDaemon, engine: Engine) -> None:
    engine.is_running = False
    running = synchronizer(own_daemon, engine)
    running.run()
    assert engine.done == ["write"]
    engine.has, engine.is_running = engine.file, True
    running.run()
    assert recorded(own_daemon) == [("not-running", "it does not run"), ("follows", "")]


def test_an_engine_that_must_not_be_signalled_is_recorded(own_daemon: RunningDaemon, engine: Engine) -> None:
    def forbid() -> None:
        raise PermissionError(1, "Operation not permitted")

    engine.hang_up = forbid  # type: ignore[method-assign]
    running = synchronizer(own_daemon, engine)
    running.run()
    running.run()
    assert recorded(own_daemon) == [("not-told", "docker cannot be sent SIGHUP: Operation not permitted")]


def test_a_long_detail_fits_into_a_request(own_daemon: RunningDaemon, engine: Engine) -> None:
    engine.refusal = "\N{COLLISION SYMBOL}" * 5000
    synchronizer(own_daemon, engine).run()
    ((state, detail),) = recorded(own_daemon)
    assert (state, len(detail)) == ("differs", 600)


class Running:
    """A synchronizer that runs in a thread."""

    def __init__(self, daemon: RunningDaemon, engine: Engine) -> None:
        self._daemon = daemon
        self._engine = engine
        self.runs = 0
        self._synchronizer = synchronizer(daemon, engine)
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        try:
            while True:
                self.runs += 1
                self._synchronizer.run_and_wait()
        except Stopped:
            pass

    def stop(self) -> None:
        self._engine.stops = True
        # An event, for the thread to notice.
        self._daemon.write({"runtimes": {"the-end": {"path": "/bin/sh"}}})
        self._daemon.reload()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


Start = Callable[[], Running]


@pytest.fixture
def start(own_daemon: RunningDaemon, engine: Engine) -> Iterator[Start]:
    """Return a function that starts a synchronizer in a thread, which ends with the test."""
    started: list[Running] = []

    def begin() -> Running:
        started.append(Running(own_daemon, engine))
        return started[-1]

    yield begin
    for each in started:
        each.stop()


def test_each_generation_is_followed_and_a_burst_of_them_makes_few_runs(
    own_daemon: RunningDaemon, engine: Engine, start: Start
) -> None:
    began_s = time.monotonic()
    running = start()
    wait_until(lambda: "plain" in engine.has, "the first run")
    for number in range(40):
        own_daemon.write({"runtimes": {f"r{number}": {"path": "/bin/sh"}}})
        assert own_daemon.reload()["outcome"] in ("applied", "unchanged")
    wait_until(lambda: "r39" in engine.has, "the last generation")
    wait_until(lambda: recorded(own_daemon)[-1] == ("follows", ""), "a record")
    # The last one may be waiting.
    assert running.runs <= time.monotonic() - began_s + 2


def test_a_restart_of_the_daemon_loses_no_record_and_no_change(
    own_daemon: RunningDaemon, engine: Engine, start: Start
) -> None:
    start()
    wait_until(lambda: own_daemon.status()["engines"], "the first record")
    assert own_daemon.stop() == 0
    own_daemon.write({"runtimes": {"other": {"path": "/bin/sh"}}})
    own_daemon.start()
    (found,) = wait_until(lambda: own_daemon.status()["engines"], "a record after the restart")
    assert found["state"] == "follows"
    assert "other" in engine.has


def test_the_engine_is_verified_at_an_interval_that_is_shorter_while_it_does_not_follow(
    own_daemon: RunningDaemon, engine: Engine, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A pause ends with the next heartbeat. The first line of a stream is one.
    own_daemon.stop()
    own_daemon.heartbeat_s = 0.2
    own_daemon.start()
    monkeypatch.setattr(sync, "_PAUSE_S", 0.01)
    monkeypatch.setattr(sync, "_VERIFY_S", 1000.0)
    monkeypatch.setattr(sync, "_VERIFY_SOON_S", 0.0)
    monkeypatch.setattr(sync, "_SHARE", 1.0)
    engine.is_running = False
    running = start()
    wait_until(lambda: running.runs >= 2, "a second run")
    engine.has, engine.is_running = engine.file, True
    before = running.runs
    wait_until(lambda: [state for state, _ in recorded(own_daemon)] == ["not-running", "follows"], "that it follows")
    time.sleep(10 * own_daemon.heartbeat_s)
    assert running.runs <= before + 2, "it is verified rarely again"


def test_an_engine_that_takes_long_to_ask_is_asked_rarely_and_sooner_while_it_does_not_follow(
    own_daemon: RunningDaemon, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    pauses: list[float] = []
    monkeypatch.setattr(Synchronizer, "_wait", lambda _, __, pause_s: pauses.append(pause_s))
    monkeypatch.setattr(sync, "time", SimpleNamespace(monotonic=lambda: now_s, sleep=lambda _: None))
    running = synchronizer(own_daemon, engine)
    running.run_and_wait()
    verify = engine.verify

    def slow(table: Any) -> Any:
        nonlocal now_s
        now_s += 1.5
        return verify(table)

    running._verify = slow
    running.run_and_wait()
    engine.is_running = False
    running.run_and_wait()
    running._verify = verify
    running.run_and_wait()
    assert pauses == [50, 75, 15, 10]


def test_a_missing_daemon_is_told_once_and_tried_again(
    own_daemon: RunningDaemon, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    own_daemon.stop()
    running = synchronizer(own_daemon, engine)
    with pytest.raises(DaemonUnreachable):
        running.run()
    for _ in range(3):
        running.run_and_wait()
    assert engine.done == []
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("runtimectl: no answer from a daemon on ")
    assert line.endswith("; trying again")


def test_json_is_a_verification_on_each_line(capsys: pytest.CaptureFixture[str], engine: Engine) -> None:
    log = Log(lambda _: None, json=True)
    for _, is_running in itertools.product("ab", (True, False)):
        engine.is_running = is_running
        log.outcome(engine.verify({"runtimes": []}))
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition('"state":')[2][:6] for line in lines] == ['"follo', '"not-r'] * 2


def test_an_engine_without_a_file_is_a_usage_error(own_daemon: RunningDaemon) -> None:
    run = runtimectl("sync", "kubernetes", on=own_daemon)
    assert run.returncode == 2
    assert "kubernetes" in run.stderr
