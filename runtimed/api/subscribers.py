"""Bounds the number of clients that receive events, and drops those that do not read."""

from __future__ import annotations

from collections.abc import Callable

from runtimed.api.stream import Channel

# In all, and for one user: each costs as much memory as it leaves unread.
SUBSCRIBERS_MOST = 512
SUBSCRIBERS_OF_ONE = 256

LEFT_UNREAD = "too much was left unread; subscribe again with since"
NOTHING_READ = "nothing was read for too long; subscribe again with since"


class Subscribers:
    """The subscribers to all kinds of streams; ``on_drop`` is called with the reason when one is dropped."""

    def __init__(self, on_drop: Callable[[str], None]) -> None:
        self._on_drop = on_drop
        # Channel -> user id of its client.
        self._uids: dict[Channel, int] = {}

    def __len__(self) -> int:
        """Return the number of subscribers."""
        return len(self._uids)

    def is_full(self, uid: int) -> bool:
        """Return whether the limit is reached, in all or for the user ``uid``."""
        own = sum(other == uid for other in self._uids.values())
        return len(self._uids) >= SUBSCRIBERS_MOST or own >= SUBSCRIBERS_OF_ONE

    def add(self, channel: Channel, uid: int) -> None:
        """Add a subscriber of the user ``uid``."""
        self._uids[channel] = uid

    def discard(self, channel: Channel) -> None:
        """Remove a subscriber, if it is one."""
        self._uids.pop(channel, None)

    def drop(self, channel: Channel, last_words: bytes = b"", reason: str = LEFT_UNREAD) -> None:
        """Send ``last_words``, end the channel, remove the subscriber and report the ``reason``."""
        channel.end(last_words)
        self.discard(channel)
        self._on_drop(reason)
