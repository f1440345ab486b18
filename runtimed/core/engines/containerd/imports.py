"""Resolves the ``imports`` of containerd's main file (containerd's ``cmd/containerd/server/config/config.go``)."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence

MAIN_FILE = "/etc/containerd/config.toml"
DIRECTORY = "/etc/containerd/conf.d"
# The pattern of containerd's default configuration since 2.2. `containerd config dump` then prints it for every main
# file, but containerd resolves only the imports that the main file itself has, and without a main file none.
USUAL = f"{DIRECTORY}/*.toml"

# An element of a pattern of Go's path/filepath.Match: a class, an escaped character, or a character.
_ELEMENT = re.compile(r"\[(\^?)((?:\\.|[^\\\]-])(?:\\.|[^\\\]])*)\]|\\(.)|(.)", re.DOTALL)
_WILDCARDS = {"*": "[^/]*", "?": "[^/]"}


def absolute(entry: str) -> str:
    """Return an entry of the main file's imports as an absolute path or pattern."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(MAIN_FILE), entry)).replace("//", "/")


def names(entry: str, file: str) -> bool:
    """Return whether ``entry``, an absolute path or pattern, names ``file``, by its directory's name."""
    # To containerd, only a path with an asterisk is a pattern.
    return entry == file or (
        "*" in entry and posixpath.dirname(entry) == posixpath.dirname(file) and _matches(entry, file)
    )


def replace_import(entries: Sequence[str], files: Iterable[str], file: str, new: str | None) -> list[str]:
    """Return absolute imports that name the same ``files`` of `DIRECTORY`, but ``new`` in place of ``file``.

    ``new`` is None for an import of all other files.
    """
    there = sorted({*files, file})
    replaced: list[str] = []
    for entry in map(absolute, entries):
        for path in [path for path in there if names(entry, path)] if names(entry, file) else [entry]:
            if path != file:
                replaced.append(path)
            elif new is not None:
                replaced.append(new)
    return replaced


def _matches(pattern: str, path: str) -> bool:
    """Return whether Go's filepath.Match does so; a malformed pattern, which containerd refuses, matches nothing."""
    parts = []
    for found in _ELEMENT.finditer(pattern):
        negated, members, escaped, plain = found.groups()
        if members is not None:
            parts.append(f"[{negated}{_class(members)}]")
        elif escaped is not None:
            parts.append(re.escape(escaped))
        else:
            parts.append(_WILDCARDS.get(plain) or re.escape(plain))
    try:
        return re.fullmatch("".join(parts), path, re.DOTALL) is not None
    except re.error:
        return False


def _class(members: str) -> str:
    r"""Return the members of a class for Python: only ``-`` between two of them and ``\`` are special to Go."""
    return re.sub(r"\\(.)|([\[&~|^])", lambda found: re.escape(found[1] or found[2]), members, flags=re.DOTALL)
