"""Sends reloads as the daemon events of the Docker Engine API, and parses queries for them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from runtimed.api.docker.node import runtime_paths
from runtimed.api.stream import Channel, Stream
from runtimed.api.subscribers import NOTHING_READ, Subscribers
from runtimed.core.table.generation import Generation

# Events kept for clients that query with `since`; dockerd keeps as many.
_KEPT = 256
_KEPT_BYTES = 256 * 1024
# An event omits a longer list of runtimes: a few such lists would reach the limit of bytes that a client may leave
# unread.
_RUNTIMES_BYTES = 64 * 1024

_SECONDS = re.compile(r"(-?[0-9]{1,12})(?:\.([0-9]{1,30}))?", re.ASCII)
_RFC_3339 = re.compile(r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:\.(\d{1,30}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
# Filters for objects of another type; no event here is about one.
_OTHERS = frozenset({"config", "container", "image", "network", "node", "plugin", "secret", "service", "volume"})


class BadEventQuery(ValueError):
    """A query for events that cannot be parsed; its text says what was expected."""


@dataclass(frozen=True, slots=True)
class EventQuery:
    """The wanted events: from ``since_ns`` to ``until_ns`` (since the epoch), and of them those that pass ``filters``.

    ``filters`` has only filters with values, because one without values passes all events.
    """

    since_ns: int | None = None
    until_ns: int | None = None
    filters: Mapping[str, frozenset[str]] | None = None


@dataclass(frozen=True, slots=True)
class ReloadEvent:
    """One reload as dockerd reports it; ``line`` is the whole event as JSON."""

    time_ns: int
    actor: str
    attributes: Mapping[str, str]
    line: bytes


def parse_event_query(query: Mapping[str, str]) -> EventQuery:
    """Return the parsed query of a request for events; an empty value counts as absent, as in dockerd.

    Raises: BadEventQuery.
    """
    since_ns, until_ns = (_parse_time(key, query.get(key, "")) for key in ("since", "until"))
    if since_ns is not None and until_ns is not None and until_ns < since_ns:
        raise BadEventQuery(f"`since` time ({query['since']}) cannot be after `until` time ({query['until']})")
    return EventQuery(since_ns, until_ns, _parse_filters(query.get("filters", "")))


def make_event(generation: Generation, outcome: str, actor: str, name: str, time_ns: int) -> ReloadEvent:
    """Return the event of a reload that left ``generation`` current.

    ``actor`` is the daemon's id and ``name`` the node's. All attributes are strings, as in dockerd; ``outcome`` and
    ``generation`` are additions of runtimed.
    """
    attributes = {
        "default-runtime": generation.config.default_runtime,
        "generation": str(generation.number),
        "name": name,
        "outcome": outcome,
    }
    runtimes = _list_runtimes(generation)
    if runtimes is None:
        attributes["runtimes-omitted"] = f"{len(generation.runtimes)} runtimes; /info lists them"
    else:
        attributes["runtimes"] = runtimes
    message = {
        "Type": "daemon",
        "Action": "reload",
        "Actor": {"ID": actor, "Attributes": attributes},
        "scope": "local",
        "time": time_ns // 10**9,
        "timeNano": time_ns,
    }
    return ReloadEvent(time_ns, actor, attributes, json.dumps(message).encode() + b"\n")


def _list_runtimes(generation: Generation) -> str | None:
    """Return the runtimes with their paths; None if the list is too long, without rendering the rest of it."""
    # Each has a name, a colon and a blank, except that the last one has no blank.
    if sum(map(len, generation.runtimes)) + 2 * len(generation.runtimes) - 1 > _RUNTIMES_BYTES:
        return None
    found: list[str] = []
    bytes_left = _RUNTIMES_BYTES
    for runtime, path in runtime_paths(generation):
        found.append(f"{runtime}:{path}")
        # A blank separates two of them.
        bytes_left -= len(found[-1].encode(errors="replace")) + (len(found) > 1)
        if bytes_left < 0:
            return None
    return " ".join(found)


def is_wanted(event: ReloadEvent, query: EventQuery) -> bool:
    """Return whether ``event`` passes all filters of ``query``, by dockerd's rules."""
    return all(_passes(event, key, values) for key, values in (query.filters or {}).items())


