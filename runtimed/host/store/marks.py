"""Finds out whether a file or directory has changed, by its status."""

from __future__ import annotations

import os

# A hash of the status of a file. Another status has the same hash with a probability of 2**-61. A large table has tens
# of thousands of files, and tuples would take six times the memory.
Mark = int


def mark_of(state: os.stat_result) -> Mark:
    """Return the mark of a file with this status."""
    # Every field that changes when the file changes.
    return hash((state.st_dev, state.st_ino, state.st_ctime_ns, state.st_size, state.st_mode, state.st_uid))


def mark_at(path: str) -> Mark | None:
    """Return the mark of the file at ``path``, None if there is none or it cannot be seen."""
    try:
        return mark_of(os.lstat(path))
    except OSError:
        return None


def is_changed(path: str, mark: Mark | None) -> bool:
    """Return whether the file at ``path`` is missing or has another mark than ``mark``; always for None."""
    found = mark_at(path)
    return found is None or found != mark
