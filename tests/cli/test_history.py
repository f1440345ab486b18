"""Tests of the words of the history."""

from __future__ import annotations

import time
from typing import Any

import pytest

from runtimed.api.examples import make_examples
from runtimed.cli.generations import render_generations
from runtimed.cli.history import render_history, short_trigger, user

HOSTILE = "a\x1b[31m\u202e\nb"
AT = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(7.0))


def trigger(reason: str = "api", **more: object) -> dict[str, Any]:
    return {"reason": reason, "actors": [], "actor_count": 0, "sources": [], "source_count": 0, **more}


def reload(outcome: str = "rejected", **more: object) -> dict[str, Any]:
    problem = {"file": "/f", "line": 3, "column": None, "pointer": "/x", "message": "no"}
    body = {"outcome": outcome, "generation": 7, "reason": "api", "cause": "configuration", "repaired": []}
    counted = {"problems": [problem], "problem_count": 1, "trigger": trigger()}
    return {"time": 7.0, "type": "reload", **body, **counted, **more}


def told(*entries: object) -> list[str]:
    return render_history({"entries": entries, "truncated": False})


def test_the_example_of_the_interface_is_told() -> None:
    lines = render_history(make_examples()["listHistory", 200])  # type: ignore[arg-type]
    assert [line[21:] for line in lines if line[0] != " "] == [
        "generation  1 is current: added gvisor, io.containerd.runc.v2, runc",
        "generation  2 is current: added kata; changed gvisor",
        'reload      the change was rejected, generation 2 is in use: /etc/runtimed/daemon.json:3:49: /runtimes/gvisor/runtimeArgs: found "--platform=systrap", expected a list of strings',  # noqa: E501
    ]
    assert "    requested by root (user id 0), process 4242: /usr/bin/python3 /usr/bin/runtimectl reload" in lines


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (reload(), "the change was rejected, generation 7 is in use: /f:3: /x: no"),
        (reload(problem_count=3), "the change was rejected, generation 7 is in use: /f:3: /x: no (and 2 more)"),
        (reload(problems=[], problem_count=0), "the change was rejected, generation 7 is in use: unknown problem"),
        (
            reload(cause="store"),
            "the change could not be stored and was rejected, generation 7 is in use: /f:3: /x: no",
        ),
        (
            reload(reason="start"),
            "the daemon started with a configuration that was rejected, generation 7 is in use: /f:3: /x: no",
        ),
        (reload("unchanged", reason="start"), "the daemon started, generation 7 is current"),
        (reload("applied", reason="start", repaired=["x"]), "the daemon started, generation 7 is current: x"),
        (reload("unchanged", reason="repair", repaired=["x", "y"]), "published files were repaired: x; y"),
    ],
)
def test_a_kept_reload_has_a_sentence_for_each_outcome(entry: dict[str, Any], text: str) -> None:
    assert told(entry)[0] == f"{AT}  reload      {text}"


def test_a_trigger_names_processes_files_and_how_many_more() -> None:
    actors = [{"uid": 0, "pid": 1, "command": None}, {"uid": 4242424, "pid": 2, "command": HOSTILE}]
    sources = [
        {"path": f"/{HOSTILE}", "change": "changed", "owner": 0, "mtime": 7.0, "inode": 9},
        {"path": "/gone", "change": "removed", "owner": None, "mtime": None, "inode": None},
    ]
    found = trigger("api, signal, retry", actors=actors, actor_count=5, sources=sources, source_count=60)
    again = "another attempt after the disk had refused the change"
    assert told(reload(trigger=found))[1:] == [
        f"    reason: API request, SIGHUP (a signal does not tell its sender), {again}",
        "    requested by root (user id 0), process 1: its command is not known",
        r"    requested by user id 4242424, process 2: a\x1b[31m\u202e\nb",
        "    and 3 other requests",
        rf"    /a\x1b[31m\u202e\nb was changed; owner root (user id 0), modified {AT}, inode 9",
        "    /gone was removed",
        "    and 58 other files",
    ]
    assert short_trigger(found) == "API request, SIGHUP, retry: root, process 1 and 4 more"
    assert short_trigger(trigger("file-change", sources=sources, source_count=2)).endswith("b, owner root and 1 more")
    assert short_trigger(trigger("signal")) == "SIGHUP"


def test_a_generation_of_an_earlier_version_has_no_trigger() -> None:
    entry = {"type": "generation", "time": 7.0, "generation": 3, "trigger": None, "changes": None}
    text = "3 is current; an earlier version of runtimed made it and kept no trigger"
    assert told(entry) == [f"{AT}  generation  {text}"]
    summary = {"generation": 3, "created": 7.0, "digest": "sha256:aa", "default_runtime": "runc", "runtime_count": 2}
    assert render_generations({"generations": [{**summary, "trigger": None}]})[1].endswith("  unknown")


def test_a_generation_names_the_first_changes() -> None:
    empty = {f"{key}_count": 0 for key in ("added", "changed", "removed")}
    changes: dict[str, Any] = {**empty, "added": [], "changed": [], "removed": [], "default_runtime": None}
    entry = {"type": "generation", "time": 7.0, "generation": 3, "trigger": trigger("repair"), "changes": changes}
    assert told(entry)[0].endswith("3 is current: no runtime differs from the generation before")
    changes |= {"removed": [f"r{n}" for n in range(50)], "removed_count": 70}
    changes["default_runtime"] = {"from": "a", "to": HOSTILE}
    assert told(entry)[0].endswith(
        r"3 is current: removed r0, r1, r2, r3, r4 and 65 more; default runtime a -> a\x1b[31m\u202e\nb"
    )


def test_other_events_are_told_as_they_are_watched() -> None:
    gap = {"type": "gap", "time": 7.0, "reason": "the disk is broken"}
    assert told(gap) == [f"{AT}  gap         the disk is broken"]
    first, *_ = render_history({"entries": [gap], "truncated": True})
    assert first == "earlier entries are left out; --since LATER shows fewer"
    assert told() == ["the history is empty"]


@pytest.mark.parametrize("uid", [4242424, 2**32 - 1, 2**40])
def test_a_user_without_a_name_is_a_number(uid: int) -> None:
    assert user(uid) == f"user id {uid}"
