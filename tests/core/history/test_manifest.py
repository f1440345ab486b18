"""Tests of writing and reading manifests."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from harness.generation import inline_manifest, manifest_of, read_inline, without_carried_keys, without_launchers
from hypothesis import given
from hypothesis import strategies as st

from runtimed.core.config import Config, Definition, Origin, Settings
from runtimed.core.configuration.inputs import Documents, Flags, Source
from runtimed.core.configuration.parse import parse_configuration
from runtimed.core.errors import DamagedManifest
from runtimed.core.history.manifest import (
    Manifest,
    checksum,
    compare_with_manifest,
    read_manifest,
    rebuild_scripts,
    render_manifest,
    restore_config,
)
from runtimed.core.history.parts import make_partition, read_part
from runtimed.core.history.trigger import Actor, Trigger
from runtimed.core.table.build import build_generation
from runtimed.core.table.facts import Facts
from runtimed.core.table.generation import Difference, Generation, Host, links_of

HOST = Host(Facts(cgroup2=False, systemd=False, ramdisk=True), "/data", "/exec")
DEFAULTS = Settings("/data", "/exec", ("unix:///exec/s",))
TEXT = {
    "runtimes": {
        "a": {"path": "/a", "runtimeArgs": ["x y", "'"], "engines": {"containerd": {"é": [1, "}"]}}},
        "../b": {"path": "/b", "runtimeArgs": ["é"]},
        "c": {"runtimeType": "io.containerd.kata.v2", "options": {"ConfigBody": "[x]"}},
    },
    "default-runtime": "a",
    "runtimed": {"retain": 3},
}


def parsed(document: object) -> Config:
    source = Source("/etc/d.json", json.dumps(document, indent=1).encode())
    return parse_configuration(Documents(source.path, source), Flags(), DEFAULTS)


GENERATION = build_generation(parsed(TEXT), HOST, 42)
CARRIED = {"dropped": "dropped-" + "0" * 32}
PARTITION, TEXTS = make_partition(GENERATION.runtimes)
MANIFEST = render_manifest(GENERATION, PARTITION.digests, CARRIED, 1234.5)


def read(data: bytes, number: int) -> Manifest:
    return read_manifest(data, number, lambda digest: read_part(TEXTS[digest], digest))


def test_a_manifest_describes_the_generation() -> None:
    found = read(MANIFEST, 42)
    assert (found.number, found.digest, found.created_s) == (42, GENERATION.digest, 1234.5)
    assert found.configuration == "/etc/d.json"
    assert tuple(found.sources) == ("/etc/d.json",)
    assert found.links == links_of(GENERATION.runtimes.values())
    (part,) = found.parts.values()
    assert part.names == {"a": "a", "%2e.%2fb": "../b"}
    assert part.targets == {link: runtime.target for link, runtime in GENERATION.launchers.items()}
    assert sorted(found.files) == sorted(script.file for script in GENERATION.scripts)
    assert found.host == HOST
    assert found.carried == CARRIED
    assert found.default_runtime == "a"
    assert found.config_checksum == checksum(GENERATION.config_text)
    assert found.origins == GENERATION.config.origins
    assert set(found.answers) == {"a", "../b", "c", "runc", "io.containerd.runc.v2"}
    assert part.engines == {"a": r'{"containerd": {"\u00e9": [1, "}"]}}'}
    assert found.identities == GENERATION.identities
    assert found.answers["c"] == json.loads(GENERATION.runtimes["c"].answer.at(42))


def test_a_manifest_of_a_version_without_parts_describes_the_same_generation() -> None:
    found = read_inline(inline_manifest(GENERATION, CARRIED), 42)
    assert replace(found, parts={}) == replace(read(MANIFEST, 42), parts={})
    (inline,), (part,) = found.parts.values(), read(MANIFEST, 42).parts.values()
    assert replace(inline, answers={}) == replace(part, answers={})
    assert (found.answers, found.identities) == (read(MANIFEST, 42).answers, GENERATION.identities)


@given(st.integers(0, len(MANIFEST) - 1), st.integers(1, 255))
def test_a_flipped_bit_is_detected(position: int, flip: int) -> None:
    damaged = bytearray(MANIFEST)
    damaged[position] ^= flip
    with pytest.raises(DamagedManifest):
        read(bytes(damaged), 42)


@given(st.integers(0, len(MANIFEST) - 1))
def test_a_truncated_manifest_is_detected(length: int) -> None:
    with pytest.raises(DamagedManifest):
        read(MANIFEST[:length], 42)


def test_a_manifest_in_another_generations_directory_is_refused() -> None:
    with pytest.raises(DamagedManifest, match="expected layout 1, generation 43"):
        read(MANIFEST, 43)


def test_a_manifest_with_a_file_that_is_not_a_script_is_refused() -> None:
    with pytest.raises(DamagedManifest, match="names a file that is not a script"):
        manifest_of(GENERATION, {"a": "../../etc/passwd"})


def test_the_configuration_on_disk_restores_the_generation() -> None:
    manifest = read(MANIFEST, 42)
    config = restore_config(manifest, GENERATION.config_text, DEFAULTS, Flags())
    assert build_generation(config, HOST, 42) == GENERATION


def test_a_configuration_of_flags_alone_is_restored_as_well() -> None:
    flags = Flags({"default-runtime": "x"}, runtimes=("x=/usr/bin/x",))
    generation = build_generation(parse_configuration(Documents("/none"), flags, DEFAULTS), HOST, 1)
    manifest = manifest_of(generation)
    restored = build_generation(restore_config(manifest, generation.config_text, DEFAULTS, Flags()), HOST, 1)
    assert restored.digest == generation.digest
    assert restored.config.origins == {"x": Origin("--add-runtime")}


def test_the_flags_of_this_process_override_the_restored_configuration() -> None:
    manifest = read(MANIFEST, 42)
    flags = Flags(runtimes=("added=/usr/bin/added",))
    config = restore_config(manifest, GENERATION.config_text, DEFAULTS, flags)
    assert config.runtimes.keys() == {*GENERATION.config.runtimes, "added"}
    assert config.origins == {**GENERATION.config.origins, "added": Origin("--add-runtime")}
    # The text is not that of the main file, and `plan` has not checked the runtimes.
    assert not config.parsed


@pytest.mark.timeout(300)
def test_a_restored_configuration_may_exceed_the_limit_for_files() -> None:
    names = tuple(f"{number}" + "\N{GRINNING FACE}" * 1000 for number in range(1500))
    document = {"runtimes": {name: {"path": "/bin/x"} for name in names}}
    source = Source("/etc/d.json", json.dumps(document, ensure_ascii=False).encode())
    generation = build_generation(parse_configuration(Documents(source.path, source), Flags(), DEFAULTS), HOST, 1)
    assert len(source.data) < 16 * 2**20 < len(generation.config_text)
    manifest = manifest_of(generation)
    restored = restore_config(manifest, generation.config_text, DEFAULTS, Flags())
    assert build_generation(restored, HOST, 1).digest == generation.digest


def test_the_scripts_are_rebuilt_from_the_manifest_and_the_configuration() -> None:
    scripts = rebuild_scripts(read(MANIFEST, 42), GENERATION.config_text)
    assert scripts == {script.file: script.text for script in GENERATION.scripts}


def test_a_manifest_of_a_version_without_launchers_has_wrappers_as_targets() -> None:
    wrappers = {wrapper.link: wrapper.file for wrapper in GENERATION.wrappers}
    found = read_inline(without_launchers(inline_manifest(GENERATION, CARRIED), GENERATION), 42)
    (part,) = found.parts.values()
    assert part.targets == {link: f"/data/wrappers/{file}" for link, file in wrappers.items()}
    assert set(found.files) == set(wrappers.values())


def test_a_manifest_of_a_version_without_carried_keys_has_none() -> None:
    generation = build_generation(parsed({"runtimes": {"a": {"path": "/a"}}}), HOST, 42)
    manifest = inline_manifest(generation)
    found = read_inline(without_carried_keys(manifest), 42)
    assert found == read_inline(manifest, 42)
    assert compare_with_manifest(found, generation) == Difference()
    (changed,) = compare_with_manifest(found, GENERATION).changed
    assert changed == "a"


def test_a_large_generation_is_rendered_as_valid_json() -> None:
    runtimes = {f"r{n}": Definition(f"r{n}", path="/x", args=(str(n),)) for n in range(1000)}
    config = Config("/c", DEFAULTS, MappingProxyType(runtimes))
    generation: Generation = build_generation(config, HOST, 1)
    assert json.loads(generation.config_text)["runtimes"]["r7"] == {"path": "/x", "runtimeArgs": ["7"]}
    assert len(manifest_of(generation).answers) == 1002


@pytest.mark.parametrize("body", ["{}", "[]", '{"layout": 1, "generation": 42}', "1", "not json"])
def test_another_document_with_a_correct_checksum_is_refused(body: str) -> None:
    foreign = body.encode()
    signed = foreign + b',\n"checksum": "sha256:%b"\n}\n' % hashlib.sha256(foreign).hexdigest().encode()
    with pytest.raises(DamagedManifest):
        read_inline(signed, 42)


def test_a_manifest_with_excessive_nesting_is_damaged() -> None:
    body = b'{"layout": ' + b"[" * 100_000
    data = body + b',\n"checksum": "sha256:' + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'
    with pytest.raises(DamagedManifest):
        read_inline(data, 1)


def test_a_manifest_keeps_trigger_changes_and_the_checksums_of_the_files() -> None:
    trigger = Trigger(("api",), (Actor(0, 7, "a\\nb"),)).as_dict()
    changes = Difference(added=("a",)).summarise()
    found = manifest_of(GENERATION, {}, trigger, changes)
    assert (found.trigger, found.changes) == (trigger, changes)
    assert found.sources == GENERATION.config.sources
    assert found.sources["/etc/d.json"].startswith("sha256:")


def test_a_manifest_of_a_version_without_triggers_is_read_and_its_files_are_not_compared() -> None:
    body = MANIFEST.rpartition(b',\n"checksum"')[0]
    body = re.sub(rb',\n"(trigger|changes)": null', b"", body)
    body = re.sub(rb',\n"checksums": {.*?\n}', b"", body, flags=re.DOTALL)
    data = body + b',\n"checksum": "sha256:%b"\n}\n' % hashlib.sha256(body).hexdigest().encode()
    found = read(data, 42)
    assert (found.trigger, found.changes, found.sources) == (None, None, {"/etc/d.json": ""})
    now = Documents("/etc/d.json", Source("/etc/d.json", b"other"), (Source("/new", b"{}"),))
    assert [each.path for each in Trigger(("start",)).with_sources(found.sources, now).sources] == ["/new"]


@pytest.mark.parametrize("key", ["trigger", "changes"])
def test_a_trigger_of_a_later_version_does_not_damage_a_manifest(key: str) -> None:
    later: dict[str, Any] = {"trigger": None, "changes": None, key: {"another": ["shape"]}}
    found = manifest_of(GENERATION, **later)
    assert getattr(found, key) == {"another": ["shape"]}
