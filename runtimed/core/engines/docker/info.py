"""Reads from dockerd's ``GET /info`` which runtimes it has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from runtimed.core.engines.docker.version import RUNTIME_TYPE_SINCE, parse_version
from runtimed.core.engines.engine import Document, Get, Question, View

_SOCKET = "/run/docker.sock"
# /info of every version so far has neither the runtimeType nor the options of an entry.
_SHIM = "a runtimeType"


def ask_info(_: Document) -> Mapping[str, Question]:
    """Return the question for ``/info``."""
    return {"info": Get(_SOCKET, "/info")}


def expected_view(document: Document) -> View:
    """Return what a dockerd has whose daemon.json is ``document``."""
    runtimes: Any = document["runtimes"]
    default = document.get("default-runtime")
    return View(None if default is None else str(default), {name: _line(entry) for name, entry in runtimes.items()})


def answered_view(answers: Mapping[str, bytes]) -> View:
    """Return what the dockerd has that gave this answer.

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
