"""Tests of ``runtimectl explain`` and ``gc``, and of the JSON of these and other verbs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness.daemon import RunningDaemon
from harness.runtimectl import columns, fields_of, run_between_equal_responses, runtimectl
from harness.two_generations import drop_older_generations

from runtimed.cli.explain import render_description
from runtimed.cli.render import render_collection, render_runtimes
from runtimed.client import Client

# explain


def test_explain_shows_a_wrapped_runtime_from_its_definition_to_its_binary(daemon: RunningDaemon) -> None:
    run = runtimectl("explain", "wrapped", on=daemon)
    assert (run.returncode, run.stderr) == (0, "")
    known: Any = Client(str(daemon.socket)).explain("wrapped")
    fields, file = fields_of(run.stdout), known["origin"]["file"]
    lines = known["origin"]["fields"]
    assert fields["source"] == [f"configured at {file}:{known['origin']['line']}"]
    assert fields["path"] == ["/bin/sh", f"({file}:{lines['path']})"]
    assert fields["runtimeArgs"] == ['["-e", "two words"]', f"({file}:{lines['runtimeArgs']})"]
    assert fields["shim"] == ["io.containerd.runc.v2"]
    assert fields["binary_name"] == [known["wrapper"]["path"]] == fields["wrapper"]
    assert fields["stable path"] == [known["wrapper"]["stable_path"]]
    assert fields["text"] == ["#!/bin/sh"]
    assert """exec /bin/sh -e 'two words' "$@\"""" in run.stdout
    assert fields["binary"][-1] == f"{known['binary']} ({known['binary_why']})"
    assert fields["available"] == ["yes"]
    assert fields["digest"] == [known["digest"]]


def test_explain_says_why_a_runtime_is_unavailable_and_which_path_was_searched(daemon: RunningDaemon) -> None:
    fields = fields_of(runtimectl("explain", "gone", on=daemon).stdout)
    assert fields["available"] == ["no: /nowhere/gone: no such file"]
    assert fields["binary"][-1] == "none"
    run = runtimectl("explain", "io.containerd.nowhere.v2", on=daemon)
    fields = fields_of(run.stdout)
    assert run.returncode == 0
    assert fields["source"][0].startswith("implicit: ")
    first, second = fields["binary"]
    assert first.startswith("none: containerd-shim-nowhere-v2: executable file not found in PATH (")
    assert second == "that of the shim"
    assert fields["available"] == ["no: containerd-shim-nowhere-v2: executable file not found in PATH"]


def test_explain_and_list_mark_a_binary_that_others_could_replace(daemon: RunningDaemon) -> None:
    client: Any = Client(str(daemon.socket))
    why = "/opt/bin: can be changed by everybody"
    known = {**client.explain("wrapped"), "replaceable": why}
    fields = fields_of("\n".join(render_description(known)))
    assert fields["available"] == [f"yes, but other users can replace it: {why}"]
    table = {**client.runtimes(), "runtimes": [known]}
    assert "yes (other users can replace it)" in "\n".join(render_runtimes(table))


@pytest.mark.parametrize(("name", "status"), [("wraped", 1), ("io.x y.v2", 1), ("\udcff", 1), ("", 2)])
def test_explain_refuses_unknown_names(daemon: RunningDaemon, name: str, status: int) -> None:
    run = runtimectl("explain", name, on=daemon)
    assert (run.returncode, run.stdout) == (status, "")
    assert len(run.stderr.splitlines()) == 2


KNOWN = {
    "ociVersionMin": "1.0.0",
    "ociVersionMax": "1.1.0",
    "hooks": ["prestart", "poststop"],
    "linux": {"capabilities": ["CAP_KILL"], "cgroup": {"v1": True, "v2": True, "systemd": False}, "seccomp": {}},
}


@pytest.mark.parametrize(
    ("features", "text"),
    [
        ({"status": "known", "features": KNOWN}, "OCI 1.0.0 to 1.1.0; hooks 2, capabilities 1; cgroup v1, v2"),
        ({"status": "known", "features": {"linux": {"selinux": {"enabled": True}}}}, "selinux"),
        # A binary may report anything.
        ({"status": "known", "features": {"hooks": 1, "linux": [], "ociVersionMax": {"\n": 1}}}, r"OCI {'\n': 1}"),
        ({"status": "known", "features": {"linux": {"cgroup": [1], "seccomp": "yes"}}}, "none reported"),
        ({"status": "unknown", "version": "crun 1.8", "reason": "it failed"}, "crun 1.8; unknown: it failed"),
        ({"status": "pending", "version": None, "reason": "ask again"}, "pending: ask again"),
    ],
)
def test_explain_summarizes_features(daemon: RunningDaemon, features: dict[str, Any], text: str) -> None:
    runtime = {**Client(str(daemon.socket)).explain("plain"), "features": features}
    assert [columns(line)[1] for line in render_description(runtime) if line.startswith("features")] == [text]


def test_explain_has_a_line_for_each_lint(daemon: RunningDaemon) -> None:
    remarks = [{"code": "one", "message": "first\nline"}, {"code": "two", "message": "second"}]
    lines = render_description({**Client(str(daemon.socket)).explain("plain"), "lint": remarks})
    start = next(index for index, line in enumerate(lines) if line.startswith("lint"))
    assert columns(lines[start]) == ["lint", r"one: first\nline"]
    assert columns(lines[start + 1]) == ["two: second"]


# gc


def test_gc_gives_a_verdict_and_a_reason_for_every_wrapper(twice: RunningDaemon) -> None:
    for flags, total in (("--dry-run", "dry run: 0 of 8 wrappers can be removed"), ("", "0 of 8 ")):
        run = runtimectl("gc", *filter(None, [flags]), on=twice)
        assert run.returncode == 0
        header, *rows, last = run.stdout.splitlines()
        assert columns(header) == ["VERDICT", "WRAPPER", "REASON"]
        assert {row[0] for row in map(columns, rows)} == {"keep"}
        assert {row[2] for row in map(columns, rows)} == {"generation 1 names it", "generation 2 names it"}
        assert last.startswith(total)


