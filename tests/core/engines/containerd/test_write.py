"""Tests of the translation of a table into containerd's runtimes, and of its import."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimed.core.configuration.inputs import Source
from runtimed.core.containerd.options import read_options
from runtimed.core.engines.containerd import ENGINE
from runtimed.core.engines.containerd.layout import PLUGINS, is_default
from runtimed.core.engines.containerd.read import read_containerd
from runtimed.core.engines.containerd.write import write_containerd
from runtimed.core.engines.engine import ExportOptions, Original

RUNC = "io.containerd.runc.v2"
KATA = "io.containerd.kata.v2"
PATH = "/var/lib/runtimed/runtimes/x"


def runtime(name: str, definition: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of ``GET /v1/runtimes`` for a definition."""
    shim = definition.get("runtimeType", RUNC)
    options, faults = read_options(shim, definition.get("options", {}))
    assert faults == ()
    fields = {} if options is None else options.readable()
    stable_path = PATH if "path" in definition else None
    return {"name": name, "definition": definition, "shim": shim, "options": fields, "stable_path": stable_path}


def table(**definitions: dict[str, Any]) -> dict[str, Any]:
    stock: dict[str, Any] = {"name": "runc", "definition": None, "shim": RUNC, "options": {}, "stable_path": None}
    runtimes = [runtime(name, definition) for name, definition in definitions.items()]
    return {"default_runtime": "runc", "runtimes": [*runtimes, stock]}


