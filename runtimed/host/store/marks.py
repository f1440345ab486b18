"""Tells by the status of a file or directory whether it has changed."""

from __future__ import annotations

import os

# A number for the status of a file: another status has another one, but for one in 2**61. A large table has tens of
# thousands of files, and tuples would take six times the memory.
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
    """Return whether the path does not lead to the file with this mark; None is the mark of none."""
    found = mark_at(path)
    return found is None or found != mark
