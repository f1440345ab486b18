"""Defines the result of a translation, and checks a translated drop-in as the daemon would."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from runtimed.core.config import Settings
from runtimed.core.configuration.inputs import Documents, Flags, Source
from runtimed.core.configuration.parse import parse_configuration
from runtimed.core.configuration.position import Location, Pointer
from runtimed.core.containerd.names import RUNC_NAME
from runtimed.core.containerd.options import MESSAGES
from runtimed.core.errors import ConfigurationRejected, Problem
from runtimed.core.history.layout import CURRENT
from runtimed.core.message_text import called, shown

# Maps a pointer into the drop-in to the place in the original.
Locate = Callable[[Pointer], Location]
# A drop-in sets none of these, so any value will do.
_SETTINGS = Settings("/var/lib/runtimed", "/run/runtimed", ())
_STABLE_PATHS = f"{_SETTINGS.data_root}/{CURRENT}/"
# For an import.
RUNC_IS_RESERVED = (
    "the name 'runc' is reserved: in runtimed it always means the runc of this node, and this entry is something else; "
    "give it another name with --rename runc=NAME"
)
# The directories in which the runc of a node is found by its name.
_STANDARD_DIRECTORIES = frozenset({"/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/bin", "/sbin"})


class Inexpressible(Exception):
    """An engine's configuration cannot express a runtime; the text says why."""


@dataclass(frozen=True, slots=True)
class Translation:
    """A configuration for another engine, or a drop-in for runtimed; ``remarks`` say what it leaves out or changes."""

    document: Mapping[str, object]
    remarks: tuple[Problem, ...] = ()


class Reader:
    """Reads the configuration of another engine, and collects remarks and problems on the way.

    ``renames`` maps old names of runtimes to new ones.
    """

    def __init__(self, renames: Mapping[str, str]) -> None:
        self.renames = renames
        self.remarks: list[Problem] = []
        self.problems: list[Problem] = []

    def remark(self, where: Location, message: str) -> None:
        """Add a remark on a place in the original."""
        self.remarks.append(Problem(message, where.file, where.line, pointer=where.pointer))

    def finish(self, dropin: Mapping[str, object], locate: Locate) -> Translation:
        """Return the translation, once runtimed would accept ``dropin``; raise ConfigurationRejected otherwise."""
        own = self._without_stable_paths(dropin, locate)
        try:
            return Translation(accept(own, self.renames, locate, self.problems), tuple(self.remarks))
        except ConfigurationRejected as rejection:
            rejection.remarks = tuple(self.remarks)
            raise

    def _without_stable_paths(self, dropin: Mapping[str, object], locate: Locate) -> Mapping[str, object]:
        """Return ``dropin`` without the runtimes that an export has put into the original."""
        runtimes = dropin.get("runtimes")
        if not isinstance(runtimes, dict):
            return dropin
        exported = {name for name, entry in runtimes.items() if _is_exported(entry)}
        for name in exported:
            text = "left out: its binary is a stable path of runtimed, which has the runtime already"
            self.remark(locate(("runtimes", name)), text)
        result = {**dropin, "runtimes": {name: runtimes[name] for name in runtimes if name not in exported}}
        default = dropin.get("default-runtime")
        if isinstance(default, str) and default in exported:
            self.remark(locate(("default-runtime",)), "left out with the runtime that it names")
            del result["default-runtime"]
        return result


def _is_exported(entry: object) -> bool:
    """Return whether the binary of a runtime is a stable path of the default data root."""
    if not isinstance(entry, dict):
        return False
    options = entry.get("options")
    binaries = [value for key, value in entry.items() if str(key).casefold() == "path"]
    if isinstance(options, dict):
        binaries += [value for key, value in options.items() if str(key).casefold() in ("binaryname", "binary_name")]
    return any(isinstance(binary, str) and binary.startswith(_STABLE_PATHS) for binary in binaries)


def is_runc_of_node(path: str) -> bool:
    """Return whether ``path``, or a name on PATH, is the runc of this node."""
    directory, base = posixpath.split(path)
    return base == RUNC_NAME and directory in {"", *_STANDARD_DIRECTORIES}


def is_option(key: str, message: str) -> bool:
    """Return whether dockerd and containerd know ``key`` as a field of the options message ``message``."""
    return any(key.casefold() == field.go_name.casefold() for field in MESSAGES[message])


def accept(
    document: Mapping[str, object], renames: Mapping[str, str], locate: Locate, found: Iterable[Problem] = ()
) -> dict[str, object]:
    """Return ``document``, a drop-in, with its runtimes renamed (old name -> new name), once runtimed would accept it.

    ``locate`` is called with the names of the original. ``found`` are the problems that were found before.

    Raises:
        ConfigurationRejected: with every problem at its place in the original.
    """
    result, faults = _rename(document, renames, locate)
    problems = [*found, *faults]
    omitted = 0
    if not faults:
        # Checked as bytes, because the daemon will read bytes. Values that JSON cannot write are problems already.
        source = Source("", json.dumps(result, default=str).encode())
        try:
            parse_configuration(Documents("", source), Flags(), _SETTINGS)
        except ConfigurationRejected as exc:
            old_names = {new: old for old, new in renames.items()}
            omitted = exc.omitted
            problems += [_moved(problem, result, old_names, locate) for problem in exc.problems]
    if problems:
        raise ConfigurationRejected(tuple(sorted(problems, key=lambda p: (p.line or 0, p.column or 0))), omitted)
    return result


def _rename(
    document: Mapping[str, object], renames: Mapping[str, str], locate: Locate
) -> tuple[dict[str, object], list[Problem]]:
    result, problems = dict(document), []
    table = document.get("runtimes")
    runtimes: Mapping[str, object] = table if isinstance(table, dict) else {}
    where = locate(("runtimes",))
    for old in renames:
        if old not in runtimes:
            message = f"no runtime is named {called(old)}, so it cannot be renamed"
            problems.append(where.problem(message, "no such runtime", "the name of a runtime in it"))
    names = [renames.get(name, name) for name in runtimes]
    for new in dict.fromkeys(name for name in names if names.count(name) > 1):
        message = f"two runtimes would be named {called(new)}; choose another name"
        problems.append(where.problem(message, shown(new), "a name for one runtime"))
    if runtimes:
        result["runtimes"] = dict(zip(names, runtimes.values(), strict=True))
    default = document.get("default-runtime")
    if isinstance(default, str):
        result["default-runtime"] = renames.get(default, default)
    return result, problems


def _moved(problem: Problem, document: object, old_names: Mapping[str, str], locate: Locate) -> Problem:
    """Return ``problem`` of the drop-in ``document`` at its place in the original."""
    pointer: list[str | int] = []
    value = document
    for part in (problem.pointer or "").split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list) and not key.isdecimal():
            break  # the pointer is cut within an index
        pointer.append(int(key) if isinstance(value, list) else key)
        value = value[int(key)] if isinstance(value, list) else value.get(key) if isinstance(value, dict) else None
    if pointer[:1] == ["runtimes"]:
        pointer[1:2] = [old_names.get(str(name), name) for name in pointer[1:2]]
    location = locate(tuple(pointer))
    return replace(problem, file=location.file, line=location.line, column=location.column, pointer=location.pointer)
