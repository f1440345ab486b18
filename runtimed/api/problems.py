"""Answers that several routes give: JSON, and the errors that say what to do next."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection
from typing import TYPE_CHECKING

from runtimed.api.messages import Response, problem
from runtimed.core.errors import BinaryUnavailable, InvalidRuntimeName, StoreFailed, UnknownRuntime

if TYPE_CHECKING:
    from runtimed.core import shapes

# How many known names an error lists: enough to see what there is, whatever the size of the table.
_LISTED = 50


def json_response(status: int, body: object) -> Response:
    """Return ``body`` as JSON, with a line break at the end for whoever reads it on a terminal."""
    return Response(status, json.dumps(body).encode() + b"\n")


def bad_name(error: UnknownRuntime | InvalidRuntimeName, names: Collection[str], status: int) -> Response:
    """Return what is wrong with a name, and which ``names`` there are."""
    known = list(itertools.islice(names, _LISTED))
    more: shapes.NameMembers = {"runtime": error.name, "known": known, "known_total": len(names)}
    if isinstance(error, InvalidRuntimeName):
        detail = f"{error}; a name that is not configured must be a shim name such as io.containerd.kata.v2"
        return problem(status, error.code, "Invalid runtime name", detail, **more)
    hint = f"did you mean {error.nearest}?" if error.nearest else f"known are {', '.join(known)}"
    unknown: shapes.UnknownNameMembers = {"nearest": error.nearest, **more}
    return problem(status, error.code, "Unknown runtime", f"{error}; {hint}", **unknown)


def unavailable(name: str, error: BinaryUnavailable) -> Response:
    """Return that a file which the answer for the runtime ``name`` names cannot be executed."""
    advice = "install it, or correct the entry in the configuration (a damaged wrapper is written again within seconds)"
    detail = f"{error}; {advice}; runtimectl explain shows each file"
    more: shapes.UnavailableMembers = {"runtime": name, "path": error.path}
    return problem(503, error.code, "The runtime cannot be executed", detail, **more)


def unreadable(error: StoreFailed) -> Response:
    """Return that the data root cannot be read."""
    return problem(500, error.code, "The data root cannot be read", str(error))


def bad_query(detail: str) -> Response:
    """Return that a query is wrong, and how."""
    return problem(400, "bad-query", "Bad query", detail)
