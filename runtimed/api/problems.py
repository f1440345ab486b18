"""Builds the JSON responses that several routes share."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection

from runtimed.api.messages import Response, problem
from runtimed.core.errors import BinaryUnavailable, InvalidRuntimeName, UnknownRuntime
from runtimed.core.message_text import called

_KNOWN_MOST = 50


def json_response(status: int, body: object) -> Response:
    """Return ``body`` as JSON that ends with a line feed, for terminals."""
    return Response(status, json.dumps(body).encode() + b"\n")


def bad_name(error: UnknownRuntime | InvalidRuntimeName, names: Collection[str], status: int) -> Response:
    """Return the problem of a runtime's name; ``names`` are the known ones, of which it lists the first fifty."""
    known = list(itertools.islice(names, _KNOWN_MOST))
    members = {"runtime": error.name, "known": known, "known_total": len(names)}
    if isinstance(error, InvalidRuntimeName):
        return problem(error.code, str(error), status=status, **members)
    hint = f"did you mean {error.nearest}?" if error.nearest else f"known are {', '.join(known)}"
    return problem(error.code, f"{error}; {hint}", status=status, nearest=error.nearest, **members)


def unavailable(name: str, error: BinaryUnavailable) -> Response:
    """Return the problem of the runtime ``name`` whose resolution names a file that cannot be executed."""
    detail = f"runtime {called(name)}: {error.path}: {error.reason} (error while looking up the specified runtime path)"
    return problem(error.code, detail, runtime=name, path=error.path)
