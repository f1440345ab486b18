"""Translates the table of ``GET /v1/runtimes`` into a daemon.json for dockerd.

dockerd takes ``runtimeType`` from version 24.0 on (moby #45032).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtimed.core.configuration.position import render_pointer
from runtimed.core.containerd.names import RUNC_SHIM
from runtimed.core.containerd.options import MESSAGES, message_of
from runtimed.core.engines.translation import Translation
from runtimed.core.errors import Problem

_SINCE = "dockerd supports runtimeType since 24.0; an older one accepts the entry and cannot run it"


class _Inexpressible(Exception):
    """daemon.json cannot express a runtime; the text says why."""


def write_docker(table: Mapping[str, Any]) -> Translation:
    """Return a daemon.json with the configured runtimes of ``table`` and its default runtime.

    A runtime with a path is named by its stable path, so that dockerd follows its changes and makes no wrapper for it.
    """
    remarks: list[Problem] = []
    runtimes: dict[str, object] = {}
    for runtime in table["runtimes"]:
        name, definition = runtime["name"], runtime["definition"]
        if definition is None:
            continue
        where = render_pointer(("runtimes", name))
        try:
            runtimes[name] = _entry(runtime)
        except _Inexpressible as exc:
            remarks.append(Problem(f"left out: {exc}", pointer=where))
            continue
        if name == RUNC_SHIM:
            remarks.append(Problem("an old dockerd, such as 20.10, keeps its own runtime of this name", pointer=where))
        if "runtimeType" in definition:
            remarks.append(Problem(_SINCE, pointer=where))
    document: dict[str, object] = {"runtimes": runtimes}
    default = table["default_runtime"]
    where = "/default-runtime"
    definitions = {runtime["name"]: runtime["definition"] for runtime in table["runtimes"]}
    if definitions.get(default) is not None and default not in runtimes:
        text = f"left out with the runtime that it names, {default}: dockerd would not start"
        remarks.append(Problem(text, pointer=where))
    else:
        document["default-runtime"] = default
    if default not in definitions:
        remarks.append(Problem(f"{default} is the name of a shim; dockerd accepts shims since 23.0", pointer=where))
    return Translation(document, tuple(remarks))


def _entry(runtime: Mapping[str, Any]) -> dict[str, object]:
    definition = runtime["definition"]
    if "path" in definition:
        return {"path": runtime["stable_path"]}
    options = _options(definition["runtimeType"], definition.get("options") or {})
    return {"runtimeType": definition["runtimeType"], **({"options": options} if options else {})}


def _options(runtime_type: str, given: Mapping[str, object]) -> dict[str, object]:
    """Return ``given`` under dockerd's names, without default values."""
    options: dict[str, object] = {}
    for field in MESSAGES[message_of(runtime_type)]:
        if not (value := given.get(field.name)):
            continue
        if field.kind == "uint32":
            raise _Inexpressible(f"dockerd refuses every number in options, and {field.go_name} is one")
        if field.kind == "bytes":
            raise _Inexpressible(f"dockerd has no notation for bytes, the value of {field.go_name}")
        options[field.go_name] = value
    return options
