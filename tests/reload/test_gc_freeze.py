"""The freeze of the garbage collector: which objects it exempts, and which garbage is still found."""

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


def freeze(connections: int = 0) -> GcFreeze:
    return GcFreeze(lambda: connections)


def test_built_objects_are_exempt_from_collections() -> None:
    def build() -> list[object]:
        assert not gc.isenabled()
        return [[number] for number in range(1000)]

    before = gc.get_freeze_count()
    built = freeze().call(build)
    assert gc.get_freeze_count() >= before + len(built)


def test_earlier_garbage_is_collected_and_not_frozen() -> None:
    garbage = weakref.ref(Loop())
    freeze().call(int)
    assert garbage() is None


def test_an_error_exempts_nothing_and_leaves_the_collector_on() -> None:
    before = gc.get_freeze_count()
    with pytest.raises(ValueError, match="invalid literal"):
        freeze().call(int, "x")
    assert gc.isenabled()
    assert gc.get_freeze_count() == before


def test_a_frozen_connection_is_collected_later() -> None:
    frozen = freeze(connections=400)
    connection: Loop | None = Loop()
    frozen.call(int)
    ended = weakref.ref(connection)
    connection = None
    gc.collect()
    assert ended() is not None  # still exempt
    frozen.call(int)
    assert ended() is not None
    frozen.call(int)
    assert ended() is None


def test_garbage_that_tables_leave_is_collected_without_connections() -> None:
    garbage: list[weakref.ref[Loop]] = []
    frozen = freeze()

    def leave_garbage() -> None:
        garbage.append(weakref.ref(Loop()))

    for _ in range(1000):
        frozen.call(leave_garbage)
    assert all(each() is not None for each in garbage)
    frozen.call(leave_garbage)
    assert all(each() is None for each in garbage)


def test_a_start_without_collections_enables_them_with_its_first_table_and_scans_nothing() -> None:
    gc.disable()
    garbage = weakref.ref(Loop())
    freeze().call(int)
    assert garbage() is not None
    assert gc.isenabled()
