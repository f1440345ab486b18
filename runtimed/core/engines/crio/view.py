"""Asks CRI-O for its configuration, which it prints on its socket as TOML.

After a SIGHUP it prints the configuration that it will use after its next restart. The file is then newer than
CRI-O's start, which shows that CRI-O does not use it yet.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any, cast

from runtimed.core.engines.crio.handlers import CONFIG_PATH, INHERIT, OCI, PATH, TYPE
from runtimed.core.engines.engine import Asking, Document, Get, View

# CrioSocketPath in CRI-O's pkg/config/config_unix.go.
_SOCKET = "/var/run/crio/crio.sock"


def _view(document: Mapping[str, Any]) -> View:
    runtime = document["crio"]["runtime"]
    default, handlers = runtime.get("default_runtime"), runtime["runtimes"]
    inherited = handlers.get(default, {})
    return View(
        default,
        {name: _line(inherited if handler.get(INHERIT) else handler) for name, handler in handlers.items()},
    )


def _line(handler: Mapping[str, Any]) -> str:
    """Return the binary, its type unless it is an OCI runtime for conmon, and the shim's configuration."""
    kind, config_path = handler.get(TYPE) or OCI, handler.get(CONFIG_PATH)
    words = [handler.get(PATH, "")]
    if kind != OCI:
        words.append(f"as {kind}")
    if config_path:
        words.append(f"with {config_path}")
    return " ".join(words)


def _answered(answers: Mapping[str, bytes]) -> View:
    try:
        return _view(tomllib.loads(answers["config"].decode()))
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError("CRI-O printed a configuration without runtimes") from exc


def _expected(document: Document) -> View:
    return _view(cast("Mapping[str, Any]", document))


ASKING = Asking(
    questions=lambda _: {"config": Get(_SOCKET, "/config")},
    expected=_expected,
    answered=_answered,
    process="crio",
    takes_effect="restart",
)
