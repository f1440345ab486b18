"""The daemon as a process: start, reloads, rejections, signals, stop.

The tests run as root or as an ordinary user, and do not depend on the speed of the machine.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from harness.daemon import (
    PATIENCE_S,
    RunningDaemon,
    UnixConnection,
    listing,
    new_daemon,
    ordinary_user,
    put,
    short_directory,
    wait_until,
)


@pytest.fixture
def daemon() -> Iterator[RunningDaemon]:
    with new_daemon() as daemon:
        yield daemon


def wrapped(*args: str) -> dict[str, object]:
    return {"path": "/bin/echo", "runtimeArgs": list(args)}


def table(**runtimes: object) -> dict[str, object]:
    return {"runtimes": runtimes}


def meaning(daemon: RunningDaemon, runtime: str) -> str:
    """Return the last line of the wrapper, else the path of the binary, else the code of the error."""
    status, body = daemon.get(f"/v1/resolve?runtime={runtime}")
    if status != 200:
        return str(body["code"])
    binary = str(body["options"]["fields"]["binary_name"])
    return Path(binary).read_text().splitlines()[-1] if binary.startswith(str(daemon.data)) else binary


def means(daemon: RunningDaemon, runtime: str, wanted: str) -> None:
    """Wait until ``runtime`` resolves to ``wanted``."""
    wait_until(lambda: meaning(daemon, runtime) == wanted, f"{runtime} to mean {wanted}")


def echo(*words: str) -> str:
    return " ".join(("exec /bin/echo", *words, '"$@"'))


def health(daemon: RunningDaemon) -> dict[str, Any]:
    return dict(daemon.status()["health"])


class TestConfiguration:
    def test_the_table_is_what_the_file_says(self, daemon: RunningDaemon) -> None:
        daemon.write(table(w=wrapped("one"), plain={"path": "/bin/echo"}) | {"default-runtime": "w"})
        daemon.start()
        assert meaning(daemon, "w") == meaning(daemon, "") == echo("one")
        assert meaning(daemon, "plain") == "/bin/echo"
        assert meaning(daemon, "runc") == "runc"
        assert [r["name"] for r in daemon.get("/v1/runtimes")[1]["runtimes"]] == [
            *("io.containerd.runc.v2", "plain", "runc", "w"),
        ]
        assert health(daemon) == {"status": "ok", "reasons": {}}
        assert daemon.stop() == 0

    def test_drop_ins_apply_in_order_and_changes_of_them_are_noticed(self, daemon: RunningDaemon) -> None:
        daemon.write(table(w=wrapped("file")))
        daemon.start()
        assert meaning(daemon, "w") == echo("file")
        put(daemon.dropins / "20-b.json", table(w=wrapped("b")))
        means(daemon, "w", echo("b"))
        put(daemon.dropins / "10-a.json", table(w=wrapped("a"), only=wrapped("a")))
        means(daemon, "only", echo("a"))
        assert meaning(daemon, "w") == echo("b")
        (daemon.dropins / "10-a.json").rename(daemon.dropins / "30-a.json")
        means(daemon, "w", echo("a"))
        put(daemon.dropins / ".40-hidden.json", table(w=wrapped("hidden")))
        put(daemon.dropins / "50-backup.json~", table(w=wrapped("backup")))
        assert daemon.reload()["outcome"] == "unchanged"
        (daemon.dropins / "30-a.json").unlink()
        means(daemon, "w", echo("b"))
        assert meaning(daemon, "only") == "unknown-runtime"
        for left in daemon.dropins.iterdir():
            left.unlink()
        daemon.dropins.rmdir()
        means(daemon, "w", echo("file"))

    def test_flags_win_over_drop_ins_and_these_over_the_file(self, daemon: RunningDaemon) -> None:
        daemon.write(table(f=wrapped("file"), d=wrapped("file"), p={"path": "/from/file"}) | {"default-runtime": "f"})
        put(daemon.dropins / "a.json", table(d=wrapped("drop-in"), p={"path": "/from/drop-in"}))
        daemon.start("--add-runtime", "p=/bin/cat", "--default-runtime", "d")
        assert [meaning(daemon, name) for name in ("f", "d", "p", "")] == [
            *(echo("file"), echo("drop-in"), "/bin/cat", echo("drop-in")),
        ]
        daemon.write(table(p={"path": "/bin/false"}) | {"default-runtime": "runc"})
        report = daemon.reload()
        assert report["overridden"] == ["default-runtime", "runtimes/p"]
        assert [meaning(daemon, name) for name in ("p", "")] == ["/bin/cat", echo("drop-in")]

    def test_a_missing_file_that_was_named_is_an_error(self, daemon: RunningDaemon) -> None:
        assert str(daemon.config) in daemon.fail_to_start()
        assert not daemon.socket.exists()

    def test_an_empty_object_empties_the_table_and_a_missing_file_does_not(self, daemon: RunningDaemon) -> None:
        daemon.write(table(w=wrapped("one")))
        daemon.start()
        daemon.config.unlink()
        wait_until(lambda: daemon.reloads("rejected"), "the rejection")
        assert daemon.reload()["outcome"] == "rejected"
        assert meaning(daemon, "w") == echo("one")
        assert health(daemon)["status"] == "degraded"
        daemon.write({})
        means(daemon, "w", "unknown-runtime")
        # The report follows the publish, after a look at binaries and containers.
        wait_until(lambda: health(daemon)["status"] == "ok", "the report")

    def test_a_changed_boot_only_setting_requires_a_restart(self, daemon: RunningDaemon) -> None:
        daemon.write({})
        daemon.start()
        pidfile = daemon.root / "pid"
        daemon.write({"pidfile": str(pidfile), "log-format": "text", "data-root": "/elsewhere"})
        report = daemon.reload()
        # data-root is given by a flag, which wins before and after a restart.
        assert sorted(report["restart_required"]) == ["log-format", "pidfile"]
        assert report["overridden"] == ["data-root"]
        assert not pidfile.exists()
        daemon.write({})
        assert daemon.reload()["restart_required"] == []

    def test_the_log_level_follows_the_file(self, daemon: RunningDaemon) -> None:
        daemon.write({"log-level": "error"})
        daemon.start()
        daemon.write(table(silent=wrapped("1")) | {"log-level": "error"})
        means(daemon, "silent", echo("1"))
        assert not [e for e in daemon.log() if e["event"] == "reload.applied" and "silent" in e["added"]]
        daemon.write({"debug": True})
        daemon.reload()
        daemon.write(table(loud=wrapped("1")) | {"debug": True})
        daemon.reload()
        wait_until(lambda: [e for e in daemon.reloads("applied") if "loud" in e["added"]], "the log line")


class TestRejection:
    BROKEN = '{\n "runtimes": {\n  "w": {"path": "/bin/echo", "runtimeArgs": "x"},\n  "runc": {"path": "/x"}\n }\n}\n'

    def test_a_broken_edit_is_rejected_with_its_position_and_the_old_table_stays(self, daemon: RunningDaemon) -> None:
        daemon.write(table(w=wrapped("one")))
        daemon.start()
        before = daemon.resolve("w")
        disk = listing(daemon.data)
        daemon.write(self.BROKEN)
        wait_until(lambda: daemon.reloads("rejected"), "the rejection")
        (event,) = daemon.reloads("rejected")
        assert event["level"] == "error"
        assert [problem.split(": ")[:2] for problem in event["problems"]] == [
            [f"{daemon.config}:3:45", "/runtimes/w/runtimeArgs"],
            [f"{daemon.config}:4:3", "/runtimes/runc"],
        ]
        assert health(daemon)["status"] == "degraded"
        assert f"{daemon.config}:3" in health(daemon)["reasons"]["configuration"]
        assert daemon.status()["last_reload"]["outcome"] == "rejected"
        assert daemon.get("/healthz")[0] == 200, "the process itself is healthy"
        assert daemon.resolve("w") == before
        assert listing(daemon.data) == disk
        daemon.write(table(w=wrapped("two")))
        means(daemon, "w", echo("two"))
        wait_until(lambda: health(daemon) == {"status": "ok", "reasons": {}}, "the report")
        assert daemon.resolve("w")["generation"] == before["generation"] + 1

    def test_a_requested_reload_returns_422_with_every_problem(self, daemon: RunningDaemon) -> None:
        daemon.write({})
        put(daemon.dropins / "a.json", {})
        daemon.start()
        daemon.write(self.BROKEN)
        put(daemon.dropins / "a.json", '{"no-such-key": 1,')
        status, report = daemon.ask("POST", "/v1/reload")
        assert (status, report["outcome"], report["generation"]) == (422, "rejected", 1)
        places = [(Path(p["file"]).name, p["line"], p["pointer"]) for p in report["problems"]]
        assert places[:2] == [
            ("daemon.json", 3, "/runtimes/w/runtimeArgs"),
            ("daemon.json", 4, "/runtimes/runc"),
        ]
        assert {name for name, *_ in places} == {"daemon.json", "a.json"}
        for problem in report["problems"]:
            assert problem.keys() >= {"file", "line", "column", "pointer", "found", "expected", "message"}

    def test_a_half_written_file_is_not_reported_while_it_is_being_written(self, daemon: RunningDaemon) -> None:
        daemon.write({})
        daemon.start()
        text = json.dumps(table(w=wrapped("one")))
        for _attempt in range(10):
            before = daemon.reloads("rejected")
            started_s = time.monotonic()
            daemon.config.write_text(text[: len(text) // 2])
            time.sleep(0.6)  # beyond the debounce, so that it was read
            daemon.config.write_text(text)
            if time.monotonic() - started_s < 1.5:  # else the machine was busy, and it had been quiet for too long
                break
            daemon.write({})
            daemon.reload()
        else:
            pytest.fail("the machine is too busy to write a file within 1.5 s")
        means(daemon, "w", echo("one"))
        assert daemon.reloads("rejected") == before

    def test_a_file_that_stays_half_written_is_reported_once(self, daemon: RunningDaemon) -> None:
        daemon.write({})
        daemon.start()
        started_s = time.monotonic()
        # By one rename: the empty file between two steps would be another half-written one.
        daemon.write('{"runtimes": {')
        wait_until(lambda: daemon.reloads("rejected"), "the rejection")
        assert time.monotonic() - started_s > 1.5, "reported before it had been quiet"
        assert "configuration" in health(daemon)["reasons"]
        time.sleep(0.5)
        assert len(daemon.reloads("rejected")) == 1

    def test_a_broken_start_serves_the_last_good_generation(self, daemon: RunningDaemon) -> None:
        daemon.write(table(w=wrapped("one")))
        daemon.start()
        before = daemon.resolve("w")
        daemon.stop()
        disk = listing(daemon.data)
        daemon.write(self.BROKEN)
        daemon.start()
        assert daemon.resolve("w") == before
        assert health(daemon)["status"] == "degraded"
        (event,) = daemon.reloads("rejected")
        assert (event["reason"], event["level"], event["generation"]) == ("start", "error", before["generation"])
        assert len(event["problems"]) == 2
        daemon.stop()
        assert changes(disk, listing(daemon.data)) <= {"lock"}
        daemon.write(table(w=wrapped("two")))
        daemon.start()
        assert health(daemon)["status"] == "ok"
        assert meaning(daemon, "w") == echo("two")

    def test_a_start_whose_main_file_is_gone_serves_the_last_good_generation(self, daemon: RunningDaemon) -> None:
        daemon.write(table(w=wrapped("one")))
        daemon.start()
        daemon.stop()
        daemon.config.unlink()
        daemon.start()
        assert meaning(daemon, "w") == echo("one")
        assert health(daemon)["status"] == "degraded"

    def test_a_broken_start_without_an_earlier_generation_fails_with_the_report(self, daemon: RunningDaemon) -> None:
        daemon.write(self.BROKEN)
        text = daemon.fail_to_start()
        assert f"{daemon.config}:3:45" in text
        assert f"{daemon.config}:4:3" in text
        assert not daemon.socket.exists()

    def test_another_configuration_path_does_not_use_the_last_generation(self, daemon: RunningDaemon) -> None:
        daemon.write(table(w=wrapped("one")))
        daemon.start()
        daemon.stop()
        daemon.config = daemon.root / "other.json"
        daemon.write(self.BROKEN)
        assert f"{daemon.config}:3:45" in daemon.fail_to_start()

    def test_validate_says_what_a_reload_says(self, daemon: RunningDaemon) -> None:
        daemon.write(table(w=wrapped("one")))
        daemon.start()
        assert validate(daemon) == (0, [f"{daemon.config}: OK (3 runtimes)"])
        disk = listing(daemon.data)
        daemon.write(self.BROKEN)
        put(daemon.dropins / "a.json", '{"default-runtime": 7, "no-such-key": 1, "hostz": 1}')
        daemon.reload()
        status, lines = validate(daemon)
        assert status == 1
        report = daemon.reloads("rejected")[-1]
        assert lines == [*report["problems"], *(f"note: {remark}" for remark in report["remarks"])]
        assert len(lines) == 5
        assert listing(daemon.data) == disk

    @pytest.mark.timeout(400)
    def test_validate_refuses_what_a_start_would_refuse(self, daemon: RunningDaemon) -> None:
        for settings, words in (
            ({"group": "no-such-group"}, "group 'no-such-group' does not exist"),
            ({"hosts": ["unix:///run/x/"]}, "/hosts/0"),
            ({"hosts": ["fd://nosuch"]}, "socket fd://nosuch: systemd hands over no socket of this name"),
            ({"exec-root": str(daemon.config)}, "is not a directory"),
            ({"hosts": [f"unix://{daemon.config}/s.sock"]}, "is not a directory"),
            ({"pidfile": f"{daemon.config}/pid"}, "is not a directory"),
            ({"data-root": str(daemon.root)}, "no VERSION file"),
        ):
            daemon.write(settings)
            command = [sys.executable, "-m", "runtimed", "--validate", "--config", str(daemon.config)]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            assert run.returncode == 1
            assert words in run.stdout

    def test_a_dry_run_changes_nothing(self, daemon: RunningDaemon) -> None:
        # With --config only a reload reads the files again, so the watcher has no part in this: it is given no hint.
        daemon.write(table(w=wrapped("one"), gone=wrapped("1")))
        daemon.start()
        disk = listing(daemon.data)
        before = daemon.status()
        daemon.write(table(w=wrapped("two"), new=wrapped("1")))
        plan = daemon.reload("?dry_run=true")
        if not daemon.reloads("applied")[1:]:  # the watcher was not there first
            assert (plan["outcome"], plan["dry_run"], plan["generation"]) == ("applied", True, before["generation"])
            assert (plan["added"], plan["changed"], plan["removed"]) == (["new"], ["w"], ["gone"])
        means(daemon, "w", echo("two"))
        done = listing(daemon.data)
        daemon.write(self.BROKEN)
        assert daemon.ask("POST", "/v1/reload?dry_run=true")[0] == 422
        assert listing(daemon.data) == done != disk

    def test_unknown_query_keys_are_refused(self, daemon: RunningDaemon) -> None:
        daemon.write({})
        daemon.start()
        for method, path in (
            ("GET", "/v1/resolve?name=w"),
            ("POST", "/v1/reload?dryrun=true"),
            ("GET", "/v1/status?x"),
        ):
            status, problem = daemon.ask(method, path)
            assert (status, problem["code"]) == (400, "bad-query")
        assert daemon.ask("POST", "/v1/reload?dry_run=yes")[0] == 400
        reloads = [event["event"] for event in daemon.log() if str(event["event"]).startswith("reload.")]
        assert reloads == ["reload.applied"], "that of the start"


class TestSignals:
    def test_a_hangup_reloads(self, daemon: RunningDaemon) -> None:
        daemon.write(table(w=wrapped("one")))
        daemon.start().send(signal.SIGHUP)
        wait_until(lambda: [e for e in daemon.reloads("unchanged") if e["reason"] == "signal"], "a reload")

    def test_a_thousand_hangups_end_in_the_right_table(self, daemon: RunningDaemon) -> None:
        daemon.write({})
        daemon.start()
        for number in range(1000):
            if number % 100 == 0:
                daemon.write(table(w=wrapped(str(number))))
            daemon.send(signal.SIGHUP)
        daemon.write(table(w=wrapped("last")))
        daemon.send(signal.SIGHUP)
        means(daemon, "w", echo("last"))
        assert health(daemon) == {"status": "ok", "reasons": {}}
        assert daemon.reload()["outcome"] == "unchanged"
        assert daemon.stop() == 0

    @pytest.mark.timeout(400)
    def test_hangups_during_the_start_do_not_kill(self, daemon: RunningDaemon) -> None:
        # Before the entry module's first statement a SIGHUP kills the interpreter.
        daemon.write(table(w=wrapped("one")))
        for _ in range(5):
            process = daemon.launch()
            wait_for_first_statement(process)
            while process.poll() is None and not daemon.answers():
                process.send_signal(signal.SIGHUP)
                time.sleep(0.001)  # a storm without a pause can take all time of a busy machine
            assert process.poll() is None, f"{process.returncode}: {daemon.log_file.read_text()}"
            means(daemon, "w", echo("one"))
            assert daemon.stop() == 0

    def test_a_single_hangup_at_any_time_of_the_start_is_harmless(self, daemon: RunningDaemon) -> None:
        daemon.write(table(w=wrapped("one")))
        for delay_ms in range(0, 301, 100):
            process = daemon.launch()
            wait_for_first_statement(process)
            time.sleep(delay_ms / 1000)
            process.send_signal(signal.SIGHUP)
            wait_until(lambda: daemon.answers() or daemon.has_ended(), "a start")
            assert process.poll() is None, delay_ms
            assert daemon.stop() == 0

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_stop_leaves_neither_socket_nor_pidfile(self, daemon: RunningDaemon, number: signal.Signals) -> None:
        daemon.write({})
        pidfile = daemon.root / "run" / "pid"
        process = daemon.start("--pidfile", str(pidfile)).process
        assert process is not None
        assert pidfile.read_text() == f"{process.pid}\n"
        assert daemon.stop(number) == 0
        assert [path for path in (daemon.socket, pidfile) if path.exists()] == []

    @pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
    def test_signals_during_the_stop_change_nothing(self, daemon: RunningDaemon, number: signal.Signals) -> None:
        daemon.write({})
        process = daemon.start().process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE_S
        while process.poll() is None and time.monotonic() < deadline:
            process.send_signal(number)
            time.sleep(0.005)  # asyncio reads signals until there are no more: without a pause it does nothing else
        assert process.wait(1) == 0, daemon.log_file.read_text()

    def test_a_stop_during_the_start_stops_the_daemon(self, daemon: RunningDaemon) -> None:
        daemon.write({})
        process = daemon.launch()
        wait_until(lambda: catches(process.pid, signal.SIGTERM) or daemon.has_ended(), "its handler")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        assert not daemon.socket.exists()

    def test_a_dump_of_all_stacks_does_not_stop_it(self, daemon: RunningDaemon) -> None:
        daemon.write({})
        daemon.start().send(signal.SIGUSR1)
        wait_until(lambda: "most recent call first" in daemon.log_file.read_text(), "the stacks")
        assert daemon.get("/healthz")[0] == 200
        assert daemon.stop() == 0


class TestRestart:
    def test_a_restart_finds_everything_and_writes_nothing(self, daemon: RunningDaemon) -> None:
        daemon.write(table(w=wrapped("one"), plain={"path": "/bin/echo"}))
        daemon.start()
        daemon.write(table(w=wrapped("two"), plain={"path": "/bin/echo"}))
        daemon.reload()
        before = daemon.table()
        daemon.stop()
        disk = listing(daemon.data)
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
            daemon.start()
            assert daemon.table() == before
            # The lock file names its holder; nothing else may differ.
            assert changes(disk, listing(daemon.data)) <= {"lock"}
            assert daemon.reload()["outcome"] == "unchanged"
            daemon.stop(number)
            assert changes(disk, listing(daemon.data)) <= {"lock"}

    def test_numbers_never_go_back(self, daemon: RunningDaemon) -> None:
        numbers = []
        for text in ("one", "two", "one"):
            daemon.write(table(w=wrapped(text)))
            daemon.start()
            numbers.append(daemon.resolve("w")["generation"])
            daemon.write(table(w=wrapped(text), more=wrapped(text)))
            numbers.append(daemon.reload()["generation"])
            daemon.stop(signal.SIGKILL)
        assert numbers == sorted(numbers)
        assert len(set(numbers)) == len(numbers)

    def test_a_killed_daemon_starts_again(self, daemon: RunningDaemon) -> None:
        daemon.write(table(w=wrapped("one")))
        daemon.start("--pidfile", str(daemon.root / "run" / "pid"))
        before = daemon.resolve("w")
        daemon.stop(signal.SIGKILL)
        assert daemon.socket.exists()
        daemon.start("--pidfile", str(daemon.root / "run" / "pid"))
        assert daemon.resolve("w") == before
        assert daemon.stop() == 0

    def test_a_second_daemon_on_the_same_data_root_harms_nothing(self, daemon: RunningDaemon) -> None:
        daemon.write(table(w=wrapped("one")))
        first = daemon.start().process
        assert first is not None
        disk = listing(daemon.data)
        with new_daemon() as second:
            second.data = daemon.data
            second.write(table(w=wrapped("two")))
            text = second.fail_to_start()
            assert str(daemon.data) in text
            assert str(first.pid) in text
        assert listing(daemon.data) == disk
        assert meaning(daemon, "w") == echo("one")
        assert daemon.stop() == 0

    def test_a_second_daemon_on_the_same_socket_harms_nothing(self, daemon: RunningDaemon) -> None:
        daemon.write(table(w=wrapped("one")))
        first = daemon.start().process
        assert first is not None
        inode = daemon.socket.stat().st_ino
        with new_daemon() as second:
            second.socket = daemon.socket
            second.write(table(w=wrapped("two")))
            text = second.fail_to_start()
            assert str(daemon.socket) in text
            assert str(first.pid) in text
        assert daemon.socket.stat().st_ino == inode
        assert meaning(daemon, "w") == echo("one")
        assert daemon.stop() == 0


class TestDataRoot:
    def test_a_directory_with_other_files_is_refused_and_not_changed(self, daemon: RunningDaemon) -> None:
        daemon.write({})
        put(daemon.data / "precious", "mine")
        before = listing(daemon.data)
        text = daemon.fail_to_start()
        assert str(daemon.data) in text
        assert "precious" in text
        assert "--data-root" in text
        assert listing(daemon.data) == before

    def test_a_newer_layout_is_refused_and_not_changed(self, daemon: RunningDaemon) -> None:
        daemon.write(table(w=wrapped("one")))
        daemon.start().stop()
        version = daemon.data / "VERSION"
        version.write_text(version.read_text().replace("layout=1", "layout=999"))
        before = listing(daemon.data)
        text = daemon.fail_to_start()
        assert str(daemon.data) in text
        assert "999" in text
        assert listing(daemon.data) == before

    @pytest.mark.parametrize("damage", ["manifest", "manifest gone", "link", "wrapper gone", "wrapper changed"])
    def test_damage_is_repaired_at_the_start(self, daemon: RunningDaemon, damage: str) -> None:
        daemon.write(table(w=wrapped("one")))
        before = daemon.start().resolve("w")
        wrapper = Path(before["options"]["fields"]["binary_name"])
        text = wrapper.read_bytes()
        daemon.stop()
        manifest = daemon.data / "generations" / "00000001" / "manifest.json"
        match damage:
            case "manifest":
                manifest.write_bytes(manifest.read_bytes()[:-20])
            case "manifest gone":
                manifest.unlink()
            case "link":
                (daemon.data / "runtimes").unlink()
            case "wrapper gone":
                wrapper.unlink()
            case "wrapper changed":
                wrapper.write_bytes(text + b"# changed\n")
        after = daemon.start().resolve("w")
        assert after["options"] == before["options"]
        assert after["generation"] >= before["generation"]
        assert wrapper.read_bytes() == text
        assert str(wrapper) in (daemon.data / "runtimes" / "w").read_text()
        assert wrapper.stat().st_mode & 0o7777 == 0o755
        assert (damage == "link") or [e for e in daemon.log() if e["event"] == "store.recovered"], "said in the log"
        assert health(daemon) == {"status": "ok", "reasons": {}}
        daemon.stop()
        # The next start removes the damaged files of the current generation, and changes nothing else.
        assert daemon.start().resolve("w") == after
        daemon.stop()
        disk = listing(daemon.data)
        assert daemon.start().resolve("w") == after
        assert changes(disk, listing(daemon.data)) <= {"lock"}


class TestSharing:
    def test_simultaneous_requests_share_reloads(self, daemon: RunningDaemon) -> None:
        daemon.write({})
        daemon.start()
        clients = [UnixConnection(str(daemon.socket)) for _ in range(50)]
        # All requests are sent while the process is stopped, so they arrive together even on a slow machine.
        with daemon.paused():
            asked_s = time.time()
            for client in clients:
                client.request("POST", "/v1/reload")
        answers = [client.getresponse() for client in clients]
        reports = [json.loads(answer.read()) for answer in answers]
        for client in clients:
            client.close()
        assert {answer.status for answer in answers} == {200}
        done = [e for e in daemon.reloads("unchanged") if e["reason"] == "api"]
        assert 1 <= len(done) <= 25
        assert len({(report["time"], report["duration_ms"]) for report in reports}) == len(done)
        for report in reports:
            assert report["time"] - report["duration_ms"] / 1000 > asked_s - 0.01

    def test_a_request_gets_a_reload_that_started_after_it(self, daemon: RunningDaemon) -> None:
        # So many runtimes that a reload takes a while after its reading: to share it then would be too late.
        many: dict[str, object] = {f"r{number}": wrapped("x") for number in range(400)}
        daemon.write({"runtimes": many})
        daemon.start()
        for number in range(6):
            with ThreadPoolExecutor(1) as other:
                earlier = other.submit(daemon.reload)
                time.sleep(0.01 * number)
                daemon.write({"runtimes": many | {"w": wrapped(str(number))}})
                report = daemon.reload()
                # Each text is another generation, so the report says which one was read.
                assert report["outcome"] in ("applied", "unchanged")
                assert report["generation"] == number + 2
                assert meaning(daemon, "w") == echo(str(number))
                assert earlier.result()["outcome"] in ("applied", "unchanged")


class UserDaemon(RunningDaemon):
    """Started without arguments, by a user who has only a home directory."""

    def __init__(self, root: Path) -> None:
        places = {"XDG_CONFIG_HOME": "config", "XDG_STATE_HOME": "state", "XDG_RUNTIME_DIR": "run"}
        environ = {name: str(root / directory) for name, directory in places.items()}
        super().__init__(root, ordinary_user(), environ | {"HOME": str(root)})
        self.config = root / "config" / "runtimed" / "daemon.json"
        self.data = root / "state" / "runtimed"
        self.socket = root / "run" / "runtimed" / "runtimed.sock"

    def arguments(self) -> list[str]:
        return []


def test_a_user_without_configuration_gets_the_stock_runtimes_and_may_add_some() -> None:
    with short_directory() as root:
        if ordinary_user():
            os.chown(root, 65534, 65534)
        daemon = UserDaemon(root)
        with daemon.running():
            assert [r["name"] for r in daemon.get("/v1/runtimes")[1]["runtimes"]] == ["io.containerd.runc.v2", "runc"]
            assert meaning(daemon, "") == "runc"
            assert daemon.resolve()["options"]["fields"]["root"] == f"{root}/run/runtimed/runtime-runc"
            assert (daemon.status()["data_root"], daemon.status()["configuration"]) == (
                str(daemon.data),
                str(daemon.config),
            )
            daemon.config.parent.mkdir(parents=True)
            daemon.write(table(w=wrapped("one")))
            means(daemon, "w", echo("one"))
            # The table came from this file, so its absence is no empty table.
            daemon.config.unlink()
            wait_until(lambda: daemon.reloads("rejected"), "the rejection")
            assert meaning(daemon, "w") == echo("one")
            assert daemon.stop() == 0


class TestDocker:
    def test_every_reload_but_a_rejected_or_a_dry_one_is_an_event_for_docker_s_clients(
        self, daemon: RunningDaemon
    ) -> None:
        daemon.write(table(w=wrapped("one")))
        daemon.start()
        # The watcher may reload before a request does.
        daemon.reload()
        daemon.write(table(w=wrapped("two")))
        daemon.reload("?dry_run=true")
        daemon.reload()
        daemon.write("{")
        assert daemon.reload()["outcome"] == "rejected"
        daemon.write(table(w=wrapped("two"), more=wrapped()))
        last = daemon.reload()["generation"]
        reloads = [*daemon.reloads("applied"), *daemon.reloads("unchanged")]
        events = docker_events(daemon)
        assert len(events) == len(reloads) - 1, "a start is no event"
        attributes = [event["Actor"]["Attributes"] for event in events]
        assert attributes[0]["outcome"] == "unchanged"
        assert attributes[0]["runtimes"] == "io.containerd.runc.v2:runc runc:runc w:/bin/echo"
        assert "more:/bin/echo" in attributes[-1]["runtimes"]
        assert attributes[-1]["generation"] == str(last)
        assert daemon.stop() == 0

    def test_the_daemon_s_id_for_docker_s_clients_stays_over_a_restart(self, daemon: RunningDaemon) -> None:
        daemon.write(table(w=wrapped("one")))
        daemon.start()
        identity = daemon.get("/info")[1]["ID"]
        daemon.reload()
        assert docker_events(daemon)[0]["Actor"]["ID"] == identity
        assert f"id={identity}\n" in (daemon.data / "VERSION").read_text()
        assert daemon.stop() == 0
        daemon.start()
        assert daemon.get("/v1.44/info")[1]["ID"] == identity
        assert daemon.stop() == 0

    def test_a_degraded_daemon_warns_docker_s_clients(self, daemon: RunningDaemon) -> None:
        daemon.write(table(w=wrapped("one")))
        daemon.start()
        assert daemon.get("/info")[1]["Warnings"] == []
        daemon.write("{]")
        daemon.reload()
        (warning,) = daemon.get("/info")[1]["Warnings"]
        assert warning.startswith(f"WARNING: runtimed is degraded: configuration: {daemon.config}:1")
        assert daemon.stop() == 0


def docker_events(daemon: RunningDaemon) -> list[dict[str, Any]]:
    """Return all events so far, as Docker's clients get them."""
    connection = UnixConnection(str(daemon.socket))
    try:
        connection.request("GET", f"/v1.41/events?since=0&until={time.time()}")
        return [json.loads(line) for line in connection.getresponse().read().splitlines()]
    finally:
        connection.close()


def changes(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def validate(daemon: RunningDaemon) -> tuple[int, list[str]]:
    command = [*daemon.command, sys.executable, "-m", "runtimed", *daemon.arguments(), "--validate"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert result.stderr == ""
    return result.returncode, result.stdout.splitlines()


def signal_mask(pid: int, field: str) -> int:
    """Return one of the signal masks of proc(5); 0 for a process that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1], 16) for line in lines if line.startswith(f"{field}:")), 0)


def catches(pid: int, number: int) -> bool:
    return bool(signal_mask(pid, "SigCgt") >> (number - 1) & 1)


def wait_for_first_statement(process: subprocess.Popen[bytes]) -> None:
    """Wait until the entry module ignores SIGHUP."""
    pid = process.pid

    def is_reached() -> bool:
        harmless = catches(pid, signal.SIGHUP) or bool(signal_mask(pid, "SigIgn") & 1)
        return harmless or process.poll() is not None

    wait_until(is_reached, "the first statement")
