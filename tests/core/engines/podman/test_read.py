"""Tests of the import of podman's containers.conf."""

from __future__ import annotations

import json
from typing import Any

import pytest
import tomli_w
from harness.engine_tables import described_table
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimed.core.configuration.inputs import Source
from runtimed.core.engines import load_engine
from runtimed.core.engines.engine import ExportOptions, Original
from runtimed.core.errors import ConfigurationRejected

ENGINE = load_engine("podman")
FILES = frozenset({"/usr/bin/crun", "/usr/sbin/runc", "/opt/runc", "/opt/runsc", "/b", "/usr/bin/kata-runtime"})
DATES = st.datetimes() | st.dates()


def translated(engine: dict[str, Any] | str, **renames: str) -> tuple[Any, list[str]]:
    text = engine if isinstance(engine, str) else tomli_w.dumps({"engine": engine})
    assert ENGINE.read is not None
    translation = ENGINE.read(Original(Source("c.conf", text.encode()), renames, FILES.__contains__))
    return translation.document, [str(remark) for remark in translation.remarks]


def refused(engine: dict[str, Any] | str, **renames: str) -> list[str]:
    with pytest.raises(ConfigurationRejected) as caught:
        translated(engine, **renames)
    return [str(problem) for problem in caught.value.problems]


def test_the_first_path_that_is_a_file_is_the_binary_and_flags_get_dashes() -> None:
    engine = {
        "runtime": "gvisor",
        "cgroup_manager": "cgroupfs",
        "runtimes": {"crun": ["/nowhere", "/usr/bin/crun", "/b"], "gvisor": ["/opt/runsc"], "x/y z": ["/b"]},
        "runtimes_flags": {"gvisor": ["debug", "network=none"], "y z": ["q"]},
    }
    assert translated(engine) == (
        {
            "default-runtime": "gvisor",
            "runtimes": {
                "crun": {"path": "/usr/bin/crun"},
                "gvisor": {"path": "/opt/runsc", "runtimeArgs": ["--debug", "--network=none"]},
                "x/y z": {"path": "/b", "runtimeArgs": ["--q"]},
            },
        },
        [],
    )


def test_a_runtime_without_a_file_is_its_name_on_path_or_left_out() -> None:
    dropin, remarks = translated({"runtimes": {"mine": ["/nowhere", "b"], "empty": [], "x/y": ["/nowhere"]}})
    assert dropin == {"runtimes": {"mine": {"path": "mine"}, "empty": {"path": "empty"}}}
    assert remarks == [
        "c.conf: engine.runtimes.mine: none of its paths is a file here; podman then looks for its name on PATH",
        'c.conf: engine.runtimes."x/y": left out: none of its paths is a file, so podman does not have it',
    ]


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        ({"runtime": "crun"}, {"runtimes": {"crun": {"path": "crun"}}, "default-runtime": "crun"}),
        ({"runtime": "kata"}, {"runtimes": {"kata": {"path": "kata-runtime"}}, "default-runtime": "kata"}),
        ({"runtime": "/usr/bin/crun"}, {"runtimes": {"crun": {"path": "/usr/bin/crun"}}, "default-runtime": "crun"}),
        ({"runtime": "runc"}, {"default-runtime": "runc"}),
        ({"runtime": "/usr/sbin/runc"}, {"default-runtime": "runc"}),
        ({"runtime": "runc", "runtimes": {"runc": ["/x", "/usr/sbin/runc"]}}, {"default-runtime": "runc"}),
        ({"runtimes_flags": {"crun": ["debug"]}}, {"runtimes": {"crun": {"path": "crun", "runtimeArgs": ["--debug"]}}}),
    ],
)
def test_a_runtime_that_podman_knows_needs_no_entry(engine: dict[str, Any], expected: object) -> None:
    assert translated(engine) == (expected, [])


@pytest.mark.parametrize(
    "engine",
    [
        {"runtime": "/opt/runc"},
        {"runtime": "runc", "runtimes": {"runc": ["/opt/runc"]}},
        {"runtime": "runc", "runtimes_flags": {"runc": ["debug"]}},
    ],
)
def test_another_runc_is_refused_and_accepted_under_another_name(engine: dict[str, Any]) -> None:
    (problem,) = refused(engine)
    assert problem.startswith("c.conf: engine.runtimes.runc: the name 'runc' is reserved")
    assert "--rename runc=NAME" in problem
    dropin, remarks = translated(engine, runc="mine")
    assert remarks == []
    assert dropin["default-runtime"] == "mine"
    assert dropin["runtimes"]["mine"]["path"] in ("/opt/runc", "runc")


