"""Checks the types of daemon.json's keys and values, and reports each wrong one as a problem with its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from runtimed.core.config import ENGINE_SETTINGS, SETTINGS
from runtimed.core.configuration import keys
from runtimed.core.configuration.document import Document
from runtimed.core.configuration.position import Pointer, Spot, both_lines
from runtimed.core.configuration.problems import Findings, Problems
from runtimed.core.configuration.settings import Attributes, InvalidValue, Setting
from runtimed.core.errors import Problem
from runtimed.core.message_text import nearest, shown


@dataclass(frozen=True, slots=True)
class Entry:
    """A runtime in one document or flag: its types are checked, its rules are not; "" and empty mean "not given"."""

    name: str
    path: str = ""
    args: tuple[str, ...] = ()
    runtime_type: str = ""
    options: Mapping[str, object] = field(default_factory=dict)
    # Field as daemon.json's manual spells it -> as this document does.
    spelt: Mapping[str, str] = field(default_factory=dict)


# Field of an entry -> its type, and the words for that. Not checked by pydantic, which takes a kilobyte for each error.
_FIELDS: Mapping[str, tuple[type, str]] = MappingProxyType(
    {
        "path": (str, "a string"),
        "runtimeArgs": (list, "a list of strings"),
        "runtimeType": (str, "a string"),
        "options": (dict, "an object of options by name"),
    }
)
_FIELD_NAMES: Mapping[str, str] = MappingProxyType({name.casefold(): name for name in _FIELDS})

# Entries of a list or object other than "runtimes" and "runtimeArgs"; no useful one has as many.
_ENTRIES_MOST = 1000
# Unknown keys of one document for which the nearest known key is searched, which takes milliseconds.
_HINTS_MOST = 50


def read_settings(
    document: Document, found: Findings, flagged: frozenset[str] = frozenset()
) -> tuple[dict[Attributes, object], tuple[str, ...], frozenset[str]]:
    """Return the values that ``document`` sets, the ignored keys of dockerd, and the keys that a flag overrides.

    ``flagged`` are the keys that a flag sets: their values in ``document`` have no effect and are not checked.
    """
    ignored: list[str] = []
    overridden: set[str] = set()
    given: dict[str, object] = {}
    top = document.value
    if len(top) > _ENTRIES_MOST:
        expected = f"at most {_ENTRIES_MOST:,} keys"
        found.problems.append(
            document.spot(()).problem(f"found {len(top):,} keys, expected {expected}", None, expected)
        )
        top = {}
    unknown = 0
    for key, value in top.items():
        if key in keys.IGNORED:
            ignored.append(key)
        elif key not in keys.KNOWN:
            unknown += 1
            _unknown_setting(document, key, found, hint=unknown <= _HINTS_MOST)
        elif key in flagged:
            if value not in (None, "") and (key, value) != ("hosts", []):
                overridden.add(key)
        elif key != "runtimes":
            given[key] = value
    crowded = [problem for key, value in given.items() for problem in _crowded(document, (key,), value)]
    found.problems += crowded
    values: dict[Attributes, object] = {}
    for key, value in given.items() if not crowded else ():
        values |= _read_setting(document, (key,), value, found.problems)
    runtimes = top.get("runtimes")
    if not isinstance(runtimes, dict | None):
        found.problems.append(_mismatch(document, ("runtimes",), runtimes, "an object of runtimes by name"))
    return values, tuple(ignored), frozenset(overridden)


def _unknown_setting(document: Document, key: str, found: Findings, *, hint: bool) -> None:
    """Add a problem for an unknown key that misspells one of runtimed, else a remark.

    dockerd refuses both. Here a key that is new in dockerd must not take a node's runtimes away.
    """
    spot = document.key_spot((key,))
    if (meant := keys.misspelt(key)) is not None:
        message = f"unknown setting {shown(key)}; did you mean {shown(meant)}?"
        found.problems.append(spot.problem(message, shown(key), "a key of daemon.json"))
        return
    advice = _advice(key, keys.KNOWN | keys.IGNORED) if hint else ""
    found.remarks.append(spot.problem(f"unknown key {shown(key)}, ignored{advice}", shown(key), "a key of daemon.json"))


def _read_setting(
    document: Document, place: tuple[str, ...], value: object, problems: Problems
) -> dict[Attributes, object]:
    """Return the values of the setting at ``place``, or of all settings in the object at ``place``."""
    if value is None:
        return {}
    if (setting := SETTINGS.get(place)) is not None:
        return read_value(setting, value, document, problems)
    if not isinstance(value, dict):
        problems.append(_mismatch(document, place, value, "an object"))
        return {}
    depth = len(place)
    known = {path[depth] for path in SETTINGS if path[:depth] == place}
    values: dict[Attributes, object] = {}
    for key, inner in value.items():
        if key in known:
            values |= _read_setting(document, (*place, key), inner, problems)
        else:
            problems.append(_unknown(document, (*place, key), known, "key of runtimed"))
    return values


def read_value(
    setting: Setting, value: object, places: Document | Spot, problems: Problems
) -> dict[Attributes, object]:
    """Return the checked ``value`` under the attributes of ``setting``, or nothing if it is wrong or empty.

    ``places`` is the document or the flag that has the value.
    """
    try:
        checked = setting.adapter.validate_python(value)
    except ValidationError as exc:
        for error in exc.errors(include_url=False):
            pointer, kind = (*setting.keys, *error["loc"]), error["type"]
            if kind == "value_error":
                fault: InvalidValue = error["ctx"]["error"]
                problems.append(places.spot(pointer).problem(str(fault), fault.found, fault.expected))
            elif kind == "unexpected_keyword_argument":
                problems.append(_unknown(places, pointer, ENGINE_SETTINGS, "key of runtimed"))
            else:
                problems.append(_mismatch(places, pointer, error["input"], _expected(setting, error["loc"], kind)))
        return {}
    # An empty list of hosts is "not given" as well: a daemon without a socket serves no client.
    return {} if checked == "" or (setting.key, checked) == ("hosts", ()) else {setting.attributes: checked}


def _expected(setting: Setting, at: tuple[str | int, ...], kind: str) -> str:
    if kind == "string_type":
        return "a string"
    if not at:
        return setting.expected
    return "an object with address and state" if isinstance(at[-1], int) else ENGINE_SETTINGS[at[-1]].expected


def read_entry(document: Document, name: str, raw: object, found: Findings) -> Entry | None:
    """Return the entry ``raw`` of ``/runtimes/<name>`` with checked types, None if one is wrong.

    Keys match without regard to case, as in dockerd. dockerd ignores unknown keys; here one with an empty value is a
    remark (nvidia-ctk writes ``"args": []``), any other a problem.
    """
    pointer = ("runtimes", name)
    problems = found.problems
    if raw is None:
        return Entry(name)
    if not isinstance(raw, dict):
        problems.append(_mismatch(document, pointer, raw, "an object with path or runtimeType"))
        return None
    if crowded := _crowded(document, pointer, {key: raw[key] for key in raw if key.casefold() != "runtimeargs"}):
        problems += crowded
        return None
    before = problems.total
    spelt: dict[str, str] = {}
    given: dict[str, Any] = {}
    for key, value in raw.items():
        field_name = _FIELD_NAMES.get(key.casefold())
        if field_name is None:
            _unknown_field(document, (*pointer, key), value, found)
        elif field_name in spelt:
            problems.append(_twice(document, pointer, spelt[field_name], key))
        else:
            spelt[field_name] = key
            if value is not None:
                given[field_name] = value
                _check_field(document, (*pointer, key), value, _FIELDS[field_name], problems)
    if problems.total > before:
        return None
    args = tuple(given.get("runtimeArgs", ()))
    options = given.get("options", {})
    return Entry(name, given.get("path", ""), args, given.get("runtimeType", ""), options, MappingProxyType(spelt))


def _check_field(
    document: Document, pointer: Pointer, value: object, field_type: tuple[type, str], problems: Problems
) -> None:
    kind, expected = field_type
    if not isinstance(value, kind):
        problems.append(_mismatch(document, pointer, value, expected))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if not isinstance(item, str):
                problems.add(partial(_mismatch, document, (*pointer, index), item, "a string"))


def _unknown_field(document: Document, pointer: Pointer, value: object, found: Findings) -> None:
    key = str(pointer[-1])
    if value in (None, "", [], {}):
        message = f"unknown key of a runtime {shown(key)}, ignored: its value is empty"
        expected = f"one of {', '.join(sorted(_FIELDS))}"
        found.remarks.add(lambda: document.key_spot(pointer).problem(message, shown(key), expected))
    elif key.casefold() == "args":
        message = (
            f'dockerd ignores the key {shown(key)} of a runtime; write the arguments as "runtimeArgs", '
            "or remove the key to go on without them"
        )
        found.problems.add(lambda: document.key_spot(pointer).problem(message, shown(key), "runtimeArgs"))
    else:
        found.problems.add(partial(_unknown, document, pointer, _FIELDS, "key of a runtime"))


def _crowded(document: Document, pointer: Pointer, value: object) -> list[Problem]:
    """Return a problem if ``value`` has too many entries, the entries in its entries included."""
    if _size(value, _ENTRIES_MOST + 1) <= _ENTRIES_MOST:
        return []
    expected = f"at most {_ENTRIES_MOST:,} entries"
    return [document.key_spot(pointer).problem(f"found more entries, expected {expected}", "more entries", expected)]


def _size(value: object, enough: int) -> int:
    """Return how many entries there are in ``value``, or a number from ``enough`` on."""
    if not isinstance(value, dict | list):
        return 0
    size = len(value)
    for each in value.values() if isinstance(value, dict) else value:
        if size >= enough:
            break
        size += _size(each, enough - size)
    return size


def _mismatch(places: Document | Spot, pointer: Pointer, value: object, expected: str) -> Problem:
    found = shown(value)
    return places.spot(pointer).problem(f"found {found}, expected {expected}", found, expected)


def _unknown(places: Document | Spot, pointer: Pointer, known: Iterable[str], kind: str) -> Problem:
    key = str(pointer[-1])
    expected = f"one of {', '.join(sorted(known))}"
    message = f"unknown {kind} {shown(key)}{_advice(key, known)}"
    return places.key_spot(pointer).problem(message, shown(key), expected)


def _advice(key: str, known: Iterable[str]) -> str:
    near = nearest(key, known)
    return f"; did you mean {shown(near)}?" if near else ""


def _twice(document: Document, pointer: Pointer, first: str, second: str) -> Problem:
    spot = document.key_spot((*pointer, second))
    where = both_lines(document.key_place((*pointer, first))[0], document.key_place((*pointer, second))[0])
    message = f"{shown(first)} and {shown(second)} are the same key, {where}: keys match without regard to case"
    return spot.problem(message, shown(second), "each key once")
