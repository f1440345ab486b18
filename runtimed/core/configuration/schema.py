"""Checks the types of daemon.json's values, and says what is wrong with a value as a problem with its place.

One small pydantic call for each runtime: a single call for the whole file would hold the interpreter's lock,
and with it the event loop, for as long as it takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from runtimed.core.configuration import keys
from runtimed.core.configuration.document import Document
from runtimed.core.configuration.models import EngineModel, EntryModel, LimitsModel, OwnModel, ProbeModel, TopModel
from runtimed.core.configuration.position import Pointer, Spot, both_lines
from runtimed.core.configuration.problems import Findings, Problems
from runtimed.core.errors import Problem
from runtimed.core.message_text import nearest, shown


@dataclass(frozen=True, slots=True)
class Entry:
    """One runtime as one document or flag has it: checked types, unchecked rules; "" and empty are "not given"."""

    name: str
    path: str = ""
    args: tuple[str, ...] = ()
    runtime_type: str = ""
    options: Mapping[str, object] = field(default_factory=dict)
    # Field as daemon.json's manual spells it -> as this document does.
    spelt: Mapping[str, str] = field(default_factory=dict)


_FIELDS: Mapping[str, str] = MappingProxyType(
    {name.casefold(): name for name in ("path", "runtimeArgs", "runtimeType", "options")}
)

M = TypeVar("M", bound=BaseModel)


# Entries that a list or an object may have, but for "runtimes" and "runtimeArgs": none that means anything has as many.
_ENTRIES_MOST = 1000
# Unknown keys of one document for which the nearest known one is looked up, which takes milliseconds.
_HINTS_MOST = 50


def read_top(
    document: Document, found: Findings, flagged: frozenset[str] = frozenset()
) -> tuple[TopModel, tuple[str, ...], frozenset[str]]:
    """Return the top of ``document`` but its runtimes, dockerd's keys that are ignored, and the overridden keys.

    ``flagged`` are the keys that a flag of the command line sets: their values have no effect and are not judged.
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
    crowds = [crowd for key, value in given.items() for crowd in _crowded(document, (key,), value)]
    found.problems += crowds
    result = None if crowds else _validated(TopModel, given, document, (), found.problems)
    runtimes = top.get("runtimes")
    if not isinstance(runtimes, dict | None):
        found.problems.append(_mismatch(document.spot(("runtimes",)), runtimes, "an object of runtimes by name"))
    return result or TopModel(), tuple(ignored), frozenset(overridden)


def _unknown_setting(document: Document, key: str, found: Findings, *, hint: bool) -> None:
    """Add a problem for an unknown key that misspells one that means something here, else a remark.

    dockerd refuses both. Here a key that is new in dockerd must not take a node's runtimes away.
    """
    spot = document.key_spot((key,))
    if (meant := keys.misspelt(key)) is not None:
        found.problems.append(_unknown(spot, key, keys.KNOWN | keys.IGNORED, meant, "setting"))
        return
    near = nearest(key, keys.KNOWN | keys.IGNORED) if hint else None
    advice = f"; did you mean {shown(near)}?" if near else ""
    found.remarks.append(spot.problem(f"unknown key {shown(key)}, ignored{advice}", shown(key), "a key of daemon.json"))


def read_entry(document: Document, name: str, raw: object, found: Findings) -> Entry | None:
    """Return the entry ``raw`` of ``/runtimes/<name>`` with typed fields, None where something is wrong with it.

    Keys match without regard to case, as in dockerd. dockerd ignores unknown keys; here one with an empty value is a
    remark (nvidia-ctk writes ``"args": []``), any other a problem.
    """
    pointer = ("runtimes", name)
    if raw is None:
        return Entry(name)
    if not isinstance(raw, dict):
        found.problems.append(_mismatch(document.spot(pointer), raw, "an object with path or runtimeType"))
        return None
    before = found.problems.total
    said = {key: value for key, value in raw.items() if key.casefold() != "runtimeargs"}
    found.problems += _crowded(document, pointer, said)
    spelt: dict[str, str] = {}
    given: dict[str, object] = {}
    for key, value in raw.items() if found.problems.total == before else ():
        canonical = _FIELDS.get(key.casefold())
        if canonical is None:
            _unknown_field(document, (*pointer, key), value, found)
        elif canonical in spelt:
            found.problems.append(_twice(document, pointer, spelt[canonical], key))
        else:
            spelt[canonical] = key
            given[canonical] = value
    _check_arguments(document, pointer, given, spelt, found.problems)
    model = _validated(EntryModel, given, document, pointer, found.problems, spelt)
    if model is None or found.problems.total > before:
        return None
    fields = (model.path or "", tuple(model.args or ()), model.runtime_type or "", model.options or {})
    return Entry(name, *fields, MappingProxyType(spelt))


