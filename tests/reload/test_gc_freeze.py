"""What the garbage collector is kept from, and what it still has to find."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from runtimed.reload.gc_freeze import GcFreeze


class Loop:
    """An object that refers to itself: only a collection ends it."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def _collector() -> Iterator[None]:
    gc.freeze()
    yield
    gc.unfreeze()
    assert gc.isenabled()


def heap(connections: int = 0) -> GcFreeze:
    return GcFreeze(lambda: connections)


def test_what_was_built_is_not_looked_through_any_more() -> None:
    def build() -> list[object]:
        assert not gc.isenabled()
        return [[number] for number in range(1000)]

    before = gc.get_freeze_count()
    built = heap().sparing(build)()
    assert gc.get_freeze_count() >= before + len(built)


def test_garbage_from_before_is_collected_and_not_kept_for_ever() -> None:
    garbage = weakref.ref(Loop())
    heap().sparing(int)()
    assert garbage() is None


def test_an_error_exempts_nothing_and_leaves_the_collector_on() -> None:
    before = gc.get_freeze_count()
    with pytest.raises(ValueError, match="invalid literal"):
        heap().sparing(int)("x")
    assert gc.isenabled()
    assert gc.get_freeze_count() == before


def test_a_connection_that_was_there_meanwhile_is_collected_in_the_end() -> None:
    spared = heap(connections=400)
    connection: Loop | None = Loop()
    spared.sparing(int)()
    ended = weakref.ref(connection)
    connection = None
    gc.collect()
    assert ended() is not None  # exempt, though nobody needs it
    spared.sparing(int)()
    assert ended() is not None
    spared.sparing(int)()
    assert ended() is None


def test_garbage_that_tables_leave_is_collected_without_connections() -> None:
    garbage: list[weakref.ref[Loop]] = []
    spared = heap().sparing(lambda: garbage.append(weakref.ref(Loop())))
    for _ in range(1000):
        spared()
    assert all(each() is not None for each in garbage)
    spared()
    assert all(each() is None for each in garbage)
