"""Describes a setting of daemon.json as an annotation of the dataclass field that holds its value.

The fields are in :mod:`runtimed.core.config`: their annotations have the type, the check of the value and a
:class:`Setting`. :func:`settings_of` lists them for all code that treats the settings alike: the parser of files, the
command line, the written configuration, and the report of settings that require a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from typing import Any, get_type_hints

from runtimed.core.configuration.values import Check, Fault, InvalidValue, check_values

# Keys of daemon.json from the top to a setting, and the attributes of Config from the top to its value.
Keys = tuple[str, ...]
Attributes = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of daemon.json.

    ``usage`` is its flag on the command line, if it has one, as a manual writes it: ``-G, --group GROUP``. Messages
    about a wrong value end in ``expected``. ``render`` makes the value of daemon.json of that of the field where they
    differ. :func:`settings_of` sets the last three.
    """

    key: str
    usage: str = ""
    help: str = ""
    expected: str = "a string"
    repeatable: bool = False
    # A running daemon cannot change it.
    boot_only: bool = False
    render: Callable[[Any], object] = lambda value: value
    keys: Keys = ()
    attributes: Attributes = ()
    check: Check = lambda value: value

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
        metadata = getattr(annotation, "__metadata__", ())
        setting = next((m for m in metadata if isinstance(m, Setting)), None)
        inner = annotation.__origin__ if setting else annotation
        here = (*attributes, name)
        below = (*keys, setting.key) if setting else keys
        if is_dataclass(inner):
            yield from settings_of(inner, below, here)
        elif setting:
            (check,) = (m for m in metadata if m is not setting)
            yield replace(setting, keys=below, attributes=here, check=check)


def object_of(owner: Any, expected: str) -> Check:
    """Return the check of an object whose keys are the settings of the dataclass ``owner``; it makes an ``owner``."""
    settings = {setting.key: setting for setting in settings_of(owner)}
    defaults = {each.name for each in fields(owner) if each.default is not MISSING}
    required = [setting for setting in settings.values() if setting.attributes[-1] not in defaults]

    def check(value: object) -> Any:
        if not isinstance(value, dict):
            raise InvalidValue(Fault(value, expected))
        given = [setting for key, setting in settings.items() if key in value]
        checked, faults = check_values((each.key, value[each.key], each.check, each.expected) for each in given)
        faults += [Fault(value, each.expected, path=(each.key,)) for each in required if each.key not in value]
        faults += [Fault(value[key], path=(key,), unknown_key=True) for key in value if key not in settings]
        if faults:
            raise InvalidValue(*faults)
        return owner(**{each.attributes[-1]: found for each, found in zip(given, checked, strict=True)})

    return check


def with_value(owner: Any, attributes: Attributes, value: object) -> Any:
    """Return the dataclass ``owner`` with ``value`` at ``attributes``."""
    name, *rest = attributes
    if rest:
        value = with_value(getattr(owner, name), tuple(rest), value)
    return replace(owner, **{name: value})
