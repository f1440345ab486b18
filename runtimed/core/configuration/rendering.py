"""Renders definitions and configurations as daemon.json documents."""

from __future__ import annotations

import json
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from runtimed.core.config import SETTINGS, Config, Definition

if TYPE_CHECKING:
    from runtimed.core import shapes


def definition_document(definition: Definition) -> shapes.Definition:
    """Return ``definition`` as an entry of daemon.json's ``runtimes``."""
    if definition.runtime_type is not None:
        shim: shapes.ShimDefinition = {"runtimeType": definition.runtime_type}
        if definition.options is not None:
            shim["options"] = definition.options.readable()
        if definition.engines:
            shim["engines"] = json.loads(definition.engines)
        return shim
    binary: shapes.PathDefinition = {"path": definition.path or ""}
    if definition.args:
        binary["runtimeArgs"] = list(definition.args)
    if definition.engines:
        binary["engines"] = json.loads(definition.engines)
    return binary


def config_document(config: Config) -> dict[str, object]:
    """Return all of ``config`` but its runtimes as a daemon.json document.

    It has every setting, so that it gives the same configuration to a later version with other defaults.
    """
    document: dict[str, Any] = {}
    for keys, setting in SETTINGS.items():
        value = attrgetter(".".join(setting.attributes))(config)
        if value is None:
            continue
        owner = document
        for key in keys[:-1]:
            owner = owner.setdefault(key, {})
        owner[setting.key] = setting.render(value)
    return document
