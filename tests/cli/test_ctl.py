from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from harness.daemon import PATIENCE_S, RunningDaemon, short_directory
from harness.runtimectl import COMMAND, columns, run_between_equal_responses, runtimectl

from runtimed import __version__
from runtimed.cli import ctl, verbs
from runtimed.cli.parser import make_parser
from runtimed.cli.render import render_report, render_status
from runtimed.cli.tables import render_table
from runtimed.cli.terminal import PLAIN, Terminal
from runtimed.client import Client
from runtimed.core.message_text import printable

# Each verb with the arguments that it cannot do without.
VERBS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("resolve", "list", "containers", "status", "watch", "generations", "plan", "reload", "gc"), ()),
    **dict.fromkeys(("metrics", "check", "version", "help", "history"), ()),
    "explain": ("plain",),
    "diff": ("1", "2"),
    "completion": ("bash",),
    "export": ("docker",),
    "import": ("docker", "/dev/null"),
    "sync": ("docker",),
    "test": ("plain",),
    "verify": (),
}
# Verbs that need no daemon.
OFFLINE = ("check", "import", "help", "completion")
OWN_STATUSES = ("resolve", "status", "check", "plan", "diff", "import", "export", "verify", "sync", "test", "metrics")


# Output for people


def test_resolve_shows_a_line_for_each_part_of_the_answer(daemon: RunningDaemon) -> None:
    run = runtimectl("resolve", "wrapped", on=daemon)
    assert (run.returncode, run.stderr) == (0, "")
    found = daemon.resolve("wrapped")
    assert [columns(line) for line in run.stdout.splitlines()] == [
        ["runtime", "wrapped"],
        ["source", "configured"],
        ["shim", "io.containerd.runc.v2"],
        ["options", found["options"]["type_url"]],
        *([key, json.dumps(value).strip('"')] for key, value in found["options"]["fields"].items()),
        ["generation", str(found["generation"])],
        ["digest", found["digest"]],
    ]


def test_resolve_without_a_name_shows_the_default(daemon: RunningDaemon) -> None:
    run = runtimectl("resolve", on=daemon)
    assert columns(run.stdout.splitlines()[0]) == ["runtime", "plain"]
    assert "systemd_cgroup  " in run.stdout
    assert "False" not in run.stdout


def test_list_shows_the_path_or_shim_the_availability_and_the_origin_of_each_name(daemon: RunningDaemon) -> None:
    run = runtimectl("list", on=daemon)
    assert (run.returncode, run.stderr) == (0, "")
    header, *rows = run.stdout.splitlines()
    assert columns(header) == ["NAME", "SHIM OR PATH", "AVAILABLE", "ORIGIN"]
    table = {cells[0]: cells[1:] for cells in map(columns, rows)}
    lines = {name: f"{daemon.config}:{described['origin']['line']}" for name, described in by_name(daemon).items()}
    assert table["plain *"] == ["/bin/sh", "yes", lines["plain"]]
    assert table["wrapped"] == ["/bin/sh", "yes", lines["wrapped"]]
    assert table["gone"] == ["/nowhere/gone", "no: no such file", lines["gone"]]
    assert table["kata"][0] == "io.containerd.kata.v2"
    assert table["io.containerd.runc.v2"][-1] == "stock"
    # Aligned: every origin begins in one column.
    starts = {row.index(cells[-1]) for row, cells in zip(rows, map(columns, rows), strict=True)}
    assert len(starts) == 1


def by_name(daemon: RunningDaemon) -> dict[str, Any]:
    return {each["name"]: each for each in daemon.get("/v1/runtimes")[1]["runtimes"] if each["origin"] is not None}


def test_control_characters_are_escaped(daemon: RunningDaemon) -> None:
    for args in (("list",), ("resolve", "red\x1b[31m\nline"), ("resolve", "re\x1b[31m"), ("status",)):
        run = runtimectl(*args, on=daemon)
        assert "\x1b" not in run.stdout + run.stderr
    assert r"red\x1b[31m\nline" in runtimectl("list", on=daemon).stdout


