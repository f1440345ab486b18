"""Defines the keys of a runtime, which CRI-O calls a handler (``RuntimeHandler`` in its ``pkg/config/config.go``)."""

from __future__ import annotations

import re

SECTION = ("crio", "runtime", "runtimes")
DEFAULT = ("crio", "runtime", "default_runtime")
# The keys that runtimed knows; it carries all others.
PATH, TYPE, CONFIG_PATH = "runtime_path", "runtime_type", "runtime_config_path"
INHERIT = "inherit_default_runtime"
ROOT = "runtime_root"
# CRI-O executes an OCI runtime by conmon or by conmon-rs, and a shim of containerd by itself.
OCI, POD, VM = "oci", "pod", "vm"
# CRI-O puts the pipes of a shim below it, otherwise below its working directory. Kata documents this one.
VM_ROOT = "/run/vc"
# CRI-O refuses other names of shims. The groups are the end of containerd's name for the shim.
SHIM_FILE = re.compile(r"containerd-shim-([a-zA-Z0-9+-]+)-(v[0-9]+)|containerd-shim-[a-zA-Z0-9+-]+", re.ASCII)
# The runtime that CRI-O has without configuration.
BUILT_IN = "crun"
