"""Reads the carried keys of a runtime: keys that one engine knows and that runtimed keeps without interpreting them."""

from __future__ import annotations

import json
from collections.abc import Mapping

from runtimed.core.configuration.document import Document
from runtimed.core.configuration.draft import Draft
from runtimed.core.configuration.position import Pointer
from runtimed.core.engines import NAMES


def read_carried(document: Document, pointer: Pointer, engines: Mapping[str, object], draft: Draft) -> str:
    """Return ``engines``, an object of keys for each engine, as JSON with sorted keys; "" if it has no keys.

    ``pointer`` is the place of ``engines`` in ``document``. A key that is null, at any depth, counts as not given.
    """
    carried: dict[str, object] = {}
    for engine, keys in engines.items():
        at = (*pointer, engine)
        if engine not in NAMES:
            draft.problems.append(document.key_location(at).unknown_key("engine", engine, NAMES))
        elif isinstance(keys, dict):
            if given := _without_nulls(document, at, keys, draft):
                carried[engine] = given
        elif keys is not None:
            draft.problems.append(document.location(at).mismatch(keys, f"an object of {engine}'s keys of a runtime"))
    return json.dumps(carried, sort_keys=True) if carried else ""


def _without_nulls(document: Document, pointer: Pointer, value: object, draft: Draft) -> object:
    """Return ``value`` without the keys that are null. A null in a list is a problem: TOML has none."""
    if isinstance(value, dict):
        given = ((key, item) for key, item in value.items() if item is not None)
        return {key: _without_nulls(document, (*pointer, key), item, draft) for key, item in given}
    if isinstance(value, list):
        return [_without_nulls(document, (*pointer, index), item, draft) for index, item in enumerate(value)]
    if value is None:
        draft.problems.append(document.location(pointer).mismatch(value, "a value other than null"))
    return value
