"""Translates the table of ``GET /v1/runtimes`` into the runtimes of containerd's CRI plugin, a file for ``imports``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from runtimed.core.configuration.inputs import Source
from runtimed.core.containerd.names import RUNC_NAME
from runtimed.core.containerd.options import GENERIC, MESSAGES, message_of
from runtimed.core.engines.containerd.layout import NAME, PLUGINS, table_at
from runtimed.core.engines.kubernetes import HANDLER, NO_HANDLER
from runtimed.core.engines.syntax import dotted, parse_toml, unknown_to_json
from runtimed.core.engines.translation import Translation, is_option
from runtimed.core.errors import ConfigurationRejected, Problem

# Characters of a name that the TOML parser of containerd 1.6 cannot read between quotation marks.
_UNREADABLE = re.compile(r'["\\\[\]]')
# Options that not every major version of containerd has.
_ONE_MAJOR: Mapping[str, str] = {
    "criu_path": "only containerd 1.x passes it on",
    "task_api_address": "only containerd 2 passes it on",
    "task_api_version": "only containerd 2 passes it on",
}


def write_containerd(table: Mapping[str, Any], version: int) -> Translation:
    """Return a config.toml of ``version`` (one of layout.PLUGINS) with the runtimes of ``table``, for other files.

    The first remark says how to import it.
    """
    written = write_runtimes(table, version)
    return Translation(written.document, (_remark_on_import(version), *written.remarks))


def write_runtimes(table: Mapping[str, Any], version: int) -> Translation:
    """Return a config.toml of ``version`` with the runtimes of ``table``.

    A runtime with a path is named by its stable path, because containerd reads its configuration once. The
    stock runc is included, because a file that lists runtimes replaces containerd's list.
    """
    remarks: list[Problem] = []
    runtimes: dict[str, object] = {}
    default = table["default_runtime"]
    for runtime in table["runtimes"]:
        name = runtime["name"]
        if runtime["definition"] is None and name not in (RUNC_NAME, default):
            continue
        where = _pointer(version, "runtimes", name)
        options = options_of(runtime)
        if options is None:
            text = "left out: containerd makes ConfigBody from the options of the file, and accepts no ConfigBody"
            remarks.append(Problem(text, pointer=where))
            continue
        runtimes[name], found = _entry(runtime, options, version)
        remarks += [Problem(text, pointer=where) for text in (*found, *_limitations(runtime))]
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


def options_of(runtime: Mapping[str, Any]) -> dict[str, object] | None:
    """Return the options of a runtime of the table in containerd's words, or None if it cannot express them."""
    given = dict(runtime["options"] or {})
    if runtime["stable_path"] is not None:
        given["binary_name"] = runtime["stable_path"]
    body = given.pop("config_body", None)
    # Default values are left out, except for SystemdCgroup, which administrators look for.
    options = {
        field.go_name: given[field.name]
        for field in MESSAGES[message_of(runtime["shim"])]
        if given.get(field.name) or (field.name == "systemd_cgroup" and field.name in given)
    }
    if not body:
        return options
    return None if "ConfigPath" in options else _options_of_body(body, options)


def _options_of_body(body: object, options: dict[str, object]) -> dict[str, object] | None:
    """Return the options of which containerd would make ``body``, a shim's options as the text of a TOML document."""
    try:
        own = parse_toml(Source("", body.encode())) if isinstance(body, str) else {}
    except ConfigurationRejected:
        return None
    # A field of the message has its effect wherever it is found.
    fields = [key for key in own if is_option(key, GENERIC) and (options.get(key) or "") != own[key]]
    return {**own, **options} if own and not fields and not any(unknown_to_json(own)) else None


def _entry(
    runtime: Mapping[str, Any], options: Mapping[str, object], version: int
) -> tuple[dict[str, object], list[str]]:
    """Return the entry of a runtime with the keys that it carries for containerd, and remarks on those left out."""
    kind = runtime["shim"]
    carried = dict(table_at(runtime["definition"], "engines", NAME))
    remarks = []
    if version > min(PLUGINS) and "sandbox_mode" in carried:
        # containerd 2 renames it in a file of version 2 only.
        carried = {"sandboxer": carried.pop("sandbox_mode"), **carried}
    named = carried.pop("runtime_type", None)
    if named is not None and carried.get("runtime_path") == kind and message_of(str(named)) == GENERIC:
        # The import has taken the path of the shim for its type.
        kind = named
    elif named is not None:
        carried.pop("runtime_path", None)
        remarks.append("runtime_type and runtime_path of engines are left out: runtimeType is another shim now")
    if carried.pop("options", None) is not None:
        remarks.append("options of engines are left out: the runtime has its own")
    return {"runtime_type": kind, **carried, **({"options": options} if options else {})}, remarks


def _limitations(runtime: Mapping[str, Any]) -> list[str]:
    options = runtime["options"] or {}
    found = [f"{name}: {text}" for name, text in _ONE_MAJOR.items() if options.get(name)]
    if HANDLER.fullmatch(runtime["name"]) is None:
        found.append(NO_HANDLER)
    if _UNREADABLE.search(runtime["name"]) or not runtime["name"].isprintable():
        found.append("containerd 1.6 reads another name, or refuses the whole file")
    if options.get("config_body"):
        found.append("containerd 1.6 drops the options that are the shim's own; later ones pass them on as ConfigBody")
    elif message_of(runtime["shim"]) == GENERIC and options.get("type_url") and not options.get("config_path"):
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
    elif version == max(PLUGINS):
        text += ", which containerd reads since 2.3"
    else:
        text += ": one of version 2 lists runtimes elsewhere, and containerd before 2.0 cannot read this one"
    return Problem(text, pointer=section)


def _pointer(version: int, *keys: str) -> str:
    return dotted("plugins", PLUGINS[version], "containerd", *keys)
