"""Builds generations from configuration documents, and manifests as earlier versions wrote them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from runtimed.core.config import Settings
from runtimed.core.configuration.inputs import Documents, Flags, Source
from runtimed.core.configuration.parse import parse_configuration
from runtimed.core.history.manifest import Manifest, read_manifest, render_manifest
from runtimed.core.history.parts import Part, make_partition, read_part
from runtimed.core.table.build import build_generation
from runtimed.core.table.facts import Facts
from runtimed.core.table.generation import Generation, Host, links_of

if TYPE_CHECKING:
    from runtimed.core import shapes

SETTINGS = Settings("/data", "/exec", ("unix:///s",))


def generation_of(document: Mapping[str, object], number: int = 1) -> Generation:
    """Return generation ``number`` of a main file with this content."""
    main = Source("/d.json", json.dumps(document).encode())
    config = parse_configuration(Documents(main.path, main), Flags(), SETTINGS)
    return build_generation(config, Host(Facts(cgroup2=False, systemd=False, ramdisk=False), "/data", "/exec"), number)


def manifest_of(
    generation: Generation,
    carried: Mapping[str, str] = MappingProxyType({}),
    trigger: shapes.Trigger | None = None,
    changes: shapes.Changes | None = None,
) -> Manifest:
    """Return the manifest of ``generation``, written and read again."""
    partition, texts = make_partition(generation.runtimes)
    data = render_manifest(generation, partition.digests, carried, 1.5, trigger, changes)
    return read_manifest(data, generation.number, lambda digest: read_part(texts[digest], digest))


def read_inline(data: bytes, number: int) -> Manifest:
    """Return the manifest in ``data``, which has no parts."""
    return read_manifest(data, number, no_part)


def no_part(digest: str) -> Part:
    """Return no part."""
    raise ValueError(f"part {digest} is missing")


def carried_keys(generation: Generation) -> Mapping[str, str]:
    """Return the carried keys of the runtimes that have some, by name (see `Definition.engines`)."""
    definitions = generation.config.runtimes
    return {name: found.engines for name, found in definitions.items() if found.engines}


def inline_manifest(generation: Generation, carried: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """Return the manifest of ``generation`` as a version without parts wrote it."""
    body = render_manifest(generation, (), carried, 1234.5).rpartition(b',\n"checksum"')[0]
    runtimes = generation.runtimes
    tables: dict[str, Mapping[str, object]] = {
        "links": links_of(runtimes.values()),
        "targets": {link: runtime.target for link, runtime in generation.launchers.items()},
        "names": {link: runtime.name for link, runtime in generation.launchers.items()},
        "answers": {name: json.loads(runtime.answer.at(generation.number)) for name, runtime in runtimes.items()},
        "engines": carried_keys(generation),
        "origins": {name: [o.file, o.line, o.fields] for name, o in generation.config.origins.items()},
    }
    body = re.sub(rb',\n"origins": {.*?\n}', b"", body, flags=re.DOTALL)
    for key, table in tables.items():
        entries = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in table.items())
        body += f",\n{json.dumps(key)}: {{\n{entries}\n}}".encode()
    return _signed(body.replace(b',\n"parts": []', b""))


def without_launchers(manifest: bytes, generation: Generation) -> bytes:
    """Return the inline ``manifest`` of ``generation`` as a version without launchers wrote it, with other links."""
    unsigned = manifest.rpartition(b',\n"checksum"')[0]
    body = re.sub(rb'"targets": {.*?\n},\n|, "search": "[^"]*"', b"", unsigned, flags=re.DOTALL)
    links = links_of(generation.runtimes.values())
    for wrapper in generation.wrappers:
        body = body.replace(links[wrapper.link].encode(), wrapper.file.encode())
    return _signed(body)


def without_carried_keys(manifest: bytes) -> bytes:
    """Return the inline ``manifest``, which has no carried keys, as a version wrote it that knew none."""
    body = manifest.rpartition(b',\n"checksum"')[0]
    assert b',\n"engines": {\n\n}' in body
    return _signed(body.replace(b',\n"engines": {\n\n}', b""))


def _signed(body: bytes) -> bytes:
    return body + b',\n"checksum": "sha256:%b"\n}\n' % hashlib.sha256(body).hexdigest().encode()