def wrapping(daemon: RunningDaemon, state: str) -> dict[str, Any]:
    """Return settings by which nothing but an engine's ``state`` below the daemon's root can keep a wrapper."""
    engines = [{"address": f"{daemon.root}/no.sock", "state": f"{daemon.root}/{state}", "root": str(daemon.root)}]
    return {"runtimed": {"containerd": engines, "grace": 0}}


def test_gc_removes_unreferenced_wrappers_unless_it_is_a_dry_run(own_daemon: RunningDaemon) -> None:
    settings = wrapping(own_daemon, "nowhere")
    own_daemon.write({"runtimes": {"w": {"path": "/bin/sh", "runtimeArgs": ["-e"]}}, **settings})
    own_daemon.reload()
    wrapper = own_daemon.resolve("w")["options"]["fields"]["binary_name"].rpartition("/")[2]
    drop_older_generations(own_daemon, {"runtimes": {}, **settings})
    verdicts = []
    for flags in (["--dry-run"], [], []):
        run = runtimectl("gc", *flags, on=own_daemon)
        assert (run.returncode, run.stderr) == (0, "")
        verdicts.append([columns(line)[0] for line in run.stdout.splitlines() if wrapper in line])
    assert verdicts == [["collect"], ["collected"], []]
    assert run.stdout == "there are no wrappers\n"


def test_gc_lists_unreadable_sources_of_references_and_keeps_wrappers(own_daemon: RunningDaemon) -> None:
    settings = wrapping(own_daemon, "state")
    # An engine whose tasks are no directory: nothing can be known about its containers.
    (own_daemon.root / "state").mkdir()
    (own_daemon.root / "state/io.containerd.runtime.v2.task").touch()
    own_daemon.write({"runtimes": {"w": {"path": "/bin/sh", "runtimeArgs": ["-e"]}}, **settings})
    own_daemon.reload()
    drop_older_generations(own_daemon, {"runtimes": {}, **settings})
    run = runtimectl("gc", on=own_daemon)
    assert run.returncode == 0
    assert "it cannot be known whether something refers to it" in run.stdout
    assert run.stdout.splitlines()[-1] == "0 of 3 wrappers collected, 3 kept"
    warnings = run.stderr.splitlines()
    assert warnings
    assert all(line.startswith("warning: references to wrappers are not known completely: ") for line in warnings)
    assert f"{own_daemon.root}/state" in run.stderr
    found = runtimectl("gc", "--json", "--dry-run", on=own_daemon)
    assert (found.stderr, json.loads(found.stdout)["dry_run"]) == ("", True)
    assert json.loads(found.stdout)["unknown"]


@pytest.mark.parametrize(
    ("verdicts", "dry_run", "last"),
    [
        ([], True, "there are no wrappers"),
        (["collect", "keep"], True, "dry run: 1 of 2 wrappers can be removed"),
        (["collected"], False, "1 of 1 wrapper collected, 0 kept"),
        # It may go and is still there: removing it failed.
        (["collected", "collect"], False, "1 of 2 wrappers collected, 1 kept; 1 could not be removed"),
    ],
)
def test_gc_counts_collected_and_collectable_wrappers(verdicts: list[str], *, dry_run: bool, last: str) -> None:
    wrappers = [{"file": f"w{n}", "verdict": verdict, "reason": "be\ncause"} for n, verdict in enumerate(verdicts)]
    gone = verdicts.count("collected")
    counts = {"collected": gone, "kept": len(verdicts) - gone, "unknown": []}
    lines = render_collection({"dry_run": dry_run, **counts, "wrappers": wrappers})
    assert lines[-1] == last
    assert all(r"be\ncause" in line for line in lines[1:-1])


# Output for programs


@pytest.mark.parametrize(
    ("args", "path"),
    [
        (("explain", "kata"), "/v1/runtimes/kata"),
        (("generations",), "/v1/generations"),
        (("history",), "/v1/history"),
        (("diff", "1", "2"), "/v1/diff?from=1&to=2"),
        (("resolve", "stays", "--generation", "1"), "/v1/resolve?runtime=stays&generation=1"),
        (("resolve", "stays", "--format", "json"), "/v1/resolve?runtime=stays"),
    ],
)
def test_json_is_the_response_of_the_daemon(twice: RunningDaemon, args: tuple[str, ...], path: str) -> None:
    flags = () if "--format" in args else ("--json",)
    run, response = run_between_equal_responses(lambda: runtimectl(*args, *flags, on=twice), lambda: twice.get(path)[1])
    assert (run.returncode, run.stderr, run.stdout.count("\n")) == (0, "", 1)
    assert json.loads(run.stdout) == response


def test_json_of_gc_and_of_a_refusal_is_on_stdout_too(twice: RunningDaemon) -> None:
    assert json.loads(runtimectl("--json", "gc", "--dry-run", on=twice).stdout)["kept"] == 8
    run = runtimectl("diff", "1", "9", "--json", on=twice)
    assert (run.returncode, json.loads(run.stdout)["code"]) == (1, "no-such-generation")


def test_no_verb_prints_control_characters(twice: RunningDaemon) -> None:
    broken = "bro\x1b[31mken\n"
    verbs = (("explain", broken), ("generations",), ("diff", "1", "2"), ("gc", "--dry-run"), ("explain", "x\x1b"))
    for args in verbs:
        run = runtimectl(*args, on=twice)
        assert "\x1b" not in run.stdout + run.stderr, args
