"""Decides whether an engine follows the table, from its answers, its file and the start of its process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import islice, zip_longest
from posixpath import dirname
from typing import Any, TypedDict

from runtimed.core.engines.engine import TakesEffect, View
from runtimed.core.errors import Problem
from runtimed.core.shapes.daemon import EngineState

# A file that was replaced by another one has a difference in every line.
_DIFFERENCES_MAX = 100
# The directory of stable paths below the usual data root. A table without path runtimes names no other one.
_STABLE_PATHS = "/var/lib/runtimed/runtimes/"


class Difference(TypedDict):
    """A difference between the table (``ours``) and an engine (``theirs``); None where the name or line is missing.

    ``name`` is a runtime, None for the default runtime, or ``FILE:LINE`` for a line of the engine's file.
    """

    name: str | None
    ours: str | None
    theirs: str | None


class Verification(TypedDict):
    """Whether an engine follows the table. ``detail`` has the reason and the remedy; it is empty if there is none.

    ``file`` is the file that runtimectl writes for it, None for an engine without one.
    """

    engine: str
    state: EngineState
    detail: str
    file: str | None
    differences: list[Difference]
    takes_effect: TakesEffect | None


@dataclass(frozen=True, slots=True)
class FileState:
    """An engine's file: the bytes ``found`` on the node, None if it does not exist, and the bytes that it should have.

    ``wanted`` is None where the file must not be written. ``refusals`` say why, and ``installed`` is false if the
    reason is that the engine is not installed. ``changed_s`` is the time of the last change of the file, in seconds
    since the epoch.
    """

    path: str
    found: bytes | None
    wanted: bytes | None
    changed_s: float | None = None
    refusals: tuple[Problem, ...] = ()
    installed: bool = True


def compare_views(expected: View, answered: View, table: Mapping[str, Any]) -> list[Difference]:
    """Return the differences between ``expected``, which follows from ``table``, and the view of an engine.

    Other runtimes of the engine do not count, except for one whose binary is a stable path of runtimed: the table has
    dropped its name.
    """
    found: list[Difference] = []
    if expected.default is not None and expected.default != answered.default:
        found.append(_difference(None, expected.default, answered.default))
    paths = [each["stable_path"] for each in table["runtimes"] if each["stable_path"] is not None]
    directories = {f"{dirname(path)}/" for path in paths} or {_STABLE_PATHS}
    for name in dict.fromkeys((*expected.runtimes, *answered.runtimes)):
        ours, theirs = expected.runtimes.get(name), answered.runtimes.get(name)
        dropped = theirs is not None and any(directory in theirs for directory in directories)
        if ours != theirs and (ours is not None or dropped):
            found.append(_difference(name, ours, theirs))
    return found


def compare_files(file: FileState) -> list[Difference]:
    """Return the lines in which the file on the node differs from the wanted content, at most 100."""
    if file.wanted is None:
        # For example an entry of daemon.json that another program wrote. A problem without a line is not about the
        # content.
        found = (problem for problem in file.refusals if problem.file == file.path and problem.line is not None)
        differences = (_difference(f"{file.path}:{each.line}", each.expected, each.found) for each in found)
        return list(islice(differences, _DIFFERENCES_MAX))
    if file.found is None or file.found == file.wanted:
        return []
    theirs, ours = _lines(file.found), _lines(file.wanted)
    return list(islice(_line_differences(file.path, ours, theirs), _DIFFERENCES_MAX))


def _difference(name: str | None, ours: str | None, theirs: str | None) -> Difference:
    return {"name": name, "ours": ours, "theirs": theirs}


def _lines(data: bytes) -> list[str]:
    return data.decode(errors="backslashreplace").split("\n")


def _line_differences(path: str, ours: Sequence[str], theirs: Sequence[str]) -> Iterator[Difference]:
    matcher = SequenceMatcher(None, theirs, ours)
    for kind, start, end, our_start, our_end in matcher.get_opcodes():
        if kind == "equal":
            continue
        pairs = zip_longest(theirs[start:end], ours[our_start:our_end])
        for number, (their_line, our_line) in enumerate(pairs, start + 1):
            yield _difference(f"{path}:{number}", our_line, their_line)


@dataclass(frozen=True, slots=True)
class RunningEngine:
    """An engine of this node: its name, and when and by which command it follows a change of its file.

    ``started_s`` is the start of its process in seconds since the epoch, None for an engine without a daemon.
    """

    name: str
    takes_effect: TakesEffect | None
    started_s: float | None = None

    @property
    def command(self) -> str:
        """The command after which the engine follows its file."""
        return f"systemctl {self.takes_effect} {self.name}"


def verify(
    engine: RunningEngine, file: FileState | None, differences: Sequence[Difference] | None, unasked: int = 0
) -> Verification:
    """Return whether ``engine`` follows the table; ``differences`` are those of its answers, None if it has none.

    ``unasked`` is the number of runtimes that the answers leave out.
    """
    of_file = [] if file is None else compare_files(file)
    state, detail = _decide(engine, file, differences, of_file)
    if state == "follows" and unasked:
        detail = f"{engine.name} was not asked for {unasked} of the runtimes; only its file was compared for them"
    return make_verification(engine, file, state, detail, (*(differences or ()), *of_file))


def make_verification(
    engine: RunningEngine,
    file: FileState | None,
    state: EngineState,
    detail: str,
    differences: Sequence[Difference] = (),
) -> Verification:
    """Return the verification of ``engine`` with a given state."""
    return {
        "engine": engine.name,
        "state": state,
        "detail": detail,
        "file": None if file is None else file.path,
        "differences": list(differences),
        "takes_effect": engine.takes_effect,
    }


def _decide(
    engine: RunningEngine,
    file: FileState | None,
    differences: Sequence[Difference] | None,
    of_file: Sequence[Difference],
) -> tuple[EngineState, str]:
    asked: EngineState = "differs" if differences else "follows"
    if file is None:
        return asked, ""
    if file.wanted is None:
        detail = "; ".join(map(str, file.refusals[:1]))
        return ("differs" if of_file else "unknown" if differences is None else asked), detail
    write = f"runtimectl export {engine.name} --write"
    if file.found is None:
        # An engine may have the table from another file.
        return ("follows", "") if differences == [] else ("differs", f"{file.path} does not exist; {write} makes it")
    if of_file:
        return "differs", f"{file.path} differs from the table; {write} replaces it"
    is_newer = None not in (file.changed_s, engine.started_s) and (file.changed_s or 0) > (engine.started_s or 0)
    # An engine that reads its file only at its start cannot have read a newer one. One that is reloaded may have.
    if is_newer and (engine.takes_effect == "restart" or (engine.takes_effect == "reload" and differences)):
        return (
            "not-told",
            f"{engine.name} has not read {file.path}, which changed after its start; run: {engine.command}",
        )
    overridden = f"{file.path} is right, but another file or the command line of {engine.name} overrides it"
    return asked, overridden if differences else ""
