"""Tests of the export to CRI-O, and of the plan for its file."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from harness.engine_tables import described_table

from runtimed.core.engines import load_engine
from runtimed.core.engines.engine import ExportOptions, Found, Run
from runtimed.core.engines.ownership import MARK
from runtimed.core.errors import ConfigurationRejected

ENGINE = load_engine("crio")
RUNC = "io.containerd.runc.v2"
KATA = "io.containerd.kata.v2"
PATH = "/etc/crio/crio.conf.d/50-runtimed.conf"
CARRIED = {"monitor_path": "/usr/libexec/crio/conmon", "allowed_annotations": ["a"], "runtime_root": "/run/x"}
TABLE: dict[str, Any] = {
    "runtimes": {
        "crun": {"path": "/usr/bin/crun", "engines": {"crio": CARRIED, "containerd": {"snapshotter": "x"}}},
        "kata": {
            "runtimeType": KATA,
            "options": {"ConfigPath": "/k.toml"},
            "engines": {"crio": {"monitor_env": ["A=1"]}},
        },
        "Odd name": {"path": "/opt/x"},
        "pod": {"path": "/opt/x", "engines": {"crio": {"runtime_type": "pod"}}},
        "runc-shim": {"runtimeType": RUNC},
        "body": {"runtimeType": KATA, "options": {"ConfigBody": "x"}},
        "shim-path": {"runtimeType": "/opt/shim"},
        "gone": {"runtimeType": "io.containerd.gone.v1"},
    },
    "default-runtime": "kata",
}
MISSING = ("containerd-shim-gone-v1",)


def written(document: dict[str, Any], missing: tuple[str, ...] = MISSING) -> tuple[Any, list[str]]:
    translation = ENGINE.write(described_table(document, missing), ExportOptions())
    return tomllib.loads(ENGINE.render(translation.document))["crio"]["runtime"], [
        str(each) for each in translation.remarks
    ]


def test_path_runtimes_are_oci_and_shims_are_vm_with_the_keys_that_only_crio_knows() -> None:
    runtime, remarks = written(TABLE)
    assert runtime == {
        "default_runtime": "kata",
        "runtimes": {
            "Odd name": {"runtime_path": "/data/runtimes/%4fdd%20name", "runtime_type": "oci"},
            "crun": {"runtime_path": "/data/runtimes/crun", "runtime_type": "oci", **CARRIED},
            "pod": {"runtime_path": "/data/runtimes/pod", "runtime_type": "pod"},
            "kata": {
                "runtime_path": "/usr/bin/containerd-shim-kata-v2",
                "runtime_type": "vm",
                "runtime_config_path": "/k.toml",
                "runtime_root": "/run/vc",
                "monitor_env": ["A=1"],
            },
        },
    }
    found = [tuple(remark.split(": ")[:2]) for remark in remarks]
    way = "crio.runtime.runtimes"
    assert found[:5] == [
        (f'{way}."Odd name"', "Kubernetes cannot use it"),
        (f"{way}.body", "left out"),
        (f"{way}.gone", "left out"),
        (f"{way}.runc-shim", "left out"),
        (f"{way}.shim-path", "left out"),
    ]
    # Of the whole file: conmon, and the restart.
    assert [place for place, _ in found[5:]] == [way, way]
    assert "conmon" in remarks[5]
    assert "after a restart only" in remarks[6]


def test_a_monitor_is_named_only_where_crio_has_to_find_it() -> None:
    runtimes = {"crun": TABLE["runtimes"]["crun"], "kata": TABLE["runtimes"]["kata"], "pod": TABLE["runtimes"]["pod"]}
    (remark,) = written({"runtimes": runtimes, "default-runtime": "crun"})[1]
    assert "after a restart only" in remark


def test_runtimeds_own_keys_win_over_carried_ones() -> None:
    wrong = {"runtime_path": "/wrong", "runtime_config_path": "/wrong", "runtime_type": "vm"}
    runtimes = {
        "a": {"path": "/opt/x", "engines": {"crio": wrong}},
        "b": {"runtimeType": KATA, "engines": {"crio": {**wrong, "runtime_type": "oci"}}},
    }
    handlers = written({"runtimes": runtimes, "default-runtime": "a"})[0]["runtimes"]
    assert handlers == {
        "a": {"runtime_path": "/data/runtimes/a", "runtime_type": "oci"},
        "b": {"runtime_path": "/usr/bin/containerd-shim-kata-v2", "runtime_type": "vm", "runtime_root": "/run/vc"},
    }


@pytest.mark.parametrize("default", ["runc", RUNC])
def test_the_stock_runtime_is_exported_as_the_default_only(default: str) -> None:
    runtime, remarks = written({"runtimes": {"a": {"path": "/opt/x"}}, "default-runtime": default})
    assert runtime["default_runtime"] == "runc"
    assert runtime["runtimes"]["runc"] == {"runtime_path": "/usr/bin/runc", "runtime_type": "oci"}
    assert (f"crio.runtime.default_runtime: CRI-O gets the stock runtime {RUNC} as runc" in remarks) == (
        default == RUNC
    )
    runtime, _ = written({"runtimes": {"a": {"path": "/opt/x"}}, "default-runtime": "a"})
    assert "runc" not in runtime["runtimes"]


@pytest.mark.parametrize("default", ["body", "gone", "runc", "io.containerd.implicit.v2"])
def test_a_default_with_which_crio_would_not_start_is_left_out(default: str) -> None:
    runtime, remarks = written({**TABLE, "default-runtime": default}, (*MISSING, "runc"))
    assert "default_runtime" not in runtime
    assert any(remark.startswith("crio.runtime.default_runtime: left out, ") for remark in remarks)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"path": "/opt/x", "engines": {"crio": {"inherit_default_runtime": True}}}, "because of inherit_default"),
        ({"runtimeType": KATA, "options": {"TypeUrl": "t", "ConfigPath": "/k"}}, "only the ConfigPath"),
    ],
)
def test_a_runtime_that_crio_has_differently_causes_a_remark(entry: dict[str, Any], text: str) -> None:
    _, remarks = written({"runtimes": {"a": entry}, "default-runtime": "a"})
    assert text in remarks[0]


def test_a_name_that_crio_has_itself_causes_a_remark_unless_its_keys_are_carried() -> None:
    _, remarks = written({"runtimes": {"crun": {"path": "/opt/x"}}, "default-runtime": "crun"})
    assert "replaces CRI-O's own entry" in remarks[0]
    entry = {"path": "/opt/x", "engines": {"crio": CARRIED}}
    _, remarks = written({"runtimes": {"crun": entry}, "default-runtime": "crun"})
    assert not any("replaces CRI-O's own entry" in remark for remark in remarks)


def test_the_plan_checks_exactly_the_bytes_that_it_writes() -> None:
    assert ENGINE.writing is not None
    plan = ENGINE.writing.plan(described_table(TABLE), ExportOptions(), Found({}, None, "/scratch"))
    (write,) = plan.writes
    assert write.path == PATH == ENGINE.writing.path
    assert write.data.decode().startswith(MARK)
    assert plan.scratch == {"50-runtimed.conf": write.data}
    assert plan.checks == (
        Run(("crio", "--config", "/scratch/50-runtimed.conf", "--config-dir", "/scratch/none", "config")),
    )
    with pytest.raises(ConfigurationRejected):
        ENGINE.writing.plan(described_table(TABLE), ExportOptions(), Found({PATH: b"[crio]"}, None, "/scratch"))
