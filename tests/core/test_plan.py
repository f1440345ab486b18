"""Tests of plans and of their changes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runtimed.core import shapes
from runtimed.core.config import Settings
from runtimed.core.configuration.inputs import Documents, Flags, Source
from runtimed.core.errors import ConfigurationRejected
from runtimed.core.plan import BootContext, Plan, describe_plan, plan
from runtimed.core.table.facts import Facts
from runtimed.core.table.generation import Generation, Host

MAIN = "/etc/runtimed/daemon.json"
BOOT = Settings("/data", "/exec", ("unix:///exec/s",))
FRAME = BootContext(MAIN, Flags(), BOOT, Host(Facts(cgroup2=True, systemd=True, ramdisk=False), "/data", "/exec"), BOOT)


def planned(document: dict[str, Any], previous: Generation | None = None, number: int = 1) -> Plan:
    documents = Documents(MAIN, Source(MAIN, json.dumps(document).encode()))
    return plan(documents, FRAME, number, previous, None)


def changes(before: dict[str, Any], after: dict[str, Any]) -> shapes.GenerationsDiff:
    previous = planned(before).generation
    return describe_plan(planned(after, previous, 2), previous, 2)


def test_the_changes_of_a_plan_have_both_definitions() -> None:
    kata = {"runtimeType": "io.containerd.kata.v2", "options": {"ConfigPath": "/a"}}
    before = {"runtimes": {"goes": {"path": "/x"}, "kata": kata, "stays": {"path": "/s"}}, "default-runtime": "goes"}
    after = {
        "runtimes": {"comes": {"path": "/y", "runtimeArgs": ["-z"]}, "kata": {"path": "/k"}, "stays": {"path": "/s"}}
    }
    assert changes(before, after) == {
        "from": 1,
        "to": 2,
        "added": [{"name": "comes", "from": None, "to": {"path": "/y", "runtimeArgs": ["-z"]}}],
        "changed": [
            {
                "name": "kata",
                "from": {"runtimeType": "io.containerd.kata.v2", "options": {"config_path": "/a"}},
                "to": {"path": "/k"},
            }
        ],
        "removed": [{"name": "goes", "from": {"path": "/x"}, "to": None}],
        "default_runtime": {"from": "goes", "to": "runc"},
    }


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ({"path": "/data/runtimes/gvisor"}, "path"),
        ({"path": "/data//runtimes/./x"}, "path"),
        ({"path": "//data/runtimes/x"}, "path"),
        ({"options": {"BinaryName": "/data/runtimes/x"}, "runtimeType": "io.containerd.runc.v2"}, "options"),
    ],
)
def test_a_binary_that_is_a_stable_path_is_refused_with_its_line(entry: dict[str, Any], field: str) -> None:
    text = json.dumps({"runtimes": {"a/b": entry}}, indent=1)
    with pytest.raises(ConfigurationRejected) as caught:
        plan(Documents(MAIN, Source(MAIN, text.encode())), FRAME, 1, None, None)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.pointer) == (MAIN, 4, f"/runtimes/a~1b/{field}")
    assert "a stable path of runtimed itself" in problem.message
    assert str(problem.found) in text
    assert "/usr/bin/runc" in str(problem.expected)


def test_a_stable_path_in_a_data_root_that_is_only_configured_is_refused_too() -> None:
    text = json.dumps({"runtimes": {"a": {"path": "/new/runtimes/a"}}, "data-root": "/new"})
    with pytest.raises(ConfigurationRejected, match="a stable path of runtimed itself"):
        plan(Documents(MAIN, Source(MAIN, text.encode())), FRAME, 1, None, None)


def test_an_unchanged_runtime_that_becomes_a_stable_path_is_refused() -> None:
    runtimes = {"runtimes": {"a": {"path": "/new/runtimes/a"}, "b": {"path": "/b"}}}
    accepted = planned(runtimes).generation
    with pytest.raises(ConfigurationRejected, match="a stable path of runtimed itself"):
        planned({**runtimes, "data-root": "/new"}, accepted, 2)


def test_a_plan_reads_only_the_entries_that_changed() -> None:
    before = planned({"runtimes": {"a": {"path": "/a"}, "b": {"path": "/b"}, "c": {"path": "/c"}}}).generation
    after = planned({"runtimes": {"a": {"path": "/a"}, "b": {"path": "/x"}, "c": {"path": "/c"}}}, before, 2).generation
    same = [name for name, one in after.config.runtimes.items() if one is before.config.runtimes[name]]
    assert same == ["a", "c"]


def test_a_changed_stock_runtime_has_no_definition() -> None:
    found = changes({}, {"exec-opts": ["native.cgroupdriver=cgroupfs"]})
    assert {"name": "runc", "from": None, "to": None} in found["changed"]


@pytest.mark.parametrize(
    ("removed", "changed", "described"),
    [(600, 300, [600, 300, 100]), (600, 500, [600, 400, 0]), (1100, 10, [1000, 0, 0])],
)
def test_the_description_of_changes_is_bounded_and_begins_with_removals(
    removed: int, changed: int, described: list[int]
) -> None:
    old = {f"old{number}": {"path": "/x"} for number in range(removed)}
    both = {f"both{number}": {"path": "/x"} for number in range(changed)}
    new = {f"new{number}": {"path": "/x"} for number in range(600)}
    found = changes({"runtimes": {**old, **both}}, {"runtimes": {name: {"path": "/y"} for name in (*both, *new)}})
    assert [len(found[key]) for key in ("removed", "changed", "added")] == described


def test_settings_that_require_a_restart_are_listed() -> None:
    settings = planned({"data-root": "/other"}).generation.config.settings
    assert FRAME.restart_required(settings) == ("data-root",)
    assert FRAME.restart_required(BOOT) == ()