def test_status_of_a_healthy_daemon(own_daemon: RunningDaemon) -> None:
    run = runtimectl("status", on=own_daemon)
    assert (run.returncode, run.stderr) == (0, "")
    fields = {cells[0]: cells[1:] for cells in map(columns, run.stdout.splitlines())}
    assert next(iter(fields)) == "health"
    assert fields["health"] == ["ok"]
    assert fields["generation"] == [f"1: {own_daemon.status()['runtimes']} runtimes, default runc"]
    assert fields["last reload"][0].startswith("applied, ")
    assert fields["last reload"][0].endswith(" ago), reason start")
    assert fields["sources"] == [str(own_daemon.config)]
    assert fields["sockets"] == [f"unix://{own_daemon.socket}"]
    assert fields["version"] == [f"{__version__}, process {own_daemon.status()['pid']}"]


def test_a_rejected_edit_is_shown_by_reload_and_status_and_resolutions_stay(own_daemon: RunningDaemon) -> None:
    before = runtimectl("resolve", "plain", on=own_daemon).stdout
    own_daemon.write('{"runtimes": {\n  "plain": {"pth": "/bin/sh"},\n  "b": 1}}')
    for flags in ((), ("--dry-run",)):
        run = runtimectl("reload", *flags, on=own_daemon)
        assert (run.returncode, run.stdout) == (1, "")
        first, second, *rest = run.stderr.splitlines()
        assert first.startswith(f"{own_daemon.config}:2:")
        assert ": /runtimes/plain" in first
        assert second.startswith(f"{own_daemon.config}:3:")
        assert len(rest) == 2
        assert "rejected" in rest[0]
        assert "generation 1 stays in use" in rest[0]
        assert rest[0].endswith(f" (socket {own_daemon.socket})")
        assert rest[1].startswith("hint: ")
    run = runtimectl("status", on=own_daemon)
    assert run.returncode == 1
    lines = run.stdout.splitlines()
    assert columns(lines[0]) == ["health", "degraded"]
    assert columns(lines[1])[0] == "configuration"
    assert sum(columns(line)[0] == "problem" for line in lines) == 2
    assert runtimectl("resolve", "plain", on=own_daemon).stdout == before


def test_a_reload_applies_an_edit(own_daemon: RunningDaemon) -> None:
    assert runtimectl("reload", on=own_daemon).stdout.startswith("already live: generation 1, since ")
    own_daemon.write({"runtimes": {"comes": {"path": "/bin/sh"}}, "live-restore": True})
    run = runtimectl("reload", on=own_daemon)
    # The watcher may have been faster.
    assert re.match(
        r"applied: generation 2 \(in |already live: generation 2(, since .* \(file change\))?\n", run.stdout
    )
    assert "ignored, of no use to runtimed: live-restore\n" in run.stdout
    assert (run.returncode, run.stderr) == (0, "")
    assert runtimectl("resolve", "comes", on=own_daemon).returncode == 0
    assert runtimectl("resolve", "plain", on=own_daemon).returncode == 1


REPORT = {
    "outcome": "applied",
    "generation": 2,
    "reason": "api",
    "added": ["comes"],
    "changed": ["a\nb"],
    "removed": ["goes"],
    "default_runtime": {"from": "runc", "to": "comes"},
    "problems": [],
    "problem_count": 0,
    "remarks": [],
    "repaired": [],
    "unavailable": [],
    "unavailable_count": 0,
    "runtime_count": 0,
    "kept": [],
    "restart_required": ["data-root", "hosts"],
    "ignored": [],
    "overridden": ["debug"],
    "duration_ms": 1.0,
    "time": 0.0,
    "dry_run": False,
}


def test_a_report_lists_added_changed_and_removed_runtimes_and_notes() -> None:
    assert render_report(REPORT) == [
        "applied: generation 2 (in 1 ms)",
        "  + comes",
        r"  ~ a\nb",
        "  - goes",
        "default runtime: runc -> comes",
        "takes a restart to take effect: data-root, hosts",
        "overridden by flags: debug",
    ]


def test_a_warning_that_is_too_wide_has_a_line_for_each_runtime() -> None:
    gone = [{"runtime": name, "path": f"/usr/local/bin/{name}", "reason": "no such file"} for name in ("crun", "kata")]
    report = {**REPORT, "unavailable": gone, "unavailable_count": 9, "runtime_count": 10}
    texts = ["1 of 10 available", *(f"{name}: /usr/local/bin/{name}: no such file" for name in ("crun", "kata"))]
    assert render_report(report)[-1] == f"warning: {'; '.join(texts)}; and 7 more"
    wanted = [f"warning: {texts[0]}", f"  {texts[1]}", f"  {texts[2]}", "  and 7 more"]
    assert render_report(report, Terminal(80))[-4:] == wanted


