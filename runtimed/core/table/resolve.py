"""Resolves the name of a runtime in one generation."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from runtimed.core.containerd.names import is_implicit
from runtimed.core.errors import UnknownRuntime
from runtimed.core.message_text import nearest
from runtimed.core.table.answer import Answer, render_answer
from runtimed.core.table.availability import files_of
from runtimed.core.table.generation import Generation, Runtime

# Bounds on the search for a similar name, because any client may request unknown names at any rate.
_CANDIDATES_MAX = 128
_LENGTH_DIFFERENCE_MAX = 3


@dataclass(frozen=True, slots=True)
class Resolution:
    """A rendered resolution, its generation, and the files that must be executable for it (see `files_of`)."""

    answer: Answer
    generation: int
    files: tuple[str, ...] = ()


def resolve(generation: Generation, name: str) -> Resolution:
    """Return the resolution of ``name``; the empty name is the default runtime.

    Raises:
        UnknownRuntime: the table has no such runtime, and the name is not a shim's.
        InvalidRuntimeName: the name must not be passed to containerd.
    """
    name = name or generation.config.default_runtime
    runtime = generation.runtimes.get(name)
    if runtime is not None:
        return Resolution(runtime.answer, generation.number, files_of(runtime))
    if is_implicit(name):
        return Resolution(render_answer(name, "implicit", name, None), generation.number)
    raise UnknownRuntime(name, tuple(generation.runtimes), nearest_name(name, generation))


def find_runtime(generation: Generation, name: str) -> Runtime:
    """Return the runtime ``name`` of ``generation``, also one that is not configured and is the name of a shim.

    Raises: as `resolve`.
    """
    runtime = generation.runtimes.get(name)
    if runtime is None:
        runtime = Runtime(name, "implicit", name, None, resolve(generation, name).answer)
    return runtime


def nearest_name(name: str, generation: Generation) -> str | None:
    """Return the name in the table that ``name`` is probably a misspelling of, None if no name is similar."""
    similar = (known for known in generation.runtimes if abs(len(known) - len(name)) <= _LENGTH_DIFFERENCE_MAX)
    return nearest(name, itertools.islice(similar, _CANDIDATES_MAX))
