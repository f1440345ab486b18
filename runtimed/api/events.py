"""Sends numbered events to subscribers, and keeps the newest for those that reconnect."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from runtimed.api.stream import Channel, Stream
from runtimed.api.subscribers import LEFT_UNREAD, NOTHING_READ, Subscribers

# Events kept for subscribers that reconnect.
_KEPT = 1000
_KEPT_BYTES = 256 * 1024
HEARTBEAT_S = 15.0

_CONTENT_TYPE = "application/x-ndjson"


class Events:
    """Numbered events, sent to every subscriber in the same order.

    Numbers begin with the time of the start in milliseconds since the epoch, or where `continue_from` says, so that a
    later process has higher ones and ``since`` stays unambiguous. ``dropped`` is called with the reason for each
    subscriber that is dropped. The limits of ``subscribers`` also hold for streams of another form.
    """

    def __init__(self, dropped: Callable[[str], None], heartbeat_s: float = HEARTBEAT_S) -> None:
        self.last = int(time.time() * 1000)
        self.subscribers = Subscribers(dropped)
        self._heartbeat_s = heartbeat_s
        self._kept: deque[tuple[int, bytes]] = deque()
        self._kept_bytes = 0
        # The subscribers to these events, in the order in which they subscribed.
        self._channels: dict[Channel, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return the number of subscribers to streams of any form."""
        return len(self.subscribers)

    def continue_from(self, number: int) -> None:
        """Number events from ``number`` + 1 on, and renumber the earlier ones: no subscriber has received them yet."""
        early = [json.loads(line) for _, line in self._kept]
        self._kept.clear()
        self._kept_bytes = 0
        self.last = number
        for event in early:
            self.publish(event["type"], {key: event[key] for key in event if key not in ("seq", "time", "type")})

    def publish(self, kind: str, fields: Mapping[str, object]) -> None:
        """Send an event of type ``kind`` with ``fields`` to every subscriber, and keep it."""
        self.last += 1
        line = self._line(kind, fields)
        self._kept.append((self.last, line))
        self._kept_bytes += len(line)
        while len(self._kept) > _KEPT or self._kept_bytes > _KEPT_BYTES:
            self._kept_bytes -= len(self._kept.popleft()[1])
        self._send(line)

    def stream(self, since: int | None, uid: int) -> Stream:
        """Return a stream of the events from now on, or after the event number ``since``, for the user ``uid``."""

        def begin(channel: Channel) -> Callable[[], None]:
            self.subscribers.add(channel, uid)
            self._channels[channel] = None
            self._deliver(channel, b"".join((*self._past(since), self._line("heartbeat"))))
            self._schedule_heartbeat()
            return lambda: self._discard(channel)

        return Stream(_CONTENT_TYPE, begin, lambda channel: self._drop(channel, NOTHING_READ))

    def close(self) -> None:
        """Send every subscriber a last event and end its stream: the daemon stops."""
        for channel in tuple(self._channels):
            channel.end(self._line("end", {"reason": "the daemon stops"}))
            self._discard(channel)

    def _past(self, since: int | None) -> Iterable[bytes]:
        if since is None:
            return
        oldest = self._kept[0][0] if self._kept else self.last + 1
        if not oldest - 1 <= since <= self.last:
            reason = f"events before number {oldest} are not known any more; runtimectl status shows the current state"
            yield self._line("gap", {"seq": oldest - 1, "reason": reason})
        for number, line in self._kept:
            # A ``since`` above all numbers is from another process: all events of this one are new to the subscriber.
            if number > since or since > self.last:
                yield line

    def _line(self, kind: str, fields: Mapping[str, object] = MappingProxyType({})) -> bytes:
        event = {"seq": self.last, "time": round(time.time(), 3), "type": kind, **fields}
        return json.dumps(event).encode() + b"\n"

    def _send(self, line: bytes) -> None:
        for channel in tuple(self._channels):
            self._deliver(channel, line)

    def _deliver(self, channel: Channel, data: bytes) -> None:
        if not channel.send(data) and not channel.is_closing:
            self._drop(channel, LEFT_UNREAD)

    def _drop(self, channel: Channel, reason: str) -> None:
        self.subscribers.drop(channel, self._line("dropped", {"reason": reason}), reason)
        self._discard(channel)

    def _schedule_heartbeat(self) -> None:
        if self._channels and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._heartbeat_s, self._beat)

    def _beat(self) -> None:
        self._timer = None
        self._send(self._line("heartbeat"))
        self._schedule_heartbeat()

    def _discard(self, channel: Channel) -> None:
        self.subscribers.discard(channel)
        self._channels.pop(channel, None)
        if not self._channels and self._timer is not None:
            self._timer.cancel()
            self._timer = None