class Reloads:
    """Sends reload events to its clients, which count as ``subscribers``, and keeps the newest."""

    def __init__(self, subscribers: Subscribers) -> None:
        self._subscribers = subscribers
        self._kept: deque[ReloadEvent] = deque()
        self._kept_bytes = 0
        # Each with the timer that ends its stream at `until`.
        self._channels: dict[Channel, tuple[EventQuery, asyncio.TimerHandle | None]] = {}

    def publish(self, event: ReloadEvent) -> None:
        """Send ``event`` to every client whose query matches it, and keep it for queries with `since`."""
        self._kept.append(event)
        self._kept_bytes += len(event.line)
        while len(self._kept) > _KEPT or self._kept_bytes > _KEPT_BYTES:
            self._kept_bytes -= len(self._kept.popleft().line)
        for channel, (query, _) in tuple(self._channels.items()):
            if is_wanted(event, query) and not _is_after(event, query):
                self._deliver(channel, event.line)

    def earlier(self, query: EventQuery) -> bytes:
        """Return the kept events that ``query`` matches, none of them if it names no time."""
        if query.since_ns is None and query.until_ns is None:
            return b""
        since = [event for event in self._kept if query.since_ns is None or event.time_ns >= query.since_ns]
        return b"".join(event.line for event in since if not _is_after(event, query) and is_wanted(event, query))

    def stream(self, query: EventQuery, uid: int, content_type: str) -> Stream:
        """Return a stream of the events that ``query`` matches, for the user ``uid``."""

        def begin(channel: Channel) -> Callable[[], None]:
            self._subscribers.add(channel, uid)
            timer = None
            if query.until_ns is not None:
                left_s = (query.until_ns - time.time_ns()) / 10**9
                timer = asyncio.get_running_loop().call_later(left_s, self._end, channel)
            self._channels[channel] = query, timer
            if earlier := self.earlier(query):
                self._deliver(channel, earlier)
            return lambda: self._discard(channel)

        # dockerd's clients know no event that says why a stream ends, so it ends without one.
        return Stream(content_type, begin, lambda channel: self._subscribers.drop(channel, reason=NOTHING_READ))

    def _deliver(self, channel: Channel, data: bytes) -> None:
        if not channel.send(data) and not channel.is_closing:
            self._subscribers.drop(channel)
            self._discard(channel)

    def _end(self, channel: Channel) -> None:
        channel.end()
        self._discard(channel)

    def _discard(self, channel: Channel) -> None:
        self._subscribers.discard(channel)
        _, timer = self._channels.pop(channel, (None, None))
        if timer is not None:
            timer.cancel()


def _is_after(event: ReloadEvent, query: EventQuery) -> bool:
    return query.until_ns is not None and event.time_ns > query.until_ns


def _passes(event: ReloadEvent, key: str, values: frozenset[str]) -> bool:
    match key:
        case "type":
            return "daemon" in values
        case "event":
            return "reload" in values
        case "scope":
            return "local" in values
        case "daemon":
            return any(event.actor.startswith(value) or event.attributes["name"].startswith(value) for value in values)
        case "label":
            return all(_has(event.attributes, value) for value in values)
        case _:
            # dockerd ignores keys that it does not know.
            return key not in _OTHERS


def _has(attributes: Mapping[str, str], label: str) -> bool:
    key, has_value, value = label.partition("=")
    return key in attributes and (not has_value or attributes[key] == value)


def _parse_time(key: str, text: str) -> int | None:
    """Return nanoseconds since the epoch, None for an empty text; smaller fractions are cut off, as in dockerd."""
    if not text:
        return None
    if found := _SECONDS.fullmatch(text):
        return int(found[1]) * 10**9 + _nanoseconds(found[2])
    if found := _RFC_3339.fullmatch(text):
        with contextlib.suppress(ValueError):
            moment = datetime.fromisoformat(found[1] + found[3].upper())
            return int(moment.timestamp()) * 10**9 + _nanoseconds(found[2])
    raise BadEventQuery(f"{key} is {text!r}; expected seconds since the epoch or RFC 3339: 2026-01-31T12:00:00Z")


def _nanoseconds(fraction: str | None) -> int:
    return int((fraction or "")[:9].ljust(9, "0"))


def _parse_filters(text: str) -> Mapping[str, frozenset[str]]:
    """Return the values of each filter, from either form: {"type": {"daemon": true}} or {"type": ["daemon"]}."""
    bad = BadEventQuery(f'filters is {text!r}; expected JSON such as {{"type": ["daemon"]}}')
    try:
        document = json.loads(text) if text else None
    except (ValueError, RecursionError):
        raise bad from None
    if not isinstance(document, dict | None):
        raise bad
    found: dict[str, frozenset[str]] = {}
    for key, values in (document or {}).items():
        match values:
            case list() if all(isinstance(value, str) for value in values):
                found[key] = frozenset(values)
            case dict() if all(isinstance(value, bool) for value in values.values()):
                # A filter all of whose values are false matches no event.
                found[key] = frozenset(value for value, wanted in values.items() if wanted)
            case _:
                raise bad
        if not values:
            del found[key]
    return found
