"""Defines the directory entries on which the meaning of a path depends."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WatchedName:
    """A directory entry that was looked up on the way to a file, so that a change of it may change the file.

    ``directory`` is a real path; ``name`` is None for every name in it that a drop-in can have.
    """

    directory: str
    name: str | None


def is_dropin_name(name: str) -> bool:
    """Return whether a file of this name in the drop-in directory is a drop-in.

    Names with a leading dot are not: ``..data`` of a ConfigMap, the swap files of editors.
    """
    return name.endswith(".json") and not name.startswith(".")
