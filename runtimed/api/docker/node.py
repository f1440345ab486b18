"""The node and its table in the words of the Docker Engine API: /version and /info."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping

from runtimed import __version__
from runtimed.api.describe import Inspector
from runtimed.core.containerd.names import RUNC_NAME
from runtimed.core.containerd.options import MESSAGES
from runtimed.core.errors import BinaryUnavailable
from runtimed.core.table.facts import Machine
from runtimed.core.table.generation import Generation, Runtime, uses_systemd_cgroup

# The newest whose four routes are those that are served here: a client that knows it asks for no less.
API_VERSION = "1.55"
MIN_API_VERSION = "1.24"

_FEATURES = "org.opencontainers.runtime-spec.features"
# How many bytes of features one answer may hold; beyond them a runtime has none.
_FEATURES_BYTES = 8 * 1024 * 1024
# What dockerd itself says of what it cannot find out.
_UNKNOWN = "N/A"
# The names that Go, and with it Docker, has for what uname(2) calls otherwise.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm", "loongarch64": "loong64"}
# What a kernel may lack for containers. Nothing of it is used here, so nothing is missing: older clients warn of each
# of these that is not there.
_SUPPORTED = (
    *("MemoryLimit", "SwapLimit", "CpuCfsPeriod", "CpuCfsQuota", "CPUShares", "CPUSet", "PidsLimit"),
    *("OomKillDisable", "IPv4Forwarding", "BridgeNfIptables", "BridgeNfIp6tables"),
)


def describe_version(machine: Machine) -> dict[str, object]:
    """Return what /version says."""
    architecture = _ARCHITECTURES.get(machine.architecture, machine.architecture)
    common = {
        "ApiVersion": API_VERSION,
        "MinAPIVersion": MIN_API_VERSION,
        "Os": "linux",
        "Arch": architecture,
        "KernelVersion": machine.kernel,
    }
    # What `docker version` prints as it is; it leaves no line out.
    shown = {
        "GoVersion": f"none (Python {platform.python_version()})",
        "GitCommit": _UNKNOWN,
        "BuildTime": _UNKNOWN,
        "Experimental": "false",
    }
    engine = {"Name": "Engine", "Version": __version__, "Details": {**common, **shown}}
    return {"Platform": {"Name": "runtimed"}, "Components": [engine], "Version": __version__, **common}


def describe_node(
    generation: Generation, machine: Machine, identity: str, faults: Mapping[str, str], listeners: int
) -> dict[str, object]:
    """Return what /info says of all but the runtimes.

    What is said of containers, images and plugins is true: there are none here. ``faults`` are why the daemon is
    degraded, which clients print as warnings.
    """
    config, facts = generation.config, generation.host.facts
    unknown = {"ID": _UNKNOWN, "Expected": _UNKNOWN}
    return {
        "ID": identity,
        "Name": machine.name,
        "ServerVersion": __version__,
        "DefaultRuntime": config.default_runtime,
        "CgroupDriver": "systemd" if uses_systemd_cgroup(config, facts) else "cgroupfs",
        "CgroupVersion": "2" if facts.cgroup2 else "1",
        "OSType": "linux",
        "OperatingSystem": machine.system,
        "KernelVersion": machine.kernel,
        "Architecture": machine.architecture,
        "NCPU": machine.cpus,
        "MemTotal": machine.memory_bytes,
        "DockerRootDir": generation.host.data_root,
        "Swarm": {"LocalNodeState": "inactive"},
        "Warnings": [f"WARNING: runtimed is degraded: {subject}: {reason}" for subject, reason in faults.items()],
        **dict.fromkeys(("Containers", "ContainersRunning", "ContainersPaused", "ContainersStopped", "Images"), 0),
        "Plugins": {"Volume": [], "Network": [], "Log": []},
        "NEventsListener": listeners,
        **dict.fromkeys(_SUPPORTED, True),
        "InitBinary": _UNKNOWN,
        "ContainerdCommit": unknown,
        "RuncCommit": unknown,
        "InitCommit": unknown,
        # It has clients print figures of a Go program's insides.
        "Debug": False,
        "ExperimentalBuild": False,
        "LiveRestoreEnabled": False,
    }


def runtime_paths(generation: Generation) -> Iterator[tuple[str, str]]:
    """Yield the name and the configured path of each runtime, "" where a shim of its own has none."""
    for name, runtime in generation.runtimes.items():
        definition = runtime.definition
        yield name, RUNC_NAME if definition is None else definition.path or ""


def render_runtimes(generation: Generation, inspector: Inspector | None) -> bytes:
    """Return the table as /info has it, as JSON; with features if there is an ``inspector``: it looks at the disk."""
    status = _Status(inspector, generation) if inspector is not None else None
    # Put together from pieces: one json.dumps of a large table would hold up the event loop.
    entries = []
    for runtime in generation.runtimes.values():
        entry = _entry(runtime)
        found = status.of(runtime.binary) if status is not None else b""
        entries.append(entry[:-1] + b', "status": ' + found + b"}" if found else entry)
    return b"{" + b", ".join(entries) + b"}"


def _entry(runtime: Runtime) -> bytes:
    """Return a runtime as daemon.json has it: its quoted name, a colon, an object."""
    definition = runtime.definition
    if definition is None:
        entry: dict[str, object] = {"path": RUNC_NAME}
    elif definition.options is None:
        return runtime.text
    else:
        # As dockerd spells them; what answers say is spelt as in protobuf.
        spelling = {field.name: field.go_name for field in MESSAGES[definition.options.type_url]}
        options = {spelling[name]: value for name, value in definition.options.readable().items()}
        entry = {"runtimeType": definition.runtime_type, "options": options}
    return f"{json.dumps(runtime.name)}: {json.dumps(entry)}".encode()


class _Status:
    """What binaries say of themselves, each asked about once, and all of it bounded."""

    def __init__(self, inspector: Inspector, generation: Generation) -> None:
        self._inspector = inspector
        binaries = (runtime.binary for runtime in generation.runtimes.values())
        self._looked_up = inspector.look_up_all(dict.fromkeys(binary for binary in binaries if binary is not None))
        self._known: dict[str, bytes] = {}
        self._bytes_left = _FEATURES_BYTES

    def of(self, binary: str | None) -> bytes:
        """Return a runtime's ``status`` as JSON, empty where there is none."""
        if binary is None:
            return b""
        if binary not in self._known:
            self._known[binary] = self._ask(binary)
        found = self._known[binary]
        if len(found) > self._bytes_left:
            return b""
        self._bytes_left -= len(found)
        return found

    def _ask(self, binary: str) -> bytes:
        found = self._looked_up[binary]
        features = None if isinstance(found, BinaryUnavailable) else self._inspector.features(found).features
        # A string that holds JSON: that is how dockerd has it.
        return b"" if features is None else json.dumps({_FEATURES: json.dumps(dict(features))}).encode()
