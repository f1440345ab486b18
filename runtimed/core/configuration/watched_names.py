"""Names in directories on which the meaning of a path depends."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WatchedName:
    """A name in a directory that was looked up on the way to a file.

    Whatever happens to that name may change what the path means. ``directory`` is a real path;
    ``name`` None stands for every name in it that can be a drop-in's.
    """

    directory: str
    name: str | None


def is_dropin_name(name: str) -> bool:
    """Return whether a file of this name in the drop-in directory is a drop-in.

    Names with a leading dot are not: ``..data`` of a ConfigMap, editors' swap files (facts.md section 1).
    """
    return name.endswith(".json") and not name.startswith(".")
