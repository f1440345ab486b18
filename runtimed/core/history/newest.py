"""Finds the newest generation that has a file, a part or a stable path; a publish adds only what it changes."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

# The value of each key of the current generation, so that a publish need not set a new number for all of them.
_CURRENT = 0


class NewestNumbers(Generic[K]):
    """Keys, such as names of files, with the number of the newest generation that has each.

    ``found`` are numbers in ascending order, with the keys of each generation. One thread changes an object, and others
    may call `get` and `items` at the same time: `items` copies, and while `add` runs, a number may be old or new.
    """

    def __init__(self, found: Iterable[tuple[int, Iterable[K]]]) -> None:
        self._numbers: dict[K, int] = {}
        for number, keys in found:
            self._numbers.update(dict.fromkeys(keys, number))
        self._current = _CURRENT
        # The keys that have had a number, for `drop`. Some have another number by now.
        self._keys: dict[int, list[K]] = {}
        for key, number in self._numbers.items():
            self._keys.setdefault(number, []).append(key)

    def get(self, key: K) -> int | None:
        """Return the number of the newest generation that has ``key``; None if none has."""
        number = self._numbers.get(key)
        return self._current if number == _CURRENT else number

    def items(self) -> Iterator[tuple[K, int]]:
        """Yield each key of this instant with the number of the newest generation that has it."""
        current = self._current
        return ((key, number or current) for key, number in self._numbers.copy().items())

    def add(self, number: int, old: Iterable[K], new: Iterable[K]) -> None:
        """Make ``number`` the current generation: unlike the one before it has ``new``, and does not have ``old``."""
        ended = self._keys.setdefault(self._current, [])
        for key in old:
            self._numbers[key] = self._current
            ended.append(key)
        self._current = number
        self._numbers.update(dict.fromkeys(new, _CURRENT))

    def drop(self, number: int) -> list[K]:
        """Forget the keys whose newest generation is ``number``, which is not retained any more, and return them."""
        gone = [key for key in self._keys.pop(number, ()) if self._numbers.get(key) == number]
        for key in gone:
            self._numbers.pop(key, None)
        return gone
