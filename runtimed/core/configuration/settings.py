"""Describes a setting of daemon.json as an annotation of the dataclass field that holds its value.

The fields are in :mod:`runtimed.core.config`: their annotations have the type and a :class:`Setting`.
:func:`settings_of` lists them for all code that treats the settings alike: the parser of files, the command line, the
written configuration, and the report of settings that require a restart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, get_type_hints

from runtimed.core.configuration.position import Location
from runtimed.core.errors import Problem
from runtimed.core.message_text import shown

if TYPE_CHECKING:
    from pydantic import TypeAdapter

# Keys of daemon.json from the top to a setting, and the attributes of Config from the top to its value.
Keys = tuple[str, ...]
Attributes = tuple[str, ...]
FORMATS = ("text", "json", "auto")
# The levels of logrus' ParseLevel, which dockerd uses. Three of them mean the nearest level of runtimed.
LEVELS = ("trace", "debug", "info", "warn", "warning", "error", "fatal", "panic")
# The only key of exec-opts that dockerd knows here.
DRIVER_KEY = "native.cgroupdriver"


def _as_json(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of daemon.json.

    ``usage`` is its flag on the command line, if it has one, as a manual writes it: ``-G, --group GROUP``. Messages
    about a wrong value end in ``expected``. A value has the type ``plain``, or the one that ``checked_as`` names in
    :mod:`runtimed.core.configuration.values`. ``render`` returns the value as daemon.json has it.
    :func:`settings_of` sets the last three.
    """

    key: str
    usage: str = ""
    help: str = ""
    expected: str = "a string"
    repeatable: bool = False
    # A running daemon cannot change it.
    boot_only: bool = False
    checked_as: str = ""
    # A pattern. A text that matches needs no check, so a start with the flags of the shipped unit imports no pydantic.
    usual: str = ""
    render: Callable[[Any], object] = _as_json
    keys: Keys = ()
    attributes: Attributes = ()
    plain: type = str

    @property
    def flags(self) -> list[str]:
        """The names of the flag, the long one last."""
        return [word.rstrip(",") for word in self.usage.split() if word.startswith("-")]

    @property
    def adapter(self) -> TypeAdapter[Any]:
        """The check of a value by pydantic, where ``checked_as`` is given."""
        return _adapter(self.checked_as)

    def as_usual(self, value: object) -> str | tuple[str, ...] | None:
        """Return ``value`` as the configuration has it if it is ``usual``, or a list of such texts; else None."""
        if not self.usual or isinstance(value, list | tuple) != self.repeatable:
            return None
        texts = tuple(value) if isinstance(value, list | tuple) else (value,)
        if not all(isinstance(text, str) and re.fullmatch(self.usual, text) for text in texts):
            return None
        return texts if self.repeatable else texts[0]

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
            yield replace(setting, keys=below, attributes=here, plain=bool if inner is bool else str)


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    # Most configurations need none: pydantic would take a quarter of a start's time and of an idle daemon's memory.
    from pydantic import ConfigDict, TypeAdapter  # noqa: PLC0415 - see above

    from runtimed.core.configuration import values  # noqa: PLC0415 - see above

    return TypeAdapter[Any](getattr(values, name), config=ConfigDict(strict=True))


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
