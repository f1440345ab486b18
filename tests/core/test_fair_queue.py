"""Tests of FairQueue."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from runtimed.core.fair_queue import FairQueue


def taken(queue: FairQueue[tuple[int | None, int]]) -> list[tuple[int | None, int]]:
    found = []
    while queue:
        found.append(queue.take())
    return found


def test_users_alternate_and_the_items_of_each_keep_their_order() -> None:
    queue: FairQueue[tuple[int | None, int]] = FairQueue()
    for user, number in ((1, 0), (1, 1), (1, 2), (2, 0), (None, 0), (2, 1)):
        queue.put(user, (user, number))
    assert (queue.count(1), queue.count(2), queue.count(3)) == (3, 2, 0)
    assert taken(queue) == [(1, 0), (2, 0), (None, 0), (1, 1), (2, 1), (1, 2)]
    assert (bool(queue), queue.count(1)) == (False, 0)


def test_a_withdrawn_item_is_not_taken() -> None:
    queue: FairQueue[tuple[int | None, int]] = FairQueue()
    queue.put(1, (1, 0))
    queue.put(2, (2, 0))
    queue.withdraw(1, (1, 0))
    queue.withdraw(1, (1, 0))
    queue.withdraw(2, (2, 7))
    assert taken(queue) == [(2, 0)]


@given(st.lists(st.integers(0, 3), max_size=40))
def test_no_user_gets_two_items_while_another_waits(users: list[int]) -> None:
    queue: FairQueue[tuple[int | None, int]] = FairQueue()
    for number, user in enumerate(users):
        queue.put(user, (user, number))
    order = taken(queue)
    assert sorted(order, key=lambda item: item[1]) == [(user, number) for number, user in enumerate(users)]
    had: defaultdict[int | None, int] = defaultdict(int)
    for taker, _ in order:
        had[taker] += 1
        assert all(had[taker] <= had[other] + 1 or had[other] == users.count(other) for other in set(users))
