"""Tests of the decision whether an engine follows the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimed.core.engines import NAMES, load_engine
from runtimed.core.engines.engine import ExportOptions, TakesEffect, View
from runtimed.core.engines.verification import (
    Difference,
    FileState,
    RunningEngine,
    compare_files,
    compare_views,
    make_verification,
    verify,
)
from runtimed.core.errors import Problem
from runtimed.core.shapes.daemon import EngineState

STABLE = "/var/lib/runtimed/runtimes"
TABLE: dict[str, Any] = {
    "runtimes": [{"name": "crun", "stable_path": f"{STABLE}/crun"}, {"name": "kata", "stable_path": None}]
}
EXPECTED = View("crun", {"crun": f"{STABLE}/crun", "kata": "io.containerd.kata.v2"})
PATH = "/etc/engine/conf.d/50"
DIFFERENCE: Difference = {"name": "crun", "ours": "a", "theirs": "b"}


def difference(name: str | None, ours: str | None, theirs: str | None) -> Difference:
    return {"name": name, "ours": ours, "theirs": theirs}


@pytest.mark.parametrize(
    ("answered", "found"),
    [
        (EXPECTED, []),
        # The engine's own runtimes do not count, also one whose path begins like a stable path.
        (View("crun", {**EXPECTED.runtimes, "runc": "runc", "x": "/var/lib/runtimed/runtimes-old/x"}), []),
        (View("runc", EXPECTED.runtimes), [difference(None, "crun", "runc")]),
        (View(None, EXPECTED.runtimes), [difference(None, "crun", None)]),
        (View("crun", {"crun": f"{STABLE}/crun"}), [difference("kata", "io.containerd.kata.v2", None)]),
        (
            View("crun", {**EXPECTED.runtimes, "crun": "/usr/bin/crun"}),
            [difference("crun", f"{STABLE}/crun", "/usr/bin/crun")],
        ),
        # A name that was dropped from the table, and that the engine would still execute.
        (
            View("crun", {**EXPECTED.runtimes, "old": f"runc {STABLE}/old"}),
            [difference("old", None, f"runc {STABLE}/old")],
        ),
    ],
)
def test_views_are_compared_by_name(answered: View, found: list[Difference]) -> None:
    assert compare_views(EXPECTED, answered, TABLE) == found


def test_the_last_runtime_with_a_path_that_was_dropped_is_a_difference() -> None:
    table = {"runtimes": [{"name": "runc", "stable_path": None}]}
    answered = View("runc", {"runc": "runc", "old": f"{STABLE}/old"})
    assert compare_views(View("runc", {}), answered, table) == [difference("old", None, f"{STABLE}/old")]


def test_a_view_without_a_default_says_nothing_of_it() -> None:
    assert compare_views(View(None, {}), View("runc", {}), TABLE) == []


@pytest.mark.parametrize(
    ("found", "wanted", "differences"),
    [
        (b"a\nb\n", b"a\nb\n", []),
        (None, b"a\n", []),
        (b"a\n", None, []),
        (b"a\nx\nc\n", b"a\nb\nc\n", [difference(f"{PATH}:2", "b", "x")]),
        # A line that only the node has, and one that it lacks.
        (b"a\nx\nb\n", b"a\nb\n", [difference(f"{PATH}:2", None, "x")]),
        (b"a\n", b"a\nb\n", [difference(f"{PATH}:2", "b", None)]),
        (b"a\xff\n", b"a\n", [difference(f"{PATH}:1", "a", r"a\xff")]),
        (b"a", b"a\n", [difference(f"{PATH}:2", "", None)]),
    ],
)
def test_files_are_compared_by_line(found: bytes | None, wanted: bytes | None, differences: list[Difference]) -> None:
    assert compare_files(FileState(PATH, found, wanted)) == differences


def test_of_another_file_a_hundred_lines_are_named() -> None:
    assert len(compare_files(FileState(PATH, b"x\n" * 5000, b"y\n" * 5000))) == 100


def test_a_problem_in_a_line_of_the_file_is_a_difference_there() -> None:
    assert compare_files(TAKEN) == [difference(f"{PATH}:3", "a", "b")]
    assert compare_files(REFUSED) == compare_files(UNREAD) == []


LINES = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=8).map(lambda lines: "\n".join(lines).encode())


@given(LINES, LINES)
def test_files_that_differ_have_a_difference_and_each_names_lines_of_them(found: bytes, wanted: bytes) -> None:
    differences = compare_files(FileState(PATH, found, wanted))
    assert bool(differences) == (found != wanted)
    for each in differences:
        assert each["ours"] in (None, *wanted.decode().split("\n"))
        assert each["theirs"] in (None, *found.decode().split("\n"))
        assert each["ours"] != each["theirs"]


def right(changed_s: float = 100.0) -> FileState:
    return FileState(PATH, b"x", b"x", changed_s)


MISSING = FileState(PATH, None, b"x")
EDITED = FileState(PATH, b"y", b"x", 100.0)
REFUSED = FileState(PATH, None, None, None, (Problem("is another's", PATH), Problem("x", PATH)))
# The reason is in a line of the file.
TAKEN = FileState(PATH, None, None, None, (Problem("is another's", PATH, 3, found="b", expected="a"),))
# It is in a line of another file.
UNREAD = FileState(PATH, None, None, None, (Problem("imports no file", "/etc/engine/main", 1, found="", expected="x"),))


@pytest.mark.parametrize(
    ("file", "takes_effect", "started_s", "differences", "state", "words"),
    [
        # The file is right.
        (right(), "restart", 200.0, [], "follows", []),
        (right(), "reload", 200.0, [], "follows", []),
        (right(), "at once", None, [], "follows", []),
        # It is right and older than the engine, which has something else all the same.
        (right(), "restart", 200.0, [DIFFERENCE], "differs", ["is right", "overrides"]),
        (right(), "reload", 200.0, [DIFFERENCE], "differs", ["overrides"]),
        (right(), "at once", None, [DIFFERENCE], "differs", ["overrides"]),
        # It is newer than the engine. One that reads it only at its start may lack something that no answer shows.
        (right(300.0), "restart", 200.0, [], "not-told", ["run: systemctl restart engine"]),
        (right(300.0), "restart", 200.0, [DIFFERENCE], "not-told", ["run: systemctl restart engine"]),
        (right(300.0), "reload", 200.0, [], "follows", []),
        (right(300.0), "reload", 200.0, [DIFFERENCE], "not-told", ["run: systemctl reload engine"]),
        # As old as the engine: it may have been written just before the start.
        (right(200.0), "restart", 200.0, [], "follows", []),
        # It is missing. The engine may have the table from another file.
        (MISSING, "restart", 200.0, [], "follows", []),
        (MISSING, "at once", None, [], "follows", []),
        (MISSING, "restart", 200.0, [DIFFERENCE], "differs", ["does not exist", "runtimectl export engine --write"]),
        # The engine cannot be asked: only the file counts.
        (MISSING, "at once", None, None, "differs", ["does not exist"]),
        (right(), "at once", None, None, "follows", []),
        (EDITED, None, None, None, "differs", ["differs from the table"]),
        # It was edited behind our back, or the table has changed since.
        (EDITED, "restart", 200.0, [], "differs", ["runtimectl export engine --write replaces it"]),
        (EDITED, "restart", 200.0, [DIFFERENCE], "differs", ["replaces it"]),
        # It is another program's, or cannot be read.
        (REFUSED, "restart", 200.0, [], "follows", ["is another's"]),
        (REFUSED, "restart", 200.0, [DIFFERENCE], "differs", ["is another's"]),
        (REFUSED, None, None, None, "unknown", ["is another's"]),
        (UNREAD, "restart", 200.0, [], "follows", ["/etc/engine/main:1: imports no file"]),
        (TAKEN, "restart", 200.0, [], "differs", [f"{PATH}:3: is another's"]),
        (TAKEN, "reload", 200.0, [DIFFERENCE], "differs", [f"{PATH}:3: is another's"]),
        (TAKEN, None, None, None, "differs", [f"{PATH}:3: is another's"]),
        # An engine without a file.
        (None, "at once", None, [], "follows", []),
        (None, "at once", None, [DIFFERENCE], "differs", []),
    ],
)
def test_the_state_of_an_engine(
    file: FileState | None,
    takes_effect: TakesEffect | None,
    started_s: float | None,
    differences: Sequence[Difference] | None,
    state: EngineState,
    words: list[str],
) -> None:
    found = verify(RunningEngine("engine", takes_effect, started_s), file, differences)
    assert found["state"] == state
    assert all(word in found["detail"] for word in words)
    assert bool(found["detail"]) == bool(words)
    of_file = 1 if file in (EDITED, TAKEN) else 0
    assert found["differences"][: len(differences or ())] == list(differences or ())
    assert len(found["differences"]) == len(differences or ()) + of_file
    assert (found["engine"], found["takes_effect"]) == ("engine", takes_effect)
    assert found["file"] == (None if file is None else PATH)


def test_an_engine_that_does_not_run_has_its_reason() -> None:
    found = make_verification(RunningEngine("engine", "reload"), MISSING, "not-running", "no process")
    assert dict(found) == {
        "engine": "engine",
        "state": "not-running",
        "detail": "no process",
        "file": PATH,
        "differences": [],
        "takes_effect": "reload",
    }


@pytest.mark.parametrize("name", NAMES)
def test_an_engine_with_a_process_has_the_same_sockets_for_each_document(name: str) -> None:
    engine = load_engine(name)
    if engine.asking is None or engine.asking.process is None:
        return
    document = engine.write({"default_runtime": "runc", "runtimes": []}, ExportOptions()).document
    empty, full = (
        [getattr(question, "socket", None) for question in engine.asking.questions(given).values()]
        for given in ({}, document)
    )
    assert empty == full


def test_runtimes_that_the_engine_was_not_asked_for_are_named_where_it_follows() -> None:
    engine = RunningEngine("engine", "at once")
    found = verify(engine, None, [], 8)
    assert (found["state"], "was not asked for 8 of the runtimes" in found["detail"]) == ("follows", True)
    assert verify(engine, None, [DIFFERENCE], 8)["detail"] == ""
