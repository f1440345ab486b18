"""Marks the files that runtimed writes for engines, so that it never changes other files."""

from __future__ import annotations

from runtimed.core.engines.engine import FileWrite, Found
from runtimed.core.errors import ConfigurationRejected, Problem

# The first line of each file that is wholly runtimed's; TOML and NFD's feature files have such comments.
MARK = "# Written by runtimectl export. Do not edit: runtimed's configuration has the table.\n"


def owned_write(path: str, text: str, found: Found) -> FileWrite:
    """Return the write of ``text`` below the mark to ``path``, a file that is wholly runtimed's.

    Raises:
        ConfigurationRejected: the file exists and has no mark.
    """
    existing = found.files.get(path)
    if existing is not None and not existing.startswith(MARK.encode()):
        message = "was not written by runtimectl, which therefore leaves it as it is; give it another name"
        raise ConfigurationRejected((Problem(message, path, 1, found="another file", expected=MARK.strip()),))
    return FileWrite(path, f"{MARK}{text}".encode())