@pytest.mark.parametrize(
    ("cause", "text"),
    [
        ("configuration", "configuration rejected; generation 2 stays in use"),
        ("store", "generation not stored; generation 2 stays in use"),
    ],
)
def test_the_report_of_a_rejection_says_what_failed(cause: str, text: str) -> None:
    assert render_report({**REPORT, "outcome": "rejected", "cause": cause})[0] == text


@pytest.mark.parametrize(
    ("before", "text"),
    [
        ({"reason": "file-change", "time": 0.0}, r", since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(file change\)"),
        ({"reason": "signal"}, r", since \d\d:\d\d:\d\d \(SIGHUP\)"),
        ({"outcome": "unchanged"}, ""),
        ({"generation": 1}, ""),
    ],
)
def test_a_report_without_changes_says_since_when_the_generation_is_live(before: dict[str, Any], text: str) -> None:
    now_s = 1e6
    lines = render_report({**REPORT, "outcome": "unchanged"}, before={**REPORT, "time": now_s, **before}, now_s=now_s)
    assert re.fullmatch(f"already live: generation 2{text}", lines[0])


@pytest.mark.parametrize(
    ("outcome", "text"),
    [("applied", "would be applied"), ("unchanged", "would change nothing"), ("rejected", "would be rejected")],
)
def test_the_report_of_a_dry_run_says_that_the_generation_stays(outcome: str, text: str) -> None:
    first = render_report({**REPORT, "outcome": outcome, "dry_run": True})[0]
    assert first == f"dry run: {text}; generation 2 stays in use (in 1 ms)"


def test_a_report_lists_a_bounded_number_of_names() -> None:
    lines = render_report({**REPORT, "added": [f"r{n}" for n in range(1000)]})
    assert lines[20:22] == ["  + r19", "  + and 980 more added"]
    assert len(lines) < 30


@pytest.mark.parametrize(
    ("uptime_s", "text"),
    [
        (0.4, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min 59 s"),
        (3600, "1 h"),
        (90061, "1 d 1 h"),
        (86401, "1 d"),
    ],
)
def test_a_time_span_has_its_two_largest_units(daemon: RunningDaemon, uptime_s: float, text: str) -> None:
    lines = render_status({**daemon.status(), "uptime_s": uptime_s}, now_s=time.time())
    assert [columns(line)[1] for line in lines if line.startswith("uptime")] == [text]


def test_status_shows_each_fault_on_its_own_line(daemon: RunningDaemon) -> None:
    status = {
        **daemon.status(),
        "health": {"status": "degraded", "reasons": {"store": "disk\nfull", "watcher": "dead"}},
        "watcher": {"mode": "inotify", "alive": False, "faults": {"/etc/run\ntimed": "no inotify instances left"}},
        "last_reload": None,
        "sources": [],
    }
    lines = [columns(line) for line in render_status(status, now_s=time.time())]
    assert lines[1:3] == [["store", r"disk\nfull"], ["watcher", "dead"]]
    assert ["last reload", "none"] in lines
    assert ["sources", "none"] in lines
    assert ["watcher", "inotify, which has stopped"] in lines
    assert [r"/etc/run\ntimed", "no inotify instances left"] in lines


def test_status_counts_problems_and_drift_that_it_does_not_list(daemon: RunningDaemon) -> None:
    status = daemon.status()
    problem = {
        "file": "/d.json",
        "line": 1,
        "column": 2,
        "pointer": "/a",
        "found": "1",
        "expected": "2",
        "message": "m",
    }
    drift = {"binary": "/b", "kind": "removed", "path": None, "reason": None, "runtimes": ["r"], "runtime_count": 51}
    report = {**status["last_reload"], "problems": [problem], "problem_count": 101}
    lines = render_status({**status, "last_reload": report, "drift": [drift], "drift_count": 1001}, now_s=time.time())
    assert [line.split() for line in lines if " more" in line] == [
        ["and", "100", "more", "problems"],
        ["drift", "/b", "removed", "after", "the", "configuration", "was", "loaded;", "runs", "r", "and", "50", "more"],
        ["and", "1000", "more"],
    ]


def test_columns_are_aligned_for_wide_and_combining_characters() -> None:
    wide, combined = "\u5bb9\u5668", "e\u0301"
    assert render_table(("A", "B"), [(wide, 1), (combined, 2), ("abcd", 3)]) == [
        "A     B",
        f"{wide}  1",
        f"{combined}     2",
        "abcd  3",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain \N{LATIN SMALL LETTER E WITH ACUTE}", "plain \N{LATIN SMALL LETTER E WITH ACUTE}"),
        ("a\tb\n", r"a\tb\n"),
        ("\x9b31m", r"\x9b31m"),  # CSI as one character
        ("\u202egnp", r"\u202egnp"),  # turns the direction of writing
        ("\udcff", r"\xff"),
    ],
)
def test_characters_that_are_not_printable_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


