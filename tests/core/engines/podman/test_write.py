"""Tests of the export to podman, and of the plan for its file."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from harness.engine_tables import described_table

from runtimed.core.engines import load_engine
from runtimed.core.engines.engine import ExportOptions, Found
from runtimed.core.engines.ownership import MARK
from runtimed.core.errors import ConfigurationRejected

ENGINE = load_engine("podman")
RUNC = "io.containerd.runc.v2"
KATA = "io.containerd.kata.v2"
PATH = "/etc/containers/containers.conf.d/50-runtimed.conf"
TABLE: dict[str, Any] = {
    "runtimes": {
        "crun": {"path": "/usr/bin/crun"},
        "gvisor": {"path": "/opt/runsc-debug", "runtimeArgs": ["--debug"]},
        "a b/c": {"path": "/opt/x"},
        "/slash": {"path": "/opt/x"},
        "kata": {"runtimeType": KATA},
        RUNC: {"runtimeType": RUNC, "options": {"NoPivotRoot": True}},
    },
    "default-runtime": "gvisor",
}


def written(document: dict[str, Any]) -> tuple[Any, list[str]]:
    """Return the section of the file, and the remarks."""
    translation = ENGINE.write(described_table(document), ExportOptions())
    # Through the format itself: podman gets text.
    return tomllib.loads(ENGINE.render(translation.document))["engine"], list(map(str, translation.remarks))


def test_path_runtimes_are_exported_by_their_stable_paths_and_shims_are_left_out() -> None:
    engine, remarks = written(TABLE)
    assert engine == {
        "runtime": "gvisor",
        "runtimes": {
            "crun": ["/data/runtimes/crun"],
            "gvisor": ["/data/runtimes/gvisor"],
            "a b/c": ["/data/runtimes/a%20b%2fc"],
        },
    }
    assert remarks == [
        'engine.runtimes."/slash": left out: podman takes a name that begins with / for the path of a binary',
        f'engine.runtimes."{RUNC}": left out: podman executes OCI runtimes, and this is the shim {RUNC}',
        f"engine.runtimes.kata: left out: podman executes OCI runtimes, and this is the shim {KATA}",
    ]


@pytest.mark.parametrize("default", ["kata", "/slash", RUNC, "io.containerd.implicit.v2"])
def test_a_default_that_podman_cannot_have_is_left_out(default: str) -> None:
    engine, remarks = written({**TABLE, "default-runtime": default})
    assert "runtime" not in engine
    assert f"it names, {default}: podman chooses its own" in remarks[-1]


def test_the_stock_runtime_is_podmans_own_runc() -> None:
    assert written({"default-runtime": "runc"}) == ({"runtime": "runc", "runtimes": {}}, [])
    engine, remarks = written({"default-runtime": RUNC})
    assert engine == {"runtime": "runc", "runtimes": {}}
    assert remarks == [f"engine.runtime: podman knows the stock runtime {RUNC} as runc"]


@pytest.mark.parametrize(
    ("name", "binary", "keys"),
    [
        ("crun", "/opt/crun", []),
        ("mine", "/opt/other", []),
        ("kata", "/opt/other", []),
        ("mine", "/usr/bin/crun", ["runtime_supports_json", "runtime_supports_nocgroup"]),
        ("mine", "krun", ["runtime_supports_json", "runtime_supports_kvm", "runtime_supports_nocgroup"]),
        ("runsc", "/usr/sbin/runc", []),
        ("kata", "/usr/bin/crun", ["runtime_supports_kvm", "runtime_supports_nocgroup"]),
        ("x/crun", "/usr/bin/crun", []),
    ],
)
def test_what_podman_knows_of_the_binary_by_another_name_causes_a_remark(
    name: str, binary: str, keys: list[str]
) -> None:
    _, remarks = written({"runtimes": {name: {"path": binary}}, "default-runtime": name})
    assert [next(key for key in ("_json", "_kvm", "_nocgroup") if key in remark) for remark in remarks] == [
        key.removeprefix("runtime_supports") for key in keys
    ]


def test_keys_that_are_carried_for_podman_cause_a_remark() -> None:
    entry = {"path": "/opt/x", "engines": {"podman": {"a": 1, "b": 2}, "crio": {"c": 3}}}
    _, (remark,) = written({"runtimes": {"mine": entry}, "default-runtime": "mine"})
    assert remark.startswith("engine.runtimes.mine: a, b left out: ")


def test_the_plan_checks_exactly_the_bytes_that_it_writes_with_another_storage() -> None:
    assert ENGINE.writing is not None
    plan = ENGINE.writing.plan(described_table(TABLE), ExportOptions(), Found({}, "podman version 4.3.1", "/scratch"))
    (write,) = plan.writes
    assert write.path == PATH == ENGINE.writing.path
    assert write.data.decode().startswith(MARK)
    (name,) = plan.scratch
    assert plan.scratch[name] == write.data
    (check,) = plan.checks
    assert check.environ == {"CONTAINERS_CONF": f"/scratch/{name}"}
    assert [word for word in check.words if word.startswith("/")] == ["/scratch/root", "/scratch/run", "/scratch/state"]
    assert plan.remarks == ENGINE.write(described_table(TABLE), ExportOptions()).remarks


def test_a_file_of_another_program_is_not_replaced() -> None:
    assert ENGINE.writing is not None
    found = Found({PATH: b"[engine]\n"}, None, "/scratch")
    with pytest.raises(ConfigurationRejected):
        ENGINE.writing.plan(described_table(TABLE), ExportOptions(), found)
