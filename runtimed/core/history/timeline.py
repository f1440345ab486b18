"""Merges the retained generations and the events that are kept with them by time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, cast

from runtimed.core.errors import StoreFailed
from runtimed.core.history.event_lines import read_lines
from runtimed.core.history.retained import Summary

if TYPE_CHECKING:
    from runtimed.core import shapes

# Bounds of one response: its entries, and the bytes of the files that are read for it.
ENTRIES_MAX = 10_000
_READ_MAX = 8 * 1024 * 1024


def make_timeline(generations: Sequence[Summary], read: Callable[[int], bytes], since_s: float) -> shapes.History:
    """Return the entries from ``since_s`` on, in seconds since the epoch, in the order of time.

    ``generations`` are the retained ones, the oldest first; ``read`` returns the lines of events of one of them, or
    raises StoreFailed. If there are too many entries, the oldest are left out.
    """
    # For each generation, the newest first: itself and its events.
    parts: list[list[dict[str, Any]]] = []
    size, truncated, ended_s = 0, False, float("inf")
    for generation in reversed(generations):
        # The events of a generation are older than the generation after it.
        if ended_s < since_s:
            break
        if truncated := size > _READ_MAX or sum(map(len, parts)) > ENTRIES_MAX:
            break
        ended_s = generation.created_s
        part: list[dict[str, Any]] = [{"time": ended_s, "type": "generation", **generation.as_dict()}]
        try:
            content = read(generation.number)
            size += len(content)
            part += read_lines(content)
        except StoreFailed as error:
            part.append({"time": ended_s, "type": "gap", "reason": str(error)})
        parts.append(part)
    # An event that a busy disk delayed is in the file of the generation after its own.
    found = sorted((entry for part in reversed(parts) for entry in part), key=itemgetter("time"))
    found = [entry for entry in found if entry["time"] >= since_s]
    truncated = truncated or len(found) > ENTRIES_MAX
    return {"entries": cast("list[shapes.HistoryEntry]", found[-ENTRIES_MAX:]), "truncated": truncated}
