"""Translates the table of ``GET /v1/runtimes`` into the runtimes of containerd's CRI plugin, a file for ``imports``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from runtimed.core.containerd.names import RUNC_NAME
from runtimed.core.containerd.options import GENERIC, MESSAGES, message_of
from runtimed.core.engines.containerd.layout import PLUGINS, dotted
from runtimed.core.engines.translation import Translation
from runtimed.core.errors import Problem

# Kubernetes' RuntimeClass: a handler is a DNS label (RFC 1123).
_HANDLER = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
# Options that not every major version of containerd has.
_ONE_MAJOR: Mapping[str, str] = {
    "criu_path": "only containerd 1.x passes it on",
    "task_api_address": "only containerd 2 passes it on",
    "task_api_version": "only containerd 2 passes it on",
}


def write_containerd(table: Mapping[str, Any], version: int) -> Translation:
    """Return a config.toml of ``version`` (one of layout.PLUGINS) with the runtimes of ``table``.

    A runtime with a path is named by its stable path, because containerd reads its configuration once. The
    stock runc is included, because a file that lists runtimes replaces containerd's list.
    """
    remarks = [_remark_on_import(version)]
    runtimes: dict[str, object] = {}
    default = table["default_runtime"]
    for runtime in table["runtimes"]:
        name = runtime["name"]
        if runtime["definition"] is None and name not in (RUNC_NAME, default):
            continue
        where = _pointer(version, "runtimes", name)
        if (runtime["options"] or {}).get("config_body"):
            text = "left out: containerd makes ConfigBody from the options that it has, and accepts none"
            remarks.append(Problem(text, pointer=where))
            continue
        runtimes[name] = _entry(runtime)
        remarks += [Problem(text, pointer=where) for text in _limitations(runtime)]
    containerd: dict[str, object] = {"default_runtime_name": default, "runtimes": runtimes}
    if all(runtime["name"] != default for runtime in table["runtimes"]):
        # An implicit runtime is the name of a shim; containerd has no such thing.
        runtimes[default] = {"runtime_type": default}
        text = "is the name of a shim, which runtimed accepts without configuration; containerd needs an entry"
        remarks.append(Problem(text, pointer=_pointer(version, "runtimes", default)))
    elif default not in runtimes:
        del containerd["default_runtime_name"]
        text = f"left out with the runtime that it names, {default}: containerd's CRI plugin would not start"
        remarks.append(Problem(text, pointer=_pointer(version, "default_runtime_name")))
    return Translation({"version": version, "plugins": {PLUGINS[version]: {"containerd": containerd}}}, tuple(remarks))


def _entry(runtime: Mapping[str, Any]) -> dict[str, object]:
    shim, given = runtime["shim"], dict(runtime["options"] or {})
    if runtime["stable_path"] is not None:
        given["binary_name"] = runtime["stable_path"]
    # Default values are left out, except for SystemdCgroup, which people look for.
    options = {
        field.go_name: given[field.name]
        for field in MESSAGES[message_of(shim)]
        if given.get(field.name) or (field.name == "systemd_cgroup" and field.name in given)
    }
    return {"runtime_type": shim, **({"options": options} if options else {})}


def _limitations(runtime: Mapping[str, Any]) -> list[str]:
    options = runtime["options"] or {}
    found = [f"{name}: {text}" for name, text in _ONE_MAJOR.items() if options.get(name)]
    if _HANDLER.fullmatch(runtime["name"]) is None:
        found.append("Kubernetes cannot use it: the handler of a RuntimeClass is at most 63 of a-z, 0-9 and -")
    if message_of(runtime["shim"]) == GENERIC and options.get("type_url") and not options.get("config_path"):
        found.append("from containerd 1.7 on the shim also gets these options as the text of ConfigBody")
    return found


def _remark_on_import(version: int) -> Problem:
    section = dotted("plugins", PLUGINS[version])
    text = f"import it into a file of version {version}"
    if version == min(PLUGINS):
        text += (
            f". Before containerd 2.0 an import replaces everything that the main file has below {section} (cni, "
            "registry, sandbox_image): if it has anything there, put these tables into it instead"
        )
    else:
        text += ": one of version 2 lists runtimes elsewhere, and containerd before 2.0 cannot read this one"
    return Problem(text, pointer=section)


def _pointer(version: int, *keys: str) -> str:
    return dotted("plugins", PLUGINS[version], "containerd", *keys)
