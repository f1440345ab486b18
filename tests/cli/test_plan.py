"""Tests of ``runtimectl plan``, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import pytest
from harness.daemon import RunningDaemon, wait_until
from harness.runtimectl import runtimectl
from harness.two_generations import AFTER, BEFORE, CHANGES

from runtimed.cli import ctl
from runtimed.cli.generations import render_plan
from runtimed.cli.parser import make_parser
from runtimed.client import Client
from runtimed.core import shapes


def plan_before_the_watcher(
    daemon: RunningDaemon, capsys: pytest.CaptureFixture[str], *args: str
) -> tuple[int, str, str]:
    """Return status, stdout and stderr of a plan from BEFORE to AFTER, repeated until the watcher was slower.

    It is repeated as well where its look at the binaries took too long, on a busy machine.
    """

    def timeouts() -> int:
        return sum(event["event"] == "reload.look_timed_out" for event in daemon.log())

    def planned() -> tuple[int, str, str] | None:
        daemon.write(BEFORE)
        generation = daemon.reload()["generation"]
        capsys.readouterr()
        timed_out = timeouts()
        daemon.write(AFTER)
        status = ctl.main(["--socket", str(daemon.socket), "plan", *args])
        out, err = capsys.readouterr()
        before = daemon.status()["generation"] == generation
        return (status, out, err) if before and timeouts() == timed_out else None

    found: tuple[int, str, str] = wait_until(planned, "a plan that comes before the watcher")
    return found


def test_a_plan_is_shown_like_a_diff_and_changes_nothing(
    own_daemon: RunningDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = plan_before_the_watcher(own_daemon, capsys)
    first, *lines, warning, gone, kata, last = out.splitlines()
    assert (status, err) == (0, "")
    broken, shim = "/nowhere/gone: no such file", "containerd-shim-kata-v2: executable file not found in PATH"
    assert warning == "warning: 4 of 6 available"
    assert (gone, kata) == (rf"  bro\x1b[31mken\n: {broken}", f"  kata: {shim}")
    old, new = first.removeprefix("a reload would lead from generation ").split(" to ")
    assert int(new) == int(old) + 1
    assert lines == CHANGES
    assert last == "1 added, 2 changed, 1 removed; this is a plan, runtimectl reload carries it out"


def test_a_plan_equals_the_diff_after_its_reload(own_daemon: RunningDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    changes = json.loads(plan_before_the_watcher(own_daemon, capsys, "--json")[1])["changes"]
    own_daemon.reload()
    assert Client(str(own_daemon.socket)).diff(changes["from"], changes["to"]) == changes


def test_with_exit_code_the_status_tells_whether_there_are_changes(
    own_daemon: RunningDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan_before_the_watcher(own_daemon, capsys, "--exit-code")[0] == 3
    own_daemon.reload()
    run = runtimectl("plan", "--exit-code", on=own_daemon)
    generation = own_daemon.status()["generation"]
    first = run.stdout.splitlines()[0]
    assert (run.returncode, first) == (0, f"a reload would change nothing; generation {generation} stays in use")
    assert runtimectl("diff", "--exit-code", str(generation - 1), str(generation), on=own_daemon).returncode == 3
    assert runtimectl("diff", "--exit-code", "1", "1", on=own_daemon).returncode == 0


def test_a_plan_that_would_be_rejected_lists_every_problem_with_its_place(own_daemon: RunningDaemon) -> None:
    own_daemon.write('{"runtimes": {\n  "plain": {"pth": "/bin/sh"},\n  "b": 1}}')
    run = runtimectl("plan", "--exit-code", on=own_daemon)
    assert (run.returncode, run.stdout) == (1, "")
    first, second, error, hint = run.stderr.splitlines()
    assert first.startswith(f"{own_daemon.config}:2:")
    assert second.startswith(f"{own_daemon.config}:3:")
    assert error.startswith("runtimectl: dry run: would be rejected; generation 1 stays")
    assert hint == "hint: fix the file; the previous configuration stays in effect"
    report = json.loads(runtimectl("plan", "--json", on=own_daemon).stdout)
    assert (report["outcome"], "changes" in report) == ("rejected", False)


def test_a_plan_lists_ignored_keys_and_settings_that_need_a_restart(own_daemon: RunningDaemon) -> None:
    own_daemon.write({"runtimes": {"plain": {"path": "/bin/sh"}}, "live-restore": True, "pidfile": "/x"})
    own_daemon.reload()
    assert runtimectl("plan", on=own_daemon).stdout.splitlines()[1:3] == [
        "takes a restart to take effect: pidfile",
        "ignored, of no use to runtimed: live-restore",
    ]


REPORT: dict[str, Any] = {
    "outcome": "applied",
    "generation": 1,
    "dry_run": True,
    "duration_ms": 1.0,
    "problems": [],
    "problem_count": 0,
    "remarks": [],
    "repaired": [],
    "unavailable": [],
    "unavailable_count": 0,
    "runtime_count": 0,
    "kept": [],
    "added": [],
    "changed": [],
    "removed": [],
    "default_runtime": None,
    "restart_required": [],
    "ignored": [],
    "overridden": ["debug"],
}
NOTHING = {"from": 1, "to": 2, "added": [], "changed": [], "removed": [], "default_runtime": None}


def test_changes_that_are_not_listed_are_counted() -> None:
    runtimes = [{"name": f"r{number}", "from": {"path": "/x"}, "to": None} for number in range(2)]
    lines = render_plan({**REPORT, "removed": ["r0", "r1", "r2"], "changes": {**NOTHING, "removed": runtimes}})
    assert "- and 1 more removed, which --json names" in lines
    assert lines[-1].startswith("0 added, 0 changed, 3 removed; ")


def test_a_plan_after_the_watchers_reload_names_the_diff(
    own_daemon: RunningDaemon,
) -> None:
    assert runtimectl("plan", on=own_daemon).stdout == "a reload would change nothing; generation 1 stays in use\n"
    own_daemon.write({})
    wait_until(lambda: own_daemon.status()["generation"] == 2, "the watcher")
    first, note = runtimectl("plan", on=own_daemon).stdout.splitlines()
    assert first == "a reload would change nothing; generation 2 stays in use"
    assert note.startswith("generation 2: created by file change at 2")
    assert note.endswith(" ago): runtimectl diff 1 2 shows the changes")
    assert json.loads(runtimectl("plan", "--json", on=own_daemon).stdout)["outcome"] == "unchanged"


def test_a_change_of_settings_alone_is_shown_as_such() -> None:
    assert render_plan({**REPORT, "changes": NOTHING})[1:3] == [
        "every runtime resolves as before; only a setting of the daemon changes",
        "overridden by flags: debug",
    ]


def test_a_plan_has_a_longer_timeout(capsys: pytest.CaptureFixture[str]) -> None:
    class Asked(Client):
        def reload(self, *, dry_run: bool = False) -> shapes.Report:
            assert dry_run
            return cast("shapes.Report", REPORT)

    client = Asked("/nowhere/s")
    args = make_parser(["plan"]).parse_args(["plan", "--json"])
    function: Callable[..., int] = args.function
    assert function(client, args) == 0
    assert client.timeout_s >= 60
    assert json.loads(capsys.readouterr().out) == REPORT