def _unknown_field(document: Document, pointer: Pointer, value: object, found: Findings) -> None:
    """Add what there is to say about an unknown key of a runtime."""
    key = str(pointer[-1])
    findings = found.remarks if value in (None, "", [], {}) else found.problems
    if findings.full:
        findings.untold += 1
        return
    spot = document.key_spot(pointer)
    if findings is found.remarks:
        message = f"unknown key of a runtime {shown(key)}, ignored: its value is empty"
        findings.append(spot.problem(message, shown(key), f"one of {', '.join(sorted(_FIELDS.values()))}"))
    elif key.casefold() == "args":
        message = (
            f'dockerd ignores the key {shown(key)} of a runtime; write the arguments as "runtimeArgs", '
            "or remove the key to go on without them"
        )
        findings.append(spot.problem(message, shown(key), "runtimeArgs"))
    else:
        findings.append(_unknown(spot, key, _FIELDS.values(), None, "key of a runtime"))


def _check_arguments(
    document: Document, pointer: Pointer, given: dict[str, object], spelt: Mapping[str, str], problems: Problems
) -> None:
    """Add a problem for each argument that is no string, and take the arguments out of ``given`` if there is one.

    By hand, because pydantic takes a kilobyte for each error, and all of them at once.
    """
    args = given.get("runtimeArgs")
    if not isinstance(args, list) or all(isinstance(arg, str) for arg in args):
        return
    del given["runtimeArgs"]
    for index, arg in enumerate(args):
        if not isinstance(arg, str):
            if problems.full:
                problems.untold += 1
            else:
                problems.append(_mismatch(document.spot((*pointer, spelt["runtimeArgs"], index)), arg, "a string"))


def _crowded(document: Document, pointer: Pointer, value: object) -> list[Problem]:
    """Return a problem if ``value`` has too many entries, those of what is in it included."""
    size = _size(value, _ENTRIES_MOST + 1)
    if size <= _ENTRIES_MOST:
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


def _validated(
    model: type[M],
    given: Mapping[str, object],
    document: Document,
    pointer: Pointer,
    problems: Problems,
    spelt: Mapping[str, str] = MappingProxyType({}),
) -> M | None:
    try:
        return model.model_validate(given)
    except ValidationError as exc:
        for error in exc.errors(include_url=False, include_context=True):
            loc = error["loc"]
            at = (*pointer, *(spelt.get(part, part) if isinstance(part, str) else part for part in loc))
            if error["type"] == "extra_forbidden":
                known = _names(model, loc[:-1])
                problems.append(_unknown(document.key_spot(at), str(loc[-1]), known, None, "key of runtimed"))
            else:
                problems.append(_mismatch(document.spot(at), error["input"], _expected(loc, error["type"])))
        return None


# Field -> what its value is; an item of a list is a string everywhere.
_EXPECTED: Mapping[str | int, str] = MappingProxyType(
    {
        "runtimeArgs": "a list of strings",
        "hosts": "a list of strings",
        "exec-opts": "a list of strings",
        "options": "an object of options by name",
        "debug": "true or false",
        "runtimed": "an object",
        "limits": "an object",
        "retain": "an integer from 1 to 1000",
        "grace": 'a duration such as "30d", "12h" or a number of seconds',
        "gc": "true or false",
        "containerd": "a list of objects with address and state",
        "address": "the absolute path of containerd's socket",
        "state": "the absolute path of containerd's state directory",
        "root": "the absolute path of containerd's root directory",
        "probe": "an object",
        "enabled": "true or false",
        "timeout": 'a duration from 0.1 to 60 seconds, such as "5s"',
        "connections": "an integer from 1 on",
        "connections-per-user": "an integer from 1 on",
    }
)


def _expected(loc: tuple[str | int, ...], kind: str) -> str:
    if isinstance(loc[-1], int) and loc[-2:-1] == ("containerd",):
        return "an object with address and state"
    return _EXPECTED.get(loc[-1], "another value") if kind != "string_type" else "a string"


def _names(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """Return the keys that the model at ``loc`` inside ``model`` knows."""
    inner: dict[str, type[BaseModel]] = {
        "runtimed": OwnModel,
        "limits": LimitsModel,
        "probe": ProbeModel,
        "containerd": EngineModel,
    }
    path = [part for part in loc if isinstance(part, str)]
    fields = (inner[path[-1]] if path else model).model_fields
    return [f.alias or name for name, f in fields.items()]


def _mismatch(spot: Spot, value: object, expected: str) -> Problem:
    found = shown(value)
    return spot.problem(f"found {found}, expected {expected}", found, expected)


def _unknown(spot: Spot, key: str, known: Iterable[str], instead: str | None, what: str) -> Problem:
    near = instead or nearest(key, known)
    hint = f"; did you mean {shown(near)}?" if near else ""
    few = sorted(known)
    expected = f"one of {', '.join(few)}" if len(few) < 10 else "a key of daemon.json"  # noqa: PLR2004 - fits on a line
    return spot.problem(f"unknown {what} {shown(key)}{hint}", shown(key), expected)


def _twice(document: Document, pointer: Pointer, first: str, second: str) -> Problem:
    spot = document.key_spot((*pointer, second))
    where = both_lines(document.key_place((*pointer, first))[0], document.key_place((*pointer, second))[0])
    message = f"{shown(first)} and {shown(second)} are the same key, {where}: keys match without regard to case"
    return spot.problem(message, shown(second), "each key once")
