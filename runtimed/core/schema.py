"""The types of daemon.json's values, and what is wrong with a value said as a problem with its place.

One small pydantic call for each runtime: a single call for the whole file would hold the interpreter's lock,
and with it the event loop, for as long as it takes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from runtimed.core import keys
from runtimed.core.document import Document
from runtimed.core.errors import Problem
from runtimed.core.position import Pointer, Spot, both_lines
from runtimed.core.wording import nearest, shown

_DURATION = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)
_UNITS_S = MappingProxyType({"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0})

Count = Annotated[int, Field(ge=1)]


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class EntryModel(_Model):
    """One entry of ``runtimes``."""

    path: str | None = None
    args: list[str] | None = Field(None, alias="runtimeArgs")
    runtime_type: str | None = Field(None, alias="runtimeType")
    options: dict[str, Any] | None = None


def _seconds(value: object) -> object:
    """Return the seconds of a duration: a number of them, or digits and one of s, m, h, d. Others are left to fail."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        return int(match[1]) * _UNITS_S[match[2]]
    # A bool is an int in Python, and no number in JSON.
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


Duration = Annotated[float, BeforeValidator(_seconds), Field(ge=0, le=100 * 365 * 86400)]
AbsolutePath = Annotated[str, Field(pattern=r"\A/")]


class LimitsModel(_Model):
    """``limits`` of the ``runtimed`` key."""

    connections: Count | None = None
    connections_per_user: Count | None = Field(None, alias="connections-per-user")


class ProbeModel(_Model):
    """``probe`` of the ``runtimed`` key."""

    enabled: bool | None = None
    timeout_s: Annotated[Duration, Field(ge=0.1, le=60)] | None = Field(None, alias="timeout")


class EngineModel(_Model):
    """One of ``containerd`` of the ``runtimed`` key."""

    address: AbsolutePath
    state: AbsolutePath
    root: AbsolutePath | None = None


class OwnModel(_Model):
    """The ``runtimed`` key. A new key is a field here, one in ``config.Own``, and a line in ``_EXPECTED``."""

    retain: Annotated[int, Field(ge=1, le=1000)] | None = None
    grace_s: Duration | None = Field(None, alias="grace")
    gc: bool | None = None
    containerd: list[EngineModel] | None = None
    limits: LimitsModel | None = None
    probe: ProbeModel | None = None


class TopModel(_Model):
    """Every key at the top of daemon.json that means something here, but ``runtimes``."""

    data_root: str | None = Field(None, alias="data-root")
    exec_root: str | None = Field(None, alias="exec-root")
    hosts: list[str] | None = None
    group: str | None = None
    pidfile: str | None = None
    log_level: str | None = Field(None, alias="log-level")
    log_format: str | None = Field(None, alias="log-format")
    debug: bool | None = None
    default_runtime: str | None = Field(None, alias="default-runtime")
    exec_opts: list[str] | None = Field(None, alias="exec-opts")
    runtimed: OwnModel | None = None


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


def read_top(document: Document) -> tuple[TopModel, tuple[str, ...], list[Problem]]:
    """Return the top of ``document`` but its runtimes, the keys of dockerd's that are ignored, and all problems."""
    problems: list[Problem] = []
    ignored: list[str] = []
    given: dict[str, object] = {}
    for key, value in document.value.items():
        if key in keys.IGNORED:
            ignored.append(key)
        elif key not in keys.KNOWN:
            known = keys.KNOWN | keys.IGNORED
            problems.append(_unknown(document.key_spot((key,)), key, known, keys.MISSPELT.get(key), "setting"))
        elif key != "runtimes":
            given[key] = value
    top = _validated(TopModel, given, document, (), problems)
    runtimes = document.value.get("runtimes")
    if not isinstance(runtimes, dict | None):
        problems.append(_mismatch(document.spot(("runtimes",)), runtimes, "an object of runtimes by name"))
    return top or TopModel(), tuple(ignored), problems


def read_entry(document: Document, name: str, raw: object) -> tuple[Entry | None, list[Problem]]:
    """Return the entry ``raw`` of ``/runtimes/<name>`` with typed fields, None where a type is wrong; all problems.

    Keys match without regard to case, as in dockerd; where dockerd ignores an unknown one, it is a problem here.
    """
    pointer = ("runtimes", name)
    if raw is None:
        return Entry(name), []
    if not isinstance(raw, dict):
        return None, [_mismatch(document.spot(pointer), raw, "an object with path or runtimeType")]
    problems: list[Problem] = []
    spelt: dict[str, str] = {}
    given: dict[str, object] = {}
    for key, value in raw.items():
        canonical = _FIELDS.get(key.casefold())
        if canonical is None:
            spot = document.key_spot((*pointer, key))
            problems.append(_unknown(spot, key, _FIELDS.values(), None, "key of a runtime"))
        elif canonical in spelt:
            problems.append(_twice(document, pointer, spelt[canonical], key))
        else:
            spelt[canonical] = key
            given[canonical] = value
    model = _validated(EntryModel, given, document, pointer, problems, spelt)
    if problems or model is None:
        return None, problems
    fields = (model.path or "", tuple(model.args or ()), model.runtime_type or "", model.options or {})
    return Entry(name, *fields, MappingProxyType(spelt)), []


def _validated(
    model: type[M],
    given: Mapping[str, object],
    document: Document,
    pointer: Pointer,
    problems: list[Problem],
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
