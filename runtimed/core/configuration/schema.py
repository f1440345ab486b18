"""Reads the settings of documents and flags, and reports each wrong key and value as a problem with its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from runtimed.core.config import ENGINE_SETTINGS, SETTINGS
from runtimed.core.configuration import keys
from runtimed.core.configuration.document import Document
from runtimed.core.configuration.draft import Draft
from runtimed.core.configuration.inputs import Flags
from runtimed.core.configuration.position import Location, Pointer, advice
from runtimed.core.configuration.settings import InvalidValue, Setting
from runtimed.core.errors import Problem
from runtimed.core.message_text import shown

if TYPE_CHECKING:
    from pydantic import ValidationError

# Entries of a list or object other than "runtimes" and "runtimeArgs"; no useful one has as many.
_ENTRIES_MOST = 1000
# Unknown keys of one document for which the nearest known key is searched, which takes milliseconds.
_HINTS_MOST = 50


def read_settings(document: Document, flags: Flags, draft: Draft) -> None:
    """Add the settings of ``document`` to ``draft``, but not those that ``flags`` override, which are not checked."""
    top = document.value
    if len(top) > _ENTRIES_MOST:
        expected = f"at most {_ENTRIES_MOST:,} keys"
        location = document.location(())
        draft.problems.append(location.problem(f"found {len(top):,} keys, expected {expected}", None, expected))
        return
    unknown = 0
    given: dict[str, object] = {}
    for key, value in top.items():
        if key in keys.IGNORED:
            draft.ignored[key] = None
        elif key not in keys.KNOWN:
            unknown += 1
            _unknown_setting(document, key, draft, hint=unknown <= _HINTS_MOST)
        elif key in flags.keys:
            if value not in (None, "") and (key, value) != ("hosts", []):
                draft.overridden.add(key)
        elif key != "runtimes":
            given[key] = value
    too_many = [problem for key, value in given.items() for problem in size_problems(document, (key,), value)]
    draft.problems += too_many
    for key, value in given.items() if not too_many else ():
        _read_setting(document, (key,), value, draft)


def read_flags(flags: Flags, draft: Draft) -> None:
    """Add the settings of the command line to ``draft``."""
    for key in flags.keys:
        setting = SETTINGS[(key,)]
        location = Location(flag=setting.flags[-1])
        value = flags.settings[key]
        if not has_invalid_text(location, value, draft):
            read_value(setting, value, location, draft)


def _unknown_setting(document: Document, key: str, draft: Draft, *, hint: bool) -> None:
    """Add a problem for an unknown key that misspells one of runtimed, else a remark.

    dockerd refuses both. Here a key that is new in dockerd must not take a node's runtimes away.
    """
    location, expected = document.key_location((key,)), "a key of daemon.json"
    if (meant := keys.misspelt(key)) is not None:
        message = f"unknown setting {shown(key)}; did you mean {shown(meant)}?"
        draft.problems.append(location.problem(message, shown(key), expected))
    else:
        near = advice(key, keys.KNOWN | keys.IGNORED) if hint else ""
        draft.remarks.append(location.problem(f"unknown key {shown(key)}, ignored{near}", shown(key), expected))


def _read_setting(document: Document, place: tuple[str, ...], value: object, draft: Draft) -> None:
    """Add the setting at ``place``, or all settings in the object at ``place``, to ``draft``."""
    if value is None:
        return
    if (setting := SETTINGS.get(place)) is not None:
        read_value(setting, value, document, draft)
    elif not isinstance(value, dict):
        draft.problems.append(document.location(place).mismatch(value, "an object"))
    else:
        depth = len(place)
        known = {path[depth] for path in SETTINGS if path[:depth] == place}
        for key, inner in value.items():
            if key in known:
                _read_setting(document, (*place, key), inner, draft)
            else:
                draft.problems.append(document.key_location((*place, key)).unknown_key("key of runtimed", key, known))


def read_value(setting: Setting, value: object, places: Document | Location, draft: Draft) -> None:
    """Add ``value`` to ``draft`` unless it is wrong or empty; ``places`` is the document or the flag that has it."""
    checked = value
    if not setting.checked_as:
        if not isinstance(value, setting.plain):
            expected = "a string" if setting.plain is str else setting.expected
            draft.problems.append(places.location(setting.keys).mismatch(value, expected))
            return
    elif (usual := setting.as_usual(value)) is not None:
        checked = usual
    else:
        adapter = setting.adapter
        from pydantic import ValidationError  # noqa: PLC0415 - `Setting.adapter` has imported it

        try:
            checked = adapter.validate_python(value)
        except ValidationError as error:
            draft.problems += _problems_of(error, setting, places)
            return
    # An empty list of hosts is "not given" as well: a daemon without a socket serves no client.
    if checked != "" and (setting.key, checked) != ("hosts", ()):
        draft.values[setting.attributes] = checked
        draft.locations[setting.attributes] = places.location(setting.keys)


def _problems_of(invalid: ValidationError, setting: Setting, places: Document | Location) -> Iterator[Problem]:
    for error in invalid.errors(include_url=False):
        at, kind = error["loc"], error["type"]
        location = places.location((*setting.keys, *at))
        if kind == "value_error":
            found: InvalidValue = error["ctx"]["error"]
            yield found.problem_of(error["input"], location)
        elif kind == "unexpected_keyword_argument":
            location = places.key_location((*setting.keys, *at))
            yield location.unknown_key("key of runtimed", str(at[-1]), ENGINE_SETTINGS)
        else:
            yield location.mismatch(error["input"], _expected(setting, at, kind))


def _expected(setting: Setting, at: tuple[str | int, ...], kind: str) -> str:
    if kind == "string_type":
        return "a string"
    if not at:
        return setting.expected
    return "an object with address and state" if isinstance(at[-1], int) else ENGINE_SETTINGS[at[-1]].expected


def has_invalid_text(location: Location, value: object, draft: Draft) -> bool:
    """Return whether a flag's value has text that no file could have: NUL, or bytes that are not UTF-8 (PEP 383)."""
    for text in value if isinstance(value, tuple) else (value,):
        if isinstance(text, str) and ("\0" in text or any("\ud800" <= char <= "\udfff" for char in text)):
            draft.problems.append(location.mismatch(text, "UTF-8 text without NUL"))
            return True
    return False


def size_problems(document: Document, pointer: Pointer, value: object) -> list[Problem]:
    """Return a problem if ``value`` has too many entries, the entries in its entries included."""
    if _size(value, _ENTRIES_MOST + 1) <= _ENTRIES_MOST:
        return []
    expected = f"at most {_ENTRIES_MOST:,} entries"
    return [
        document.key_location(pointer).problem(f"found more entries, expected {expected}", "more entries", expected)
    ]


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
