"""What a name really is: its definition, where that stands, what it means, whether it can be used."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from runtimed.core.config import Origin, definition_document
from runtimed.core.drift import Drift
from runtimed.core.errors import BinaryUnavailable
from runtimed.core.features import Features
from runtimed.core.generation import Generation, Runtime
from runtimed.core.lint import LintFacts, lint_runtime
from runtimed.core.names import shim_binary_name

if TYPE_CHECKING:
    from runtimed.core import shapes


class Inspector(Protocol):
    """What is to be known of the host. All of it looks at the disk."""

    def look_up(self, path: str) -> str:
        """Return the absolute path that a binary's name or path leads to, or raise BinaryUnavailable."""

    def replaceable(self, binary: str) -> str | None:
        """Return why somebody other than its owners could replace the file, None if nobody could."""

    def features(self, binary: str) -> Features:
        """Return what the binary says of itself."""

    def drift(self, binary: str) -> Drift | None:
        """Return what has become of a binary, given by its name or path as configured, since the load."""


def describe_table(generation: Generation, inspector: Inspector) -> Iterator[shapes.RuntimeDescription]:
    """Yield the whole table of ``generation``, one description for each runtime, sorted by name."""
    return (describe_runtime(generation, runtime, inspector) for runtime in generation.runtimes.values())


def describe_runtime(generation: Generation, runtime: Runtime, inspector: Inspector) -> shapes.RuntimeDescription:
    """Return what is known of ``runtime`` in ``generation``.

    ``binary`` is what is executed in the end: the configured path's, or that of the shim where the runtime is
    one; ``available`` says whether it is there, ``reason`` why not, ``replaceable`` why other users could replace it,
    ``drift`` what has become of it since the configuration was loaded. ``features`` are those of an OCI runtime's
    binary, null for a shim of its own.
    """
    wrapper = runtime.wrapper
    root = generation.host.data_root
    oci_binary = runtime.binary
    shim = _look(shim_binary_name(runtime.shim), inspector)
    binary = shim if oci_binary is None else _look(oci_binary, inspector)
    drift = inspector.drift(binary["wanted"] or "")
    found = binary["path"]
    features = inspector.features(found) if oci_binary is not None and found is not None else None
    replaceable = inspector.replaceable(found) if found is not None else None
    facts = LintFacts(found, replaceable, features)
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
        "available": found is not None,
        "binary": found,
        "binary_why": binary["why"],
        "reason": binary["reason"],
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


def _look(wanted: str, inspector: Inspector) -> shapes.Binary:
    """Return what ``wanted`` leads to, and why there, or the reason why to nothing."""
    if not wanted:
        reason = "the shim's name has fewer than two parts, so containerd derives no binary from it"
        return {"wanted": None, "path": None, "why": None, "reason": reason}
    try:
        path = inspector.look_up(wanted)
    except BinaryUnavailable as error:
        return {"wanted": wanted, "path": None, "why": None, "reason": f"{error.path}: {error.reason}"}
    why = "the path is taken as it stands" if "/" in wanted else f"the first on PATH, in {posixpath.dirname(path)}"
    return {"wanted": wanted, "path": path, "why": why, "reason": None}
