"""Renders the events that are kept with a generation as lines of JSON, bounds their number, and reads them.

A crash may leave an incomplete last line, and a full disk one in the middle; a reader skips such lines.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Bounds of the file of one generation. When it is full, the newer half of the events stays.
LINES_MAX = 1000
BYTES_MAX = 256 * 1024
# An event with a longer line is not kept.
_LINE_MAX = 32 * 1024
# The room on a file system that is left to generations.
_RESERVE_BYTES = 1024 * 1024
_RESERVE_FILES = 64
# The types of the events that are kept.
KINDS = frozenset({"reload", "health", "drift", "gc", "engine", "proof", "gap"})
_DROPPED = f"earlier events are not kept: a generation keeps its newest ones, up to {LINES_MAX}"


def render_event(kind: str, time_s: float, fields: Mapping[str, object]) -> bytes | None:
    """Return the line of an event; None if it is too long to be kept."""
    line = json.dumps({"time": round(time_s, 3), "type": kind, **fields}, separators=(",", ":")).encode() + b"\n"
    return line if len(line) <= _LINE_MAX else None


def add_lines(content: bytes, lines: Sequence[bytes]) -> tuple[bytes, bool]:
    """Return the bytes that add ``lines`` to a file with this ``content``, and whether to append them.

    False: they replace the content, of which the older half is dropped.
    """
    end = b"" if content.endswith(b"\n") or not content else b"\n"
    added = end + b"".join(lines)
    if len(content) + len(added) <= BYTES_MAX and content.count(b"\n") + added.count(b"\n") <= LINES_MAX:
        return added, True
    kept: list[bytes] = []
    size = 0
    for line in reversed((content + added).splitlines(keepends=True)):
        size += len(line)
        if size > BYTES_MAX // 2 or len(kept) >= LINES_MAX // 2:
            break
        kept.append(line)
    kept.reverse()
    first = next(read_lines(b"".join(kept)), None)
    gap = render_event("gap", 0.0 if first is None else first["time"], {"reason": _DROPPED}) or b""
    return gap + b"".join(kept), False


def lack_of_room(free_bytes: int | None, free_files: int | None) -> str | None:
    """Return why events must not be written to a file system with this room, None if they may.

    None for the room: the file system has no limit. The events of rejections must not use the room that is freed.
    """
    if free_bytes is not None and free_bytes < _RESERVE_BYTES:
        return f"less than {_RESERVE_BYTES:,} bytes are free, and the next generation may need them"
    if free_files is not None and free_files < _RESERVE_FILES:
        return f"less than {_RESERVE_FILES} inodes are free, and the next generation may need them"
    return None


def read_lines(content: bytes) -> Iterator[dict[str, Any]]:
    """Yield the events in ``content``. Lines that are incomplete, or of a type that is not known, are skipped."""
    for line in content.split(b"\n"):
        try:
            event = json.loads(line)
            if event["type"] in KINDS and math.isfinite(event["time"]):
                yield event
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
