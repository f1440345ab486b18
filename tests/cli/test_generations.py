"""Tests of retained generations: their list, the differences between two, resolutions in one of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from harness.daemon import RunningDaemon
from harness.runtimectl import columns, fields_of, runtimectl
from harness.two_generations import BEFORE, CHANGES, drop_older_generations

from runtimed.cli.generations import render_diff, render_generations
from runtimed.cli.terminal import Terminal
from runtimed.client import (
    Client,
    DigestMismatch,
    GenerationGone,
    NoSuchGeneration,
    RuntimeUnavailable,
    UnknownRuntime,
)

# generations


def test_generations_are_listed_the_newest_first_and_the_current_one_marked(twice: RunningDaemon) -> None:
    run = runtimectl("generations", on=twice)
    assert (run.returncode, run.stderr) == (0, "")
    header, *rows = run.stdout.splitlines()
    assert columns(header) == ["GENERATION", "CREATED", "DEFAULT", "RUNTIMES", "DIGEST", "TRIGGER"]
    listed = Client(str(twice.socket)).generations()["generations"]
    assert [columns(row)[0] for row in rows] == ["2 *", "1"]
    for row, generation, default in zip(rows, listed, ("comes", "stays"), strict=True):
        *_, created, shown_default, count, digest, trigger = columns(row)
        assert created == time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(generation["created"]))
        assert (shown_default, count) == (default, str(generation["runtime_count"]))
        assert digest == generation["digest"].removeprefix("sha256:")[:12]
        assert trigger.partition(":")[0] in ("API request", "file change", "start")


def test_generations_fit_80_columns_and_have_no_control_characters() -> None:
    generation = {"generation": 800, "created": 90.0, "digest": "sha256:" + "a" * 64, "default_runtime": "r\x1b"}
    actor = {"uid": 0, "pid": 7, "command": "curl\x1b " + "x" * 200}
    trigger = {"reason": "api", "actors": [actor], "actor_count": 3, "sources": [], "source_count": 0}
    document = {"generations": [{**generation, "runtime_count": 1, "trigger": trigger}]}
    _, line, below = render_generations(document, Terminal(80))
    assert len(line) <= 80
    assert columns(line)[-3:] == [r"r\x1b", "1", "a" * 12]
    assert below == rf"    API request: root, curl\x1b {'x' * 33}… and 2 more"


# diff


def test_diff_lists_added_removed_and_changed_runtimes_by_field(twice: RunningDaemon) -> None:
    run = runtimectl("diff", "1", "2", on=twice)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines() == ["generation 1 -> 2", *CHANGES]


def test_diff_says_so_when_nothing_differs(twice: RunningDaemon) -> None:
    run = runtimectl("diff", "2", "2", on=twice)
    assert (run.returncode, run.stdout) == (0, "generations 2 and 2 do not differ\n")


def test_diff_explains_a_change_with_the_same_definition() -> None:
    same = {"name": "runc", "from": None, "to": None}
    found = {"from": 1, "to": 2, "added": [], "changed": [same], "removed": [], "default_runtime": None}
    assert render_diff(found)[1:] == ["~ runc", "    defined as before; a setting of the daemon changed its options"]


def test_diff_has_a_line_for_each_carried_key_and_knows_1_from_true() -> None:
    old, new = {"docker": {"a": 1, "b": [1]}}, {"containerd": {"a": "x"}, "docker": {"a": True, "b": [1]}}
    one = {"name": "k", "from": {"path": "/k", "engines": old}, "to": {"path": "/k", "engines": new}}
    found = {"from": 1, "to": 2, "added": [], "changed": [one], "removed": [], "default_runtime": None}
    lines = ["    engines.docker.a: 1 -> true", '    engines.containerd.a: was not set -> "x"']
    assert render_diff(found)[1:] == ["~ k", *lines]


def test_a_change_that_is_too_wide_for_one_line_has_two() -> None:
    one = {"name": "a", "from": {"runtimeArgs": ["-x" * 20]}, "to": {"runtimeArgs": ["-y" * 20]}}
    found = {"from": 1, "to": 2, "added": [], "changed": [one], "removed": [], "default_runtime": None}
    assert render_diff(found, Terminal(80))[2:] == [f'    runtimeArgs: ["{"-x" * 20}"]', f'      -> ["{"-y" * 20}"]']
    assert len(render_diff(found, Terminal(120))) == 3


@pytest.mark.parametrize(
    ("args", "status", "text"),
    [
        (("1", "9"), 1, "the newest is 2"),
        (("0", "1"), 1, "generation 0"),
        (("1",), 2, "G2"),
        (("1", "-1"), 2, "'-1' is not a whole number"),
        (("1", "1_0"), 2, "'1_0' is not a whole number"),
        (("1", "9" * 5000), 2, "is not a whole number"),
        (("1", "\x1b[31m"), 2, r"\x1b"),
    ],
)
def test_diff_refuses_an_unknown_or_malformed_generation(
    twice: RunningDaemon, args: tuple[str, ...], status: int, text: str
) -> None:
    run = runtimectl("diff", *args, on=twice)
    assert (run.returncode, run.stdout) == (status, "")
    assert text in run.stderr
    assert "\x1b" not in run.stderr


# Pinned answers


def test_resolve_with_a_generation_knows_names_that_are_gone_since(twice: RunningDaemon) -> None:
    then = json.loads(runtimectl("resolve", "kata", "--generation", "1", "--json", on=twice).stdout)
    assert then["options"]["fields"]["config_path"] == "/a"
    assert fields_of(runtimectl("resolve", "--generation", "1", on=twice).stdout)["runtime"] == ["stays"]
    assert runtimectl("resolve", "goes", on=twice).returncode == 1
    run = runtimectl("resolve", "goes", "--generation", "1", "--format", "ctr", on=twice)
    assert (run.returncode, run.stderr) == (0, "")
    assert f" --runc-binary {twice.data}/wrappers/goes-" in run.stdout
    pinned = ("resolve", "kata", "--generation", "1", "--digest")
    assert runtimectl(*pinned, then["digest"], on=twice).returncode == 0
    run = runtimectl(*pinned, "sha256:0", on=twice)
    error, hint = run.stderr.splitlines()
    assert (run.returncode, then["digest"] in error) == (1, True)
    assert hint.startswith("hint: without --digest")


@pytest.mark.parametrize(
    ("args", "status", "text"),
    [
        (("--generation", "3"), 1, "the newest is 2"),
        (("--generation", "x"), 2, "'x' is not a whole number"),
        (("--digest", "x"), 2, "--digest needs --generation"),
        (("comes", "--generation", "1"), 1, "comes"),
    ],
)
def test_resolve_refuses_a_wrong_generation_or_digest(
    twice: RunningDaemon, args: tuple[str, ...], status: int, text: str
) -> None:
    run = runtimectl("resolve", *args, on=twice)
    assert (run.returncode, run.stdout) == (status, "")
    assert text in run.stderr


# The client


def test_the_client_has_an_error_class_for_each_refusal_of_a_generation(twice: RunningDaemon) -> None:
    client = Client(str(twice.socket))
    broken = next(name for name in BEFORE["runtimes"] if name.startswith("bro"))
    refused: list[tuple[type[Exception], Callable[[], object]]] = [
        (NoSuchGeneration, lambda: client.generation(9)),
        (NoSuchGeneration, lambda: client.diff(1, 9)),
        (NoSuchGeneration, lambda: client.resolve("stays", 9)),
        (UnknownRuntime, lambda: client.resolve("comes", 1)),
        (RuntimeUnavailable, lambda: client.resolve(broken, 1)),
    ]
    for kind, ask in refused:
        with pytest.raises(kind):
            ask()
    with pytest.raises(DigestMismatch) as caught:
        client.resolve("stays", 1, "sha256:0")
    assert caught.value.digest == client.resolve("stays", generation=1)["digest"]
    config: Any = client.generation(1)["config"]
    assert config["runtimes"]["goes"]["runtimeArgs"] == ["-e"]


def test_a_dropped_generation_is_refused_with_a_hint(
    own_daemon: RunningDaemon,
) -> None:
    drop_older_generations(own_daemon, {"runtimes": {"plain": {"path": "/bin/cat"}}})
    with pytest.raises(GenerationGone):
        Client(str(own_daemon.socket)).resolve("plain", 1)
    run = runtimectl("resolve", "plain", "--generation", "1", on=own_daemon)
    assert (run.returncode, run.stderr.splitlines()[1]) == (
        1,
        "hint: runtimectl generations lists the retained generations",
    )
