"""Who changed what, and when: edits, requests, signals, rejections and drift of a real daemon, told after a kill."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.daemon import RunningDaemon, make_drift, new_daemon, ordinary_user, put, put_executable, wait_until
from harness.runtimectl import runtimectl

pytestmark = pytest.mark.timeout(300)

NOBODY = 65534
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


@pytest.fixture
def daemon() -> Iterator[RunningDaemon]:
    with new_daemon() as made:
        made.drift_every_s = 0.2
        yield made


def entries(daemon: RunningDaemon) -> list[dict[str, Any]]:
    return list(daemon.get("/v1/history")[1]["entries"])


def newest(daemon: RunningDaemon) -> dict[str, Any]:
    return dict(daemon.get("/v1/generations")[1]["generations"][0])


def wait_for(daemon: RunningDaemon, kind: str, **fields: object) -> dict[str, Any]:
    """Return the first entry of the history with these fields, once there is one."""

    def find() -> dict[str, Any] | None:
        found = (each for each in entries(daemon) if each["type"] == kind)
        return next((each for each in found if all(each.get(k) == v for k, v in fields.items())), None)

    return dict(wait_until(find, f"{kind} {fields} in the history"))


def wait_for_health(daemon: RunningDaemon, status: str) -> None:
    """Wait until the newest change of the health in the history is to ``status``."""

    def find() -> bool:
        found = [each["status"] for each in entries(daemon) if each["type"] == "health"]
        return found[-1:] == [status]

    wait_until(find, f"the health {status} in the history")


def identity(path: Path) -> tuple[int, float, int]:
    found = path.stat()
    return found.st_uid, found.st_mtime, found.st_ino


def changed(entry: dict[str, Any]) -> dict[str, tuple[object, ...]]:
    sources = entry["trigger"]["sources"]
    return {each["path"]: (each["change"], each["owner"], each["mtime"], each["inode"]) for each in sources}


def make_edits(daemon: RunningDaemon, binary: Path) -> None:
    """Make generations 2 to 4, and between the last two a rejection of a file that another user owns."""
    dropin, foreign = daemon.dropins / "50-two.json", daemon.dropins / "60-foreign.json"
    put(dropin, {"runtimes": {"two": {"path": str(binary)}}, "default-runtime": "two"})
    wait_until(lambda: newest(daemon)["generation"] == 2, "generation 2")
    edit = newest(daemon)
    assert edit["trigger"]["reason"] == "file-change"
    assert changed(edit) == {str(dropin): ("added", *identity(dropin))}
    assert edit["changes"]["added"] == ["two"]
    assert edit["changes"]["default_runtime"] == {"from": "runc", "to": "two"}
    put(foreign, {"runtimes": {"foreign": {"path": str(binary)}}})
    wait_until(lambda: newest(daemon)["generation"] == 3, "generation 3")
    os.chown(foreign, NOBODY, NOBODY)
    refused = wait_for(daemon, "reload", outcome="rejected")
    assert refused["problems"][0]["file"] == str(foreign)
    assert refused["problems"][0]["found"] == f"user id {NOBODY}, mode 0644"
    foreign.unlink()
    wait_until(lambda: newest(daemon)["generation"] == 4, "generation 4")
    assert changed(newest(daemon)) == {str(foreign): ("removed", None, None, None)}
    wait_for_health(daemon, "ok")


def make_rejections(daemon: RunningDaemon) -> None:
    """Reject a broken file after the edit, for a request of root, and for a signal; then restore the file."""
    before = daemon.config.read_text()
    daemon.write('{"runtimes": {"one": {}}}')
    wait_for(daemon, "reload", outcome="rejected", reason="file-change", generation=4)
    assert runtimectl("reload", on=daemon).returncode == 1
    request = wait_for(daemon, "reload", reason="api")
    (actor,) = request["trigger"]["actors"]
    assert actor["uid"] == 0
    assert actor["pid"] > 0
    assert actor["command"].endswith("-m runtimed.cli.ctl reload")
    assert changed(request) == {str(daemon.config): ("changed", *identity(daemon.config))}
    daemon.send(signal.SIGHUP)
    assert wait_for(daemon, "reload", reason="signal")["trigger"]["actors"] == []
    wait_for_health(daemon, "degraded")
    daemon.write(before)
    wait_for_health(daemon, "ok")


def kill_with_half_an_event(daemon: RunningDaemon) -> None:
    """Kill the daemon, leave half of an event in the file, and start again: the history goes on."""
    before = entries(daemon)
    daemon.stop(signal.SIGKILL)
    with (daemon.data / "generations/00000004/events.jsonl").open("ab") as events:
        events.write(b'{"time": 1, "type": "heal')
    daemon.start()
    wait_until(lambda: any(each.get("reason") == "start" for each in entries(daemon)[len(before) :]), "the start")
    assert entries(daemon)[: len(before)] == before


def test_the_history_tells_edits_requests_signals_rejections_and_drift_across_a_kill(daemon: RunningDaemon) -> None:
    binary = put_executable(daemon.root / "bin" / "one")
    daemon.write({"runtimes": {"one": {"path": str(binary)}}})
    daemon.start()
    first = newest(daemon)
    assert (first["trigger"]["reason"], first["trigger"]["actors"]) == ("start", [])
    assert changed(first) == {str(daemon.config): ("added", *identity(daemon.config))}
    make_edits(daemon, binary)
    make_rejections(daemon)
    make_drift(daemon, binary, "#!/bin/sh\nexit 1\n")
    wait_for(daemon, "drift", binary=str(binary))
    kill_with_half_an_event(daemon)
    run = runtimectl("history", "--since", "yesterday", on=daemon)
    assert (run.returncode, run.stderr) == (0, "")
    lines = iter(run.stdout.splitlines())
    for pattern in told(daemon, binary):
        assert any(re.fullmatch(pattern, line) for line in lines), (pattern, run.stdout)
    listed = runtimectl("generations", on=daemon).stdout
    assert re.search(r"^1 .* start: daemon.json, owner root$", listed, re.MULTILINE)
    assert re.search(r"^2 .* file change: 50-two.json, owner root$", listed, re.MULTILINE)


def told(daemon: RunningDaemon, binary: Path) -> tuple[str, ...]:
    """Return patterns of lines of the history, in order."""
    rejected = rf"{TIME}  reload      the change was rejected, generation"
    return (
        rf"{TIME}  generation  1 is current: added io.containerd.runc.v2, one, runc",
        r"    reason: start of the daemon",
        rf"    {daemon.config} was added; owner root \(user id 0\), modified {TIME}, inode \d+",
        rf"{TIME}  reload      the daemon started, generation 1 is current",
        rf"{TIME}  generation  2 is current: added two; default runtime runc -> two",
        r"    reason: file change",
        rf"    {daemon.dropins}/50-two.json was added; owner root .*",
        rf"{TIME}  generation  3 is current: added foreign",
        rf"{rejected} 3 is in use: {daemon.dropins}/60-foreign.json: .*user id {NOBODY}.*",
        rf"{TIME}  health      degraded: configuration: .*",
        rf"{TIME}  generation  4 is current: removed foreign",
        rf"    {daemon.dropins}/60-foreign.json was removed",
        rf"{TIME}  health      ok",
        rf"{rejected} 4 is in use: {daemon.config}:1:.*",
        r"    reason: file change",
        rf"{rejected} 4 is in use: .*",
        r"    reason: API request",
        r"    requested by root \(user id 0\), process \d+: .* -m runtimed.cli.ctl reload",
        rf"    {daemon.config} was changed; owner root .*",
        rf"{rejected} 4 is in use: .*",
        r"    reason: SIGHUP \(a signal does not tell its sender\)",
        rf"{TIME}  health      ok",
        rf"{TIME}  drift       {binary} was replaced.*; runs one, two",
        rf"{TIME}  reload      the daemon started, generation 4 is current",
    )


def test_times_are_those_of_the_reader(daemon: RunningDaemon) -> None:
    daemon.write({})
    daemon.start()
    created_s = newest(daemon)["created"]
    for zone, offset_s in (("UTC", 0), ("XYZ-5:45", 20_700)):
        line = runtimectl("history", on=daemon, environ={"TZ": zone}).stdout.splitlines()[0]
        assert line.startswith(time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(created_s + offset_s)))
    assert runtimectl("history", "--since", "tomorrow", on=daemon).returncode == 2
    assert "the history is empty" in runtimectl("history", "--since", "2999-01-01", on=daemon).stdout


def test_each_edit_has_the_owner_of_its_file() -> None:
    with new_daemon(ordinary_user()) as daemon:
        daemon.root.chmod(0o711)
        for directory in (daemon.data, daemon.socket.parent, daemon.dropins):
            directory.mkdir(mode=0o700)
            os.chown(directory, NOBODY, NOBODY)
        daemon.write({})
        daemon.start()
        for name, owner in (("50-root", 0), ("60-own", NOBODY)):
            hidden = daemon.dropins / f".{name}"
            hidden.write_text(f'{{"runtimes": {{"{name}": {{"path": "/bin/sh"}}}}}}')
            os.chown(hidden, owner, owner)
            hidden.rename(daemon.dropins / f"{name}.json")
            wait_until(lambda name=name: newest(daemon)["changes"]["added"] == [name], name)  # type: ignore[misc]
            assert {where: found[:2] for where, found in changed(newest(daemon)).items()} == {
                str(daemon.dropins / f"{name}.json"): ("added", owner)
            }


def test_a_full_disk_loses_no_generation_and_tells_the_events_later(daemon: RunningDaemon) -> None:
    daemon.write({})
    daemon.start()
    wait_for(daemon, "reload", reason="start")
    kept = daemon.data / "generations/00000001/events.jsonl"
    with daemon.paused():
        lines = kept.read_bytes()
        kept.unlink()
        kept.mkdir()
    for text in ("{", "[", "{}x"):
        daemon.write(text)
        assert daemon.reload()["outcome"] == "rejected"
    wait_until(lambda: [e for e in daemon.log() if e["event"] == "history.not_written"], "the warning")
    assert [e["type"] for e in entries(daemon)] == ["generation", "gap"]
    # It may be about to try again.
    with daemon.paused():
        kept.rmdir()
        kept.write_bytes(lines)
    daemon.write({"runtimes": {"a": {"path": "/bin/sh"}}})
    assert daemon.reload()["outcome"] in ("applied", "unchanged")
    wait_for_health(daemon, "ok")
    problems = [e["problem_count"] for e in entries(daemon) if e["type"] == "reload" and e["outcome"] == "rejected"]
    assert len(problems) >= 3
    assert len([e for e in daemon.log() if e["event"] == "history.not_written"]) == 1
