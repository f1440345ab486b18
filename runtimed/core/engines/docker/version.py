"""Reads the version of dockerd."""

from __future__ import annotations

import re

Version = tuple[int, int]

# Since then an entry of daemon.json may have a runtimeType instead of a path (moby #45032).
RUNTIME_TYPE_SINCE: Version = (24, 0)


def parse_version(text: str | None) -> Version | None:
    """Return the version that ``dockerd --version`` or ``/info`` gives, None if there is none in it."""
    match = re.search(r"(?:version |\A)(\d+)\.(\d+)", text or "")
    return None if match is None else (int(match[1]), int(match[2]))


def render_version(version: Version) -> str:
    """Return ``version`` for a message."""
    return "{}.{}".format(*version)
