"""Checks the values of settings.

A *check* is a function of a value. It returns the value that the configuration gets, or raises :class:`InvalidValue`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from runtimed.core.configuration.position import Location
from runtimed.core.errors import Problem
from runtimed.core.message_text import shown

Check = Callable[[Any], Any]
# Keys and indices from the value of a setting to a value in it.
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """A rule that ``value`` breaks, and the fields of the problem to report; all but the value have defaults.

    ``expected`` is by default that of the setting. ``path`` leads to the value from that of the setting.
    """

    value: object
    expected: str = ""
    message: str = ""
    found: str = ""
    path: Path = ()
    unknown_key: bool = False

    def problem_at(self, location: Location, expected: str) -> Problem:
        """Return the problem to report at ``location``; ``expected`` is that of the setting."""
        expected = self.expected or expected
        found = self.found or shown(self.value)
        return location.problem(self.message or f"found {found}, expected {expected}", found, expected)


class InvalidValue(ValueError):
    """A value that breaks rules, or that has such values in it."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(*faults)
        self.faults = faults


def flag(value: object) -> bool:
    """Check true or false."""
    if not isinstance(value, bool):
        raise InvalidValue(Fault(value))
    return value


def text(value: object) -> str:
    """Check a string."""
    if not isinstance(value, str):
        raise InvalidValue(Fault(value, "a string"))
    return value


def integer(least: int, most: int | None = None) -> Check:
    """Return the check of an integer from ``least`` to ``most``."""

    def check(value: object) -> int:
        # A bool is an int in Python, and no number in JSON.
        if type(value) is not int or value < least or (most is not None and value > most):
            raise InvalidValue(Fault(value))
        return value

    return check


_DURATION = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)
_UNITS_S = MappingProxyType({"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0})
_CENTURY_S = 100 * 365 * 86400


def duration(least_s: float = 0, most_s: float = _CENTURY_S) -> Check:
    """Return the check of a duration: a number of seconds, or digits and one of s, m, h, d. It returns seconds."""

    def check(value: object) -> float:
        seconds = value
        if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
            seconds = int(match[1]) * _UNITS_S[match[2]]
        if type(seconds) not in (int, float) or not least_s <= seconds <= most_s:  # type: ignore[operator]  # a number
            raise InvalidValue(Fault(value))
        return float(seconds)  # type: ignore[arg-type]  # as above

    return check


def absolute_path(value: object) -> str:
    """Check an absolute path."""
    if not (path := text(value)).startswith("/"):
        raise InvalidValue(Fault(value))
    return path


def directory(value: object) -> str:
    """Check the absolute path of a directory; an empty text means "not given"."""
    return absolute_path(value) if value != "" else ""


def optional(check: Check) -> Check:
    """Return the check of a value that may be null."""
    return lambda value: None if value is None else check(value)


# unix(7): sun_path holds 108 bytes with its NUL.
MAX_SOCKET_PATH_BYTES = 108 - 1


def host(value: object) -> str:
    """Check the address of a socket."""
    address = text(value)
    expected = "unix:// and an absolute path, as in unix:///run/runtimed/runtimed.sock, or fd://"
    scheme, separator, path = address.partition("://")
    if separator and scheme == "fd":
        return address
    if separator and scheme != "unix":
        why = "runtimed serves Unix sockets only, because it decides by the peer's user id who may reload"
        raise InvalidValue(Fault(value, expected, f"found {shown(value)}, but {why}; use {expected}"))
    if not separator or not path.startswith("/") or path.endswith("/"):
        raise InvalidValue(Fault(value, expected))
    if (size := len(path.encode())) > MAX_SOCKET_PATH_BYTES:
        expected = f"at most {MAX_SOCKET_PATH_BYTES} bytes"
        found = f"{size} bytes"
        raise InvalidValue(Fault(value, expected, f"found a socket path of {found}, expected {expected}", found))
    return address


FORMATS = ("text", "json", "auto")
# The levels of logrus' ParseLevel, which dockerd uses. Three of them mean the nearest level of runtimed.
LEVELS = ("trace", "debug", "info", "warn", "warning", "error", "fatal", "panic")
_NEAREST_LEVEL: Mapping[str, str] = MappingProxyType({"trace": "debug", "warning": "warn", "panic": "fatal"})


def log_format(value: object) -> str:
    """Check the format of the log; an empty text means "not given"."""
    if text(value) not in ("", *FORMATS):
        raise InvalidValue(Fault(value))
    return text(value)


def log_level(value: object) -> str:
    """Check the level of the log, of which the case does not count; an empty text means "not given"."""
    level = text(value).casefold()
    if level not in ("", *LEVELS):
        raise InvalidValue(Fault(value))
    return _NEAREST_LEVEL.get(level, level)


_DRIVER_KEY = "native.cgroupdriver"


def exec_options(value: object) -> str | None:
    """Check options, and return the cgroup driver that they name. Of several drivers the last one wins, as in dockerd.

    dockerd trims key and value, and ignores the case of the key.
    """
    drivers: tuple[str, ...] = each(_exec_option)(value)
    return drivers[-1] if drivers else None


def driver_options(driver: str) -> list[str]:
    """Return the options that name ``driver``."""
    return [f"{_DRIVER_KEY}={driver}"]


def _exec_option(value: object) -> str:
    option = text(value)
    key, equals, driver = option.partition("=")
    key, driver = key.strip().casefold(), driver.strip()
    expected = f"{_DRIVER_KEY}=systemd or {_DRIVER_KEY}=cgroupfs"
    if not equals or not key:
        raise InvalidValue(Fault(value, expected, f"exec-opt {shown(option)} is not of the form key=value"))
    if key != _DRIVER_KEY:
        why = "is only supported on Windows" if key == "isolation" else "is unknown"
        raise InvalidValue(Fault(value, _DRIVER_KEY, f"exec-opt {shown(key)} {why}"))
    if driver not in ("systemd", "cgroupfs"):
        found = shown(driver)
        raise InvalidValue(Fault(value, expected, f"found cgroup driver {found}, expected systemd or cgroupfs", found))
    return driver


def each(check: Check) -> Check:
    """Return the check of a list whose entries pass ``check``. It returns a tuple, and reports all wrong entries."""

    def check_all(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise InvalidValue(Fault(value))
        checked, faults = check_values((index, entry, check, "") for index, entry in enumerate(value))
        if faults:
            raise InvalidValue(*faults)
        return tuple(checked)

    return check_all


def check_values(values: Iterable[tuple[str | int, object, Check, str]]) -> tuple[list[Any], list[Fault]]:
    """Return the values in a list or an object by their checks, and all faults of them.

    Each is its index or key, the value, its check, and the words for what it should be; "" for those of the setting.
    """
    checked: list[Any] = []
    faults: list[Fault] = []
    for at, value, check, expected in values:
        try:
            checked.append(check(value))
        except InvalidValue as exc:
            faults += (replace(each, path=(at, *each.path), expected=each.expected or expected) for each in exc.faults)
    return checked, faults
