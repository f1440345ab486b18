"""The table -> a configuration for containerd: the runtimes of its CRI plugin, fit for ``imports``.

The table is that of ``GET /v1/runtimes``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from runtimed.core.configuration.position import Spot
from runtimed.core.containerd.names import RUNC_NAME
from runtimed.core.containerd.options import GENERIC, MESSAGES, message_of
from runtimed.core.engines.layout import PLUGINS, dotted
from runtimed.core.engines.translation import Remark, Translation

# Kubernetes' RuntimeClass: a handler is a DNS label (RFC 1123).
_HANDLER = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
# Options that containerd's first major version has not, or its second one no more.
_ONE_MAJOR: Mapping[str, str] = {
    "criu_path": "only containerd 1.x passes it on",
    "task_api_address": "only containerd 2 passes it on",
    "task_api_version": "only containerd 2 passes it on",
}


def write_containerd(table: Mapping[str, Any], version: int) -> Translation:
    """Return what a config.toml of ``version`` (one of layout.PLUGINS) says of ``table``.

    Answers as they are, but that a wrapper is named by its stable path: containerd keeps what it has read, and
    a wrapper's own path is good for the runtime as it is now. The stock runc is in it, because a file that lists
    runtimes is the whole list for containerd.
    """
    remarks = [_merging(version)]
    runtimes: dict[str, object] = {}
    default = table["default_runtime"]
    for runtime in table["runtimes"]:
        name = runtime["name"]
        if runtime["definition"] is None and name not in (RUNC_NAME, default):
            continue
        where = _spot(version, "runtimes", name)
        if (runtime["options"] or {}).get("config_body"):
            text = "left out: containerd makes ConfigBody itself, from the options that it has, and takes none"
            remarks.append(Remark(where, text))
            continue
        runtimes[name] = _entry(runtime)
        remarks += [Remark(where, text) for text in _doubts(runtime)]
    containerd: dict[str, object] = {"runtimes": runtimes}
    if default in runtimes:
        containerd = {"default_runtime_name": default, **containerd}
    elif any(runtime["name"] == default for runtime in table["runtimes"]):
        text = f"left out with the runtime that it names, {default}: containerd's CRI plugin would not start"
        remarks.append(Remark(_spot(version, "default_runtime_name"), text))
    else:
        # An implicit name: nobody configured it, it is a shim's, and containerd has no such thing.
        runtimes[default] = {"runtime_type": default}
        containerd = {"default_runtime_name": default, **containerd}
        text = "is the name of a shim, which runtimed takes for a runtime unasked; containerd wants it listed"
        remarks.append(Remark(_spot(version, "runtimes", default), text))
    return Translation({"version": version, "plugins": {PLUGINS[version]: {"containerd": containerd}}}, tuple(remarks))


def _entry(runtime: Mapping[str, Any]) -> dict[str, object]:
    shim, given = runtime["shim"], dict(runtime["options"] or {})
    if runtime["wrapper"] is not None:
        given["binary_name"] = runtime["wrapper"]["stable_path"]
    # What has its default value means the same when it is left out; SystemdCgroup is what people look for.
    fields = MESSAGES[message_of(shim)]
    options = {f.go_name: given[f.name] for f in fields if given.get(f.name) or f.name in given.keys() & _SHOWN}
    return {"runtime_type": shim, **({"options": options} if options else {})}


_SHOWN = frozenset({"systemd_cgroup"})


def _doubts(runtime: Mapping[str, Any]) -> list[str]:
    """Return what else there is to know of a runtime that can be expressed."""
    options = runtime["options"] or {}
    doubts = [f"{name}: {text}" for name, text in _ONE_MAJOR.items() if options.get(name)]
    if _HANDLER.fullmatch(runtime["name"]) is None:
        doubts.append("Kubernetes cannot ask for it: the handler of a RuntimeClass is at most 63 of a-z, 0-9 and -")
    if message_of(runtime["shim"]) == GENERIC and options.get("type_url") and not options.get("config_path"):
        doubts.append("from containerd 1.7 on the shim gets these options as the text of ConfigBody besides")
    return doubts


def _merging(version: int) -> Remark:
    section = dotted("plugins", PLUGINS[version])
    text = f"import it into a file of version {version}"
    if version == min(PLUGINS):
        text += (
            f". Before containerd 2.0 an import replaces all that the main file says below {section} (cni, registry, "
            "sandbox_image): where it says something there, put these tables into it instead"
        )
    else:
        text += ": one of version 2 has its runtimes elsewhere, and containerd before 2.0 cannot read it"
    return Remark(Spot(pointer=section), text)


def _spot(version: int, *keys: str) -> Spot:
    return Spot(pointer=dotted("plugins", PLUGINS[version], "containerd", *keys))
