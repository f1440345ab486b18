"""Tests of the containers that have a pin, in ``runtimectl containers``, ``explain``, ``status`` and the reports."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

import pytest
from harness.daemon import RunningDaemon
from harness.runtimectl import columns, fields_of, runtimectl

from runtimed.cli import verbs
from runtimed.cli.containers import list_containers, render_containers
from runtimed.cli.explain import render_description
from runtimed.cli.generations import render_plan
from runtimed.cli.render import render_report, render_status
from runtimed.cli.terminal import PLAIN, Terminal
from runtimed.client import Client, Refused
from runtimed.core.containers import ContainersSummary, Kept
from runtimed.core.report import Report

WRAPPER = "/var/lib/runtimed/wrappers/gvisor-f3e09579df766a2928cbcb3ebb9c980d"
LONG_ID = "0123456789abcdef" * 4
KEPT = (Kept("gvisor", 3, 7, "/usr/bin/runsc"), Kept("kata\n", 1, None, "/k"))
TEXTS = [
    "gvisor: 3 containers keep generation 7's /usr/bin/runsc",
    r"kata\n: 1 container keeps an earlier generation's /k",
]


def container(name: str, **more: object) -> dict[str, Any]:
    usual = {"root": "/run/containerd/runc/k8s.io", "runtime": "gvisor", "generation": 7, "binary": WRAPPER}
    return {"id": name, **usual, "outdated": False, "bundle": None, **more}


def render(*containers: dict[str, Any], terminal: Terminal = PLAIN) -> list[str]:
    return render_containers({"generation": 8, "containers": containers}, terminal)


# containers


def test_containers_are_listed_with_the_binary_that_they_keep() -> None:
    old = container("web\x1b", runtime="x", generation=None, binary="/usr/bin/x", outdated=True, root=None)
    header, *rows, last = map(columns, render(container("db"), old))
    assert header == ["CONTAINER", "RUNTIME", "GENERATION", "BINARY", "ROOT"]
    assert rows == [
        ["db", "gvisor", "7", WRAPPER, "/run/containerd/runc/k8s.io"],
        [r"web\x1b *", "x", "unknown", "/usr/bin/x", "none"],
    ]
    assert last == ["* 1 of 2 containers keeps an older definition"]
    assert len(render(container("db"))) == 2
    assert render(old, old)[-1] == "* 2 of 2 containers keep an older definition"


def test_a_list_of_containers_fits_80_columns() -> None:
    lines = render(container(LONG_ID, outdated=True), container("short"), terminal=Terminal(80))
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines] == ["CONTAINER", LONG_ID[:12], "short", "*"]
    assert render(container(LONG_ID))[1].startswith(LONG_ID)


def test_a_daemon_without_pins_lists_no_containers(daemon: RunningDaemon) -> None:
    run = runtimectl("containers", on=daemon)
    text = "no container has a pin; runtimectl status shows unreadable pins, and containers without a pin\n"
    assert (run.returncode, run.stderr, run.stdout) == (0, "", text)
    assert json.loads(runtimectl("containers", "--json", on=daemon).stdout) == {"generation": 1, "containers": []}


# explain


def test_explain_lists_ten_containers_of_the_runtime_and_counts_the_others(daemon: RunningDaemon) -> None:
    runtime: Any = Client(str(daemon.socket)).explain("plain")
    many = [
        container("old", outdated=True),
        container("older", generation=None, outdated=True, root=None),
        *(container(str(number), root=None) for number in range(10)),
        container("other", runtime="other"),
    ]
    lines = render_description(runtime, containers=list_containers({"containers": many}, "gvisor"))
    start = next(index for index, line in enumerate(lines) if line.startswith("containers"))
    assert [columns(line)[-1] for line in lines[start : start + 11]] == [
        f"old in /run/containerd/runc/k8s.io keeps {WRAPPER} of generation 7",
        f"older keeps {WRAPPER} of an earlier generation",
        *map(str, range(8)),
        "and 2 more",
    ]
    assert not any(line.startswith("containers") for line in render_description(runtime))
    assert len(list_containers({"containers": many[2:12]}, "gvisor")) == 10


def test_explain_describes_a_runtime_whose_containers_are_unknown(
    daemon: RunningDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    class OldDaemon(Client):
        def containers(self) -> Any:
            raise Refused(404, {"detail": "/v1/containers is not served here"})

    args = Namespace(name="plain", json=False, terminal=PLAIN)
    assert verbs.explain(OldDaemon(str(daemon.socket)), args) == 0
    assert fields_of(capsys.readouterr().out)["containers"] == ["unknown: /v1/containers is not served here"]


def test_explain_shows_the_stable_path_of_a_runtime_without_arguments(daemon: RunningDaemon) -> None:
    fields = fields_of(runtimectl("explain", "plain", on=daemon).stdout)
    assert fields["stable path"] == [f"{daemon.data}/runtimes/plain"]
    assert "stable path" not in fields_of(runtimectl("explain", "kata", on=daemon).stdout)


# status


def test_status_counts_containers_and_names_the_definitions_that_they_keep(daemon: RunningDaemon) -> None:
    known: Any = Client(str(daemon.socket)).status()
    assert "containers" not in fields_of("\n".join(render_status(known, now_s=0)))
    summary = ContainersSummary(12, 2, KEPT, ("/run/runtimed/pins/x: Input/output error",))
    text = "\n".join(render_status({**known, "containers": summary.as_dict()}, now_s=0))
    fields = fields_of(text)
    assert fields["unreadable pins"] == ["/run/runtimed/pins/x: Input/output error"]
    assert fields["containers"] == ["12 with a pin"]
    assert fields["kept"] == TEXTS[:1]
    assert f"  {TEXTS[1]}\n" in text
    assert fields["without a pin"] == ["2 containers: calls execute the current definition"]


# Reports


@pytest.mark.parametrize("outcome", ["applied", "unchanged"])
@pytest.mark.parametrize("render", [render_report, render_plan])
def test_reload_and_plan_name_the_definitions_that_containers_keep(outcome: Any, render: Any) -> None:
    report: Any = Report(outcome, 8, "api", kept=KEPT, dry_run=render is render_plan).as_dict()
    changes = {"from": 7, "to": 8, "added": [], "changed": [], "removed": [], "default_runtime": None}
    lines = render({**report, "changes": changes})
    assert [line for line in lines if line in TEXTS] == TEXTS


def test_a_report_shows_twenty_kept_definitions_and_counts_the_others() -> None:
    many = tuple(Kept(f"r{number}", 1, 1, "/x") for number in range(25))
    lines = render_report(dict(Report("applied", 8, "api", kept=many).as_dict()))
    assert lines[-2:] == ["r19: 1 container keeps generation 1's /x", "and 5 more kept definitions"]
