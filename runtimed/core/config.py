"""Defines a node's configuration as one immutable value, and with it every setting of daemon.json.

Each field with a :class:`~runtimed.core.configuration.settings.Setting` is a setting. A new
setting needs a field here, its use, and its entry in the manual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Annotated, Self

from runtimed.core.configuration.position import Location
from runtimed.core.configuration.settings import DRIVER_KEY, FORMATS, LEVELS, Keys, Setting, settings_of
from runtimed.core.configuration.unchanged import ParsedEntries
from runtimed.core.containerd.options import Options
from runtimed.core.errors import Problem

_PATH = "an absolute path"
_USUAL_PATH = "/[!-~]*"
_PATH_OF = "the absolute path of containerd's"
_LIST = "a list of strings"
_BOOL = "true or false"
_LEVEL_HELP = "debug, info, warn, error or fatal"
_FORMAT_HELP = "text, json, or auto: text on a terminal and in the journal, else json"
_OPTION_HELP = "native.cgroupdriver=systemd or native.cgroupdriver=cgroupfs"


# Field of an entry as daemon.json spells it (path, runtimeArgs, runtimeType, options, engines), and the number of lines
# from the entry's name to the field.
LinesBelow = tuple[tuple[str, int], ...]


@lru_cache(maxsize=1024)
def shared_lines(below: LinesBelow) -> LinesBelow:
    """Return a tuple that equals ``below``. Entries with the same layout share one, which saves memory."""
    return below


@dataclass(frozen=True, slots=True)
class Origin:
    """The place that defines a runtime: a file and a line counted from 1, or a flag (``line`` is None).

    The lines of the fields are relative, so that text inserted above an entry leaves them as they are.
    """

    file: str
    line: int | None = None
    below: LinesBelow = ()

    @classmethod
    def at(cls, file: str, line: int | None, fields: Mapping[str, int]) -> Self:
        """Return the origin whose ``fields`` are at these lines, counted from 1."""
        return cls(file, line, shared_lines(tuple((name, each - (line or 0)) for name, each in fields.items())))

    @property
    def fields(self) -> dict[str, int]:
        """The lines of the fields, counted from 1."""
        line = self.line or 0
        return {name: line + below for name, below in self.below}


@dataclass(frozen=True, slots=True)
class Definition:
    """One entry of ``runtimes``: either ``path`` (with ``args``) or ``runtime_type`` (with ``options``).

    ``engines`` has the carried keys: engine -> keys that runtimed keeps for it, as JSON with sorted keys; "" if there
    are none. It is text, because two texts are equal only if they mean the same: in Python 1 equals true and 1.0.
    """

    name: str
    path: str | None = None
    args: tuple[str, ...] = ()
    runtime_type: str | None = None
    options: Options | None = None
    engines: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of the daemon at the top of daemon.json."""

    data_root: Annotated[
        str,
        Setting(
            "data-root",
            "--data-root DIR",
            "directory of generations and wrappers",
            _PATH,
            boot_only=True,
            checked_as="Directory",
            usual=_USUAL_PATH,
        ),
    ]
    exec_root: Annotated[
        str,
        Setting(
            "exec-root",
            "--exec-root DIR",
            "directory of run-time state",
            _PATH,
            boot_only=True,
            checked_as="Directory",
            usual=_USUAL_PATH,
        ),
    ]
    hosts: Annotated[
        tuple[str, ...],
        Setting(
            "hosts",
            "-H, --host unix://PATH",
            "socket to serve on",
            _LIST,
            repeatable=True,
            boot_only=True,
            checked_as="Hosts",
            usual="fd://[a-z.]*|unix:///[!-~]{0,100}[a-z]",
        ),
    ]
    group: Annotated[
        str | None, Setting("group", "-G, --group GROUP", "group that may use the socket", boot_only=True)
    ] = None
    pidfile: Annotated[
        str | None, Setting("pidfile", "-p, --pidfile FILE", "file for the process id", boot_only=True)
    ] = None
    log_level: Annotated[
        str,
        Setting(
            "log-level",
            "-l, --log-level LEVEL",
            _LEVEL_HELP,
            f"one of {', '.join(LEVELS)}",
            checked_as="LogLevel",
            usual="debug|info|warn|error|fatal",
        ),
    ] = "info"
    log_format: Annotated[
        str,
        Setting(
            "log-format",
            "--log-format FORMAT",
            _FORMAT_HELP,
            f"one of {', '.join(FORMATS)}",
            boot_only=True,
            checked_as="LogFormat",
            usual="|".join(FORMATS),
        ),
    ] = "auto"
    debug: Annotated[bool, Setting("debug", "-D, --debug", "log at level debug", _BOOL)] = False


