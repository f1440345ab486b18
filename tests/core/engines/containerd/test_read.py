"""Tests of the translation of containerd's config.toml into a drop-in, in each layout."""

from __future__ import annotations

import datetime as dt
import json
import tomllib
from collections.abc import Sequence
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimed.core.configuration.inputs import Source
from runtimed.core.engines.containerd.layout import PLUGINS
from runtimed.core.engines.containerd.read import read_containerd
from runtimed.core.engines.engine import Original
from runtimed.core.errors import ConfigurationRejected

RUNC = "io.containerd.runc.v2"
KATA = "io.containerd.kata.v2"
WAY = 'plugins."io.containerd.grpc.v1.cri".containerd'


def file_of(version: int = 2, **containerd: Any) -> dict[str, Any]:
    return {"version": version, "plugins": {PLUGINS[version]: {"containerd": containerd}}}


def translated(document: dict[str, Any], **renames: str) -> tuple[Any, list[str]]:
    # Through the format itself, so that no test relies on values that a file cannot hold.
    translation = read_containerd(Original(Source("c.toml", tomli_w.dumps(document).encode()), renames))
    return translation.document, [str(remark) for remark in translation.remarks]


def refused(document: dict[str, Any], **renames: str) -> list[str]:
    with pytest.raises(ConfigurationRejected) as caught:
        translated(document, **renames)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("version", PLUGINS)
def test_runtimes_of_each_known_layout_keep_their_shims_and_options(version: int) -> None:
    runtimes: dict[str, dict[str, Any]] = {
        "crun": {"runtime_type": RUNC, "options": {"BinaryName": "/usr/bin/crun", "SystemdCgroup": True, "Root": "/r"}},
        "kata qemu": {"runtime_type": KATA, "options": {"ConfigPath": "/k.toml"}},
        "plain": {"runtime_type": RUNC},
    }
    dropin, remarks = translated(file_of(version, runtimes=runtimes, default_runtime_name="crun"))
    expected = {
        name: {{"runtime_type": "runtimeType"}.get(key, key): value for key, value in entry.items()}
        for name, entry in runtimes.items()
    }
    assert dropin == {"runtimes": expected, "default-runtime": "crun"}
    assert remarks == []


@pytest.mark.parametrize(
    ("version", "found"),
    [(None, "no version, which means 1"), (1, "version 1"), (5, "version 5"), ("2", 'version "2"')],
)
def test_an_unknown_layout_is_refused_with_the_found_and_the_known_versions(version: object, found: str) -> None:
    document = {"plugins": {"cri": {"containerd": {"runtimes": {"x": {"runtime_type": RUNC}}}}}}
    problems = refused(document if version is None else {**document, "version": version})
    assert len(problems) == 1
    assert problems[0].startswith(
        f"c.toml: version: found {found}, and the versions whose layout is known are 2, 3 and 4"
    )


def test_default_values_cause_no_remarks() -> None:
    written_out = {
        "runtime_type": RUNC,
        "pod_annotations": [],
        "cni_max_conf_num": 0,
        "privileged_without_host_devices": False,
        "sandboxer": "podsandbox",
        "options": {"BinaryName": "", "IoUid": 0, "NoPivotRoot": False, "Unknown": ""},
    }
    containerd: dict[str, Any] = {"snapshotter": "", "default_runtime": written_out | {"runtime_type": ""}}
    dropin, remarks = translated(file_of(runtimes={"x": written_out}, **containerd))
    assert (dropin, remarks) == ({"runtimes": {"x": {"runtimeType": RUNC}}}, [])


def test_the_default_configuration_of_containerd_2_is_the_stock_runc() -> None:
    # The keys that its `containerd config default` has here, layout 3; no containerd 2 is at hand to ask.
    nothing = dict.fromkeys(("runtime_path", "base_runtime_spec", "cni_conf_dir", "snapshotter", "io_type"), "")
    off = ("privileged_without_host_devices", "privileged_without_host_devices_all_devices_allowed", "cgroup_writable")
    texts = ("BinaryName", "CriuImagePath", "CriuWorkPath", "Root", "ShimCgroup")
    options = {**dict.fromkeys(texts, ""), "IoGid": 0, "IoUid": 0, "NoNewKeyring": False, "SystemdCgroup": True}
    lists: dict[str, Any] = {"pod_annotations": [], "container_annotations": []}
    runc = {"runtime_type": RUNC, **nothing, **dict.fromkeys(off, False), **lists, "cni_max_conf_num": 0}
    runc |= {"sandboxer": "podsandbox", "options": options}
    around: dict[str, Any] = {"ignore_blockio_not_enabled_errors": False, "ignore_rdt_not_enabled_errors": False}
    document = file_of(3, default_runtime_name="runc", runtimes={"runc": runc}, **around)
    # It goes on having this section, without runtimes.
    document["plugins"][PLUGINS[2]] = {"disable_tcp_service": True, "stream_server_port": "0"}
    dropin, remarks = translated(document)
    assert dropin == {"exec-opts": ["native.cgroupdriver=systemd"], "default-runtime": "runc"}
    assert len(remarks) == 1