def test_each_key_about_runtimes_that_is_lost_causes_a_remark() -> None:
    lost = {
        "runtime_supports_json": ["crun"],
        "runtime_supports_kvm": ["crun"],
        "runtime_supports_nocgroup": ["crun"],
        "platform_to_oci_runtime": {"wasi/wasm": "crun"},
        "runtime_path": ["/x"],
        "runtimes_flags": {"unknown": ["x"]},
    }
    dropin, remarks = translated({"runtimes": {"crun": ["/usr/bin/crun"]}, "num_locks": 5, **lost})
    assert dropin == {"runtimes": {"crun": {"path": "/usr/bin/crun"}}}
    assert {remark.split(": ")[1].removesuffix(".unknown") for remark in remarks} == {f"engine.{key}" for key in lost}


@pytest.mark.parametrize(
    ("engine", "place"),
    [
        ({"runtime": 5}, "engine.runtime"),
        ({"runtime": "nosuch"}, "engine.runtime"),
        ({"runtime": "/opt/crun", "runtimes": {"crun": ["/usr/bin/crun"]}}, "engine.runtime"),
        ({"runtimes": 5}, "engine.runtimes"),
        ({"runtimes": {"x": "/b"}}, "engine.runtimes.x"),
        ({"runtimes": {"x": [5]}}, "engine.runtimes.x"),
        ({"runtimes_flags": []}, "engine.runtimes_flags"),
        ({"runtimes": {"x": ["/b"]}, "runtimes_flags": {"x": [5]}}, "engine.runtimes_flags.x"),
        ({"runtimes": {"x": ["/b"]}, "runtimes_flags": {"x": ["\0"]}}, "engine.runtimes_flags.x"),
        ("engine = 5", "engine"),
    ],
)
def test_every_problem_has_its_place_in_the_file(engine: dict[str, Any] | str, place: str) -> None:
    (problem,) = refused(engine)
    assert problem.startswith(f"c.conf: {place}: ")


def test_a_file_without_runtimes_is_an_empty_dropin_with_a_remark() -> None:
    dropin, (remark,) = translated("[containers]\npids_limit = 5\n")
    assert dropin == {}
    assert "there are no runtimes here" in remark


def test_an_import_of_an_export_leaves_out_the_runtimes_that_the_table_has_already() -> None:
    table = described_table({"runtimes": {"crun": {"path": "/usr/bin/crun"}}, "default-runtime": "crun"})
    for runtime in table["runtimes"]:
        if runtime["stable_path"] is not None:
            runtime["stable_path"] = runtime["stable_path"].replace("/data/", "/var/lib/runtimed/")
    assert ENGINE.read is not None
    data = ENGINE.render(ENGINE.write(table, ExportOptions()).document).encode()
    assert not ENGINE.read(Original(Source("f", data), {}, lambda _: True)).document.get("runtimes")


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=9)
NAMES = (TEXT | st.sampled_from(["crun", "a/b", "..", "io.containerd.runc.v2"])).filter(
    lambda name: name != "runc" and not name.startswith("/")
)


@settings(deadline=None)
@given(st.sets(NAMES, min_size=1, max_size=4), st.data())
def test_a_table_exported_and_imported_has_the_same_path_runtimes(names: set[str], data: st.DataObject) -> None:
    default = data.draw(st.sampled_from(["runc", *sorted(names)]))
    table = described_table({"runtimes": {name: {"path": "/b"} for name in names}, "default-runtime": default})
    assert ENGINE.read is not None
    exported = ENGINE.render(ENGINE.write(table, ExportOptions()).document).encode()
    back = ENGINE.read(Original(Source("f", exported), {}, lambda _: True))
    assert back.document == {
        "runtimes": {each["name"]: {"path": each["stable_path"]} for each in table["runtimes"] if each["stable_path"]},
        "default-runtime": default,
    }


KEYS = st.sampled_from(["runtime", "runtimes", "runtimes_flags", "runc", "crun", "x"]) | st.text(max_size=3)
LEAVES = (
    st.sampled_from(["runc", "/b", "x", ""]) | st.integers() | st.booleans() | st.floats() | DATES | st.text(max_size=5)
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=4))


@settings(deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=4), st.dictionaries(KEYS, st.text(min_size=1), max_size=1))
def test_any_content_is_translated_or_refused_with_a_place(engine: dict[str, Any], renames: dict[str, str]) -> None:
    assert ENGINE.read is not None
    found: tuple[object, ...]
    try:
        data = tomli_w.dumps({"engine": engine}).encode()
        translation = ENGINE.read(Original(Source("c.conf", data), renames, FILES.__contains__))
        json.dumps(translation.document, allow_nan=False)
        found = translation.remarks
    except UnicodeEncodeError:
        return
    except ConfigurationRejected as rejection:
        found = rejection.problems
    assert all(str(one).startswith("c.conf: engine.") for one in found)
