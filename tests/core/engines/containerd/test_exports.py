"""Tests of whole exports to containerd."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import tomli_w
from harness.engine_tables import node_generation, table_of

from runtimed.core.engines.containerd.layout import PLUGINS
from runtimed.core.engines.containerd.write import write_containerd

RUNC = "io.containerd.runc.v2"
KATA = "io.containerd.kata.v2"


def through_toml(document: Any) -> dict[str, Any]:
    return tomllib.loads(tomli_w.dumps(document))


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
    exported = write_containerd(table_of(node_generation(TABLE)), version)
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
    table = table_of(node_generation({"default-runtime": KATA}))
    containerd = write_containerd(table, 2)
    plugin: Any = through_toml(containerd.document)["plugins"][PLUGINS[2]]
    assert plugin["containerd"]["runtimes"][KATA] == {"runtime_type": KATA}
    assert plugin["containerd"]["default_runtime_name"] == KATA


def test_a_default_is_left_out_with_its_runtime() -> None:
    table = table_of(node_generation({**TABLE, "default-runtime": "body"}))
    exported = write_containerd(table, 2)
    assert "default" not in tomli_w.dumps(exported.document)
    assert "left out with the runtime that it names, body" in str(exported.remarks[-1])
