"""Asks dockerd for its runtimes, which the response to ``GET /info`` lists."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from runtimed.core.engines.docker.version import RUNTIME_TYPE_SINCE, parse_version
from runtimed.core.engines.engine import Asking, Document, Get, Question, View

_SOCKET = "/run/docker.sock"
# /info of every version so far has neither the runtimeType nor the options of an entry.
_SHIM = "a runtimeType"


def _questions(_: Document) -> Mapping[str, Question]:
    """Return the request for ``/info``."""
    return {"info": Get(_SOCKET, "/info")}


def _expected(document: Document) -> View:
    """Return the view of a dockerd whose daemon.json is ``document``."""
    runtimes: Any = document["runtimes"]
    default = document.get("default-runtime")
    return View(None if default is None else str(default), {name: _line(entry) for name, entry in runtimes.items()})


def _answered(answers: Mapping[str, bytes]) -> View:
    """Return the view of the dockerd that gave these answers.

    Raises:
        ValueError: the answer is not that of ``/info``.
    """
    info = json.loads(answers["info"])
    try:
        entries: dict[str, dict[str, Any]] = info["Runtimes"]
        version = parse_version(info["ServerVersion"])
        # An older one has entries without a path, and cannot run them.
        usable = {n: e for n, e in entries.items() if e.get("path") or version is None or version >= RUNTIME_TYPE_SINCE}
        return View(info["DefaultRuntime"], {name: _line(entry) for name, entry in usable.items()})
    except (AttributeError, KeyError, TypeError) as exc:
        raise ValueError(f"dockerd's answer is not that of /info: {answers['info'][:200]!r}") from exc


def _line(entry: Mapping[str, Any]) -> str:
    """Return an entry of daemon.json, or of dockerd's answer, as a line that is the same for both."""
    path = entry.get("path")
    return " ".join(map(str, (path, *(entry.get("runtimeArgs") or ())))) if path else _SHIM


ASKING = Asking(questions=_questions, expected=_expected, answered=_answered, process="dockerd", takes_effect="reload")
