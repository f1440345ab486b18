"""Tests of events for programs and for people, with a daemon that is reloaded, restarted and stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.clients import NewClient, fake_server, sends
from harness.daemon import (
    PATIENCE_S,
    RunningDaemon,
    UnixConnection,
    new_daemon,
    put_executable,
    short_directory,
    wait_until,
)
from harness.runtimectl import COMMAND

from runtimed.cli.watch import render_event
from runtimed.client import BadAnswer, Client, DaemonUnreachable, Refused


@pytest.fixture
def daemon() -> Iterator[RunningDaemon]:
    with new_daemon() as daemon:
        daemon.drift_every_s = 0.1
        daemon.write({"runtimes": {"a": {"path": "/bin/sh"}}})
        daemon.start()
        wait_for_a_look(daemon)
        yield daemon


class Watching:
    """The events of a client that watches in a thread."""

    def __init__(self, events: Iterator[Any]) -> None:
        self.events: list[dict[str, Any]] = []
        self.error: BaseException | None = None
        self.is_stopped = False
        self._iterator = events
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            for event in self._iterator:
                self.events.append(event)
                if self.is_stopped:
                    return
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    def until(self, type_: str, **fields: object) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            assert self.error is None
            matching = (e for e in self.events if e["type"] == type_ and fields.items() <= e.items())
            return next(matching, None)

        return dict(wait_until(found, f"{type_} {fields} among {self.events}"))

    def join(self) -> None:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


Watch = Callable[[Iterator[Any]], Watching]


@pytest.fixture
def watch(daemon: RunningDaemon) -> Iterator[Watch]:
    """Return a function that starts watching; the thread ends with the test."""
    watching: list[Watching] = []

    def begin(events: Iterator[Any]) -> Watching:
        watching.append(Watching(events))
        return watching[-1]

    yield begin
    for each in watching:
        each.is_stopped = True
    if not daemon.has_ended():
        daemon.reload()  # an event, for them to notice
    for each in watching:
        each.join()


def test_events_arrive_once_and_in_order_across_a_restart(
    watch: Watch, new_client: NewClient, daemon: RunningDaemon
) -> None:
    watching = watch(new_client(str(daemon.socket)).watch())
    watching.until("heartbeat")
    for number in range(3):
        daemon.write({"runtimes": {"a": {"path": f"/bin/{number}"}}})
        daemon.reload()
    watching.until("generation", generation=4)
    daemon.write("{")
    assert daemon.reload()["outcome"] == "rejected"
    watching.until("health", status="degraded")
    assert daemon.stop() == 0
    watching.until("end")
    daemon.write({"runtimes": {"a": {"path": "/bin/again"}}})
    daemon.start()
    watching.until("gap")
    watching.until("generation", generation=5)
    numbers = [event["seq"] for event in watching.events if event["type"] in ("reload", "generation", "health")]
    assert numbers == sorted(set(numbers))
    generations = [event["generation"] for event in watching.events if event["type"] == "generation"]
    assert generations == [2, 3, 4, 5]


def test_watching_since_a_number_begins_with_the_next_event(
    watch: Watch, new_client: NewClient, daemon: RunningDaemon
) -> None:
    seq = daemon.status()["events"]["seq"]
    daemon.write({"runtimes": {"a": {"path": "/bin/1"}}})
    daemon.reload()
    watching = watch(new_client(str(daemon.socket)).watch(since=seq))
    assert watching.until("reload")["seq"] == seq + 1


def test_a_missing_daemon_fails_at_once_and_a_stopped_one_after_the_patience(
    watch: Watch, new_client: NewClient, daemon: RunningDaemon, tmp_path: Path
) -> None:
    with pytest.raises(DaemonUnreachable):
        next(new_client(str(tmp_path / "none")).watch(since=1))
    watching = watch(new_client(str(daemon.socket)).watch(patience_s=0.3))
    watching.until("heartbeat")
    daemon.kill()
    wait_until(lambda: watching.error, "the client to give up")
    assert isinstance(watching.error, DaemonUnreachable)
    assert "away for 0.3 s" in str(watching.error)


def test_the_end_of_watching_closes_the_connection(new_client: NewClient, daemon: RunningDaemon) -> None:
    events = new_client(str(daemon.socket)).watch()
    assert next(events)["type"] == "heartbeat"
    wait_until(lambda: daemon.status()["events"]["subscribers"] == 1, "the client to be a listener")
    events.close()
    wait_until(lambda: daemon.status()["events"]["subscribers"] == 0, "the client to be none")


def test_a_refusal_and_a_malformed_response_raise(new_client: NewClient) -> None:
    problem = json.dumps({"code": "too-many-subscribers", "detail": "the limit", "status": 503}).encode()
    answers = {b"HTTP/1.1 503 X\r\nA: b\r\n\r\n" + problem: Refused, b"SSH-2.0-x\r\n\r\n": BadAnswer}
    answers[b"HTTP/1.1 200 OK\r\n\r\n[]\n"] = BadAnswer
    answers[b"HTTP/1.1 200 OK\r\n\r\n{}\n"] = BadAnswer
    answers[b"HTTP/1.1 yes\r\n\r\n"] = BadAnswer
    answers[b"HTTP/1.1 200 OK\r\nA: " + b"b" * 2**16] = BadAnswer
    answers[b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2**23] = BadAnswer
    with short_directory() as place, fake_server(place / "s", *map(sends, answers)) as server:
        for error in answers.values():
            with pytest.raises(error):
                next(new_client(server.path).watch())


def test_after_a_partial_response_watching_continues_after_the_last_event(
    new_client: NewClient,
) -> None:
    head = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"
    one, two = (b'{"seq": %d, "type": "reload"}\n' % number for number in (1, 2))
    halves = [sends(b"HTTP/1.1 2"), sends(b""), sends(head + one + two[:9]), sends(head), sends(head + two)]
    with short_directory() as place, fake_server(place / "s", *halves) as server:
        events = new_client(server.path).watch()
        assert [next(events)["seq"], next(events)["seq"]] == [1, 2]
        events.close()
    targets = [request.split()[1].decode() for request in server.requests]
    assert targets == ["/v1/events"] * 3 + ["/v1/events?since=1"] * 2


def test_runtimectl_watch_shows_events_until_it_is_interrupted(daemon: RunningDaemon) -> None:
    # A shell that runs the tests in the background has SIGINT ignored, which processes inherit.
    command = ["env", "--default-signal=INT", *COMMAND, "--socket", str(daemon.socket), "watch"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as people,
        subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True) as programs,
    ):
        assert people.stdout is not None
        assert programs.stdout is not None
        first = json.loads(programs.stdout.readline())
        assert first["type"] == "heartbeat"
        wait_until(lambda: daemon.status()["events"]["subscribers"] == 2, "both to listen")
        daemon.write({"runtimes": {"b": {"path": "/bin/sh"}}})
        daemon.reload()
        lines = [people.stdout.readline().split(maxsplit=3) for _ in range(2)]
        assert [line[2] for line in lines] == ["reload", "generation"]
        assert lines[0][3].startswith("applied, generation 2 (")
        assert lines[0][3].rstrip().endswith("), +1 ~0 -1")
        assert json.loads(programs.stdout.readline())["type"] == "reload"
        for process in (people, programs):
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_S) == 130


def test_since_0_after_a_restart_shows_a_gap_and_all_events_since_the_start() -> None:
    with new_daemon() as daemon:
        daemon.write({})
        with daemon.running():
            daemon.reload()
            assert daemon.stop() == 0
        with daemon.running():
            daemon.reload()
            command = [*COMMAND, "--socket", str(daemon.socket), "watch", "--since", "0"]
            lines: list[list[str]] = []
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
                assert watching.stdout is not None
                while not lines or "(API request)" not in lines[-1][3]:
                    lines.append(watching.stdout.readline().rstrip().split(maxsplit=3))
                watching.kill()
    assert [line[2] for line in lines] == ["gap", "reload", "generation", "reload"]
    assert "not known any more" in lines[0][3]
    assert lines[1][3] == "unchanged, generation 1 (start)"
    assert lines[3][3] == "unchanged, generation 1 (API request)"
    today = time.strftime("%Y-%m-%d", time.localtime())
    assert {line[0] for line in lines} <= {today, time.strftime("%Y-%m-%d", time.localtime(time.time() - 60))}


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ({"type": "heartbeat"}, None),
        (
            {"type": "reload", "outcome": "unchanged", "generation": 3, "reason": "signal", "added": [], "changed": [],
             "removed": [], "repaired": []},
            "unchanged, generation 3 (SIGHUP)",
        ),
        (
            {"type": "reload", "outcome": "rejected", "generation": 3, "reason": "api", "added": [], "changed": [],
             "removed": [], "problem_count": 3,
             "problems": [{"file": "/d.json", "line": 4, "column": 2, "message": "bad\nthing"}]},
            r"rejected, generation 3 (API request): /d.json:4:2: bad\nthing (and 2 more)",
        ),
        ({"type": "health", "status": "ok", "reasons": {}}, "ok"),
        ({"type": "health", "status": "degraded", "reasons": {"store": "full"}}, "degraded: store: full"),
        (
            {"type": "drift", "binary": "/bin/x", "kind": "removed", "reason": "no such file", "runtimes": ["a", "b"]},
            "/bin/x was removed: no such file; runs a, b",
        ),
        (
            {"type": "drift", "binary": "/bin/x", "kind": "unusable", "reason": None, "runtimes": ["a"]},
            "/bin/x was made unusable; runs a",
        ),
        (
            {"type": "drift", "binary": "/bin/x", "kind": "back"},
            "/bin/x is the same again as when the configuration was loaded",
        ),
        (
            {"type": "drift", "binary": "/bin/x", "kind": "loaded"},
            "/bin/x: the configuration was loaded with the binary as it is now",
        ),
        (
            {"type": "drift", "binary": None, "kind": "more", "count": 7},
            "and 7 other binaries; runtimectl list shows all",
        ),
        ({"type": "watcher", "mode": "polling", "faults": {"/etc": "on nfs"}}, "polling: /etc: on nfs"),
        ({"type": "watcher", "mode": "inotify", "faults": {}}, "inotify"),
        ({"type": "gc", "wrapper": "x-1", "asked_by": "uid 0"}, "x-1 removed, requested by uid 0"),
        ({"type": "proof", "runtime": "a", "state": "proved", "outcome": "passed", "detail": ""}, "a is proved"),
        (
            {"type": "proof", "runtime": "a\n", "state": "not-proved", "outcome": "failed", "detail": "hangs"},
            r"a\n is not proved: hangs",
        ),
        ({"type": "engine", "engine": "docker", "state": "follows", "detail": ""}, "docker follows"),
        ({"type": "engine", "engine": "crio", "state": "differs", "detail": "x\ny"}, r"crio differs: x\ny"),
        ({"type": "gap", "reason": "lost"}, "lost"),
        ({"type": "of the future"}, ""),
    ],
)  # fmt: skip
def test_an_event_is_a_line(event: dict[str, Any], text: str | None) -> None:
    line = render_event({"time": 0.0, "seq": 1, **event})
    if text is None:
        assert line is None
    else:
        assert line is not None
        assert line.startswith(time.strftime("%Y-%m-%d %H:%M:%S  ", time.localtime(0)))
        assert line[21:].strip().startswith(event["type"])
        assert line[21:].strip().removeprefix(event["type"]).strip() == text


def test_every_request_reports_the_drift_of_a_binary(watch: Watch, daemon: RunningDaemon) -> None:
    binary = put_executable(daemon.root / "runtime")
    daemon.write({"runtimes": {"mine": {"path": str(binary)}}, "default-runtime": "mine"})
    daemon.reload()
    watching = watch(Client(str(daemon.socket)).watch())
    watching.until("heartbeat")

    def listed() -> dict[str, Any]:
        return dict({r["name"]: r for r in daemon.get("/v1/runtimes")[1]["runtimes"]}["mine"])

    # The first look comes right after the load.
    wait_for_a_look(daemon)
    binary.unlink()
    event = watching.until("drift", kind="removed")
    assert event["runtimes"] == ["mine"]
    assert watching.until("health", status="degraded")["reasons"].keys() == {"default-runtime"}
    assert listed()["drift"]["kind"] == "removed"
    assert daemon.status()["drift"][0]["runtimes"] == ["mine"]
    assert daemon.get("/healthz")[0] == 200, "no restart would cure it"
    assert 'runtimed_drift{kind="removed"} 1.0' in metrics(daemon)
    assert "runtimed_default_runtime_available 0.0" in metrics(daemon)
    assert daemon.reload()["outcome"] == "unchanged"
    watching.until("drift", kind="loaded")
    # The reload was requested, so health accepts that the binary is missing; all other responses still report it.
    watching.until("health", status="ok")
    reason = f"{binary}: no such file"
    assert daemon.status()["health"] == {"status": "ok", "reasons": {}}
    assert daemon.status()["unavailable"] == [{"runtime": "mine", "path": str(binary), "reason": "no such file"}]
    assert (listed()["available"], listed()["reason"]) == (False, reason)
    assert daemon.get("/v1/resolve")[0] == 503
    assert "runtimed_default_runtime_available 0.0" in metrics(daemon)
    put_executable(binary)
    assert watching.until("drift", kind="installed")["runtimes"] == ["mine"]
    assert daemon.get("/v1/resolve")[0] == 200
    # The binary was available again, so health reports that it is missing.
    watching.events.clear()
    binary.unlink()
    assert watching.until("health", status="degraded")["reasons"].keys() == {"default-runtime"}
    put_executable(binary)
    watching.until("health", status="ok")


def wait_for_a_look(daemon: RunningDaemon) -> None:
    """Wait until the states of all binaries are known: what the first look finds is an event."""
    wait_until(lambda: 'runtimed_runtimes{state="unknown"} 0.0' in metrics(daemon), "the first look")


def metrics(daemon: RunningDaemon) -> str:
    connection = UnixConnection(str(daemon.socket))
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()
