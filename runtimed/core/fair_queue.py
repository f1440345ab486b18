"""Round robin: what waits for something of which there is one, when those who wait are several users."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """A queue that takes one item of each user in turn, those of one in their order.

    So whoever puts in a thousand keeps nobody waiting but himself.
    """

    __slots__ = ("_items", "_waiting")

    def __init__(self) -> None:
        # The users that wait, the next one first.
        self._waiting: dict[int | None, deque[T]] = {}
        self._items = 0

    def __len__(self) -> int:
        """Return how many items wait."""
        return self._items

    def of(self, user: int | None) -> int:
        """Return how many items of this user wait."""
        return len(self._waiting.get(user, ()))

    def put(self, user: int | None, item: T) -> None:
        """Let ``item`` wait."""
        self._waiting.setdefault(user, deque()).append(item)
        self._items += 1

    def withdraw(self, user: int | None, item: T) -> None:
        """Let ``item`` wait no longer, if it still does."""
        mine = self._waiting.get(user)
        if mine is not None and item in mine:
            mine.remove(item)
            self._items -= 1
            if not mine:
                del self._waiting[user]

    def take(self) -> T:
        """Return the item whose turn it is. Raises: StopIteration where none waits."""
        user, mine = next(iter(self._waiting.items()))
        del self._waiting[user]
        item = mine.popleft()
        self._items -= 1
        if mine:
            self._waiting[user] = mine  # behind all others
        return item
