"""Tests of exports to dockerd and containerd, and of their import."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
import tomli_w
from harness.lookup import look_up_each
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimed.api.describe import describe_table
from runtimed.core.config import Config, Documents, Flags, Settings, Source
from runtimed.core.configuration.parse import parse_configuration
from runtimed.core.containerd.options import MESSAGES, message_of
from runtimed.core.engines.containerd.layout import PLUGINS
from runtimed.core.engines.containerd.read import read_containerd
from runtimed.core.engines.containerd.write import write_containerd
from runtimed.core.engines.docker.read import read_docker
from runtimed.core.engines.docker.write import write_docker
from runtimed.core.errors import BinaryUnavailable
from runtimed.core.features import PENDING, Features
from runtimed.core.table.facts import Facts
from runtimed.core.table.generation import Generation, Host, build_generation

SETTINGS = Settings("/data", "/run/runtimed", ())
RUNC = "io.containerd.runc.v2"
KATA = "io.containerd.kata.v2"


class Nothing:
    """A host on which every binary is where it is said to be."""

    def look_up_all(self, files: Iterable[str]) -> Mapping[str, str | BinaryUnavailable]:
        return look_up_each(self.look_up, files)

    def look_up(self, path: str) -> str:
        return path

    def replaceable(self, binary: str) -> None:
        return None

    def features(self, binary: str) -> Features:
        return PENDING

    def drift(self, binary: str) -> None:
        return None


def generation_of(document: object, *, ramdisk: bool = False, unified: bool = False) -> Generation:
    config: Config = parse_configuration(
        Documents("/d.json", Source("/d.json", json.dumps(document).encode())), Flags(), SETTINGS
    )
    host = Host(Facts(cgroup2=unified, systemd=unified, ramdisk=ramdisk), "/data", "/run/runtimed")
    return build_generation(config, host, 1)


def table_of(generation: Generation) -> dict[str, Any]:
    """Return the response to ``GET /v1/runtimes``."""
    runtimes = list(describe_table(generation, Nothing()))
    table = {"generation": 1, "default_runtime": generation.config.default_runtime, "runtimes": runtimes}
    return dict(json.loads(json.dumps(table)))


def meaning(generation: Generation, name: str) -> tuple[str, dict[str, object]]:
    """Return the shim and the options that are set, with the stable path as in exports."""
    runtime = generation.runtimes[name]
    options: dict[str, object] = {k: v for k, v in (runtime.options.fields if runtime.options else ()) if v}
    if runtime.launcher is not None and not str(options["binary_name"]).startswith("/data/runtimes/"):
        options["binary_name"] = f"/data/runtimes/{runtime.launcher.link}"
    return runtime.shim, options


def inexpressible(generation: Generation, name: str, kinds: set[str]) -> bool:
    """Return whether a runtime has an option of such a kind set."""
    shim, options = meaning(generation, name)
    configured = generation.runtimes[name].definition
    if configured is None or configured.path is not None:
        return False
    return any(options.get(field.name) and field.kind in kinds for field in MESSAGES[message_of(shim)])


def through_toml(document: Any) -> dict[str, Any]:
    return tomllib.loads(tomli_w.dumps(document))


# Anything that a name or an argument may be.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
NAMES = (TEXT | st.sampled_from(["io.containerd.runc.v2", "..", "a/b", "crun", "a.b"])).filter(lambda n: n != "runc")
VALUES = {"bool": st.booleans(), "string": TEXT, "uint32": st.integers(0, 2**32 - 1), "bytes": TEXT}


def options_of(runtime_type: str) -> st.SearchStrategy[dict[str, Any]]:
    fields = MESSAGES[message_of(runtime_type)]
    return st.fixed_dictionaries({}, optional={field.go_name: VALUES[field.kind] for field in fields})


SHIMS = st.sampled_from([RUNC, "io.containerd.runc.v1", KATA, "/opt/shim"]) | TEXT.filter(
    lambda shim: shim not in ("io.containerd.runhcs.v1", "io.containerd.runtime.v1.linux")
)
ENTRIES = SHIMS.flatmap(
    lambda shim: st.fixed_dictionaries({"runtimeType": st.just(shim)}, optional={"options": options_of(shim)})
) | st.fixed_dictionaries(
    {"path": TEXT.map(lambda path: f"/{path}")}, optional={"runtimeArgs": st.lists(TEXT, max_size=3)}
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    runtimes = draw(st.dictionaries(NAMES, ENTRIES, max_size=4))
    default = draw(st.sampled_from(["runc", RUNC, KATA, *runtimes]))
    return {"runtimes": runtimes, "default-runtime": default}


@settings(deadline=None)
@given(documents(), st.booleans(), st.booleans(), st.sampled_from(sorted(PLUGINS)))
def test_a_table_exported_to_containerd_and_imported_resolves_the_same(
    document: dict[str, Any], ramdisk: bool, unified: bool, version: int
) -> None:
    generation = generation_of(document, ramdisk=ramdisk, unified=unified)
    exported = write_containerd(table_of(generation), version)
    # A node on a ramdisk has another runc than the stock one elsewhere.
    renames = {"runc": "the node's runc"} if ramdisk and "the node's runc" not in document["runtimes"] else {}
    if ramdisk and not renames:
        return
    back = generation_of(
        read_containerd(through_toml(exported.document), "c.toml", tomli_w.dumps, renames).document, unified=not unified
    )
    lost = {name for name in document["runtimes"] if inexpressible(generation, name, {"bytes"})}
    for name in {*document["runtimes"], "runc"} - lost:
        assert meaning(back, renames.get(name, name)) == meaning(generation, name)
    default = document["default-runtime"]
    if default not in lost:
        assert back.config.default_runtime == renames.get(default, default)


@settings(deadline=None)
@given(documents())
def test_a_table_exported_to_dockerd_and_imported_resolves_the_same(document: dict[str, Any]) -> None:
    generation = generation_of(document)
    exported = write_docker(table_of(generation))
    translation = read_docker(Source("f", json.dumps(exported.document).encode()))
    assert translation.remarks == ()
    back = generation_of(translation.document)
    lost = {name for name in document["runtimes"] if inexpressible(generation, name, {"bytes", "uint32"})}
    assert back.config.runtimes.keys() == document["runtimes"].keys() - lost
    for name in back.config.runtimes:
        assert meaning(back, name) == meaning(generation, name)
    if document["default-runtime"] not in lost:
        assert back.config.default_runtime == document["default-runtime"]


TABLE = {
    "runtimes": {
        "crun": {"path": "/usr/bin/crun"},
        "gvisor": {"path": "runsc", "runtimeArgs": ["--x", "two words"]},
        "kata": {"runtimeType": KATA, "options": {"TypeUrl": "t"}},
        "Odd name": {"runtimeType": RUNC, "options": {"NoNewKeyring": False, "IoUid": 7, "TaskApiVersion": 3}},
        "body": {"runtimeType": KATA, "options": {"ConfigBody": "x"}},
        RUNC: {"path": "/usr/bin/crun"},
    },
    "default-runtime": "gvisor",
}


@pytest.mark.parametrize("version", PLUGINS)
def test_containerd_gets_all_runtimes_and_stable_paths(version: int) -> None:
    exported = write_containerd(table_of(generation_of(TABLE)), version)
    plugin: Any = through_toml(exported.document)["plugins"][PLUGINS[version]]
    common = {"Root": "/run/runtimed/runtime-runc", "SystemdCgroup": False}
    crun = {"runtime_type": RUNC, "options": {"BinaryName": "/data/runtimes/crun", **common}}
    assert plugin["containerd"] == {
        "default_runtime_name": "gvisor",
        "runtimes": {
            "crun": crun,
            "gvisor": {"runtime_type": RUNC, "options": {"BinaryName": "/data/runtimes/gvisor", **common}},
            "kata": {"runtime_type": KATA, "options": {"TypeUrl": "t"}},
            "Odd name": {"runtime_type": RUNC, "options": {"IoUid": 7, "TaskApiVersion": 3}},
            "runc": {"runtime_type": RUNC, "options": {"BinaryName": "runc", **common}},
            RUNC: {"runtime_type": RUNC, "options": {"BinaryName": f"/data/runtimes/{RUNC}", **common}},
        },
    }
    way = f'plugins."{PLUGINS[version]}".containerd.runtimes'
    places = [str(remark).split(": ")[0] for remark in exported.remarks]
    assert places == [
        f'plugins."{PLUGINS[version]}"',
        f'{way}."Odd name"',
        f'{way}."Odd name"',
        f"{way}.body",
        f'{way}."io.containerd.runc.v2"',
        f"{way}.kata",
    ]


def test_an_implicit_default_is_exported_in_the_form_of_each_engine() -> None:
    table = table_of(generation_of({"default-runtime": KATA}))
    containerd = write_containerd(table, 2)
    plugin: Any = through_toml(containerd.document)["plugins"][PLUGINS[2]]
    assert plugin["containerd"]["runtimes"][KATA] == {"runtime_type": KATA}
    assert plugin["containerd"]["default_runtime_name"] == KATA


def test_a_default_is_left_out_with_its_runtime() -> None:
    table = table_of(generation_of({**TABLE, "default-runtime": "body"}))
    exported = write_containerd(table, 2)
    assert "default" not in tomli_w.dumps(exported.document)
    assert "left out with the runtime that it names, body" in str(exported.remarks[-1])


@pytest.mark.parametrize("engine", ["docker", "containerd"])
def test_an_import_of_an_export_leaves_out_the_runtimes_that_the_table_has_already(engine: str) -> None:
    document: dict[str, Any] = {
        "runtimes": {"a/b": {"path": "/usr/bin/crun"}, "kata": {"runtimeType": KATA}},
        "default-runtime": "a/b",
    }
    table = table_of(generation_of(document))
    for runtime in table["runtimes"]:
        if runtime["stable_path"] is not None:
            runtime["stable_path"] = runtime["stable_path"].replace("/data/", "/var/lib/runtimed/")
    if engine == "docker":
        text = json.dumps(write_docker(table).document).encode()
        translation = read_docker(Source("f", text))
    else:
        translation = read_containerd(through_toml(write_containerd(table, 2).document), "f", tomli_w.dumps)
    found: Any = translation.document
    assert list(found["runtimes"]) == ["kata"]
    assert "default-runtime" not in translation.document
    texts = [remark.message for remark in translation.remarks]
    assert "left out: its binary is a stable path of runtimed, which has the runtime already" in texts
    assert "left out with the runtime that it names" in texts
