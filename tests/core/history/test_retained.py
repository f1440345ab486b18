"""Tests that a retained generation is read as it was written, in small steps."""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness.generation import generation_of, manifest_of

from runtimed.core.errors import DamagedManifest
from runtimed.core.history.retained import read_retained

TRICKY = {
    'a,\n  "runtimes": {\n': {"path": "/bin/sh", "runtimeArgs": ["},", "\n  }\n}\n", "é"]},
    "kata": {"runtimeType": "io.containerd.kata.v2", "options": {"ConfigBody": 'x = {\n"a": 1,\n}'}},
    "p": {"path": "/p", "engines": {"podman": {"runtimes": {"a": ["\n"]}}}},
}
TABLES: list[dict[str, Any]] = [
    {},
    {"default-runtime": "r0", "runtimes": {"r0": {"path": "/bin/sh"}}, "runtimed": {"retain": 3}},
    {"runtimes": TRICKY},
    *({"runtimes": {f"r{n}": {"path": f"/bin/{n}"} for n in range(number)}} for number in (63, 64, 65, 1000)),
]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: str(len(table.get("runtimes", {}))))
def test_a_configuration_is_read_as_it_was_written_in_small_steps(
    table: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = generation_of(table)
    manifest, expected, loads = manifest_of(generation), json.loads(generation.config_text), json.loads
    sizes: list[int] = []

    def note(text: bytes) -> Any:
        found = loads(text)
        sizes.append(len(found))
        sizes.extend(len(value) for value in found.values() if isinstance(value, dict))
        return found

    monkeypatch.setattr(json, "loads", note)
    config = read_retained(manifest, generation.config_text).config
    assert config == expected
    assert list(config["runtimes"]) == list(expected["runtimes"])
    assert max(sizes) <= 64


def test_a_damaged_configuration_is_refused() -> None:
    generation = generation_of(TABLES[1])
    with pytest.raises(DamagedManifest):
        read_retained(manifest_of(generation), generation.config_text + b"\n")
