"""Translates the table of ``GET /v1/runtimes`` into a daemon.json for dockerd."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from runtimed.core.configuration.position import render_pointer
from runtimed.core.containerd.names import RUNC_SHIM
from runtimed.core.containerd.options import MESSAGES, message_of
from runtimed.core.engines.docker.version import RUNTIME_TYPE_SINCE, Version, render_version
from runtimed.core.engines.translation import Inexpressible, Translation
from runtimed.core.errors import Problem


class _Limit(NamedTuple):
    """A limit of every dockerd older than ``since``; ``text`` continues a sentence about such a dockerd."""

    since: Version
    text: str


# Source: daemon/runtime_unix.go and daemon/config/config.go of moby at v20.10.24, v23.0.0, v24.0.0 and v25.0.0.
_TYPE = _Limit(RUNTIME_TYPE_SINCE, "accepts a runtimeType and cannot run it")
_OVERRIDE = _Limit((25, 0), "keeps its own runtime of this name")
_SHIM_DEFAULT = _Limit((23, 0), "does not start with the name of a shim as its default runtime")
# 20.10 forgets this runtime when it reloads its configuration.
_STOCK_DEFAULT = _Limit((23, 0), "crashes at a SIGHUP with this default runtime")


def write_docker(table: Mapping[str, Any], version: Version | None = None) -> Translation:
    """Return a daemon.json with the configured runtimes of ``table`` and its default runtime.

    A runtime with a path is named by its stable path, so that dockerd follows its changes and makes no wrapper for it.
    The document has the runtimes that a dockerd of ``version`` can run. Without a version it has those of the newest
    dockerd, with remarks on older ones.
    """
    remarks: list[Problem] = []
    runtimes: dict[str, object] = {}
    definitions = {runtime["name"]: runtime["definition"] for runtime in table["runtimes"]}
    for runtime in table["runtimes"]:
        name, definition = runtime["name"], runtime["definition"]
        if definition is None:
            continue
        where = render_pointer(("runtimes", name))
        if definition.get("engines", {}).get("docker"):
            text = "left out, because dockerd ignores unknown keys of a runtime"
            remarks.append(Problem(text, pointer=f"{where}/engines/docker"))
        limits = [_OVERRIDE] * (name == RUNC_SHIM) + [_TYPE] * ("runtimeType" in definition)
        try:
            entry = _entry(runtime)
            remarks += [Problem(text, pointer=where) for text in _check(limits, version)]
            runtimes[name] = entry
        except Inexpressible as exc:
            remarks.append(Problem(str(exc), pointer=where))
    document: dict[str, object] = {"runtimes": runtimes}
    default, where = table["default_runtime"], "/default-runtime"
    try:
        remarks += [Problem(text, pointer=where) for text in _check_default(default, definitions, runtimes, version)]
        document["default-runtime"] = default
    except Inexpressible as exc:
        remarks.append(Problem(str(exc), pointer=where))
    return Translation(document, tuple(remarks))


def _check_default(
    default: str, definitions: Mapping[str, object], exported: Mapping[str, object], version: Version | None
) -> list[str]:
    """Return remarks on a default runtime; raise Inexpressible if dockerd cannot have it."""
    if default in exported:
        return []
    if definitions.get(default) is not None:
        raise Inexpressible(f"left out with the runtime that it names, {default}")
    return _check([_SHIM_DEFAULT] * (default not in definitions) + [_STOCK_DEFAULT] * (default == RUNC_SHIM), version)


def _check(limits: Iterable[_Limit], version: Version | None) -> list[str]:
    """Return remarks on older dockerds, none if the version is known; raise Inexpressible if it is too old."""
    texts = {limit.since: f"dockerd older than {render_version(limit.since)} {limit.text}" for limit in limits}
    for since, text in texts.items():
        if version is not None and version < since:
            raise Inexpressible(f"left out: {text}, and this one is {render_version(version)}")
    return [] if version is not None else list(texts.values())


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
            raise Inexpressible(f"left out: dockerd refuses every number in options, and {field.go_name} is one")
        if field.kind == "bytes":
            raise Inexpressible(f"left out: dockerd has no notation for bytes, the value of {field.go_name}")
        options[field.go_name] = value
    return options
