"""Describes a setting of daemon.json as an annotation of the dataclass field that holds its value.

The fields are in :mod:`runtimed.core.config`: their annotations have the type, the check of the value and a
:class:`Setting`. :func:`settings_of` lists them for all code that treats the settings alike: the parser of files, the
command line, the written configuration, and the report of settings that require a restart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass, replace
from types import MappingProxyType
from typing import Annotated, Any, get_type_hints

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, PlainSerializer, TypeAdapter

from runtimed.core.configuration.position import Location
from runtimed.core.errors import Problem
from runtimed.core.message_text import shown

# Keys of daemon.json from the top to a setting, and the attributes of Config from the top to its value.
Keys = tuple[str, ...]
Attributes = tuple[str, ...]
_ANY = TypeAdapter[Any](Any)


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of daemon.json.

    ``usage`` is its flag on the command line, if it has one, as a manual writes it: ``-G, --group GROUP``. Messages
    about a wrong value end in ``expected``. ``stored_as`` is the type in daemon.json if the field has another.
    :func:`settings_of` sets the last three.
    """

    key: str
    usage: str = ""
    help: str = ""
    expected: str = "a string"
    repeatable: bool = False
    # A running daemon cannot change it.
    boot_only: bool = False
    stored_as: Any = None
    keys: Keys = ()
    attributes: Attributes = ()
    adapter: TypeAdapter[Any] = _ANY

    @property
    def flags(self) -> list[str]:
        """The names of the flag, the long one last."""
        return [word.rstrip(",") for word in self.usage.split() if word.startswith("-")]

    @property
    def metavar(self) -> str | None:
        """The name of the flag's value in a usage message; None if there is none."""
        last = self.usage.rpartition(" ")[2]
        return None if last.startswith("-") else last


def settings_of(owner: Any, keys: Keys = (), attributes: Attributes = ()) -> Iterator[Setting]:
    """Yield the settings of the dataclass ``owner`` and of the dataclasses in it.

    Those of a field that has a :class:`Setting` are one level below its key, those of another field at the same level.
    """
    for name, annotation in get_type_hints(owner, include_extras=True).items():
        setting = next((m for m in getattr(annotation, "__metadata__", ()) if isinstance(m, Setting)), None)
        inner = annotation.__origin__ if setting else annotation
        here = (*attributes, name)
        below = (*keys, setting.key) if setting else keys
        if is_dataclass(inner):
            yield from settings_of(inner, below, here)
        elif setting:
            adapter = TypeAdapter[Any](setting.stored_as or annotation, config=ConfigDict(strict=True))
            yield replace(setting, keys=below, attributes=here, adapter=adapter)


def with_value(owner: Any, attributes: Attributes, value: object) -> Any:
    """Return the dataclass ``owner`` with ``value`` at ``attributes``."""
    name, *rest = attributes
    if rest:
        value = with_value(getattr(owner, name), tuple(rest), value)
    return replace(owner, **{name: value})


class InvalidValue(ValueError):
    """A value that breaks a rule, with the fields of the problem to report; ``message`` and ``found`` have defaults."""

    def __init__(self, expected: str, message: str = "", found: str = "") -> None:
        super().__init__(message)
        self.expected = expected
        self.message = message
        self.found = found

    def problem_of(self, value: object, location: Location) -> Problem:
        """Return the problem of ``value`` at ``location``."""
        found = self.found or shown(value)
        return location.problem(self.message or f"found {found}, expected {self.expected}", found, self.expected)


# pydantic's strict mode, which is on for all settings, accepts no list of daemon.json for a tuple.
_AS_TUPLE = Field(strict=False)

Count = Annotated[int, Field(ge=1)]
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

FORMATS = ("text", "json", "auto")
# The levels of logrus' ParseLevel, which dockerd uses. Three of them mean the nearest level of runtimed.
LEVELS = ("trace", "debug", "info", "warn", "warning", "error", "fatal", "panic")
_NEAREST_LEVEL: Mapping[str, str] = MappingProxyType({"trace": "debug", "warning": "warn", "panic": "fatal"})


def _level(text: str) -> str:
    level = text.casefold()
    return _NEAREST_LEVEL.get(level, level)


LogFormat = Annotated[str, Field(pattern=f"^(?:{'|'.join(FORMATS)})?$")]
LogLevel = Annotated[str, Field(pattern=f"(?i)^(?:{'|'.join(LEVELS)})?$"), AfterValidator(_level)]

_DRIVER_KEY = "native.cgroupdriver"


def _exec_option(option: str) -> str:
    """Return the cgroup driver that an option names. dockerd trims key and value, and ignores the case of the key."""
    key, equals, value = option.partition("=")
    key, value = key.strip().casefold(), value.strip()
    expected = f"{_DRIVER_KEY}=systemd or {_DRIVER_KEY}=cgroupfs"
    if not equals or not key:
        raise InvalidValue(expected, f"exec-opt {shown(option)} is not of the form key=value")
    if key != _DRIVER_KEY:
        why = "is only supported on Windows" if key == "isolation" else "is unknown"
        raise InvalidValue(_DRIVER_KEY, f"exec-opt {shown(key)} {why}")
    if value not in ("systemd", "cgroupfs"):
        found = shown(value)
        raise InvalidValue(expected, f"found cgroup driver {found}, expected systemd or cgroupfs", found)
    return value


# Of several drivers the last one wins, as in dockerd.
ExecOptions = Annotated[
    tuple[Annotated[str, AfterValidator(_exec_option)], ...],
    _AS_TUPLE,
    AfterValidator(lambda drivers: drivers[-1] if drivers else None),
    PlainSerializer(lambda driver: [f"{_DRIVER_KEY}={driver}"]),
]
