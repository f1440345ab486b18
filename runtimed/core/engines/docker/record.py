"""Keeps the record of the entries in daemon.json that runtimectl has written, and may therefore change or remove."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from runtimed.core.configuration.document import Document, parse_document
from runtimed.core.configuration.inputs import Source
from runtimed.core.configuration.position import Pointer
from runtimed.core.engines.syntax import render_json
from runtimed.core.errors import ConfigurationRejected

_COMMENT = (
    "Written by runtimectl export. Do not edit. Of daemon.json, runtimectl changes and removes the entries with these "
    "values, and leaves all others as they are."
)
_REMEDY = "move the file away; runtimectl then leaves all entries of daemon.json as they are"


def same(one: object, other: object) -> bool:
    """Return whether two values are the same in JSON; in Python True equals 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@dataclass(frozen=True, slots=True)
class Record:
    """The values that runtimectl has written: for each name of ``runtimes``, and of ``default-runtime``.

    An entry has two values while it is being replaced.
    """

    runtimes: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    defaults: tuple[object, ...] = ()

    def owns(self, name: str, value: object) -> bool:
        """Return whether ``value`` is one that was written for the runtime ``name``."""
        return _is_one(value, self.runtimes.get(name, ()))

    def owns_default(self, value: object) -> bool:
        """Return whether ``value`` is one that was written as the default runtime."""
        return _is_one(value, self.defaults)

    def union(self, other: Record) -> Record:
        """Return the record with the values of both records."""
        names = dict.fromkeys([*self.runtimes, *other.runtimes])
        runtimes = {name: _joined(self.runtimes.get(name, ()), other.runtimes.get(name, ())) for name in names}
        return Record(runtimes, _joined(self.defaults, other.defaults))

    def render(self) -> bytes:
        """Return the content of the record's file."""
        return render_json(
            {"comment": _COMMENT, "runtimes": dict(self.runtimes), "default-runtime": self.defaults}
        ).encode()


def read_record(path: str, data: bytes | None) -> Record:
    """Return the record in ``data``, which is None if the file is missing.

    Raises:
        ConfigurationRejected: the file is not a record.
    """
    if data is None:
        return Record()
    document = parse_document(Source(path, data))
    runtimes = document.value.get("runtimes")
    if not isinstance(runtimes, dict):
        raise _not_a_record(document, ("runtimes",), "an object")
    return Record(
        {name: _values(document, ("runtimes", name), values) for name, values in runtimes.items()},
        _values(document, ("default-runtime",), document.value.get("default-runtime")),
    )


def _values(document: Document, at: Pointer, values: object) -> tuple[object, ...]:
    if not isinstance(values, list):
        raise _not_a_record(document, at, "a list of values")
    return tuple(values)


def _not_a_record(document: Document, at: Pointer, expected: str) -> ConfigurationRejected:
    problem = document.location(at).problem(f"not a record of runtimectl; {_REMEDY}", "another value", expected)
    return ConfigurationRejected((problem,))


def _is_one(value: object, values: Iterable[object]) -> bool:
    return any(same(value, written) for written in values)


def _joined(values: tuple[object, ...], more: tuple[object, ...]) -> tuple[object, ...]:
    return (*values, *(value for value in more if not _is_one(value, values)))
