"""RoundRobin: one of each user, whoever has how many."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from runtimed.core.fair_queue import FairQueue


def taken(turns: FairQueue[tuple[int | None, int]]) -> list[tuple[int | None, int]]:
    found = []
    while turns:
        found.append(turns.take())
    return found


def test_users_take_turns_and_each_ones_items_keep_their_order() -> None:
    turns: FairQueue[tuple[int | None, int]] = FairQueue()
    for user, number in ((1, 0), (1, 1), (1, 2), (2, 0), (None, 0), (2, 1)):
        turns.put(user, (user, number))
    assert (turns.of(1), turns.of(2), turns.of(3)) == (3, 2, 0)
    assert taken(turns) == [(1, 0), (2, 0), (None, 0), (1, 1), (2, 1), (1, 2)]
    assert (bool(turns), turns.of(1)) == (False, 0)


def test_what_is_withdrawn_has_no_turn() -> None:
    turns: FairQueue[tuple[int | None, int]] = FairQueue()
    turns.put(1, (1, 0))
    turns.put(2, (2, 0))
    turns.withdraw(1, (1, 0))
    turns.withdraw(1, (1, 0))
    turns.withdraw(2, (2, 7))
    assert taken(turns) == [(2, 0)]


@given(st.lists(st.integers(0, 3), max_size=40))
def test_nobody_has_two_turns_while_another_waits_for_one(users: list[int]) -> None:
    turns: FairQueue[tuple[int | None, int]] = FairQueue()
    for number, user in enumerate(users):
        turns.put(user, (user, number))
    order = taken(turns)
    assert sorted(order, key=lambda item: item[1]) == [(user, number) for number, user in enumerate(users)]
    had: defaultdict[int | None, int] = defaultdict(int)
    for taker, _ in order:
        had[taker] += 1
        assert all(had[taker] <= had[other] + 1 or had[other] == users.count(other) for other in set(users))
