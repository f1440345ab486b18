"""Who listens to anything: how many may, and the end of one that does not read."""

from __future__ import annotations

from collections.abc import Callable

from runtimed.api.stream import Channel

# In all, and for one user: each may cost as much memory as it leaves unread.
SUBSCRIBERS_MOST = 512
SUBSCRIBERS_OF_ONE = 256

LEFT_UNREAD = "too much was left unread; subscribe again with since"
NOTHING_READ = "nothing was read for too long; subscribe again with since"


class Subscribers:
    """Everybody who listens, to one kind of stream or another; ``dropped`` hears why one was given up."""

    def __init__(self, dropped: Callable[[str], None]) -> None:
        self._told_dropped = dropped
        # Channel -> the user at its other end.
        self._uids: dict[Channel, int] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._uids)

    def is_full(self, uid: int) -> bool:
        """Return whether there may be no more of them, or no more of the user ``uid``."""
        own = sum(other == uid for other in self._uids.values())
        return len(self._uids) >= SUBSCRIBERS_MOST or own >= SUBSCRIBERS_OF_ONE

    def add(self, channel: Channel, uid: int) -> None:
        """Count in one of the user ``uid``."""
        self._uids[channel] = uid

    def discard(self, channel: Channel) -> None:
        """Count out one that is gone."""
        self._uids.pop(channel, None)

    def drop(self, channel: Channel, last_words: bytes = b"", reason: str = LEFT_UNREAD) -> None:
        """Give up one that does not read, for this ``reason``; ``last_words`` tell it so."""
        channel.end(last_words)
        self.discard(channel)
        self._told_dropped(reason)
