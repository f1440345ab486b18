"""Describes runtimes: definition, origin, resolution, and the state of the binary on this node."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from runtimed.core.configuration.rendering import definition_document
from runtimed.core.containerd.names import shim_binary_name
from runtimed.core.drift import Drift
from runtimed.core.errors import BinaryUnavailable
from runtimed.core.features import Features
from runtimed.core.history.layout import CURRENT, WRAPPERS
from runtimed.core.table.availability import files_of
from runtimed.core.table.generation import Generation, Runtime
from runtimed.core.table.lint import LintFacts, lint_runtime
from runtimed.core.table.script import Script

if TYPE_CHECKING:
    from runtimed.core import shapes

# Runtimes whose files are looked up at once.
_STEP = 64


class Inspector(Protocol):
    """The functions that inspect binaries on this node. All of them read the disk."""

    def look_up_all(self, files: Iterable[str], /) -> Mapping[str, str | BinaryUnavailable]:
        """Return the path that each of ``files``, paths or names, leads to, or why it cannot be executed."""

    def replaceable(self, binary: str, /) -> str | None:
        """Return why another user could replace ``binary``, None if no other user could."""

    def features(self, binary: str, /) -> Features:
        """Return the features of ``binary``, as far as a probe has found them."""

    def drift(self, binary: str, /) -> Drift | None:
        """Return the change of ``binary``, a name or path as configured, since the last load; None if there is none."""

    def current_proof(self, runtime: Runtime, /) -> tuple[str | None, shapes.Proof]:
        """Return the identity of the binaries of ``runtime`` and its proof, after a look at the binaries."""

    def last_proof(self, runtime: Runtime, /) -> tuple[str | None, shapes.Proof]:
        """Return the same as of the last look."""


def describe_table(generation: Generation, inspector: Inspector) -> Iterator[shapes.RuntimeDescription]:
    """Yield a description of each runtime of ``generation``, sorted by name; look up the files of a few at a time."""
    runtimes = iter(generation.runtimes.values())
    while step := tuple(islice(runtimes, _STEP)):
        found = inspector.look_up_all(dict.fromkeys(file for runtime in step for file in _files(runtime)))
        for runtime in step:
            yield _describe(generation, runtime, inspector, found, inspector.last_proof(runtime))


def describe_runtime(generation: Generation, runtime: Runtime, inspector: Inspector) -> shapes.RuntimeDescription:
    """Return the description of ``runtime`` in ``generation``.

    ``binary`` is the executed file: that of the configured path, or the shim where the runtime is one. ``available``
    says whether every file that the resolution names can be executed, ``reason`` why not. ``features`` are null for a
    runtime that is a shim.
    """
    found = inspector.look_up_all(_files(runtime))
    return _describe(generation, runtime, inspector, found, inspector.current_proof(runtime))


def _files(runtime: Runtime) -> tuple[str, ...]:
    return tuple(file for file in (shim_binary_name(runtime.shim), runtime.binary, *files_of(runtime)) if file)


def _describe(
    generation: Generation,
    runtime: Runtime,
    inspector: Inspector,
    looked_up: Mapping[str, str | BinaryUnavailable],
    proved: tuple[str | None, shapes.Proof],
) -> shapes.RuntimeDescription:
    shim = _binary(shim_binary_name(runtime.shim), looked_up)
    binary = shim if runtime.binary is None else _binary(runtime.binary, looked_up)
    needed = (binary, *(_binary(file, looked_up) for file in files_of(runtime)))
    reason = next((each["reason"] for each in needed if each["path"] is None), None)
    wanted, found = binary["wanted"] or "", binary["path"]
    drift = inspector.drift(wanted)
    features = None if runtime.binary is None or found is None else inspector.features(found)
    replaceable = None if found is None else inspector.replaceable(found)
    outcome = looked_up.get(wanted)
    refused = outcome.reason if isinstance(outcome, BinaryUnavailable) and outcome.refused else None
    remarks = lint_runtime(generation, runtime, LintFacts(found, replaceable, features, refused))
    origin, root = generation.config.origins.get(runtime.name), generation.host.data_root
    return {
        "name": runtime.name,
        "source": runtime.source,
        "default": runtime.name == generation.config.default_runtime,
        "definition": None if runtime.definition is None else definition_document(runtime.definition),
        "origin": None if origin is None else {"file": origin.file, "line": origin.line, "fields": origin.fields},
        "shim": runtime.shim,
        "options": None if runtime.options is None else runtime.options.readable(),
        "stable_path": None if runtime.launcher is None else f"{root}/{CURRENT}/{runtime.launcher.link}",
        "wrapper": None if runtime.wrapper is None else _wrapper(runtime.wrapper, root),
        "available": reason is None,
        "binary": found,
        "binary_why": binary["why"],
        "reason": reason,
        "replaceable": replaceable,
        "drift": None if drift is None else drift.as_dict(),
        "shim_binary": shim,
        "features": None if features is None else features.as_dict(),
        "lint": [{"code": remark.code, "message": remark.message} for remark in remarks],
        "identity": proved[0],
        "proof": proved[1],
        "generation": generation.number,
        "digest": runtime.answer.digest,
    }


def _wrapper(wrapper: Script, root: str) -> shapes.Wrapper:
    return {
        "path": f"{root}/{WRAPPERS}/{wrapper.file}",
        "stable_path": f"{root}/{CURRENT}/{wrapper.link}",
        "text": wrapper.text.decode(),
    }


def _binary(wanted: str, looked_up: Mapping[str, str | BinaryUnavailable]) -> shapes.Binary:
    """Return the path that ``wanted`` leads to, or the reason why it leads to none."""
    if not wanted:
        reason = "the shim's name has fewer than two parts, so containerd derives no binary from it"
        return {"wanted": None, "path": None, "why": None, "reason": reason}
    path = looked_up[wanted]
    if isinstance(path, BinaryUnavailable):
        return {"wanted": wanted, "path": None, "why": None, "reason": f"{path.path}: {path.reason}"}
    why = "absolute path" if "/" in wanted else f"the first on PATH, in {posixpath.dirname(path)}"
    return {"wanted": wanted, "path": path, "why": why, "reason": None}
