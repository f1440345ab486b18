"""The table -> dockerd's daemon.json, of version 24.0 or later: that is where ``runtimeType`` is known (moby #45032).

The table is that of ``GET /v1/runtimes``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtimed.core.configuration.position import Spot, render_pointer
from runtimed.core.containerd.names import RUNC_SHIM
from runtimed.core.containerd.options import MESSAGES, message_of
from runtimed.core.engines.translation import Remark, Translation

_SINCE = "dockerd knows runtimeType since 24.0; an older one takes the entry and has nothing to run for it"


class _Inexpressible(Exception):
    """dockerd cannot be told of a runtime; the text says why."""


def write_docker(table: Mapping[str, Any]) -> Translation:
    """Return what a daemon.json says of ``table``: runtimes but the stock ones, and the default.

    A runtime with arguments is named by its stable path, so that dockerd makes no wrapper of its own.
    """
    remarks: list[Remark] = []
    runtimes: dict[str, object] = {}
    for runtime in table["runtimes"]:
        name = runtime["name"]
        try:
            if runtime["definition"] is not None:
                runtimes[name] = _entry(runtime)
        except _Inexpressible as exc:
            remarks.append(_remark(name, f"left out: {exc}"))
            continue
        if name == RUNC_SHIM and runtime["definition"] is not None:
            remarks.append(_remark(name, "an old dockerd (20.10, say) keeps its own runtime of this name"))
        if "runtimeType" in (runtime["definition"] or {}):
            remarks.append(_remark(name, _SINCE))
    document: dict[str, object] = {"runtimes": runtimes}
    default = table["default_runtime"]
    definitions = {runtime["name"]: runtime["definition"] for runtime in table["runtimes"]}
    where = Spot(pointer="/default-runtime")
    if definitions.get(default) is not None and default not in runtimes:
        text = f"left out with the runtime that it names, {default}: dockerd would not start"
        return Translation(document, (*remarks, Remark(where, text)))
    if default not in definitions:
        remarks.append(Remark(where, f"{default} is the name of a shim, which dockerd takes for a runtime since 23.0"))
    document["default-runtime"] = default
    return Translation(document, tuple(remarks))


def _entry(runtime: Mapping[str, Any]) -> dict[str, object]:
    definition = runtime["definition"]
    if "path" in definition:
        wrapper = runtime["wrapper"]
        return {"path": definition["path"] if wrapper is None else wrapper["stable_path"]}
    options = _options(definition["runtimeType"], definition.get("options") or {})
    return {"runtimeType": definition["runtimeType"], **({"options": options} if options else {})}


def _options(runtime_type: str, given: Mapping[str, object]) -> dict[str, object]:
    """Return ``given`` in dockerd's spelling, without what has its default value and means the same left out."""
    options: dict[str, object] = {}
    for field in MESSAGES[message_of(runtime_type)]:
        value = given.get(field.name)
        if not value:
            continue
        if field.kind == "uint32":
            raise _Inexpressible(f"dockerd refuses every number in options, and {field.go_name} is one")
        if field.kind == "bytes":
            raise _Inexpressible(f"dockerd has no way to write the bytes that {field.go_name} takes")
        options[field.go_name] = value
    return options


def _remark(name: str, message: str) -> Remark:
    return Remark(Spot(pointer=render_pointer(("runtimes", name))), message)
