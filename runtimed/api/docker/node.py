"""Renders the node and its table for /version and /info of the Docker Engine API."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from runtimed import __version__
from runtimed.api.describe import Inspector
from runtimed.core.configuration.rendering import definition_document
from runtimed.core.containerd.names import RUNC_NAME
from runtimed.core.containerd.options import MESSAGES
from runtimed.core.errors import BinaryUnavailable
from runtimed.core.table.build import uses_systemd_cgroup
from runtimed.core.table.facts import Machine
from runtimed.core.table.generation import Generation, Runtime

# The newest version in which the four paths are as they are served here, so that no client asks for less.
API_VERSION = "1.55"
MIN_API_VERSION = "1.24"

_FEATURES = "org.opencontainers.runtime-spec.features"
# The limit of features in one response; further runtimes have none.
_FEATURES_BYTES = 8 * 1024 * 1024
# dockerd's own word for a value that it cannot find out.
_UNKNOWN = "N/A"
# Go's, and so Docker's, names of machines that uname(2) names otherwise.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm", "loongarch64": "loong64"}
# Abilities of the kernel that containers use. runtimed needs none, and older clients warn of each that is false.
_SUPPORTED = (
    *("MemoryLimit", "SwapLimit", "CpuCfsPeriod", "CpuCfsQuota", "CPUShares", "CPUSet", "PidsLimit"),
    *("OomKillDisable", "IPv4Forwarding", "BridgeNfIptables", "BridgeNfIp6tables"),
)


def describe_version(machine: Machine) -> dict[str, object]:
    """Return the body of /version."""
    architecture = _ARCHITECTURES.get(machine.architecture, machine.architecture)
    common = {
        "ApiVersion": API_VERSION,
        "MinAPIVersion": MIN_API_VERSION,
        "Os": "linux",
        "Arch": architecture,
        "KernelVersion": machine.kernel,
    }
    # `docker version` prints these as they are, and omits no line.
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
    """Return the body of /info without the runtimes. There are no containers, images or plugins.

    Clients print ``faults``, the reasons why the daemon is degraded, as warnings.
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
        # True makes clients print figures of a Go process.
        "Debug": False,
        "ExperimentalBuild": False,
        "LiveRestoreEnabled": False,
    }


def runtime_paths(generation: Generation) -> Iterator[tuple[str, str]]:
    """Yield the name and the configured path of each runtime; a runtime that is a shim has the path ""."""
    for name, runtime in generation.runtimes.items():
        definition = runtime.definition
        yield name, RUNC_NAME if definition is None else definition.path or ""


def render_runtimes(generation: Generation, inspector: Inspector | None) -> bytes:
    """Return the table of /info as JSON; with an ``inspector``, which reads the disk, it includes features."""
    runtimes = generation.runtimes.values()
    if inspector is None:  # on the event loop, where it takes a third less time so
        return b"{" + b", ".join(map(_entry, runtimes)) + b"}"
    binaries = dict.fromkeys(runtime.binary for runtime in runtimes if runtime.binary is not None)
    statuses = _statuses(binaries, inspector)
    bytes_left = _FEATURES_BYTES
    # Rendered piece by piece: one json.dumps of a large table would hold up the event loop.
    entries = []
    for runtime in runtimes:
        entry = _entry(runtime)
        status = statuses.get(runtime.binary or "", b"")
        if status and len(status) <= bytes_left:
            bytes_left -= len(status)
            entry = entry[:-1] + b', "status": ' + status + b"}"
        entries.append(entry)
    return b"{" + b", ".join(entries) + b"}"


def _entry(runtime: Runtime) -> bytes:
    """Return a runtime as in daemon.json: its quoted name, a colon, an object."""
    definition = runtime.definition
    if definition is None:
        entry: dict[str, object] = {"path": RUNC_NAME}
    elif definition.options is None and not definition.engines:
        return runtime.text
    else:
        # dockerd knows no carried keys.
        entry = {**definition_document(replace(definition, engines=""))}
        if definition.options is not None:
            # With dockerd's spelling of the keys; resolutions have that of protobuf.
            spelling = {field.name: field.go_name for field in MESSAGES[definition.options.type_url]}
            entry["options"] = {spelling[name]: value for name, value in definition.options.readable().items()}
    return f"{json.dumps(runtime.name)}: {json.dumps(entry)}".encode()


def _statuses(binaries: Iterable[str], inspector: Inspector) -> Mapping[str, bytes]:
    """Return the ``status``, as JSON, of each of ``binaries`` whose features are known."""
    found: dict[str, bytes] = {}
    for binary, path in inspector.look_up_all(binaries).items():
        features = None if isinstance(path, BinaryUnavailable) else inspector.features(path).features
        if features is not None:
            # As in dockerd, the value is a string that contains JSON.
            found[binary] = json.dumps({_FEATURES: json.dumps(dict(features))}).encode()
    return found