@dataclass(frozen=True, slots=True)
class Engine:
    """A containerd: its API socket, its state directory, and its root directory if that is known.

    The root directory of Debian's containerd is known. For any other it is not known unless it is given, so that an
    engine which is down cannot be told from one which does not exist.
    """

    address: Annotated[str, Setting("address", expected=f"{_PATH_OF} socket")]
    state: Annotated[str, Setting("state", expected=f"{_PATH_OF} state directory")]
    root: Annotated[str | None, Setting("root", expected=f"{_PATH_OF} root directory")] = None

    @property
    def known_root(self) -> str | None:
        """The root directory, None if it is not known."""
        return self.root or ("/var/lib/containerd" if self.state.rstrip("/") == "/run/containerd" else None)

    @property
    def metadata(self) -> str | None:
        """The directory in which this containerd keeps its list of containers across reboots, None if not known."""
        return f"{self.known_root}/io.containerd.metadata.v1.bolt" if self.known_root else None


def _driver_options(driver: str) -> list[str]:
    return [f"{DRIVER_KEY}={driver}"]


def _engine_documents(engines: tuple[Engine, ...]) -> list[dict[str, str]]:
    return [{key: value for key, value in asdict(engine).items() if value is not None} for engine in engines]


# Debian's containerd, and the one that dockerd starts.
_ENGINES = (
    Engine("/run/containerd/containerd.sock", "/run/containerd"),
    Engine(
        "/run/docker/containerd/containerd.sock", "/run/docker/containerd/daemon", "/var/lib/docker/containerd/daemon"
    ),
)


@dataclass(frozen=True, slots=True)
class Probe:
    """Whether binaries are run to learn their features, and how long one may take."""

    enabled: Annotated[bool, Setting("enabled", expected=_BOOL)] = True
    timeout_s: Annotated[
        float,
        Setting("timeout", expected='a duration from 0.1 to 60 seconds, such as "5s"', checked_as="ProbeTimeout"),
    ] = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest number of connections at a time: in all, and of one user id."""

    connections: Annotated[int, Setting("connections", expected="an integer from 1 on", checked_as="Count")] = 4096
    connections_per_user: Annotated[
        int, Setting("connections-per-user", expected="an integer from 1 on", checked_as="Count")
    ] = 1024


@dataclass(frozen=True, slots=True)
class RuntimedSettings:
    """The settings of the key ``runtimed``, the only one that dockerd does not know."""

    # How many of the newest generations are always kept.
    retain: Annotated[int, Setting("retain", expected="an integer from 1 to 1000", checked_as="Retain")] = 16
    # How long a wrapper must be without a reference before it may be collected.
    grace_s: Annotated[
        float,
        Setting("grace", expected='a duration such as "30d", "12h" or a number of seconds', checked_as="Duration"),
    ] = 2_592_000.0
    # Whether the daemon collects wrappers without a request.
    gc: Annotated[bool, Setting("gc", expected=_BOOL)] = False
    # The engines whose containers refer to wrappers.
    containerd: Annotated[
        tuple[Engine, ...],
        Setting(
            "containerd",
            expected="a list of objects with address and state",
            checked_as="Engines",
            render=_engine_documents,
        ),
    ] = _ENGINES
    probe: Annotated[Probe, Setting("probe")] = field(default_factory=Probe)
    limits: Annotated[Limits, Setting("limits")] = field(default_factory=Limits)
    # Whether a configuration is rejected if its default runtime is not proved.
    require_proof: Annotated[bool, Setting("require-proof", expected=_BOOL)] = False


@dataclass(frozen=True, slots=True)
class Config:
    """The accepted configuration of a node."""

    path: str
    settings: Settings
    runtimes: Mapping[str, Definition]
    default_runtime: Annotated[
        str, Setting("default-runtime", "--default-runtime NAME", "runtime for the empty name")
    ] = "runc"
    # "systemd", "cgroupfs", or None if exec-opts names no driver.
    cgroup_driver: Annotated[
        str | None,
        Setting(
            "exec-opts",
            "--exec-opt KEY=VALUE",
            _OPTION_HELP,
            _LIST,
            repeatable=True,
            checked_as="ExecOptions",
            render=_driver_options,
        ),
    ] = None
    runtimed: Annotated[RuntimedSettings, Setting("runtimed")] = field(default_factory=RuntimedSettings)
    origins: Mapping[str, Origin] = field(default_factory=lambda: MappingProxyType({}))
    # The place of `default-runtime`, or of `require-proof` where the default runtime is not given.
    default_at: Location = field(default_factory=Location, compare=False)
    # The files of the configuration, the main file first, with the checksums of their contents.
    sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    # Keys of dockerd that have no effect here, and keys of documents that a flag overrides.
    ignored: tuple[str, ...] = ()
    overridden: tuple[str, ...] = ()
    # Unknown keys, which have no effect.
    remarks: tuple[Problem, ...] = ()
    # Path of a file -> its entries, so that the next parse reads only those that changed.
    parsed: Mapping[str, ParsedEntries] = field(default_factory=lambda: MappingProxyType({}), compare=False, repr=False)


SETTINGS: Mapping[Keys, Setting] = MappingProxyType({setting.keys: setting for setting in settings_of(Config)})
ENGINE_SETTINGS: Mapping[str, Setting] = MappingProxyType({s.key: s for s in settings_of(Engine)})
# The settings that a running daemon cannot change: key of daemon.json -> field of Settings.
BOOT_ONLY: Mapping[str, str] = MappingProxyType({s.key: s.attributes[-1] for s in SETTINGS.values() if s.boot_only})