CARRIED: dict[str, Any] = {
    "base_runtime_spec": "/s.json",
    "pod_annotations": ["a"],
    "privileged_without_host_devices": True,
    "snapshotter": "nydus",
    "sandboxer": "shim",
    "cni_conf_dir": "/c",
    "cni_max_conf_num": 2,
    "io_type": "streaming",
    "of a later containerd": {"nested": [1, {"x": 0.5}]},
}


@pytest.mark.parametrize("version", PLUGINS)
def test_keys_of_a_runtime_that_only_containerd_knows_are_carried(version: int) -> None:
    dropin, remarks = translated(file_of(version, runtimes={"a.b": {"runtime_type": RUNC, **CARRIED}}))
    assert dropin == {"runtimes": {"a.b": {"runtimeType": RUNC, "engines": {"containerd": CARRIED}}}}
    assert remarks == []


def test_a_shims_path_is_carried_where_runtimed_needs_its_name_for_the_options() -> None:
    dropin, remarks = translated(file_of(runtimes={"x": {"runtime_type": RUNC, "runtime_path": "/opt/shim"}}))
    assert dropin["runtimes"]["x"] == {
        "runtimeType": RUNC,
        "engines": {"containerd": {"runtime_path": "/opt/shim"}},
    }
    assert remarks == []


@pytest.mark.parametrize(
    ("key", "value"),
    [("runtime_engine", "runc"), ("runtime_root", "/r"), ("x", dt.date(2026, 1, 2)), ("x", [{"y": float("inf")}])],
)
def test_a_key_of_a_runtime_that_is_lost_causes_a_remark_with_its_place(key: str, value: object) -> None:
    dropin, remarks = translated(file_of(runtimes={"a.b": {"runtime_type": RUNC, key: value}}))
    assert dropin == {"runtimes": {"a.b": {"runtimeType": RUNC}}}
    assert len(remarks) == 1
    assert remarks[0].startswith(f'c.toml: {WAY}.runtimes."a.b".{key}: ')
    assert "left out" in remarks[0]


def test_keys_that_the_stock_runc_would_carry_cause_remarks() -> None:
    document = file_of(runtimes={"runc": {"runtime_type": RUNC, **CARRIED}})
    dropin, remarks = translated(document)
    assert "runtimes" not in dropin
    lost = [remark.split(": ")[1] for remark in remarks if "is left out with the entry" in remark]
    assert lost == [f"{WAY}.runtimes.runc.{key}" for key in CARRIED if " " not in key] + [
        f'{WAY}.runtimes.runc."of a later containerd"'
    ]
    assert translated(document, runc="mine")[0]["runtimes"]["mine"]["engines"] == {"containerd": CARRIED}


def test_keys_around_the_runtimes_without_equivalent_cause_remarks() -> None:
    document = file_of(
        runtimes={"x": {"runtime_type": RUNC}}, snapshotter="zfs", default_runtime={"runtime_type": RUNC}
    )
    document["imports"] = ["/etc/more.toml"]
    document["plugins"][PLUGINS[3]] = {"containerd": {}}
    _, remarks = translated(document)
    places = [remark.split(": ")[1] for remark in remarks]
    other = 'plugins."io.containerd.cri.v1.runtime".containerd'
    (text,) = [remark for remark in remarks if other in remark]
    assert "is where version 3 or 4 has runtimes" in text
    assert sorted(places) == sorted(["imports", other, f"{WAY}.snapshotter", f"{WAY}.default_runtime"])


def test_an_import_causes_a_remark_unless_the_file_is_a_dump() -> None:
    document = file_of(runtimes={"x": {"runtime_type": RUNC}})
    document["imports"] = ["/etc/containerd/conf.d/*.toml"]
    (remark,) = translated(document)[1]
    assert "was not read" in remark
    assert "`containerd config dump`" in remark
    # The output of that command: the advice must not lead to the same command again.
    document["imports"] += ["/etc/containerd/config.toml"]
    assert translated(document)[1] == []


@pytest.mark.parametrize("wrong", [{"version": 1}, {}, file_of(runtimes={"x": {"runtime_type": 5}})])
def test_a_refused_file_keeps_its_remarks(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationRejected) as caught:
        translated({**wrong, "imports": ["/etc/more.toml"]})
    assert [str(remark).split(": ")[1] for remark in caught.value.remarks] == ["imports"]


