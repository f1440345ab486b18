"""Tests of the newest numbers: they equal those of a search through all retained generations."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runtimed.core.history.newest import NewestNumbers

KEYS = st.frozensets(st.sampled_from("abcdef"))


@given(st.lists(KEYS, max_size=3), st.lists(st.tuples(KEYS, st.integers(0, 2)), max_size=12))
def test_the_newest_numbers_are_those_of_a_search(
    found: list[frozenset[str]], steps: list[tuple[frozenset[str], int]]
) -> None:
    retained = dict(enumerate(found, 1))
    newest = NewestNumbers(retained.items())
    # A generation that is added first after a start has no known predecessor.
    current: frozenset[str] = frozenset()
    for number, (keys, dropped) in enumerate(steps, len(found) + 1):
        # A runtime that changed may have the same file as before.
        newest.add(number, current - keys | current & {"a"}, keys - current | keys & {"a"})
        retained[number] = current = keys
        for old in sorted(retained)[: min(dropped, len(retained) - 1)]:
            gone = newest.drop(old)
            others = {key for each, kept in retained.items() if each != old for key in kept}
            assert set(gone) == retained.pop(old) - others
        expected = {
            key: max(n for n, kept in retained.items() if key in kept) for kept in retained.values() for key in kept
        }
        assert dict(newest.items()) == expected
        assert {key: newest.get(key) for key in "abcdef"} == {key: expected.get(key) for key in "abcdef"}