# Output for programs


@pytest.mark.parametrize("args", [("resolve", "wrapped"), ("list",), ("status",), ("reload", "--dry-run")])
@pytest.mark.parametrize("before", [True, False])
def test_json_is_the_response_of_the_daemon_on_one_line(
    daemon: RunningDaemon, args: Sequence[str], *, before: bool
) -> None:
    flags = ("--socket", str(daemon.socket), "--json")
    asked: dict[str, Callable[[], dict[str, Any]]] = {
        "resolve": lambda: daemon.resolve("wrapped"),
        "list": lambda: daemon.get("/v1/runtimes")[1],
        "status": daemon.status,
        "reload": lambda: daemon.reload("?dry_run=true"),
    }

    def without_times(found: dict[str, Any]) -> dict[str, Any]:
        return {key: None if key in ("uptime_s", "duration_ms", "time") else value for key, value in found.items()}

    run, theirs = run_between_equal_responses(
        lambda: runtimectl(*flags, *args) if before else runtimectl(*args, *flags),
        lambda: without_times(asked[args[0]]()),
    )
    assert (run.returncode, run.stderr, run.stdout.count("\n")) == (0, "", 1)
    ours = without_times(json.loads(run.stdout))
    assert (list(ours), ours) == (list(theirs), theirs)


def test_json_of_a_rejected_reload_and_of_an_unknown_name_is_on_stdout_too(own_daemon: RunningDaemon) -> None:
    own_daemon.write('{"runtimes": 1}')
    run = runtimectl("reload", "--json", on=own_daemon)
    assert (run.returncode, run.stderr, json.loads(run.stdout)["outcome"]) == (1, "", "rejected")
    run = runtimectl("resolve", "--json", "nope", on=own_daemon)
    assert (run.returncode, json.loads(run.stdout)["code"]) == (1, "unknown-runtime")
    run = runtimectl("status", "--json", on=own_daemon)
    assert (run.returncode, json.loads(run.stdout)["health"]["status"]) == (1, "degraded")


def test_version_shows_runtimectl_and_the_daemon(daemon: RunningDaemon) -> None:
    run = runtimectl("version", on=daemon)
    assert run.stdout.splitlines()[0] == f"runtimectl  {__version__}"
    assert run.stdout.splitlines()[1].startswith(f"runtimed    {__version__}, process ")
    found = json.loads(runtimectl("version", "--json", on=daemon).stdout)
    assert found == {"runtimectl": __version__, "runtimed": __version__, "pid": daemon.status()["pid"]}
    run = runtimectl("version")
    assert (run.returncode, run.stdout) == (2, f"runtimectl  {__version__}\n")


# Errors


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [
        ("wraped", "did you mean wrapped?", "runtimectl list"),
        ("io.x y.v2", "must be a shim name", "runtimectl list"),
        ("gone", "/nowhere/gone", "runtimectl list"),
        ("\udcff", "not UTF-8", "runtimectl status"),
        ("two\nlines", r"two\nlines", "runtimectl list"),
    ],
)
def test_a_refusal_of_the_daemon_is_one_line_and_a_hint(daemon: RunningDaemon, name: str, text: str, hint: str) -> None:
    run = runtimectl("resolve", name, on=daemon)
    assert (run.returncode, run.stdout) == (1, "")
    error, second = run.stderr.splitlines()
    assert error.startswith("runtimectl: ")
    assert text in error
    assert error.endswith(f" (socket {daemon.socket})")
    assert second.startswith("hint: ")
    assert hint in second


# sync waits for a daemon.
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in (*OFFLINE, "sync", "test")])
def test_without_a_daemon_every_verb_names_the_socket_and_how_to_start_one(verb: str) -> None:
    run = runtimectl(verb, *VERBS[verb])
    assert run.returncode == 2
    error, hint = run.stderr.splitlines()
    assert error == "runtimectl: no answer from a daemon on /nowhere/s: there is no such socket"
    assert hint.startswith("hint: start it: systemctl start runtimed")
    document = json.loads(runtimectl(verb, *VERBS[verb], "--json").stdout)
    assert (document["code"], f"runtimectl: {document['detail']}") == ("daemon-unreachable", error)
    assert f"hint: {document['hint']}" == hint


