"""References: which binary paths the containers and processes of a node still need, and what is not known of that.

What a container was started with stays in use until the container is gone, and a reference that is
missed is a container that cannot be stopped. Hence the rule of this module: a name too many is
harmless, a name too few is not.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from runtimed.core.containerd.api import decode_linux_runtime
from runtimed.core.containerd.options import RUNC, decode_options
from runtimed.core.errors import RuntimedError

# The options of containerd 1's first shim, io.containerd.runtime.v1.linux.
_LINUX = "containerd.linux.runc.RuncOptions"


@dataclass(frozen=True, slots=True)
class Reference:
    """A binary path, spelt as the holder has it (links are not resolved), and who holds it, in words."""

    path: str
    holder: str


@dataclass(frozen=True, slots=True)
class ReferenceScan:
    """All references that were found, and what could not be known, in words: each means "collect nothing"."""

    references: tuple[Reference, ...]
    unknown: tuple[str, ...]


class DamagedBundle(RuntimedError):
    """A file of a task's state directory does not say what it should."""

    code = "damaged-bundle"

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file
        self.reason = reason


def binary_of_options(type_url: str, value: bytes) -> str | None:
    """Return the runtime binary that a shim's options name, None where they name none or are of another kind.

    ``type_url`` may carry a prefix (``types.containerd.io/``, ``type.googleapis.com/``).

    Raises:
        UndecodableOptions, UndecodableAnswer: ``value`` is not the message that ``type_url`` says it is.
    """
    name = type_url.rpartition("/")[2]
    if name == RUNC:
        return str(dict(decode_options(name, value).fields).get("binary_name", "")) or None
    if name == _LINUX:
        return decode_linux_runtime(value) or None
    return None


def binary_of_options_json(data: bytes) -> str | None:
    """Return the runtime binary that ``data``, a task's ``options.json``, names, None where it names none.

    Raises:
        DamagedBundle: it is no JSON object, or its ``binary_name`` is no string.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedBundle("options.json", str(error)) from error
    binary = found.get("binary_name", "") if isinstance(found, dict) else None
    if not isinstance(binary, str):
        raise DamagedBundle("options.json", "no object with a binary_name that is a string")
    return binary or None


# What core.names makes file names of, in the directories where wrappers and links to them lie.
_END = rb"/(?:wrappers|runtimes)/[a-z0-9_.%~-]+"
_PLACES = (b"/wrappers/", b"/runtimes/")
# A path under which the data root is known too: a symbolic link, a bind mount. One match from one start: any
# local user may have a process with 131,072 slashes in its arguments.
_ALIAS = re.compile(rb"/.*" + _END, re.DOTALL)
_SEPARATORS = re.compile(rb"[\s=:,;|&<>()'\"`]+")


def paths_in_arguments(argv: Sequence[bytes], below: str) -> tuple[str, ...]:
    """Return the paths in a process's arguments that may be wrappers, or links to such.

    Those are: what a conmon is given as its runtime, what any program is given with ``--runtime``, and whatever
    looks like a path in a ``wrappers`` or ``runtimes`` directory, also in the middle of a word. ``below`` is
    the data root; only a path below it may hold blanks and the like.
    """
    found = list(_runtimes_given(argv))
    # re keeps the compiled pattern.
    known = re.compile(re.escape(below.encode(errors="surrogateescape")) + rb"(?:/generations/[0-9]{1,20})?" + _END)
    for word in argv:
        if any(place in word for place in _PLACES):
            found += known.findall(word)
            parts = (part[part.find(b"/") :] for part in _SEPARATORS.split(word) if b"/" in part)
            found += (match[0] for part in parts if (match := _ALIAS.match(part)))
    return tuple(dict.fromkeys(path.decode(errors="surrogateescape") for path in found))


def _runtimes_given(argv: Sequence[bytes]) -> list[bytes]:
    flags = [b"--runtime"]
    if argv and b"conmon" in argv[0].rpartition(b"/")[2]:
        flags.append(b"-r")
    found = []
    for flag in flags:
        found += [value for word, value in itertools.pairwise(argv) if word == flag]
        joined = flag + b"=" if flag.startswith(b"--") else flag
        found += [word.removeprefix(joined) for word in argv if word.startswith(joined)]
    return [path for path in found if path.startswith(b"/")]


# The last two components of a wrapper's path or of a stable path.
_NAME = re.compile(rb"/(?:wrappers|runtimes)/([a-z0-9_.%~-]+)")
# The options, in a command line, JSON or TOML, by which an engine is told the place of its files.
_PLACE = re.compile(
    rb"(?:data-root|graph|graphroot|rootless_storage_path|static_dir|config-file|--root)[\"']?[\s:=]+"
    rb"(?:\"(/[^\"\n]*)\"|'(/[^'\n]*)'|(/[^\s\"',]*))"
)


def wrappers_in_text(text: bytes) -> set[str]:
    """Return the file names of wrappers and stable paths that ``text``, part of an engine's file, contains."""
    if not any(place in text for place in _PLACES):
        return set()
    names = _NAME.findall(text)
    # systemd's unit files write a percent sign twice.
    return {name.decode() for found in names for name in (found, found.replace(b"%%", b"%"))}


def places_in_text(text: bytes) -> set[str]:
    """Return the absolute paths that ``text`` names as an engine's configuration file or its place for containers."""
    found = (quoted or single or bare for quoted, single, bare in _PLACE.findall(text))
    return {path.rstrip(b"/").decode(errors="surrogateescape") for path in found} - {""}


def engine_places(argv: Sequence[bytes]) -> set[str]:
    """Return the paths that ``argv`` names as the place of an engine's files, none for any other program."""
    if not argv or argv[0].rpartition(b"/")[2] not in (b"dockerd", b"podman", b"crio"):
        return set()
    return places_in_text(b"\n".join(argv))


def shim_address(argv: Sequence[bytes]) -> str | None:
    """Return the containerd socket that a shim was started for, None where ``argv`` is not that of a shim.

    containerd starts shims as ``containerd-shim-NAME-VERSION -namespace NS -id ID -address SOCKET``.
    """
    if not argv or not argv[0].rpartition(b"/")[2].startswith(b"containerd-shim"):
        return None
    for word, value in itertools.pairwise(argv):
        if word in (b"-address", b"--address"):
            return value.decode(errors="surrogateescape")
    return None
