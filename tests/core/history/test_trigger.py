"""Tests of triggers: shared ones, and the files that changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimed.core.configuration.inputs import Documents, FileStatus, Source
from runtimed.core.errors import Problem
from runtimed.core.history.trigger import ACTORS_MAX, SOURCES_MAX, Actor, ChangedSource, Trigger

STATUS = FileStatus(1000, 12.5, 4711)
CHECKSUM = Source("", b"{}").checksum


def documents(*names: str, text: bytes = b"{}") -> Documents:
    return Documents("/main", None, tuple(Source(name, text, STATUS) for name in names))


def compare(before: dict[str, str], now: Documents) -> tuple[ChangedSource, ...]:
    return Trigger(("api",)).with_sources(before, now).sources


def test_files_are_added_changed_and_removed_compared_by_their_content() -> None:
    before = {"same": CHECKSUM, "other": "sha256:0", "gone": CHECKSUM}
    assert compare(before, documents("same", "other", "new")) == (
        ChangedSource("other", "changed", STATUS),
        ChangedSource("new", "added", STATUS),
        ChangedSource("gone", "removed"),
    )


def test_a_file_whose_earlier_content_is_not_known_did_not_change() -> None:
    assert compare({"a": ""}, documents("a")) == ()


def test_a_file_that_cannot_be_read_is_not_removed() -> None:
    now = Documents("/main", problems=(Problem("reading took too long", "/main"),))
    assert compare({"/main": CHECKSUM, "/main.d/a": CHECKSUM}, now) == ()


def test_a_file_that_is_replaced_by_an_equal_one_makes_no_other_documents() -> None:
    replaced = Documents("/main", None, (Source("a", b"{}", FileStatus(0, 99.0, 1)),))
    assert replaced == documents("a")


def test_a_shared_trigger_has_each_reason_and_each_process_once() -> None:
    one, other = Actor(0, 1, "a"), Actor(1000, 2, None)
    shared = Trigger(("api",), (one,))
    for trigger in (Trigger(("signal",)), Trigger(("api",), (other,)), Trigger(("api",), (one,))):
        shared = shared.joined_with(trigger)
    assert (shared.reason, shared.actors, shared.more_actors) == ("api, signal", (one, other), 0)


@given(st.integers(0, 3 * ACTORS_MAX), st.integers(0, 2 * SOURCES_MAX))
def test_the_lists_are_bounded_and_the_numbers_are_complete(actors: int, sources: int) -> None:
    shared = Trigger(("api",))
    for pid in range(actors):
        shared = shared.joined_with(Trigger(("api",), (Actor(0, pid),)))
    shape = shared.with_sources({}, documents(*map(str, range(sources)))).as_dict()
    assert (shape["actor_count"], len(shape["actors"])) == (actors, min(actors, ACTORS_MAX))
    assert (shape["source_count"], len(shape["sources"])) == (sources, min(sources, SOURCES_MAX))


@pytest.mark.parametrize("status", [None, STATUS])
def test_the_shape_has_the_status_where_it_is_known(status: FileStatus | None) -> None:
    shape = ChangedSource("/a", "changed", status).as_dict()
    found = (None, None, None) if status is None else (1000, 12.5, 4711)
    assert (shape["owner"], shape["mtime"], shape["inode"]) == found
