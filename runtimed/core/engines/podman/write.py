"""Translates the table of ``GET /v1/runtimes`` into a file for podman's containers.conf.d.

podman reads /usr/share/containers/containers.conf, /etc/containers/containers.conf and then the drop-ins by name, at
every command; a later file replaces the runtimes and the default of an earlier one by name. The environment variables
CONTAINERS_CONF and CONTAINERS_CONF_OVERRIDE name other files.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from runtimed.core.containerd.names import RUNC_NAME, STOCK_NAMES
from runtimed.core.engines.engine import Table
from runtimed.core.engines.podman.runtimes import SUPPORTS, supported_by
from runtimed.core.engines.syntax import dotted
from runtimed.core.engines.translation import Inexpressible, Translation
from runtimed.core.errors import Problem


def write_podman(table: Table) -> Translation:
    """Return a containers.conf with the path runtimes of ``table`` by their stable paths, and its default runtime.

    The stock runc is left out, because podman has it, and finds it in the same directories.
    """
    remarks: list[Problem] = []
    runtimes: dict[str, object] = {}
    definitions = {runtime["name"]: runtime["definition"] for runtime in table["runtimes"]}
    for runtime in table["runtimes"]:
        name = runtime["name"]
        if definitions[name] is None:
            continue
        where = dotted("engine", "runtimes", name)
        try:
            runtimes[name] = [_stable_path(runtime)]
        except Inexpressible as exc:
            remarks.append(Problem(f"left out: {exc}", pointer=where))
            continue
        remarks += [Problem(text, pointer=where) for text in _limitations(name, definitions[name])]
    engine: dict[str, object] = {}
    default, where = table["default_runtime"], "engine.runtime"
    if default in runtimes:
        engine["runtime"] = default
    elif default in STOCK_NAMES and definitions.get(default) is None:
        engine["runtime"] = RUNC_NAME
        if default != RUNC_NAME:
            remarks.append(Problem(f"podman knows the stock runtime {default} as {RUNC_NAME}", pointer=where))
    else:
        text = f"left out, because podman cannot have the runtime that it names, {default}: podman chooses its own"
        remarks.append(Problem(text, pointer=where))
    return Translation({"engine": {**engine, "runtimes": runtimes}}, tuple(remarks))


def _stable_path(runtime: Mapping[str, Any]) -> str:
    if runtime["stable_path"] is None:
        raise Inexpressible(f"podman executes OCI runtimes, and this is the shim {runtime['shim']}")
    if runtime["name"].startswith("/"):
        raise Inexpressible("podman takes a name that begins with / for the path of a binary")
    return str(runtime["stable_path"])


def _limitations(name: str, definition: Mapping[str, Any]) -> Iterator[str]:
    if keys := definition.get("engines", {}).get("podman"):
        yield f"{', '.join(keys)} left out: podman's entry of a runtime is a list of paths, without keys"
    # The features that podman uses by the name of the binary and not by that of the runtime, or reversed.
    base = posixpath.basename(definition["path"])
    by_name, by_binary = supported_by(name), supported_by(base)
    for key in sorted(by_name ^ by_binary) if by_binary else ():
        if key in by_binary:
            yield f"{SUPPORTS[key]} for {base} only where {key} has the name of the runtime; add it there"
        else:
            yield f"{SUPPORTS[key]}, because {key} has this name, and not for {base}; choose another name"