def written(version: int = 2, **definitions: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the entries of the file, as a file can hold them, and the remarks without the first, on the import."""
    translation = write_containerd(table(**definitions), version)
    value = tomllib.loads(ENGINE.render(translation.document))
    assert value["version"] == version
    runtimes = value["plugins"][PLUGINS[version]]["containerd"]["runtimes"]
    del runtimes["runc"]
    return runtimes, [str(remark) for remark in translation.remarks[1:]]


def through_an_import(entry: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the entry that is exported for an entry that was imported, and the remarks on the way."""
    file = {"version": 2, "plugins": {PLUGINS[2]: {"containerd": {"runtimes": {"x": entry}}}}}
    imported = read_containerd(Original(Source("c.toml", tomli_w.dumps(file).encode())))
    # A drop-in is JSON.
    definitions = json.loads(json.dumps(imported.document))["runtimes"]
    runtimes, remarks = written(**definitions)
    return runtimes["x"], [*map(str, imported.remarks), *remarks]


@pytest.mark.parametrize("version", PLUGINS)
def test_carried_keys_are_in_the_entry_again(version: int) -> None:
    carried = {"pod_annotations": ["a"], "snapshotter": "nydus", "nested": {"x": [1]}}
    engines = {"containerd": carried, "crio": {"monitor_path": "/m"}}
    runtimes, remarks = written(
        version,
        crun={"path": "/usr/bin/crun", "engines": engines},
        kata={"runtimeType": KATA, "options": {"ConfigPath": "/c"}, "engines": engines},
    )
    assert runtimes == {
        "crun": {"runtime_type": RUNC, **carried, "options": {"BinaryName": PATH}},
        "kata": {"runtime_type": KATA, **carried, "options": {"ConfigPath": "/c"}},
    }
    assert remarks == []


def test_runtimeds_own_keys_win_over_carried_ones() -> None:
    carried = {"runtime_type": "x", "options": {"Root": "/r"}, "snapshotter": "s"}
    runtimes, remarks = written(crun={"path": "/usr/bin/crun", "engines": {"containerd": carried}})
    assert runtimes["crun"] == {"runtime_type": RUNC, "snapshotter": "s", "options": {"BinaryName": PATH}}
    assert len(remarks) == 2
    assert all("left out" in remark for remark in remarks)


def test_a_key_has_the_name_of_the_version() -> None:
    definition = {"runtimeType": KATA, "engines": {"containerd": {"sandbox_mode": "shim"}}}
    assert written(2, x=definition)[0]["x"] == {"runtime_type": KATA, "sandbox_mode": "shim"}
    for version in (3, 4):
        assert written(version, x=definition)[0]["x"] == {"runtime_type": KATA, "sandboxer": "shim"}


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a[", "]", "a\nb", "\x1b"])
def test_a_name_that_containerd_1_6_misreads_causes_a_remark(name: str) -> None:
    _, remarks = written(2, **{name: {"runtimeType": RUNC}})
    assert any("containerd 1.6 reads another name" in remark for remark in remarks)
    _, remarks = written(2, **{"a b.c/d": {"runtimeType": RUNC}})
    assert not any("containerd 1.6" in remark for remark in remarks)


def test_the_name_of_a_shim_that_was_imported_by_its_path_comes_back() -> None:
    entry = {"runtime_type": KATA, "runtime_path": "/opt/shim", "options": {"ConfigPath": "/c"}}
    assert through_an_import(entry) == (entry, [])
    # An administrator has changed the shim since.
    carried = {"runtime_type": KATA, "runtime_path": "/opt/shim", "snapshotter": "s"}
    for changed in ("/opt/other", RUNC):
        runtimes, remarks = written(x={"runtimeType": changed, "engines": {"containerd": carried}})
        assert runtimes["x"] == {"runtime_type": changed, "snapshotter": "s"}
        assert len(remarks) == 1
    # A path that stays beside a name.
    entry = {"runtime_type": RUNC, "runtime_path": "/opt/shim"}
    assert through_an_import(entry) == (entry, [])


def test_a_shims_own_options_come_back() -> None:
    entry = {"runtime_type": "io.containerd.wasm.v1", "options": {"debug": True, "nested": {"x": [1], "y": 0.5}}}
    found, remarks = through_an_import(entry)
    assert found == entry
    assert any("containerd 1.6 drops" in remark for remark in remarks)


@pytest.mark.parametrize(
    "options",
    [
        {"ConfigBody": "no TOML"},
        {"ConfigBody": "# no keys"},
        {"ConfigBody": {"base64": "/w=="}},
        {"ConfigBody": "a = 2026-01-02"},
        # containerd would take these for fields.
        {"ConfigBody": "ConfigPath = '/x'"},
        {"ConfigBody": "typeurl = 'x'", "TypeUrl": "y"},
        # It makes no ConfigBody beside a ConfigPath.
        {"ConfigBody": "a = 1", "ConfigPath": "/x"},
    ],
)
def test_a_text_that_containerd_would_not_make_of_options_is_left_out(options: dict[str, Any]) -> None:
    runtimes, remarks = written(x={"runtimeType": KATA, "options": options})
    assert runtimes == {}
    assert "containerd makes ConfigBody from the options of the file" in remarks[0]


def test_the_first_remark_says_into_which_file_to_import() -> None:
    for version, text in {2: "Before containerd 2.0", 3: "before 2.0 cannot read", 4: "since 2.3"}.items():
        remark = str(write_containerd(table(), version).remarks[0])
        assert remark.startswith(f'plugins."{PLUGINS[version]}": import it into a file of version {version}')
        assert text in remark


def test_the_version_is_2_unless_another_one_is_wanted() -> None:
    assert ENGINE.write(table(), ExportOptions()).document["version"] == 2
    assert ENGINE.write(table(), ExportOptions(4)).document["version"] == 4


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
VALUES = st.recursive(
    TEXT | st.booleans() | st.integers(-(2**31), 2**31) | st.floats(-1e6, 1e6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
)
KEYS = st.dictionaries(
    TEXT.filter(lambda key: key not in ("runtime_type", "options", "runtime_engine", "runtime_root")), VALUES
)
OPTIONS = st.fixed_dictionaries({}, optional={"ConfigPath": TEXT, "own": VALUES, "TypeUrl": TEXT})


@settings(deadline=None)
@given(KEYS, st.sampled_from([RUNC, KATA]), st.none() | TEXT.map(lambda path: f"/{path}"), OPTIONS)
def test_an_entry_that_is_imported_and_exported_is_the_same(
    keys: dict[str, Any], kind: str, path: str | None, options: dict[str, Any]
) -> None:
    more = {} if path is None else {"runtime_path": path}
    entry = {**keys, **more, "runtime_type": kind, "options": {} if kind == RUNC else options}
    found, _ = through_an_import(entry)
    given_options = {key: value for key, value in entry.pop("options").items() if not is_default(key, value)}
    if "ConfigPath" in given_options:
        # containerd drops the others then.
        given_options.pop("own", None)
    found_options = {key: value for key, value in found.pop("options", {}).items() if not is_default(key, value)}
    assert found_options == given_options
    assert found == {key: value for key, value in entry.items() if not is_default(key, value)}
