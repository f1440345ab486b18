"""What a name really is: its definition, where that stands, what it means, whether it can be used."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from runtimed.core.config import Origin, definition_document
from runtimed.core.containerd.names import shim_binary_name
from runtimed.core.drift import Drift
from runtimed.core.errors import BinaryUnavailable
from runtimed.core.features import Features
from runtimed.core.table.availability import files_of
from runtimed.core.table.generation import Generation, Runtime
from runtimed.core.table.lint import LintFacts, lint_runtime

if TYPE_CHECKING:
    from runtimed.core import shapes


class Inspector(Protocol):
    """What is to be known of the host. All of it looks at the disk."""

    def look_up_all(self, files: Iterable[str], /) -> Mapping[str, str | BinaryUnavailable]:
        """Return the path that each of ``files``, paths or names, leads to, or why it cannot be executed."""

    def replaceable(self, binary: str, /) -> str | None:
        """Return why somebody other than its owners could replace the file, None if nobody could."""

    def features(self, binary: str, /) -> Features:
        """Return what the binary says of itself."""

    def drift(self, binary: str, /) -> Drift | None:
        """Return what has become of a binary, given by its name or path as configured, since the load."""


def describe_table(generation: Generation, inspector: Inspector) -> Iterator[shapes.RuntimeDescription]:
    """Yield the whole table of ``generation``, one description for each runtime, sorted by name."""
    runtimes = generation.runtimes.values()
    found = inspector.look_up_all(dict.fromkeys(file for runtime in runtimes for file in _files(runtime)))
    return (_describe(generation, runtime, inspector, found) for runtime in runtimes)


def describe_runtime(generation: Generation, runtime: Runtime, inspector: Inspector) -> shapes.RuntimeDescription:
    """Return what is known of ``runtime`` in ``generation``.

    ``binary`` is what is executed in the end: the configured path's, or that of the shim where the runtime is
    one; ``available`` says whether every file that the answer names can be executed, ``reason`` why not,
    ``replaceable`` why other users could replace the binary, ``drift`` what has become of it since the configuration
    was loaded. ``features`` are those of an OCI runtime's binary, null for a shim of its own.
    """
    return _describe(generation, runtime, inspector, inspector.look_up_all(_files(runtime)))


def _files(runtime: Runtime) -> tuple[str, ...]:
    return tuple(file for file in (shim_binary_name(runtime.shim), runtime.binary, *files_of(runtime)) if file)


def _describe(
    generation: Generation, runtime: Runtime, inspector: Inspector, looked_up: Mapping[str, str | BinaryUnavailable]
) -> shapes.RuntimeDescription:
    wrapper = runtime.wrapper
    root = generation.host.data_root
    oci_binary = runtime.binary
    shim = _look(shim_binary_name(runtime.shim), looked_up)
    binary = shim if oci_binary is None else _look(oci_binary, looked_up)
    needed = (binary, *(_look(file, looked_up) for file in files_of(runtime)))
    reason = next((each["reason"] for each in needed if each["path"] is None), None)
    drift = inspector.drift(binary["wanted"] or "")
    found = binary["path"]
    features = inspector.features(found) if oci_binary is not None and found is not None else None
    replaceable = inspector.replaceable(found) if found is not None else None
    facts = LintFacts(found, replaceable, features, _refused(binary["wanted"], looked_up))
    return {
        "name": runtime.name,
        "source": runtime.source,
        "default": runtime.name == generation.config.default_runtime,
        "definition": None if runtime.definition is None else definition_document(runtime.definition),
        "origin": _origin(generation.config.origins.get(runtime.name)),
        "shim": runtime.shim,
        "options": None if runtime.options is None else runtime.options.readable(),
        "wrapper": None
        if wrapper is None
        else {
            "path": f"{root}/wrappers/{wrapper.file}",
            "stable_path": f"{root}/runtimes/{wrapper.link}",
            "text": wrapper.text.decode(),
        },
        "available": reason is None,
        "binary": found,
        "binary_why": binary["why"],
        "reason": reason,
        "replaceable": replaceable,
        "drift": None if drift is None else drift.as_dict(),
        "shim_binary": shim,
        "features": None if features is None else features.as_dict(),
        "lint": [{"code": lint.code, "message": lint.message} for lint in lint_runtime(generation, runtime, facts)],
        "generation": generation.number,
        "digest": runtime.answer.digest,
    }


def _origin(origin: Origin | None) -> shapes.Origin | None:
    if origin is None:
        return None
    return {"file": origin.file, "line": origin.line, "fields": dict(origin.fields)}


def _look(wanted: str, looked_up: Mapping[str, str | BinaryUnavailable]) -> shapes.Binary:
    """Return what ``wanted`` leads to, and why there, or the reason why to nothing."""
    if not wanted:
        reason = "the shim's name has fewer than two parts, so containerd derives no binary from it"
        return {"wanted": None, "path": None, "why": None, "reason": reason}
    path = looked_up[wanted]
    if isinstance(path, BinaryUnavailable):
        return {"wanted": wanted, "path": None, "why": None, "reason": f"{path.path}: {path.reason}"}
    why = "the path is taken as it stands" if "/" in wanted else f"the first on PATH, in {posixpath.dirname(path)}"
    return {"wanted": wanted, "path": path, "why": why, "reason": None}


def _refused(wanted: str | None, looked_up: Mapping[str, str | BinaryUnavailable]) -> str | None:
    """Return why the kernel refuses to execute what ``wanted`` leads to, None where it does not or nothing is there."""
    found = looked_up.get(wanted or "")
    return found.reason if isinstance(found, BinaryUnavailable) and found.refused else None
