"""Defines podman's own table of runtimes: their binaries and the features that it uses.

From the defaults of containers/common (``pkg/config/default.go``), which libpod's ``oci_conmon_common.go`` uses.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from types import MappingProxyType

# The runtimes of podman's own table -> the names of their binaries.
BUILT_IN: Mapping[str, str] = MappingProxyType(
    {
        **{
            name: name for name in ("crun", "crun-vm", "crun-wasm", "krun", "ocijail", "runc", "runj", "runsc", "youki")
        },
        "kata": "kata-runtime",
    }
)

_JSON, _KVM, _NO_CGROUP = "runtime_supports_json", "runtime_supports_kvm", "runtime_supports_nocgroup"
# The keys of [engine] by which an administrator adds names, as podman's code spells them.
SUPPORTS: Mapping[str, str] = MappingProxyType(
    {
        _JSON: "podman has the runtime log its errors as JSON",
        _KVM: "podman gives the processes SELinux's label for virtual machines",
        _NO_CGROUP: "podman accepts --cgroups=disabled",
    }
)
_SUPPORTED_BY: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        _JSON: frozenset({"crun", "runc", "kata", "runsc", "krun"}),
        _KVM: frozenset({"kata", "kata-runtime", "kata-qemu", "kata-fc", "krun"}),
        _NO_CGROUP: frozenset({"crun", "krun"}),
    }
)


def supported_by(name: str) -> frozenset[str]:
    """Return the keys of `SUPPORTS` whose lists have a runtime, which podman finds by the base name of its name."""
    return frozenset(key for key, names in _SUPPORTED_BY.items() if posixpath.basename(name) in names)
