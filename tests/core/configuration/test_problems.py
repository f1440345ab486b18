"""Tests of problems.py and of the lines of position.py: what is kept of millions, and where a place is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimed.core.configuration.position import Lines, Location, render_pointer
from runtimed.core.configuration.problems import MAX_PROBLEMS, Problems
from runtimed.core.engines.translation import accept
from runtimed.core.errors import ConfigurationRejected, Problem


def test_a_thousand_problems_are_kept_and_the_others_counted() -> None:
    problems = Problems(Problem(str(number)) for number in range(MAX_PROBLEMS + 7))
    problems += Problems(Problem("x") for _ in range(MAX_PROBLEMS + 2))
    assert [problem.message for problem in problems] == [str(number) for number in range(MAX_PROBLEMS)]
    assert problems.omitted == 7 + MAX_PROBLEMS + 2
    assert problems.total == 2 * MAX_PROBLEMS + 9
    assert problems.rejection().omitted == problems.omitted


@given(st.lists(st.sampled_from(["\n", "a" * 700, "\N{GRINNING FACE}" * 1024, "ab", "\n" * 1500])), st.data())
def test_a_place_counts_line_feeds_and_characters(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    offset = data.draw(st.integers(0, len(text)))
    head = text[:offset]
    assert Lines(text).place(offset) == (head.count("\n") + 1, offset - (head.rfind("\n") + 1) + 1)


def test_a_pointer_of_megabytes_is_cut() -> None:
    assert render_pointer(("runtimes", "k" * 10_000_000, "path")) == "/runtimes/" + "k" * 190 + "…"
    assert render_pointer(("runtimes", "k" * 190)) == "/runtimes/" + "k" * 190
    assert render_pointer(("runtimes", "k" * 189 + "~")) == "/runtimes/" + "k" * 189 + "…", "no half of an escape"


def test_a_pointer_that_is_cut_within_an_index_leads_to_the_list() -> None:
    name = "k" * 176
    document = {"runtimes": {name: {"path": "/usr/bin/crun", "runtimeArgs": [*["--a"] * 12, "--\0"]}}}
    with pytest.raises(ConfigurationRejected) as caught:
        accept(document, {}, lambda pointer: Location(pointer=render_pointer(pointer)))
    assert [problem.pointer for problem in caught.value.problems] == [f"/runtimes/{name}/runtimeArgs"]