@pytest.mark.parametrize(
    ("args", "error", "help_of"),
    [
        (("--json",), "the following arguments are required: VERB", "runtimectl"),
        (("lsit",), "there is no verb 'lsit'; did you mean list?", "runtimectl"),
        (("zzz\x1b",), r"there is no verb 'zzz\x1b'", "runtimectl"),
        (("help", "lsit"), "there is no verb 'lsit'; did you mean list?", "runtimectl help"),
        (("completion", "csh"), "invalid choice: 'csh'", "runtimectl completion"),
        (("resolve", "a", "b"), "unrecognized arguments: b", "runtimectl resolve"),
        (("list", "--dry-run"), "unrecognized arguments: --dry-run", "runtimectl list"),
        (("resolve", "--json", "--format", "any"), "contradict each other", "runtimectl resolve"),
        (("--sock", "x", "list"), "VERB: invalid choice: 'x'", "runtimectl"),
        (("resolve", "--format", "yaml"), "invalid choice: 'yaml'", "runtimectl resolve"),
        (("explain", ""), "argument NAME: the name is empty", "runtimectl explain"),
    ],
)
def test_a_usage_error_is_status_2_one_line_and_a_hint(args: Sequence[str], error: str, help_of: str) -> None:
    run = runtimectl(*args)
    assert (run.returncode, run.stdout) == (2, "")
    first, hint = run.stderr.splitlines()
    assert first.startswith("runtimectl: ")
    assert error in first
    assert hint == f"hint: {help_of} --help shows the usage"


def test_only_the_parser_of_the_given_verb_is_made() -> None:
    def made(*argv: str) -> list[str]:
        choices = make_parser(argv).positionals[0].choices
        assert isinstance(choices, dict)
        return list(choices)

    assert made("resolve", "list") == ["resolve"]
    assert made("--socket", "resolve", "--json", "list", "gc") == made("--socket=resolve", "list") == ["list"]
    assert set(made("--socket", "resolve")) == set(made("--help", "list")) == set(made()) == set(VERBS)


def test_a_resolution_imports_nothing_that_costs_a_twentieth_of_its_time(daemon: RunningDaemon) -> None:
    program = "import sys; from runtimed.cli.ctl import main; main(sys.argv[1:]); print(*sys.modules)"
    command = [sys.executable, "-S", "-c", program, "--socket", str(daemon.socket), "resolve", "--json", "plain"]
    # Where a language is set, gettext imports locale for the first text that it translates.
    environ = {**os.environ, "LANGUAGE": "", "LC_ALL": "", "LC_MESSAGES": "", "LANG": "en_US.UTF-8"}
    run = subprocess.run(command, check=True, capture_output=True, text=True, env=environ)
    answer, modules = run.stdout.splitlines()
    assert json.loads(answer)["runtime"] == "plain"
    imported = set(modules.split())
    assert {"argparse", "json", "runtimed.client"} <= imported
    assert not imported & {"socket", "locale", "typing", "dataclasses", "shutil", "difflib", "asyncio", "struct"}


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_verb_has_an_example_and_its_own_exit_statuses(verb: str) -> None:
    run = runtimectl(verb, "--help")
    assert (run.returncode, run.stderr) == (0, "")
    assert f"runtimectl {verb}" in run.stdout.split("example:\n")[1].split("\n\n")[0]
    assert ("exit status:" in run.stdout) == (verb in OWN_STATUSES)
    assert max(map(len, run.stdout.splitlines())) <= 80
    assert runtimectl("help", verb).stdout == run.stdout


def test_runtimectl_alone_and_with_help_prints_help() -> None:
    run = runtimectl()
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == runtimectl("--help").stdout == runtimectl("help").stdout
    assert [verb for verb in VERBS if f"\n    {verb} " not in run.stdout] == []
    assert max(map(len, run.stdout.splitlines())) <= 80
    assert "\nexit status:\n  0 " in run.stdout


# Terminals, pipes, locales


def test_a_reader_that_closes_the_pipe_is_no_error(daemon: RunningDaemon) -> None:
    for unbuffered in ("", "1"):
        for args in (["list"], ["--help"]):
            reading, writing = os.pipe()
            os.close(reading)
            environ = {**os.environ, "RUNTIMED_SOCKET": str(daemon.socket), "PYTHONUNBUFFERED": unbuffered}
            run = subprocess.run(
                [*COMMAND, *args], check=False, stdout=writing, stderr=subprocess.PIPE, env=environ, timeout=PATIENCE_S
            )
            os.close(writing)
            assert run.stderr == b""
            assert run.returncode in (0, 141)


