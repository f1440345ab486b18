"""Implements a queue that serves users in turn."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """A round-robin queue: it returns one item of each user in turn, and the items of one user in their order.

    A user with a thousand items delays only the other items of that user.
    """

    __slots__ = ("_items", "_waiting")

    def __init__(self) -> None:
        # Users with items, the next user first.
        self._waiting: dict[int | None, deque[T]] = {}
        self._items = 0

    def __len__(self) -> int:
        """Return the number of items."""
        return self._items

    def count(self, user: int | None) -> int:
        """Return the number of items of ``user``."""
        return len(self._waiting.get(user, ()))

    def put(self, user: int | None, item: T) -> None:
        """Add ``item`` for ``user``."""
        self._waiting.setdefault(user, deque()).append(item)
        self._items += 1

    def withdraw(self, user: int | None, item: T) -> None:
        """Remove ``item`` of ``user`` if the queue contains it."""
        items = self._waiting.get(user, ())
        if item in items:
            self._waiting[user].remove(item)
            self._items -= 1
            if not items:
                del self._waiting[user]

    def take(self) -> T:
        """Remove and return the next item. Raises: StopIteration if the queue is empty."""
        user = next(iter(self._waiting))
        items = self._waiting.pop(user)
        item = items.popleft()
        self._items -= 1
        if items:
            self._waiting[user] = items  # behind all other users
        return item