@pytest.mark.parametrize("version", sorted(PLUGINS))
def test_a_dropin_with_only_a_default_is_refused(version: int) -> None:
    (problem,) = refused(file_of(version, default_runtime_name="crun"))
    assert problem.startswith(f'c.toml: plugins."{PLUGINS[version]}".containerd.default_runtime_name: ')
    assert "it is a drop-in, and another file has the runtime" in problem
    assert translated(file_of(version, default_runtime_name="runc"))[0] == {"default-runtime": "runc"}


def test_the_refusal_of_version_1_names_the_remedy_for_each_containerd() -> None:
    (problem,) = refused({"version": 1})
    assert "containerd 2 rewrites the file" in problem
    assert "containerd 1 has no such command" in problem


def test_a_shims_path_replaces_its_name_for_the_same_options_message() -> None:
    runtimes = {"x": {"runtime_type": KATA, "runtime_path": "/opt/shim", "options": {"ConfigPath": "/c"}}}
    dropin, remarks = translated(file_of(runtimes=runtimes))
    assert dropin["runtimes"]["x"] == {
        "runtimeType": "/opt/shim",
        "options": {"ConfigPath": "/c"},
        "engines": {"containerd": {"runtime_path": "/opt/shim", "runtime_type": KATA}},
    }
    assert remarks == []


def test_options_that_containerd_drops_are_dropped_with_a_remark() -> None:
    runtimes = {
        "a": {"runtime_type": RUNC, "options": {"binary_name": "/x", "Root": "/r"}},
        "b": {"runtime_type": KATA, "options": {"ConfigPath": "/x", "Other": 1}},
    }
    dropin, remarks = translated(file_of(runtimes=runtimes))
    assert dropin["runtimes"]["a"]["options"] == {"Root": "/r"}
    assert dropin["runtimes"]["b"]["options"] == {"ConfigPath": "/x"}
    keys = ["a.options.binary_name", "b.options.Other"]
    assert [remark.split(": ")[1] for remark in remarks] == [f"{WAY}.runtimes.{key}" for key in keys]


def test_a_shims_own_options_are_passed_on_as_text() -> None:
    options = {"TypeUrl": "t", "debug": True, "nested": {"x": [1]}}
    dropin, remarks = translated(file_of(runtimes={"w": {"runtime_type": "io.containerd.wasm.v1", "options": options}}))
    made = dropin["runtimes"]["w"]["options"]
    assert made.keys() == {"TypeUrl", "ConfigBody"}
    assert tomllib.loads(made["ConfigBody"]) == options
    assert len(remarks) == 2


@pytest.mark.parametrize(
    ("options", "driver"),
    [
        (None, "cgroupfs"),
        ({"SystemdCgroup": False, "BinaryName": ""}, "cgroupfs"),
        ({"SystemdCgroup": True, "BinaryName": "runc"}, "systemd"),
    ],
)
def test_the_plain_runc_is_the_stock_one_with_its_cgroup_driver(options: dict[str, Any] | None, driver: str) -> None:
    entry = {"runtime_type": RUNC, **({} if options is None else {"options": options})}
    dropin, remarks = translated(file_of(runtimes={"runc": entry}, default_runtime_name="runc"))
    assert dropin == {"exec-opts": [f"native.cgroupdriver={driver}"], "default-runtime": "runc"}
    assert len(remarks) == 1
    assert remarks[0].startswith(f"c.toml: {WAY}.runtimes.runc: is the stock runc")


def test_a_root_of_the_plain_runc_causes_a_remark() -> None:
    _, remarks = translated(file_of(runtimes={"runc": {"runtime_type": RUNC, "options": {"Root": "/r"}}}))
    assert [remark.split(": ")[1] for remark in remarks] == [
        f"{WAY}.runtimes.runc.options.Root",
        f"{WAY}.runtimes.runc",
    ]


@pytest.mark.parametrize(
    "entry",
    [
        {"runtime_type": RUNC, "options": {"BinaryName": "/usr/bin/crun"}},
        {"runtime_type": RUNC, "options": {"NoPivotRoot": True}},
        {"runtime_type": "io.containerd.runc.v1"},
        {"runtime_type": KATA},
    ],
)
def test_another_runc_is_refused_and_accepted_under_another_name(entry: dict[str, Any]) -> None:
    document = file_of(runtimes={"runc": entry}, default_runtime_name="runc")
    problems = refused(document)
    assert len(problems) == 1
    assert problems[0].startswith(f"c.toml: {WAY}.runtimes.runc: the name 'runc' is reserved")
    assert "--rename runc=NAME" in problems[0]
    dropin, remarks = translated(document, runc="mine")
    assert dropin["default-runtime"] == "mine"
    assert dropin["runtimes"]["mine"]["runtimeType"] == entry["runtime_type"]
    assert dropin["runtimes"]["mine"].get("options") == entry.get("options")
    assert remarks == []


