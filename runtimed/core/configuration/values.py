"""Types for the values of settings whose check is more than their Python type, by the names that the settings give.

The settings are in :mod:`runtimed.core.config`; :attr:`runtimed.core.configuration.settings.Setting.adapter` imports
this module, and with it pydantic, when such a value is first given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from runtimed.core.config import Engine
from runtimed.core.configuration.settings import DRIVER_KEY, FORMATS, LEVELS, InvalidValue
from runtimed.core.message_text import shown

# pydantic's strict mode, which is on for all settings, accepts no list of daemon.json for a tuple.
_AS_TUPLE = Field(strict=False)

Count = Annotated[int, Field(ge=1)]
Retain = Annotated[int, Field(ge=1, le=1000)]
AbsolutePath = Annotated[str, Field(pattern="^/")]
# An empty text means "not given".
Directory = Annotated[str, Field(pattern="^(?:/|$)")]

_DURATION = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)
_UNITS_S = MappingProxyType({"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0})


def _seconds(value: object) -> object:
    """Return the seconds of a duration: a number, or digits and one of s, m, h, d. Return other values as they are."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        return int(match[1]) * _UNITS_S[match[2]]
    # A bool is an int in Python, and no number in JSON.
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


Duration = Annotated[float, BeforeValidator(_seconds), Field(ge=0, le=100 * 365 * 86400)]
ProbeTimeout = Annotated[Duration, Field(ge=0.1, le=60)]


# unix(7): sun_path holds 108 bytes with its NUL.
MAX_SOCKET_PATH_BYTES = 108 - 1


def _host(host: str) -> str:
    expected = "unix:// and an absolute path, as in unix:///run/runtimed/runtimed.sock, or fd://"
    scheme, separator, path = host.partition("://")
    if separator and scheme == "fd":
        return host
    if separator and scheme != "unix":
        why = "runtimed serves Unix sockets only, because it decides by the peer's user id who may reload"
        raise InvalidValue(expected, f"found {shown(host)}, but {why}; use {expected}")
    if not separator or not path.startswith("/") or path.endswith("/"):
        raise InvalidValue(expected)
    if (size := len(path.encode())) > MAX_SOCKET_PATH_BYTES:
        expected = f"at most {MAX_SOCKET_PATH_BYTES} bytes"
        raise InvalidValue(expected, f"found a socket path of {size} bytes, expected {expected}", f"{size} bytes")
    return host


Hosts = Annotated[tuple[Annotated[str, AfterValidator(_host)], ...], _AS_TUPLE]

_NEAREST_LEVEL: Mapping[str, str] = MappingProxyType({"trace": "debug", "warning": "warn", "panic": "fatal"})


def _level(text: str) -> str:
    level = text.casefold()
    return _NEAREST_LEVEL.get(level, level)


LogFormat = Annotated[str, Field(pattern=f"^(?:{'|'.join(FORMATS)})?$")]
LogLevel = Annotated[str, Field(pattern=f"(?i)^(?:{'|'.join(LEVELS)})?$"), AfterValidator(_level)]


def _exec_option(option: str) -> str:
    """Return the cgroup driver that an option names. dockerd trims key and value, and ignores the case of the key."""
    key, equals, value = option.partition("=")
    key, value = key.strip().casefold(), value.strip()
    expected = f"{DRIVER_KEY}=systemd or {DRIVER_KEY}=cgroupfs"
    if not equals or not key:
        raise InvalidValue(expected, f"exec-opt {shown(option)} is not of the form key=value")
    if key != DRIVER_KEY:
        why = "is only supported on Windows" if key == "isolation" else "is unknown"
        raise InvalidValue(DRIVER_KEY, f"exec-opt {shown(key)} {why}")
    if value not in ("systemd", "cgroupfs"):
        found = shown(value)
        raise InvalidValue(expected, f"found cgroup driver {found}, expected systemd or cgroupfs", found)
    return value


# Of several drivers the last one wins, as in dockerd.
ExecOptions = Annotated[
    tuple[Annotated[str, AfterValidator(_exec_option)], ...],
    _AS_TUPLE,
    AfterValidator(lambda drivers: drivers[-1] if drivers else None),
]


@dataclass(frozen=True, slots=True)
class _Engine:
    __pydantic_config__ = ConfigDict(extra="forbid")

    address: AbsolutePath
    state: AbsolutePath
    root: AbsolutePath | None = None


Engines = Annotated[
    tuple[Annotated[_Engine, AfterValidator(lambda found: Engine(found.address, found.state, found.root))], ...],
    _AS_TUPLE,
]
