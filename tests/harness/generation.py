"""Builds generations from configuration documents."""

from __future__ import annotations

import json
from collections.abc import Mapping

from runtimed.core.config import Documents, Flags, Settings, Source
from runtimed.core.configuration.parse import parse_configuration
from runtimed.core.table.facts import Facts
from runtimed.core.table.generation import Generation, Host, build_generation

SETTINGS = Settings("/data", "/exec", ("unix:///s",))


def generation_of(document: Mapping[str, object], number: int = 1) -> Generation:
    """Return generation ``number`` of a main file with this content."""
    main = Source("/d.json", json.dumps(document).encode())
    config = parse_configuration(Documents(main.path, main), Flags(), SETTINGS)
    return build_generation(config, Host(Facts(cgroup2=False, systemd=False, ramdisk=False), "/data", "/exec"), number)
