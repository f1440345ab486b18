"""The life of the service under a really booted systemd: start, reload, restart, crash, reboot, upgrade."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.harness.booted import CHECKOUT
from e2e.harness.installed import (
    ADDRESS,
    ANSWER_S,
    BROKEN,
    BROKEN_AT,
    SERVICE,
    SOCKET,
    SOURCE,
    TABLE,
    Installed,
    new_installation,
    newest_python,
)
from harness.daemon import wait_until
from harness.documents import PAGES

pytestmark = pytest.mark.timeout(1200)
RESTARTS = 10
COMPLETIONS = {
    "bash": "bash-completion/completions/runtimectl",
    "zsh": "zsh/site-functions/_runtimectl",
    "fish": "fish/vendor_completions.d/runtimectl.fish",
}
RUNNING, LISTENING = "active (running)", "active (listening)"
# What must be there for as long as containers are: where runc keeps their state, and what they were started with.
KEPT = "/run/runtimed/runtime-runc/default/c1"
FILE = "/run/runtimed/table.json"


@pytest.fixture(scope="module")
def installation() -> Iterator[Installed]:
    with new_installation() as node:
        yield node


@pytest.fixture
def node(installation: Installed) -> Installed:
    """The service as every test finds it: running, well, with the table of these tests."""
    installation.mend()
    return installation


def test_start_waits_until_the_socket_answers_and_status_says_which_table_it_serves(node: Installed) -> None:
    node.systemctl("stop", SERVICE, SOCKET)
    mark = node.mark()
    node.systemctl("start", SERVICE)
    assert node.state() == RUNNING
    assert node.state(SOCKET) == "active (running)"
    lines = words_of(node, mark, "ready", "Started")
    for _ in range(5):
        # Their pipes to the journal differ: both may be waiting when it reads the next line.
        if lines.index("ready") < lines.index("Started"):
            break
        mark = node.mark()
        node.systemctl("restart", SERVICE)
        lines = words_of(node, mark, "ready", "Started")
    assert lines.index("ready") < lines.index("Started")
    number = node.number()
    assert f'Status: "generation {number}, 5 runtimes"' in node.systemctl("status", "--no-pager", SERVICE)
    assert node.run("cat", "/run/runtimed/runtimed.pid").stdout.strip() == node.pid()


def words_of(node: Installed, mark: int, *needed: str) -> list[str]:
    """Return the first word of each line of the journal after ``mark``, once all that are ``needed`` are there."""
    for word in needed:
        node.said(mark, word)
    return [line.text.split()[0] for line in node.journal()[mark:]]


def test_a_file_written_for_dockerd_is_taken_and_what_the_flags_override_is_told(node: Installed) -> None:
    theirs = {"data-root": "/var/lib/docker", "exec-root": "/run/docker", "hosts": ["unix:///run/docker.sock"]}
    node.write({**TABLE, **theirs})
    told = node.ctl("reload")
    assert all(key in told for key in theirs), told
    node.systemctl("restart", SERVICE)
    found = node.client().status()
    assert (found["data_root"], found["exec_root"], found["hosts"]) == (
        "/var/lib/runtimed",
        "/run/runtimed",
        [f"unix://{ADDRESS}"],
    )


def test_a_service_that_has_nothing_to_serve_never_becomes_ready(node: Installed) -> None:
    command = "/usr/local/bin/runtimed --data-root /var/lib/runtimed/none --exec-root /run/runtimed -H fd://"
    with node.dropin(f"ExecStart=\nExecStart={command}"):
        node.systemctl("stop", SERVICE)
        node.write(BROKEN)
        mark = node.mark()
        assert "failed" in node.systemctl("start", SERVICE, status=1)
        failed = node.said(mark, "start.failed")
        assert failed.priority == 2
        assert BROKEN_AT in failed.text
        assert not any(line.text.startswith(("ready", "Started")) for line in node.journal()[mark:])
        assert node.state(SOCKET).startswith("active")
        # Mended, it comes up without anybody's help.
        node.write(TABLE)
        node.settle()
    node.systemctl("restart", SERVICE)


def test_reload_waits_for_the_outcome_and_fails_with_the_report_when_it_is_rejected(node: Installed) -> None:
    before, pid = node.answers(), node.pid()
    mark = node.mark()
    node.write({**TABLE, "default-runtime": "crun"})
    node.systemctl("reload", SERVICE)
    assert node.client().runtimes()["default_runtime"] == "crun"
    assert node.state() == RUNNING
    node.mend()
    assert node.client().resolve("wrapped")["digest"] == before["wrapped"]["digest"]  # type: ignore[index]
    before, number = node.answers(), node.number()
    node.write(BROKEN)
    assert "failed" in node.systemctl("reload", SERVICE, status=1)
    assert node.state() == RUNNING
    assert (node.answers(), node.number(), node.pid()) == (before, number, pid)
    rejected = node.said(mark, "reload.rejected")
    assert rejected.priority == 3
    assert BROKEN_AT in rejected.text
    # What runtimectl said, for whoever looks for the reason that systemctl gave up.
    node.said(mark, f"{BROKEN_AT}12: /runtimes/crun/pathh: ")
    wait_until(lambda: BROKEN_AT in node.show("StatusText"), f"a status: {node.show('StatusText')}")
    assert node.show("StatusText").endswith(f"generation {number}, 5 runtimes")
    node.mend()
    wait_until(lambda: node.show("StatusText") == f"generation {number}, 5 runtimes", "a status without a fault")


def test_a_hangup_reloads_and_leaves_the_unit_running_whatever_comes_of_it(node: Installed) -> None:
    before, pid = node.answers(), node.pid()
    for content, event in ((TABLE, "reload.unchanged"), (BROKEN, "reload.rejected"), (TABLE, "reload.unchanged")):
        mark = node.mark()
        node.write(content)
        node.run("kill", "-HUP", pid)
        # The file's watcher may be first, and tell of a reload of its own.
        node.said(mark, event, "signal")
        node.settle()
        assert (node.answers(), node.pid()) == (before, pid)


def test_restarts_under_load_lose_no_request(node: Installed) -> None:
    before, pids = node.answers(), {node.pid()}
    with node.load(f"{RESTARTS} restarts") as load:
        for _ in range(RESTARTS):
            node.systemctl("restart", SERVICE)
            pids.add(node.pid())
            load.go_on()
    assert len(pids) == RESTARTS + 1
    assert node.answers() == before
    assert node.show("NRestarts") == "0"


def test_a_killed_service_comes_back_with_the_same_answers_and_loses_no_request(node: Installed) -> None:
    before = node.answers()
    with node.load("kill -9"):
        node.kill()
    # The number of the generation is in every answer.
    assert node.answers() == before


def test_a_service_that_is_stuck_is_restarted_by_the_watchdog(node: Installed) -> None:
    before = node.answers()
    assert node.show("WatchdogUSec") == "30s"
    # Far longer than a process of a busy machine stands still.
    with node.dropin("WatchdogSec=10"):
        node.systemctl("restart", SERVICE)
        mark, pid = node.mark(), node.pid()
        node.run("kill", "-STOP", pid)
        asking = node.meanwhile(lambda client: client.resolve("wrapped"))
        node.said(mark, f"{SERVICE}: Watchdog timeout")
        wait_until(lambda: node.pid() not in ("0", pid), "another process")
        node.settle()
        assert asking.answer() == before["wrapped"]
    assert node.answers() == before


def test_a_crash_loop_keeps_the_socket_and_its_clients_until_it_is_mended(node: Installed) -> None:
    before = node.answers()
    with node.dropin("ExecStart=\nExecStart=/bin/false\nRestartSec=100ms"):
        node.systemctl("restart", SERVICE, status=1)
        asking = node.meanwhile(lambda client: client.resolve("wrapped"))
        # Far more than systemd's own limit, which is 5 in 10 seconds.
        wait_until(lambda: int(node.show("NRestarts")) > 20, "a crash loop", ANSWER_S)
        assert node.state(SOCKET) in (RUNNING, LISTENING)
        assert asking.waits()
    assert asking.answer() == before["wrapped"]
    node.settle()
    assert node.answers() == before


def test_stop_is_clean_and_a_connection_starts_it_again(node: Installed) -> None:
    before = node.answers()
    mark = node.mark()
    node.systemctl("stop", SERVICE)
    assert node.state() == "inactive (dead)"
    assert (node.show("Result"), node.show("ExecMainStatus")) == ("success", "0")
    assert node.state(SOCKET) == LISTENING
    assert node.said(mark, "stopping").priority == 6
    assert node.machine.inside(ADDRESS).is_socket()
    assert node.client().resolve("wrapped") == before["wrapped"]
    node.settle()


def test_stopping_both_units_and_starting_one_of_them_works(node: Installed) -> None:
    before = node.answers()
    for first in (SERVICE, SOCKET):
        node.systemctl("stop", SERVICE, SOCKET)
        assert not node.machine.inside(ADDRESS).exists()
        assert "there is no such socket" in node.ctl("status", status=2)
        node.systemctl("start", first)
        assert node.answers() == before


def test_what_containers_need_survives_whatever_happens_to_the_service(node: Installed) -> None:
    node.run("mkdir", "-p", KEPT)
    options = node.client().resolve("wrapped")["options"]
    assert options is not None
    wrapper = str(options["fields"]["binary_name"])
    identity = node.run("stat", "-c", "%i %a %u", wrapper, KEPT).stdout
    modes = node.run(
        "stat", "-c", "%n %a %U:%G", "/run/runtimed", "/var/lib/runtimed", ADDRESS, FILE
    ).stdout.splitlines()
    assert modes == [
        "/run/runtimed 755 root:root",
        "/var/lib/runtimed 711 root:root",
        f"{ADDRESS} 660 root:runtimed",
        f"{FILE} 640 root:runtimed",
    ]
    for words in (("stop", SERVICE), ("start", SERVICE), ("restart", SERVICE), ("stop", SERVICE, SOCKET)):
        node.systemctl(*words)
        assert node.run("stat", "-c", "%i %a %u", wrapper, KEPT).stdout == identity, words
        assert node.run("stat", "-c", "%a %U:%G", FILE).stdout == "640 root:runtimed\n", words
    node.systemctl("start", SERVICE)
    node.kill()
    assert node.run("stat", "-c", "%i %a %u", wrapper, KEPT).stdout == identity
    node.run("rmdir", "-p", "--ignore-fail-on-non-empty", KEPT)


def test_a_reboot_brings_the_same_generation(node: Installed) -> None:
    before = node.answers()
    reboot(node)
    # Before anybody has asked: it is started at boot, not by the first client.
    assert node.state() == RUNNING
    assert node.answers() == before
    userspace_usec = int(node.run("systemctl", "show", "--value", "-p", "UserspaceTimestampMonotonic").stdout)
    active_usec, begun_usec = (int(node.show(f"{name}TimestampMonotonic")) for name in ("ActiveEnter", "InactiveExit"))
    sys.stdout.write(f"ready {(active_usec - userspace_usec) / 1e6:.2f} s after systemd started, ")
    sys.stdout.write(f"{(active_usec - begun_usec) / 1e6:.2f} s after its own start\n")


def test_a_broken_configuration_at_boot_is_served_around_and_the_journal_says_why(node: Installed) -> None:
    before = node.answers()
    node.write(BROKEN)
    reboot(node)
    assert node.state() == RUNNING
    assert node.answers() == before
    assert BROKEN_AT in node.client().status()["health"]["reasons"]["configuration"]
    wait_until(lambda: node.show("StatusText").startswith("degraded: configuration: "), "the state of the unit")
    node.said(0, "reload.rejected")
    errors = node.machine.journal(SERVICE, "-p", "err").splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("reload.rejected ")
    assert BROKEN_AT in errors[0]


def reboot(node: Installed) -> None:
    node.machine.shut_down()
    node.machine.boot()
    node.settle()


def test_lines_in_the_journal_are_an_event_with_a_level_and_no_time_of_their_own(node: Installed) -> None:
    mark = node.mark()
    node.write(BROKEN)
    node.systemctl("reload", SERVICE, status=1)
    node.mend()
    expected = {"reload.rejected": 3, "degraded": 4, "reload.unchanged": 6, "health.ok": 6}
    words_of(node, mark, *expected)
    lines = [line for line in node.journal()[mark:] if line.pid == node.pid()]
    levels = {line.text.split()[0]: line.priority for line in lines}
    assert {event: levels.get(event) for event in expected} == expected
    for line in lines:
        assert re.match(r"[a-z_.]+( [a-z_-]+=|$)", line.text), line
        assert not re.search(r"\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d|<\d>", line.text), line


def test_json_in_the_journal_keeps_its_priorities_and_the_manuals_recipes_read_it(node: Installed) -> None:
    manual = (CHECKOUT / "etc/man/runtimed.8.scd").read_text()
    first, second = re.findall(r"^(journalctl .*(?:\n  jq .*)?)$", manual, re.MULTILINE)
    start = "/usr/local/bin/runtimed --data-root /var/lib/runtimed --exec-root /run/runtimed -H fd://runtimed"
    with node.dropin(f"ExecStart=\nExecStart={start} --log-format json"):
        node.systemctl("restart", SERVICE)
        mark = node.mark()
        node.write(BROKEN)
        node.systemctl("reload", SERVICE, status=1)
        node.write({**TABLE, "runtimes": {}, "default-runtime": "runc"})
        node.systemctl("reload", SERVICE)
        number = node.number()
        for event in ("reload.rejected", "reload.applied"):
            node.said(mark, "{", f'"{event}"')
        lines = [line for line in node.journal()[mark:] if line.pid == node.pid()]
        priorities = {json.loads(line.text)["event"]: line.priority for line in lines}
        assert priorities["reload.rejected"] == 3
        assert priorities["reload.applied"] == 6
        rejected = json.loads(node.run("sh", "-c", first).stdout.splitlines()[-1])
        assert BROKEN_AT in rejected["problems"][0]
        assert f"Z\t{number}\t" in node.run("sh", "-c", second).stdout.splitlines()[-1]
    node.systemctl("restart", SERVICE)


LEFTOVERS = """\
from runtimed.core.proof.engine import Traces
from runtimed.host.proof.leftovers import list_leftovers, remove_all
traces = Traces("{id}", "/run/{id}")
print(sorted({{found["kind"] for found in list_leftovers(traces)}}), remove_all(traces), list_leftovers(traces))
"""


def test_a_scope_that_a_tested_runtime_leaves_is_found_and_removed_and_others_stay(node: Installed) -> None:
    identifier, other = "runtimed-test-0123456789ab", "runtimed-test-0123456789abc"
    for name in (identifier, other):
        node.run("sh", "-c", f"systemd-run --scope --unit={name} setsid sleep 1000 >/dev/null 2>&1 &")
        wait_until(lambda name=name: node.state(f"{name}.scope") == "active (running)", f"{name}.scope")  # type: ignore[misc]
    script = LEFTOVERS.format(id=identifier)
    found = node.run("/opt/runtimed/current/bin/python", "-c", script).stdout
    assert found == "['cgroup', 'process', 'unit'] [] []\n"
    wait_until(lambda: node.show("LoadState", f"{identifier}.scope") == "not-found", "systemd to forget the scope")
    assert node.state(f"{other}.scope") == "active (running)"
    node.systemctl("stop", f"{other}.scope")


def test_the_unit_that_tests_all_runtimes_records_their_proofs_and_fails_when_one_fails(node: Installed) -> None:
    unit = "runtimed-test.service"
    node.machine.let_containers_run()
    assert node.systemctl("is-enabled", unit) == "static\n"
    node.write({"default-runtime": "crun", "runtimes": {"crun": TABLE["runtimes"]["crun"]}})
    node.ctl("reload")
    started = node.run("systemctl", "start", unit, status=None).returncode
    assert started == 0, node.run("journalctl", "--unit", unit, "--output", "cat").stdout
    found = node.client().status()["proofs"]
    assert found["default"]["state"] == "proved", found
    assert (found["states"]["outdated"], node.client().explain("runc")["proof"]["state"]) == (0, "proved")
    node.write({"runtimes": {"broken": {"path": "/bin/true"}}})
    node.ctl("reload")
    node.systemctl("start", unit, status=1)
    assert node.show("Result", unit) == "exit-code"
    assert node.client().explain("broken")["proof"]["outcome"] == "failed"
    assert node.client().explain("runc")["proof"]["state"] == "proved"
    node.systemctl("reset-failed", unit)


def test_a_socket_is_taken_by_its_name_and_its_absence_is_explained(node: Installed) -> None:
    start = "/usr/local/bin/runtimed --data-root /var/lib/runtimed --exec-root /run/runtimed -H fd://"
    with node.dropin(f"ExecStart=\nExecStart={start}runtimed"):
        node.systemctl("restart", SERVICE)
        assert node.client().status()["hosts"] == [f"unix://{ADDRESS}"]
    with node.dropin(f"ExecStart=\nExecStart={start}other"):
        mark = node.mark()
        node.systemctl("restart", SERVICE, status=1)
        failed = node.said(mark, "start.failed")
        assert failed.priority == 2
        assert "fd://other" in failed.text
    node.settle()
    assert node.client().status()["hosts"] == [f"unix://{ADDRESS}"]
    # By hand there is nobody who hands a socket over.
    elsewhere = ("--data-root", "/run/elsewhere", "--exec-root", "/run/elsewhere", "-H", "fd://")
    done = node.run("runtimed", *elsewhere, status=1)
    assert "systemd has handed over no such socket; start runtimed.socket first" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_upgrade_to_the_newest_python_under_load_loses_no_request(
    node: Installed,
) -> None:
    before, pid = node.answers(), node.pid()
    path = node.machine.inside(ADDRESS)
    socket = path.stat().st_ino
    python = newest_python()
    with node.load(f"an upgrade to {Path(python).name}"):
        node.install(python=python)
    assert node.pid() != pid
    running = node.run("readlink", "-f", f"/proc/{node.pid()}/exe").stdout.strip()
    assert running == node.run("readlink", "-f", python).stdout.strip()
    assert node.answers() == before
    # What it replaced is gone, and nothing else.
    kept = node.run("ls", "/opt/runtimed").stdout.split()
    assert len(kept) == 2
    assert kept[1] == "current"
    # Python 3.13 removes a path that was handed over when the server on it is closed, unless it is told not to.
    with node.load(f"restarts with {Path(python).name}"):
        node.systemctl("restart", SERVICE)
        node.systemctl("stop", SERVICE)
        assert path.stat().st_ino == socket
    assert path.stat().st_ino == socket
    node.settle()
    assert node.answers() == before


@pytest.mark.parametrize(("shell", "file"), COMPLETIONS.items())
def test_each_shell_has_its_completions_where_it_looks_for_them(node: Installed, shell: str, file: str) -> None:
    installed = node.machine.inside(f"/usr/local/share/{file}")
    assert installed.read_bytes() == (CHECKOUT / f"runtimed/cli/completions/runtimectl.{shell}").read_bytes()
    assert installed.stat().st_mode & 0o777 == 0o644


def test_an_installation_that_fails_leaves_what_runs_as_it_was(node: Installed) -> None:
    before, pid = node.answers(), node.pid()
    current = node.run("readlink", "/opt/runtimed/current").stdout
    broken = ("env", "RUNTIMED_SOURCE=/nonexistent", "PYTHON=/usr/bin/python3", f"{SOURCE}/systemd/install")
    assert node.run(*broken, status=None).returncode != 0
    assert (node.pid(), node.answers()) == (pid, before)
    assert node.run("readlink", "/opt/runtimed/current").stdout == current


@pytest.mark.parametrize("page", [page.stem for page in PAGES])
def test_an_installation_has_the_manual(node: Installed, page: str) -> None:
    name, _, section = page.rpartition(".")
    assert node.run("man", "-w", section, name).stdout.endswith(f"/man/man{section}/{page}\n")
    assert node.run("man", "--warnings", section, name).stderr == ""


# The last, because nothing is there afterwards.
def test_removing_it_leaves_the_configuration_and_the_state(node: Installed) -> None:
    node.systemctl("enable", "--now", "runtimed-textfile.timer", "runtimed-metrics.socket")
    state = node.run("find", "/var/lib/runtimed", "/etc/runtimed", "-printf", "%p %m %l\n").stdout
    assert "/etc/runtimed, /var/lib/runtimed and the group runtimed are left" in node.install("--uninstall")
    node.run("test", "!", "-e", FILE)
    assert node.run("find", "/var/lib/runtimed", "/etc/runtimed", "-printf", "%p %m %l\n").stdout == state
    assert node.state() == node.state(SOCKET) == "inactive (dead)"
    assert node.show("LoadState") == node.show("LoadState", SOCKET) == "not-found"
    gone = (
        "/opt/runtimed",
        "/usr/local/bin/runtimectl",
        "/usr/local/lib/systemd/user/runtimed.service",
        ADDRESS,
        "/var/lib/prometheus/node-exporter/runtimed.prom",
    )
    manual = (f"man/man{page.stem[-1]}/{page.stem}" for page in PAGES)
    for path in (*gone, *(f"/usr/local/share/{file}" for file in (*COMPLETIONS.values(), *manual))):
        assert not node.machine.inside(path).exists(), path
    assert node.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "runtimed*").stdout == ""
    assert node.run("find", "/etc/systemd", "/usr/local/lib/systemd", "-name", "runtimed*").stdout == ""
