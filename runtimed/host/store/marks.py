"""Tells by the status of a file or directory whether it has changed."""

from __future__ import annotations

import os

# Every field of the status of a file that changes when the file changes.
Mark = tuple[int, ...]


def mark_of(state: os.stat_result) -> Mark:
    """Return the mark of a file with this status."""
    return (state.st_dev, state.st_ino, state.st_ctime_ns, state.st_size, state.st_mode, state.st_uid)


def is_changed(path: str, mark: Mark | None) -> bool:
    """Return whether the path does not lead to the file with this mark; None is the mark of none."""
    try:
        return mark_of(os.lstat(path)) != mark
    except OSError:
        return True
