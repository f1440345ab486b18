"""Prints CRI-O's configuration in the two forms that CRI-O has, with the keys of its version 1.36.

The binary is in no Debian: the forms are those of ``ToBytes`` (the socket) and of ``template.go`` (``crio config``) in
its ``pkg/config``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

Handlers = Mapping[str, Mapping[str, object]]

# The keys that are always printed, and some values that CRI-O itself puts into others.
_ENCODED: Mapping[str, object] = {
    "runtime_config_path": "",
    "runtime_path": "",
    "runtime_type": "",
    "runtime_root": "",
    "monitor_path": "/usr/bin/conmon",
    "monitor_cgroup": "system.slice",
    "container_min_memory": "12MiB",
    "no_sync_log": False,
    "container_create_timeout": 240,
}
_PRINTED: Mapping[str, object] = {
    "runtime_path": "",
    "runtime_type": "oci",
    "runtime_root": "",
    "inherit_default_runtime": False,
    "runtime_config_path": "",
    "container_min_memory": "",
    "monitor_path": "",
    "monitor_cgroup": "system.slice",
    "monitor_exec_cgroup": "",
    "monitor_env": [],
    "allowed_annotations": [],
    "privileged_without_host_devices": False,
}


def encoded_configuration(default: str, handlers: Handlers) -> str:
    """Return a configuration as CRI-O's socket has it."""
    lines = [
        "[crio]",
        '  root = "/var/lib/containers/storage"',
        "  [crio.api]",
        '    listen = "/var/run/crio/crio.sock"',
    ]
    lines += ["  [crio.runtime]", '    seccomp_profile = ""', f"    default_runtime = {_toml(default)}"]
    lines += ["    [crio.runtime.runtimes]"]
    for name, handler in sorted(handlers.items()):
        lines.append(f"      [crio.runtime.runtimes.{_toml(name)}]")
        lines += [f"        {key} = {_toml(value)}" for key, value in {**_ENCODED, **handler}.items()]
    return "\n".join([*lines, "  [crio.image]", '    default_transport = "docker://"', ""])


def printed_configuration(default: str, handlers: Handlers, *, defaults: bool = False) -> str:
    """Return a configuration as ``crio config`` prints it, in which ``defaults`` are comments."""
    comment = "# " if defaults else ""
    lines = [
        "# The CRI-O configuration file.",
        "",
        "[crio]",
        '# root = "/var/lib/containers/storage"',
        "[crio.runtime]",
    ]
    lines += ["# default_runtime is a name.", f"{comment}default_runtime = {_toml(default)}", ""]
    lines += ["# [crio.runtime.runtimes.runtime-handler]", '# runtime_path = "/path/to/the/executable"', ""]
    for name, handler in sorted(handlers.items()):
        lines += ["", f"{comment}[crio.runtime.runtimes.{name}]"]
        for key, value in {**_PRINTED, **handler}.items():
            # Of an empty list the comment sign alone is left.
            lines.append(f"{comment}{key} = {_toml(value)}" if value != [] else comment)
    return "\n".join([*lines, "", "[crio.image]", '# default_transport = "docker://"', ""])


def _toml(value: object) -> str:
    # A basic string, a list of them, a boolean or a number: JSON writes them as TOML does.
    return json.dumps(value)
