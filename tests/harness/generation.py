"""Builds generations from configuration documents, and manifests as earlier versions wrote them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping

from runtimed.core.config import Documents, Flags, Settings, Source
from runtimed.core.configuration.parse import parse_configuration
from runtimed.core.table.build import build_generation
from runtimed.core.table.facts import Facts
from runtimed.core.table.generation import Generation, Host

SETTINGS = Settings("/data", "/exec", ("unix:///s",))


def generation_of(document: Mapping[str, object], number: int = 1) -> Generation:
    """Return generation ``number`` of a main file with this content."""
    main = Source("/d.json", json.dumps(document).encode())
    config = parse_configuration(Documents(main.path, main), Flags(), SETTINGS)
    return build_generation(config, Host(Facts(cgroup2=False, systemd=False, ramdisk=False), "/data", "/exec"), number)


def without_launchers(manifest: bytes, generation: Generation) -> bytes:
    """Return the manifest of ``generation`` as a version without launchers wrote it: its links are to the wrappers."""
    unsigned = manifest.rpartition(b',\n"checksum"')[0]
    body = re.sub(rb'"targets": {.*?\n},\n|, "search": "[^"]*"', b"", unsigned, flags=re.DOTALL)
    for wrapper in generation.wrappers:
        body = body.replace(generation.links[wrapper.link].encode(), wrapper.file.encode())
    return _signed(body)


def without_carried_keys(manifest: bytes) -> bytes:
    """Return ``manifest``, which has no carried keys, as a version wrote it that knew none."""
    body = manifest.rpartition(b',\n"checksum"')[0]
    assert b',\n"engines": {\n\n}' in body
    return _signed(body.replace(b',\n"engines": {\n\n}', b""))


def _signed(body: bytes) -> bytes:
    return body + b',\n"checksum": "sha256:%b"\n}\n' % hashlib.sha256(body).hexdigest().encode()
