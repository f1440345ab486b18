"""What a node's configuration says, as one immutable value.

A :class:`Config` is what is left when every document and flag has been read, checked and merged.
It knows nothing of files any more but where each runtime came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from runtimed.core.collection.references import Engine
from runtimed.core.containerd.options import Options
from runtimed.core.errors import Problem

if TYPE_CHECKING:
    from runtimed.core import shapes


@dataclass(frozen=True, slots=True)
class Source:
    """The bytes of one configuration file, as they were read."""

    path: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Documents:
    """All configuration files at one instant: the main file, then the drop-ins in the order they apply.

    ``main`` is None where there is no such file. ``problems`` holds what kept a file from being read, ``remarks`` names
    files that are not read; they do not count when documents are compared, because editors' files come and go.
    """

    main_path: str
    main: Source | None = None
    dropins: tuple[Source, ...] = ()
    problems: tuple[Problem, ...] = ()
    remarks: tuple[Problem, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line says; None or empty where it says nothing. Flags win over every document."""

    data_root: str | None = None
    exec_root: str | None = None
    hosts: tuple[str, ...] = ()
    group: str | None = None
    pidfile: str | None = None
    log_level: str | None = None
    log_format: str | None = None
    debug: bool | None = None
    default_runtime: str | None = None
    exec_opts: tuple[str, ...] = ()
    # --add-runtime NAME=PATH, as given.
    runtimes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a runtime's entry stands: a file and lines counted from 1, or a flag (``line`` is None)."""

    file: str
    line: int | None = None
    # Field name as daemon.json spells it (path, runtimeArgs, runtimeType, options) -> line.
    fields: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Definition:
    """One entry of ``runtimes``: either ``path`` (with ``args``) or ``runtime_type`` (with ``options``)."""

    name: str
    path: str | None = None
    args: tuple[str, ...] = ()
    runtime_type: str | None = None
    options: Options | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """What daemon.json says of the daemon itself. All but ``log_level`` and ``debug`` hold from boot on."""

    data_root: str
    exec_root: str
    hosts: tuple[str, ...]
    group: str | None = None
    pidfile: str | None = None
    log_level: str = "info"
    log_format: str = "auto"
    debug: bool = False


# The settings that a running daemon cannot change: daemon.json's key -> field of Settings.
BOOT_ONLY: Mapping[str, str] = MappingProxyType(
    {
        "data-root": "data_root",
        "exec-root": "exec_root",
        "hosts": "hosts",
        "group": "group",
        "pidfile": "pidfile",
        "log-format": "log_format",
    }
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what clients may take: connections at a time, in all and for one user id."""

    connections: int = 4096
    connections_per_user: int = 1024


@dataclass(frozen=True, slots=True)
class Probe:
    """Whether binaries are asked for their features, and for how long one may take, in seconds."""

    enabled: bool = True
    timeout_s: float = 5.0


# Debian's containerd, and the one that dockerd runs for itself.
_ENGINES = (
    Engine(),
    Engine(
        "/run/docker/containerd/containerd.sock", "/run/docker/containerd/daemon", "/var/lib/docker/containerd/daemon"
    ),
)


@dataclass(frozen=True, slots=True)
class Own:
    """The ``runtimed`` key, the only one that dockerd does not know."""

    # How many of the newest generations are always kept.
    retain: int = 16
    # For how long nothing must have referred to a wrapper before it may be collected, in seconds.
    grace_s: float = 30 * 86400.0
    # Whether wrappers are collected without being asked to.
    gc: bool = False
    # The engines whose containers refer to wrappers.
    containerd: tuple[Engine, ...] = _ENGINES
    limits: Limits = field(default_factory=Limits)
    probe: Probe = field(default_factory=Probe)


@dataclass(frozen=True, slots=True)
class Config:
    """The accepted configuration of a node."""

    path: str
    settings: Settings
    runtimes: Mapping[str, Definition]
    default_runtime: str = "runc"
    # "systemd", "cgroupfs", or None where exec-opts does not say.
    cgroup_driver: str | None = None
    own: Own = field(default_factory=Own)
    origins: Mapping[str, Origin] = field(default_factory=lambda: MappingProxyType({}))
    # The files this was read from, the main file first.
    sources: tuple[str, ...] = ()
    # dockerd's keys that mean nothing here, and keys of documents that a flag overrides.
    ignored: tuple[str, ...] = ()
    overridden: tuple[str, ...] = ()
    # What else has no effect, each with its place: unknown keys.
    remarks: tuple[Problem, ...] = ()


def definition_document(definition: Definition) -> shapes.Definition:
    """Return ``definition`` as an entry of daemon.json's ``runtimes``."""
    if definition.runtime_type is not None:
        shim: shapes.ShimDefinition = {"runtimeType": definition.runtime_type}
        if definition.options is not None:
            shim["options"] = definition.options.readable()
        return shim
    binary: shapes.PathDefinition = {"path": definition.path or ""}
    if definition.args:
        binary["runtimeArgs"] = list(definition.args)
    return binary


def config_document(config: Config) -> dict[str, object]:
    """Return all of ``config`` but its runtimes as a daemon.json document.

    Reading it back gives the same configuration, whatever the defaults are by then.
    """
    settings, own = config.settings, config.own
    document: dict[str, object] = {
        "data-root": settings.data_root,
        "exec-root": settings.exec_root,
        "hosts": list(settings.hosts),
        "group": settings.group,
        "pidfile": settings.pidfile,
        "log-level": settings.log_level,
        "log-format": settings.log_format,
        "debug": settings.debug,
        "default-runtime": config.default_runtime,
        "exec-opts": [f"native.cgroupdriver={config.cgroup_driver}"] if config.cgroup_driver else None,
        "runtimed": {
            "retain": own.retain,
            "grace": own.grace_s,
            "gc": own.gc,
            "containerd": [
                {"address": e.address, "state": e.state, **({"root": e.root} if e.root else {})} for e in own.containerd
            ],
            "probe": {"enabled": own.probe.enabled, "timeout": own.probe.timeout_s},
            "limits": {
                "connections": own.limits.connections,
                "connections-per-user": own.limits.connections_per_user,
            },
        },
    }
    return {key: value for key, value in document.items() if value is not None}
