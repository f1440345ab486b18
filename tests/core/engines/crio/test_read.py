"""Tests of the import of CRI-O's crio.conf."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
import tomli_w
from harness.crio_dumps import printed_configuration
from harness.engine_tables import described_table
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimed.core.configuration.inputs import Source
from runtimed.core.engines import load_engine
from runtimed.core.engines.engine import ExportOptions, Original
from runtimed.core.errors import ConfigurationRejected

ENGINE = load_engine("crio")
WAY = "crio.runtime.runtimes"
KATA_SHIM = "/opt/kata/bin/containerd-shim-kata-v2"


def read(data: bytes, **renames: str) -> tuple[Any, list[str]]:
    assert ENGINE.read is not None
    translation = ENGINE.read(Original(Source("c.conf", data), renames))
    return translation.document, [str(remark) for remark in translation.remarks]


def translated(runtimes: Any, default: object = None, **renames: str) -> tuple[Any, list[str]]:
    runtime = {"runtimes": runtimes, **({} if default is None else {"default_runtime": default})}
    return read(tomli_w.dumps({"crio": {"runtime": runtime}}).encode(), **renames)


def refused(runtimes: Any, default: object = None, **renames: str) -> list[str]:
    with pytest.raises(ConfigurationRejected) as caught:
        translated(runtimes, default, **renames)
    return [str(problem) for problem in caught.value.problems]


def test_oci_vm_and_pod_runtimes_keep_the_keys_that_only_crio_knows() -> None:
    carried = {"monitor_env": ["A=1"], "default_annotations": {"a": "b"}, "container_create_timeout": 60}
    dropin, remarks = translated(
        {
            "a.b": {"runtime_path": "/opt/x", "runtime_type": "oci", **carried},
            "named": {"runtime_type": ""},
            "pod": {"runtime_path": "/opt/x", "runtime_type": "pod", "stream_websockets": True},
            "kata": {
                "runtime_path": KATA_SHIM,
                "runtime_type": "vm",
                "runtime_root": "/run/vc",
                "runtime_config_path": "/k.toml",
                "privileged_without_host_devices": True,
            },
        },
        "kata",
    )
    assert dropin == {
        "default-runtime": "kata",
        "runtimes": {
            "a.b": {"path": "/opt/x", "engines": {"crio": carried}},
            "named": {"path": "named"},
            "pod": {"path": "/opt/x", "engines": {"crio": {"runtime_type": "pod", "stream_websockets": True}}},
            "kata": {
                "runtimeType": KATA_SHIM,
                "options": {"ConfigPath": "/k.toml"},
                "engines": {"crio": {"privileged_without_host_devices": True}},
            },
        },
    }
    assert remarks == []


def test_the_output_of_crio_config_is_translated_without_empty_values() -> None:
    handlers = {"crun": {"runtime_path": "/opt/crun", "runtime_type": "oci", "allowed_annotations": ["a"]}}
    dropin, remarks = read(printed_configuration("crun", handlers).encode())
    carried = {"allowed_annotations": ["a"], "monitor_cgroup": "system.slice"}
    assert dropin == {
        "default-runtime": "crun",
        "runtimes": {"crun": {"path": "/opt/crun", "engines": {"crio": carried}}},
    }
    assert remarks == []
    # All of it is commented out.
    dropin, (remark,) = read(printed_configuration("crun", handlers, defaults=True).encode())
    assert dropin == {}
    assert "there are no runtimes here" in remark


def test_a_shims_name_is_found_by_the_name_of_its_file() -> None:
    runtimes = {"containerd-shim-kata-v2": {"runtime_type": "vm"}, "x": {"runtime_type": "vm"}}
    (problem,) = refused(runtimes)
    assert problem.startswith(f"c.conf: {WAY}.x.runtime_path: CRI-O refuses x as a shim")
    del runtimes["x"]
    expected = {"containerd-shim-kata-v2": {"runtimeType": "io.containerd.kata.v2"}}
    assert translated(runtimes) == ({"runtimes": expected}, [])


def test_a_runtime_that_inherits_has_the_binary_of_the_default_one() -> None:
    inherits = {"inherit_default_runtime": True, "monitor_env": ["A=1"]}
    runtimes = {"a": {"runtime_path": KATA_SHIM, "runtime_type": "vm"}, "b": {"runtime_path": "/opt/x", **inherits}}
    dropin, _ = translated(runtimes, "a")
    assert dropin["runtimes"]["b"] == {"runtimeType": KATA_SHIM, "engines": {"crio": inherits}}
    dropin, _ = translated({"b": inherits})
    assert dropin["runtimes"]["b"] == {"path": "crun", "engines": {"crio": inherits}}


def test_the_default_that_crio_has_itself_needs_no_entry() -> None:
    assert translated({}, "crun") == ({"runtimes": {"crun": {"path": "crun"}}, "default-runtime": "crun"}, [])


def test_the_plain_runc_is_the_stock_one_and_its_keys_are_named() -> None:
    assert translated({"runc": {"runtime_path": "/usr/bin/runc", "runtime_type": "oci"}}, "runc") == (
        {"default-runtime": "runc"},
        [],
    )
    dropin, (remark,) = translated({"runc": {"monitor_path": "/m", "runtime_root": "/run/runc"}}, "runc")
    assert dropin == {"default-runtime": "runc"}
    assert remark.startswith(
        f"c.conf: {WAY}.runc: is the stock runc, which carries no keys: monitor_path, runtime_root;"
    )


@pytest.mark.parametrize(
    "handler",
    [{"runtime_path": "/usr/libexec/crio/runc"}, {"runtime_path": KATA_SHIM, "runtime_type": "vm"}],
)
def test_another_runc_is_refused_and_accepted_under_another_name(handler: dict[str, Any]) -> None:
    (problem,) = refused({"runc": handler}, "runc")
    assert problem.startswith(f"c.conf: {WAY}.runc: the name 'runc' is reserved")
    dropin, remarks = translated({"runc": handler}, "runc", runc="mine")
    assert (dropin["default-runtime"], list(dropin["runtimes"]), remarks) == ("mine", ["mine"], [])


@pytest.mark.parametrize(
    ("runtimes", "default", "place"),
    [
        (5, None, WAY),
        ({"x": 5}, None, f"{WAY}.x"),
        ({"x": {"runtime_path": 5}}, None, f"{WAY}.x.runtime_path"),
        ({"x": {"runtime_type": "wasm"}}, None, f"{WAY}.x.runtime_type"),
        ({"x": {"runtime_type": 5}}, None, f"{WAY}.x.runtime_type"),
        ({"x": {"runtime_type": "vm", "runtime_path": "/opt/shim"}}, None, f"{WAY}.x.runtime_path"),
        ({"x": {"runtime_path": "/b", "when": {"a": [dt.date(2026, 1, 2)]}}}, None, f"{WAY}.x.when.a.0"),
        ({"x": {"runtime_path": "/b", "ratio": float("nan")}}, None, f"{WAY}.x.ratio"),
        ({"x": {"runtime_path": "\0"}}, None, f"{WAY}.x.runtime_path"),
        ({"x": {"runtime_path": "/b"}}, "nosuch", "crio.runtime.default_runtime"),
        ({"x": {"runtime_path": "/b"}}, 5, "crio.runtime.default_runtime"),
    ],
)
def test_every_problem_has_its_place_in_the_file(runtimes: Any, default: object, place: str) -> None:
    (problem,) = refused(runtimes, default)
    assert problem.startswith(f"c.conf: {place}: ")


def test_an_import_of_an_export_leaves_out_the_runtimes_that_the_table_has_already() -> None:
    table = described_table({"runtimes": {"crun": {"path": "/usr/bin/crun"}}, "default-runtime": "crun"})
    for runtime in table["runtimes"]:
        if runtime["stable_path"] is not None:
            runtime["stable_path"] = runtime["stable_path"].replace("/data/", "/var/lib/runtimed/")
    data = ENGINE.render(ENGINE.write(table, ExportOptions()).document).encode()
    assert not read(data)[0].get("runtimes")


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=9)
NAMES = (TEXT | st.sampled_from(["crun", "a/b", "..", "io.containerd.runc.v2"])).filter(lambda name: name != "runc")
OWN = ("runtime_path", "runtime_type", "runtime_config_path", "inherit_default_runtime")
CARRIED = st.dictionaries(
    TEXT.filter(lambda key: key not in OWN), st.lists(TEXT, min_size=1) | TEXT | st.integers(1, 99), min_size=1
)
ENTRIES = st.fixed_dictionaries({"path": TEXT.map(lambda path: f"/{path}")}) | st.fixed_dictionaries(
    {"runtimeType": st.just(KATA_SHIM)}, optional={"options": st.fixed_dictionaries({"ConfigPath": TEXT})}
)


@settings(deadline=None)
@given(st.dictionaries(NAMES, st.tuples(ENTRIES, st.none() | CARRIED), min_size=1, max_size=4), st.data())
def test_a_table_exported_and_imported_has_the_same_runtimes(
    drawn: dict[str, tuple[dict[str, Any], dict[str, Any] | None]], data: st.DataObject
) -> None:
    runtimes = {
        name: {**entry, **({} if carried is None else {"engines": {"crio": carried}})}
        for name, (entry, carried) in drawn.items()
    }
    default = data.draw(st.sampled_from(["runc", *sorted(runtimes)]))
    table = described_table({"runtimes": runtimes, "default-runtime": default})
    back, _ = read(ENGINE.render(ENGINE.write(table, ExportOptions()).document).encode())
    for each in table["runtimes"]:
        if each["stable_path"] is not None:
            runtimes[each["name"]]["path"] = each["stable_path"]
    assert back == {"runtimes": runtimes, "default-runtime": default}


KEYS = st.sampled_from(["runc", "crun", "x", *OWN, "monitor_env"]) | st.text(max_size=3)
LEAVES = (
    st.sampled_from(["runc", "/b", "vm", "oci", "pod", KATA_SHIM, ""])
    | st.integers(-1, 2**64)
    | st.booleans()
    | st.floats()
    | st.datetimes()
    | st.text(max_size=5)
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=4))


@settings(deadline=None)
@given(
    st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=4) | VALUES, max_size=3) | VALUES,
    LEAVES,
    st.dictionaries(KEYS, st.text(min_size=1), max_size=1),
)
def test_any_content_is_translated_or_refused_with_a_place(
    runtimes: object, default: object, renames: dict[str, str]
) -> None:
    assert ENGINE.read is not None
    found: tuple[object, ...]
    try:
        data = tomli_w.dumps({"crio": {"runtime": {"runtimes": runtimes, "default_runtime": default}}}).encode()
        translation = ENGINE.read(Original(Source("c.conf", data), renames))
        json.dumps(translation.document, allow_nan=False)
        found = translation.remarks
    except UnicodeEncodeError:
        return
    except ConfigurationRejected as rejection:
        found = rejection.problems
    assert all(str(one).startswith("c.conf: crio.") for one in found)
