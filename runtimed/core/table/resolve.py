"""Resolution: what a name means in one generation."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from runtimed.core.containerd.names import is_implicit
from runtimed.core.errors import UnknownRuntime
from runtimed.core.message_text import nearest
from runtimed.core.table.answer import Answer, render_answer
from runtimed.core.table.availability import files_of
from runtimed.core.table.generation import Generation

_NEAR_CANDIDATES = 128
_NEAR_LENGTH = 64
_NEAR_DISTANCE = 3


@dataclass(frozen=True, slots=True)
class Resolution:
    """The answer, and the files that must be executable for it (see :func:`.availability.files_of`)."""

    answer: Answer
    generation: int
    files: tuple[str, ...] = ()


def resolve(generation: Generation, name: str) -> Resolution:
    """Return what ``name`` means in ``generation``; the empty name means the default runtime.

    The rules for a name that is not configured: see :func:`runtimed.core.containerd.names.is_implicit`.

    Raises:
        UnknownRuntime: nothing is configured under this name, and it is no shim name.
        InvalidRuntimeName: the name may not be passed to containerd.
    """
    name = name or generation.config.default_runtime
    runtime = generation.runtimes.get(name)
    if runtime is not None:
        return Resolution(runtime.answer, generation.number, files_of(runtime))
    if is_implicit(name):
        return Resolution(render_answer(name, "implicit", name, None), generation.number)
    raise UnknownRuntime(name, tuple(generation.runtimes), nearest_name(name, generation))


def nearest_name(name: str, generation: Generation) -> str | None:
    """Return the known name that ``name`` was most likely meant to be, if any is close."""
    # Anybody may ask for nonsense as often as they like, so the search is bounded in names and length.
    short = name[:_NEAR_LENGTH]
    alike = (known for known in generation.runtimes if abs(len(known) - len(short)) <= _NEAR_DISTANCE)
    return nearest(short, itertools.islice(alike, _NEAR_CANDIDATES))