def test_every_problem_has_its_place_in_the_file() -> None:
    runtimes = {
        "a": {"runtime_type": RUNC, "options": {"SystemdCgroup": "yes"}},
        "b": {"runtime_type": "io.containerd.runtime.v1.linux"},
        "c": {},
        "d": {"runtime_type": 5},
        "e": 7,
        "f": {"runtime_type": RUNC, "options": []},
        "runc": {"runtime_type": KATA},
    }
    problems = refused(file_of(runtimes=runtimes, default_runtime_name="nosuch"))
    keys = ["a.options.SystemdCgroup", "b.runtime_type", "c", "d.runtime_type", "e", "f.options", "runc"]
    expected = [*(f"{WAY}.runtimes.{key}" for key in keys), f"{WAY}.default_runtime_name"]
    assert {problem.split(": ")[1] for problem in problems} >= set(expected)
    assert all(problem.startswith("c.toml: ") for problem in problems)


def test_a_carried_value_that_runtimed_refuses_has_its_place_in_the_file() -> None:
    entry = {"runtime_type": RUNC, "pod_annotations": ["a", "b\0"]}
    (problem,) = refused(file_of(runtimes={"x": entry}))
    assert problem.startswith(f"c.toml: {WAY}.runtimes.x.pod_annotations.1: ")


@pytest.mark.parametrize(
    "document",
    [
        {"version": 2, "plugins": 1},
        {"version": 2, "plugins": {PLUGINS[2]: []}},
        {"version": 2, "plugins": {PLUGINS[2]: {"containerd": "x"}}},
        {"version": 2, "plugins": {PLUGINS[2]: {"containerd": {"runtimes": True}}}},
    ],
)
def test_a_value_that_should_be_a_table_is_refused(document: dict[str, Any]) -> None:
    problems = refused(document)
    assert len(problems) == 1
    assert "expected a table" in problems[0]


@pytest.mark.parametrize("document", [{"version": 2}, file_of(3), {"version": 2, "plugins": {"x": {}}}])
def test_a_file_without_runtimes_is_an_empty_dropin_with_a_remark(document: dict[str, Any]) -> None:
    dropin, remarks = translated(document)
    assert dropin == {}
    assert len(remarks) == 1
    assert "there are no runtimes here" in remarks[0]


def test_dates_are_refused_in_runtimes_and_cause_remarks_elsewhere() -> None:
    day = dt.date(2026, 1, 2)
    entry = {"runtime_type": RUNC, "pod_annotations": [day], "io_type": day, "options": {"BinaryName": day}}
    problems = refused(file_of(runtimes={"x": entry, "y": {"runtime_type": day}}, default_runtime_name=day))
    keys = ["runtimes.x.options.BinaryName", "runtimes.y.runtime_type", "default_runtime_name"]
    found = {
        problem.split(": ")[1] for problem in problems if "2026-01-02, and no field of a runtime is a date" in problem
    }
    assert found == {f"{WAY}.{key}" for key in keys}
    entry["options"] = {}
    _, remarks = translated(file_of(runtimes={"x": entry}))
    assert len(remarks) == 2
    assert "version: found version 2026-01-02" in refused({"version": day})[0]


KEYS = st.sampled_from(
    ["runtimes", "default_runtime_name", "runc", "x", "runtime_type", "options", "runtime_path", "Root", "BinaryName"]
) | st.text(max_size=3)
LEAVES = (
    st.sampled_from([RUNC, KATA, "runc", "x", "", "io.containerd.runtime.v1.linux", dt.date(2026, 1, 2), dt.time(1)])
    | st.integers(-1, 2**64)
    | st.booleans()
    | st.floats()
    | st.text(max_size=5)
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=4))
RUNTIMES = st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=4) | VALUES, max_size=3)


@settings(deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=3), RUNTIMES, st.dictionaries(KEYS, st.text(min_size=1), max_size=1))
def test_any_content_is_translated_or_refused_with_a_place(
    containerd: dict[str, Any], runtimes: dict[str, Any], renames: dict[str, str]
) -> None:
    document = file_of(**{**containerd, "runtimes": runtimes})
    found: Sequence[object] = ()
    try:
        translation = read_containerd(Original(Source("c.toml", tomli_w.dumps(document).encode()), renames))
        json.dumps(translation.document, allow_nan=False)
        found = translation.remarks
    except ConfigurationRejected as rejection:
        found = rejection.problems
    assert all(str(one).startswith("c.toml: plugins.") for one in found)
