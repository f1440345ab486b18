"""Finds the paths of wrappers and other binaries in the options, arguments and files of engines.

A container needs the binary that it was started with until it is gone, and without it cannot be stopped. So a false
reference is harmless, and a missed one is not.
"""

from __future__ import annotations

import itertools
import json
import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runtimed.core.containerd.api import decode_linux_runtime
from runtimed.core.containerd.options import RUNC, decode_options
from runtimed.core.errors import RuntimedError
from runtimed.core.history.layout import CURRENT
from runtimed.core.message_text import printable
from runtimed.core.pins import Pin
from runtimed.core.table.script import is_script_file

# The options of containerd 1's first shim, io.containerd.runtime.v1.linux.
_LINUX = "containerd.linux.runc.RuncOptions"


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


def references_of_pins(pins: Iterable[Pin], faults: Iterable[str]) -> ReferenceScan:
    """Return the references of ``pins`` to wrappers and stable paths; ``faults`` are the pins that could not be read.

    The engine calls the stable path as long as the container lives, also after the runtime was removed. The binary of a
    runtime without arguments is left out. It would keep the wrappers of a runtime of the same name.
    """
    pins = tuple(pins)
    wrapped = (pin for pin in pins if is_script_file(posixpath.basename(pin.target)))
    references = (Reference(pin.target, f"container {printable(pin.id)} (pin)") for pin in wrapped)
    stable = {pin.link: Reference(f"{CURRENT}/{pin.link}", f"container {printable(pin.id)} (pin)") for pin in pins}
    return ReferenceScan((*references, *stable.values()), tuple(faults))


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
        UndecodableOptions, UndecodableMessage: ``value`` is not a message of ``type_url``.
    """
    name = type_url.rpartition("/")[2]
    if name == RUNC:
        return decode_options(name, value).binary_name or None
    if name == _LINUX:
        return decode_linux_runtime(value) or None
    return None


def binary_of_options_json(data: bytes) -> str | None:
    """Return the runtime binary in ``data``, a task's ``options.json``, None for no binary.

    Raises: DamagedBundle.
    """
    return runc_options_of_json(data)[0] or None


def runc_options_of_json(data: bytes) -> tuple[str, str]:
    """Return the runtime binary and the root in ``data``, a task's ``options.json``, "" for none.

    Raises:
        DamagedBundle: ``data`` is not a JSON object, or one of them is not a string.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedBundle("options.json", str(error)) from error
    binary, root = (found.get(key, "") if isinstance(found, dict) else None for key in ("binary_name", "root"))
    if not (isinstance(binary, str) and isinstance(root, str)):
        raise DamagedBundle("options.json", "expected an object whose binary_name and root are strings")
    return binary, root


# The file name of a wrapper or of a stable path (see names.file_name()), after the name of its directory. The rest of
# the path does not matter, because symbolic links and bind mounts give the data root other paths. Only the slash is
# consumed, so that a data root called "runtimes" hides no name.
_WRAPPER_NAME = re.compile(rb"/(?=(?:wrappers|runtimes)/([a-z0-9_.%~-]+))")
# The options that name an engine's files, in a command line, JSON or TOML.
_ENGINE_PATH = re.compile(
    rb"(?:data-root|graph|graphroot|rootless_storage_path|static_dir|config-file|--root)[\"']?[\s:=]+"
    rb"(?:\"(/[^\"\n]*)\"|'(/[^'\n]*)'|(/[^\s\"',]*))"
)


def paths_in_arguments(argv: Sequence[bytes]) -> tuple[str, ...]:
    """Return the paths of runtimes in a process's arguments, and the names of wrappers and stable paths.

    The paths are the runtime of a conmon and the value of ``--runtime`` of any program.
    """
    flags = [b"--runtime"]
    if argv and b"conmon" in argv[0].rpartition(b"/")[2]:
        flags.append(b"-r")
    found = []
    for flag in flags:
        found += [value for word, value in itertools.pairwise(argv) if word == flag]
        joined = flag + b"=" if flag.startswith(b"--") else flag
        found += [word.removeprefix(joined) for word in argv if word.startswith(joined)]
    paths = [path.decode(errors="surrogateescape") for path in found if path.startswith(b"/")]
    return tuple(dict.fromkeys((*paths, *sorted(wrappers_in_text(b"\n".join(argv))))))


def wrappers_in_text(text: bytes) -> set[str]:
    """Return the file names of wrappers and stable paths in ``text``, a part of an engine's file."""
    names = _WRAPPER_NAME.findall(text)
    # systemd's unit files double a percent sign.
    return {name.decode() for found in names for name in (found, found.replace(b"%%", b"%"))}


def engine_paths_in_text(text: bytes) -> set[str]:
    """Return the absolute paths in ``text`` of an engine's configuration file and of its directories for containers."""
    found = (double_quoted or quoted or bare for double_quoted, quoted, bare in _ENGINE_PATH.findall(text))
    return {path.rstrip(b"/").decode(errors="surrogateescape") for path in found} - {""}


def engine_paths_in_arguments(argv: Sequence[bytes]) -> set[str]:
    """Return `engine_paths_in_text` of the arguments of an engine, the empty set for any other program."""
    if not argv or argv[0].rpartition(b"/")[2] not in (b"dockerd", b"podman", b"crio"):
        return set()
    return engine_paths_in_text(b"\n".join(argv))


def shim_address(argv: Sequence[bytes]) -> str | None:
    """Return the containerd socket in the arguments of a shim, None for any other program.

    containerd starts shims as ``containerd-shim-NAME-VERSION -namespace NS -id ID -address SOCKET``.
    """
    if not argv or not argv[0].rpartition(b"/")[2].startswith(b"containerd-shim"):
        return None
    pairs = itertools.pairwise(argv)
    address = next((value for word, value in pairs if word in (b"-address", b"--address")), None)
    return None if address is None else address.decode(errors="surrogateescape")