def test_closed_output_is_no_error(daemon: RunningDaemon) -> None:
    command = f"{' '.join(COMMAND)} --socket {daemon.socket}"
    for verb, status in (("resolve plain", 0), ("resolve nope", 1), ("--help", 0)):
        for closed in (">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"):
            run = subprocess.run(
                ["sh", "-c", f"{command} {verb} {closed}"], check=False, capture_output=True, text=True
            )
            assert run.returncode == status, (verb, closed, run.stderr)
            assert "Traceback" not in run.stderr


def test_an_answer_that_cannot_be_written_is_an_error(daemon: RunningDaemon) -> None:
    command = f"{' '.join(COMMAND)} --socket {daemon.socket} resolve > /dev/full"
    run = subprocess.run(["sh", "-c", command], check=False, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (1, "runtimectl: the output cannot be written: No space left on device\n")


def test_characters_that_the_locale_lacks_are_escaped(daemon: RunningDaemon) -> None:
    environ = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    run = runtimectl("list", on=daemon, environ=environ)
    assert (run.returncode, run.stderr) == (0, "")
    assert "a/b?c=d&e%41+" in run.stdout


UNIGNORE_SIGINT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_an_interrupt_ends_runtimectl_without_output() -> None:
    with short_directory() as place, closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(place / "s"))
        listener.listen()
        listener.settimeout(PATIENCE_S)
        command = [*COMMAND, "--socket", str(place / "s"), "status"]
        # A shell that runs the tests in the background has SIGINT ignored, and children inherit that.
        command = [sys.executable, "-c", UNIGNORE_SIGINT, *command]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(10)
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out, err) == (130, b"", b"")


# check


def test_check_needs_no_daemon_and_reports_like_a_reload(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text('{"runtimes": {"a": {"path": "/bin/sh"}}}')
    bad.write_text('{"runtimes": {"a": {"pth": "/bin/sh"}}}')
    run = runtimectl("check", str(good))
    assert (run.returncode, run.stdout) == (0, f"{good}: OK (3 runtimes)\n")
    run = runtimectl("check", str(bad))
    assert run.returncode == 1
    assert run.stdout.startswith(f"{bad}:1:")
    run = runtimectl("check", "--json", str(bad))
    assert (run.returncode, json.loads(run.stdout)["outcome"]) == (1, "rejected")
    run = runtimectl("check", "--json", str(good), str(bad))
    assert {problem["file"] for problem in json.loads(run.stdout)["problems"]} == {str(bad)}


def test_check_takes_a_file_whose_name_looks_like_a_flag(tmp_path: Path) -> None:
    (tmp_path / "--help").write_text("{}")
    run = runtimectl("check", "--", "--help", cwd=tmp_path)
    assert (run.returncode, run.stdout) == (0, f"{tmp_path}/--help: OK (2 runtimes)\n")


def test_check_imports_nothing_from_the_current_directory(tmp_path: Path) -> None:
    package = tmp_path / "runtimed"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text("print('mine now')")
    (tmp_path / "x.json").write_text("{}")
    program = "import sys; sys.path.remove(''); from runtimed.cli.ctl import main; sys.exit(main(['check', 'x.json']))"
    run = subprocess.run(
        [sys.executable, "-c", program], check=False, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert run.stdout == f"{tmp_path}/x.json: OK (2 runtimes)\n"


# The function of the console script


def test_main_returns_the_exit_status(daemon: RunningDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl.main(["--socket", str(daemon.socket), "resolve", "plain"]) == 0
    assert capsys.readouterr().out.startswith("runtime ")
    assert ctl.main(["--socket", str(daemon.socket), "resolve", "plian"]) == 1
    assert ctl.main(["--version"]) == 0
    assert capsys.readouterr().out == f"runtimectl {__version__}\n"


def test_a_reload_has_a_longer_timeout() -> None:
    class Asked(Client):
        def reload(self, *, dry_run: bool = False) -> Any:
            assert not dry_run
            return REPORT

        def status(self) -> Any:
            return {"last_reload": None}

    client = Asked("/nowhere/s")
    assert verbs.reload(client, Namespace(json=False, dry_run=False, verbose=False, terminal=PLAIN)) == 0
    assert client.timeout_s >= 60
