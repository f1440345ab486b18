"""Finds the paths of wrappers and other binaries in the options, arguments and files of engines.

A container needs the binary that it was started with until it is gone, and without it cannot be stopped. So a false
reference is harmless, and a missed one is not.
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

_DEFAULT_STATE = "/run/containerd"
_DEFAULT_ROOT = "/var/lib/containerd"
# The options of the shim io.containerd.runtime.v1.linux of containerd 1.
_LINUX = "containerd.linux.runc.RuncOptions"


@dataclass(frozen=True, slots=True)
class Engine:
    """A containerd: its API socket, its state directory, and its root directory where that is known.

    The default is Debian's own. For any other the root is not known unless it is given, so that an
    engine which is down cannot be told from one which was never there.
    """

    address: str = "/run/containerd/containerd.sock"
    state: str = _DEFAULT_STATE
    root: str | None = None

    @property
    def metadata(self) -> str | None:
        """The directory in which this containerd remembers its containers across reboots, None if not known."""
        root = self.root or (_DEFAULT_ROOT if self.state.rstrip("/") == _DEFAULT_STATE else None)
        return f"{root}/io.containerd.metadata.v1.bolt" if root else None


@dataclass(frozen=True, slots=True)
class Reference:
    """A binary path as the holder spells it, with links unresolved, and a description of the holder."""

    path: str
    holder: str


@dataclass(frozen=True, slots=True)
class ReferenceScan:
    """All references on the node."""

    references: tuple[Reference, ...]
    # The sources that could not be read, as messages; with any of them no wrapper may be collected.
    unknown: tuple[str, ...]


class DamagedBundle(RuntimedError):
    """A file of a task's state directory is damaged."""

    code = "damaged-bundle"

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file
        self.reason = reason


def binary_of_options(type_url: str, value: bytes) -> str | None:
    """Return the runtime binary in a shim's options, None for no binary and for options of another kind.

    ``type_url`` may have a prefix (``types.containerd.io/``, ``type.googleapis.com/``).

    Raises:
        UndecodableOptions, UndecodableAnswer: ``value`` is not a message of ``type_url``.
    """
    name = type_url.rpartition("/")[2]
    if name == RUNC:
        return str(dict(decode_options(name, value).fields).get("binary_name", "")) or None
    if name == _LINUX:
        return decode_linux_runtime(value) or None
    return None


def binary_of_options_json(data: bytes) -> str | None:
    """Return the runtime binary in ``data``, a task's ``options.json``, None for no binary.

    Raises:
        DamagedBundle: ``data`` is not a JSON object, or its ``binary_name`` is not a string.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedBundle("options.json", str(error)) from error
    binary = found.get("binary_name", "") if isinstance(found, dict) else None
    if not isinstance(binary, str):
        raise DamagedBundle("options.json", "expected an object whose binary_name is a string")
    return binary or None


# The end of the path of a wrapper or of a link to one; the file names are those of names.file_name().
_END = rb"/(?:wrappers|runtimes)/([a-z0-9_.%~-]+)"
_WRAPPER_NAME = re.compile(_END)
# A path through an alias of the data root: a symbolic link, a bind mount. It matches once from one start, because any
# local user may run a process with 131,072 slashes in its arguments.
_ALIAS = re.compile(rb"/.*" + _END, re.DOTALL)
_SEPARATORS = re.compile(rb"[\s=:,;|&<>()'\"`]+")
# The options that name an engine's files, in a command line, JSON or TOML.
_ENGINE_PATH = re.compile(
    rb"(?:data-root|graph|graphroot|rootless_storage_path|static_dir|config-file|--root)[\"']?[\s:=]+"
    rb"(?:\"(/[^\"\n]*)\"|'(/[^'\n]*)'|(/[^\s\"',]*))"
)


def paths_in_arguments(argv: Sequence[bytes], below: str) -> tuple[str, ...]:
    """Return the paths in a process's arguments that may lead to wrappers.

    Those are: the runtime of a conmon, the value of ``--runtime`` of any program, and each path in a directory
    ``wrappers`` or ``runtimes``, also inside a word. ``below`` is the data root, which may contain separators such as
    blanks; other paths end at a separator.
    """
    found = _runtime_arguments(argv)
    # re caches the compiled pattern.
    known = re.compile(re.escape(below.encode(errors="surrogateescape")) + rb"(?:/generations/[0-9]{1,20})?" + _END)
    for word in argv:
        if _may_name_wrapper(word):
            found += (match[0] for match in known.finditer(word))
            parts = (part[part.find(b"/") :] for part in _SEPARATORS.split(word) if b"/" in part)
            found += (match[0] for part in parts if (match := _ALIAS.match(part)))
    return tuple(dict.fromkeys(path.decode(errors="surrogateescape") for path in found))


def _may_name_wrapper(text: bytes) -> bool:
    # Spares most texts the search with regular expressions.
    return b"/wrappers/" in text or b"/runtimes/" in text


def _runtime_arguments(argv: Sequence[bytes]) -> list[bytes]:
    flags = [b"--runtime"]
    if argv and b"conmon" in argv[0].rpartition(b"/")[2]:
        flags.append(b"-r")
    found = []
    for flag in flags:
        found += [value for word, value in itertools.pairwise(argv) if word == flag]
        joined = flag + b"=" if flag.startswith(b"--") else flag
        found += [word.removeprefix(joined) for word in argv if word.startswith(joined)]
    return [path for path in found if path.startswith(b"/")]


def wrappers_in_text(text: bytes) -> set[str]:
    """Return the file names of wrappers and stable paths in ``text``, a part of an engine's file."""
    names = _WRAPPER_NAME.findall(text) if _may_name_wrapper(text) else []
    # systemd's unit files double a percent sign.
    return {name.decode() for found in names for name in (found, found.replace(b"%%", b"%"))}


def places_in_text(text: bytes) -> set[str]:
    """Return the absolute paths in ``text`` of an engine's configuration file and of its directories for containers."""
    found = (double_quoted or quoted or bare for double_quoted, quoted, bare in _ENGINE_PATH.findall(text))
    return {path.rstrip(b"/").decode(errors="surrogateescape") for path in found} - {""}


def engine_places(argv: Sequence[bytes]) -> set[str]:
    """Return `places_in_text` of the arguments of an engine, the empty set for any other program."""
    if not argv or argv[0].rpartition(b"/")[2] not in (b"dockerd", b"podman", b"crio"):
        return set()
    return places_in_text(b"\n".join(argv))


def shim_address(argv: Sequence[bytes]) -> str | None:
    """Return the containerd socket in the arguments of a shim, None for any other program.

    containerd starts shims as ``containerd-shim-NAME-VERSION -namespace NS -id ID -address SOCKET``.
    """
    if not argv or not argv[0].rpartition(b"/")[2].startswith(b"containerd-shim"):
        return None
    pairs = itertools.pairwise(argv)
    address = next((value for word, value in pairs if word in (b"-address", b"--address")), None)
    return None if address is None else address.decode(errors="surrogateescape")
