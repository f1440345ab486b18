"""Whether runtimed takes a translated drop-in: the daemon's own check, its problems at the original's places."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from runtimed.core.config import Documents, Flags, Settings, Source
from runtimed.core.configuration.parse import parse_configuration
from runtimed.core.configuration.position import Pointer, Spot
from runtimed.core.errors import ConfigurationRejected, Problem
from runtimed.core.message_text import called, shown

# A pointer into the drop-in -> the place in the original that it came from.
SpotOf = Callable[[Pointer], Spot]
# A drop-in says nothing of these, so any will do.
_SETTINGS = Settings("/var/lib/runtimed", "/run/runtimed", ())


def accept(
    document: Mapping[str, object], renames: Mapping[str, str], spot_of: SpotOf, found: Iterable[Problem] = ()
) -> dict[str, object]:
    """Return ``document``, a drop-in, with its runtimes renamed (old name -> new name), once runtimed would take it.

    ``spot_of`` is asked with the names that the original has. ``found`` is what was found wrong on the way here.

    Raises:
        ConfigurationRejected: with every problem, each where it stands in the original.
    """
    result, faults = _renamed(document, renames, spot_of)
    problems = [*found, *faults]
    untold = 0
    if not faults:
        # Encoded and read back: what the daemon will be given is bytes, and they are what has to be right.
        # (What JSON has no form for has been found wrong on the way here.)
        source = Source("", json.dumps(result, default=str).encode())
        try:
            parse_configuration(Documents("", source), Flags(), _SETTINGS)
        except ConfigurationRejected as exc:
            before = {new: old for old, new in renames.items()}
            untold = exc.untold
            problems += [_moved(problem, result, before, spot_of) for problem in exc.problems]
    if problems:
        raise ConfigurationRejected(tuple(sorted(problems, key=lambda p: (p.line or 0, p.column or 0))), untold)
    return result


def _renamed(
    document: Mapping[str, object], renames: Mapping[str, str], spot_of: SpotOf
) -> tuple[dict[str, object], list[Problem]]:
    result, problems = dict(document), []
    table = document.get("runtimes")
    runtimes: Mapping[str, object] = table if isinstance(table, dict) else {}
    for old in renames:
        if old not in runtimes:
            message = f"no runtime is named {called(old)}, so it cannot be renamed"
            problems.append(spot_of(("runtimes",)).problem(message, "no such runtime", "the name of a runtime in it"))
    names = [renames.get(name, name) for name in runtimes]
    for new in dict.fromkeys(name for name in names if names.count(name) > 1):
        message = f"two runtimes would be named {called(new)} then; choose another name"
        problems.append(spot_of(("runtimes",)).problem(message, shown(new), "a name for one runtime"))
    if runtimes:
        result["runtimes"] = dict(zip(names, runtimes.values(), strict=True))
    default = document.get("default-runtime")
    if isinstance(default, str):
        result["default-runtime"] = renames.get(default, default)
    return result, problems


def _moved(problem: Problem, document: object, before: Mapping[str, str], spot_of: SpotOf) -> Problem:
    """Return ``problem`` of the drop-in ``document`` where it stands in the original."""
    way: list[str | int] = []
    at = document
    for part in (problem.pointer or "").split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(at, list) and not key.isdecimal():
            break  # the pointer is cut within an index
        way.append(int(key) if isinstance(at, list) else key)
        at = at[int(key)] if isinstance(at, list) else at.get(key) if isinstance(at, dict) else None
    if way[:1] == ["runtimes"]:
        way[1:2] = [before.get(str(name), name) for name in way[1:2]]
    spot = spot_of(tuple(way))
    return replace(problem, file=spot.file, line=spot.line, column=spot.column, pointer=spot.pointer)
