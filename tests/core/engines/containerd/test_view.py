"""Tests of the views of containerd's files and of its CRI plugin's status."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runtimed.core.engines.containerd import ENGINE
from runtimed.core.engines.containerd.layout import PLUGINS
from runtimed.core.engines.containerd.view import ASKING, describe
from runtimed.core.engines.engine import CriStatus, View

RUNC = "io.containerd.runc.v2"
ENTRY: dict[str, Any] = {
    "runtime_type": RUNC,
    "pod_annotations": ["a", "b"],
    "cni_max_conf_num": 3,
    "cgroup_writable": True,
    "options": {"BinaryName": "/x y", "SystemdCgroup": True, "IoUid": 7, "own key": {"z": [1.0], "a": "ä"}},
}
LINE = (
    'io.containerd.runc.v2 (BinaryName="/x y" IoUid=7 SystemdCgroup=true "own key"={"a": "\\u00e4", "z": [1]}) '
    'cgroup_writable=true cni_max_conf_num=3 pod_annotations=["a", "b"]'
)


def document(version: int, **containerd: Any) -> dict[str, Any]:
    return {"version": version, "plugins": {PLUGINS[version]: {"containerd": containerd}}}


def status(runtimes: dict[str, Any], default: str = "runc") -> bytes:
    """Return the JSON of a plugin's configuration, with a few of the other keys that it has."""
    containerd = {"snapshotter": "overlayfs", "defaultRuntimeName": default, "runtimes": runtimes}
    return json.dumps({"containerd": containerd, "cni": {"binDir": "/opt/cni/bin"}, "sandboxImage": "x"}).encode()


# As containerd 1.6.20 and 2.1.9 answer: every key, with its default value.
EMPTY_1_6: dict[str, Any] = {
    "runtimeType": "",
    "runtimePath": "",
    "runtimeEngine": "",
    "PodAnnotations": None,
    "ContainerAnnotations": None,
    "runtimeRoot": "",
    "options": None,
    "privileged_without_host_devices": False,
    "baseRuntimeSpec": "",
    "cniConfDir": "",
    "cniMaxConfNum": 0,
}
EMPTY_2_1: dict[str, Any] = {
    "runtimeType": "",
    "runtimePath": "",
    "PodAnnotations": None,
    "ContainerAnnotations": None,
    "options": None,
    "privileged_without_host_devices": False,
    "privileged_without_host_devices_all_devices_allowed": False,
    "cgroupWritable": False,
    "baseRuntimeSpec": "",
    "cniConfDir": "",
    "cniMaxConfNum": 0,
    "snapshotter": "",
    "sandboxer": "podsandbox",
    "io_type": "",
}


@pytest.mark.parametrize("version", PLUGINS)
@pytest.mark.parametrize("empty", [EMPTY_1_6, EMPTY_2_1])
def test_equal_runtimes_have_equal_lines_in_a_file_and_in_the_status(version: int, empty: dict[str, Any]) -> None:
    wanted = ASKING.expected(
        document(version, default_runtime_name="x", runtimes={"x": ENTRY, "runc": {"runtime_type": RUNC}})
    )
    # JSON from Go has 1 for 1.0.
    options = {**ENTRY["options"], "own key": {"a": "ä", "z": [1]}, "Root": "", "NoPivotRoot": False}
    told = {
        **empty,
        "runtimeType": RUNC,
        "PodAnnotations": ["a", "b"],
        "cniMaxConfNum": 3,
        "cgroupWritable": True,
        "options": options,
    }
    found = ASKING.answered({"status": status({"x": told, "runc": {**empty, "runtimeType": RUNC}}, "x")})
    assert wanted == found == View("x", {"x": LINE, "runc": RUNC})


@pytest.mark.parametrize(
    "change",
    [
        {"runtime_type": "io.containerd.kata.v2"},
        {"options": {**ENTRY["options"], "BinaryName": "/y"}},
        {"options": {**ENTRY["options"], "SystemdCgroup": False}},
        {"options": {**ENTRY["options"], "Root": "/r"}},
        {"options": {}},
        {"pod_annotations": ["b", "a"]},
        {"cgroup_writable": False},
        {"runtime_path": "/opt/shim"},
        {"sandboxer": "shim"},
        {"sandbox_mode": "shim"},
        {"io_type": "streaming"},
        {"snapshotter": "nydus"},
        {"base_runtime_spec": "/s.json"},
        {"container_annotations": ["x"]},
        {"disable_pause_image_pull": True},
    ],
)
def test_each_key_that_has_an_effect_makes_a_difference(change: dict[str, Any]) -> None:
    assert describe({**ENTRY, **change}) != LINE


@pytest.mark.parametrize(
    "change",
    [
        {"sandboxer": "podsandbox"},
        {"io_type": "fifo"},
        {"runtime_root": "/r"},
        {"unknown to every containerd": True},
        {"options": {**ENTRY["options"], "Root": ""}},
    ],
)
def test_keys_without_an_effect_make_none(change: dict[str, Any]) -> None:
    assert describe({**ENTRY, **change}) == LINE


def test_the_two_names_of_the_sandboxer_mean_the_same() -> None:
    assert describe({"runtime_type": "x", "sandbox_mode": "shim"}) == describe(
        {"runtime_type": "x", "sandboxer": "shim"}
    )


def test_without_a_default_containerd_has_its_own() -> None:
    assert ASKING.expected(document(3, runtimes={"x": ENTRY})).default == "runc"


@pytest.mark.parametrize(
    "wrong", [b"", b"[]", b"{}", b"\xff", b'{"containerd": {"runtimes": {}}}', b'{"containerd": 1}']
)
def test_another_answer_is_an_error_with_a_reason(wrong: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        ASKING.answered({"status": wrong})


def test_the_question_is_one_for_the_usual_socket() -> None:
    assert ENGINE.asking is not None
    assert ENGINE.asking.questions({}) == {"status": CriStatus("/run/containerd/containerd.sock")}
