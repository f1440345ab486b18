"""Tests of the comparison of two dumps: settings of other files stay, and runtimed's runtimes are there."""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimed.core.engines.containerd.dumps import judge_dumps
from runtimed.core.engines.containerd.imports import DIRECTORY, MAIN_FILE
from runtimed.core.engines.containerd.layout import PLUGINS
from runtimed.core.errors import Problem

RUNC = "io.containerd.runc.v2"
KEYS = st.sampled_from(
    [
        "plugins",
        *PLUGINS.values(),
        "containerd",
        "runtimes",
        "default_runtime_name",
        "crun",
        "nvidia",
        "options",
        "version",
    ]
)
OTHER = f"{DIRECTORY}/99-nvidia.toml"
CRUN = {"runtime_type": RUNC, "pod_annotations": ["a"], "cgroup_writable": True, "options": {"BinaryName": "/c"}}


def file(version: int, runtimes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"version": version, "plugins": {PLUGINS[version]: {"containerd": {**more, "runtimes": runtimes}}}}


def dump(version: int, runtimes: dict[str, Any], default: str) -> dict[str, Any]:
    """Return a dump, in which containerd writes out default values."""
    empty: dict[str, Any] = {"runtime_path": "", "pod_annotations": [], "sandboxer": "podsandbox", "options": {}}
    entries = {name: copy.deepcopy({**empty, **entry}) for name, entry in runtimes.items()}
    document = file(version, entries, default_runtime_name=default)
    document["plugins"][PLUGINS[version]]["cni"] = {"bin_dir": "/usr/lib/cni", "more": {"x": [1, 2]}}
    return {"imports": ["/x"], "oom_score": 0, "timeouts": {"io.x": "2s"}, **document}


class Dumps:
    """The dumps without and with runtimed's file, to be changed, and the file."""

    def __init__(self, version: int = 2) -> None:
        self.document = file(2, {"crun": CRUN, "runc": {"runtime_type": RUNC}}, default_runtime_name="crun")
        others = {"nvidia": {"runtime_type": RUNC, "options": {"BinaryName": "/n"}}}
        self.before = dump(version, {**others, "runc": {"runtime_type": RUNC}}, "runc")
        printed = {key: value for key, value in CRUN.items() if key != "cgroup_writable"}
        self.after = dump(version, {**others, "crun": printed, "runc": {"runtime_type": RUNC}}, "crun")
        self.after["imports"] = ["/y"]
        self.plugin = PLUGINS[version]
        self.others = {
            MAIN_FILE: {"oom_score": 0, "plugins": {PLUGINS[2]: {"cni": {"bin_dir": "/usr/lib/cni"}}}},
            OTHER: file(2, others),
        }

    @property
    def runtimes(self) -> Any:
        return self.after["plugins"][self.plugin]["containerd"]["runtimes"]

    @property
    def section(self) -> Any:
        return self.after["plugins"][self.plugin]

    def judge(self) -> list[Problem]:
        answers = [tomli_w.dumps(dump).encode() for dump in (self.before, self.after)]
        return judge_dumps(self.document, self.others, answers)


@pytest.mark.parametrize("version", PLUGINS)
def test_two_dumps_that_differ_in_runtimeds_file_alone_are_fine(version: int) -> None:
    # Whatever the version of the file: a dump has the newest one of its containerd.
    assert Dumps(version).judge() == []


def test_the_order_of_a_dump_makes_no_difference() -> None:
    dumps = Dumps()
    dumps.after = dict(reversed(dumps.after.items()))
    assert dumps.judge() == []


def test_a_runtime_of_others_that_is_lost_is_named_with_its_file() -> None:
    dumps = Dumps()
    del dumps.runtimes["nvidia"]
    (problem,) = dumps.judge()
    assert (problem.file, problem.pointer) == (OTHER, f'plugins."{PLUGINS[2]}".containerd.runtimes.nvidia')
    assert f"`runtimectl import containerd {OTHER}`" in problem.message


def test_a_runtime_of_others_that_is_another_one_is_lost_too() -> None:
    dumps = Dumps()
    dumps.runtimes["nvidia"]["options"]["BinaryName"] = "/other"
    (problem,) = dumps.judge()
    assert (problem.expected, problem.found) == (f'{RUNC} (BinaryName="/n")', f'{RUNC} (BinaryName="/other")')


def test_a_runtime_of_others_that_runtimed_has_too_is_runtimeds() -> None:
    dumps = Dumps()
    dumps.before["plugins"][PLUGINS[2]]["containerd"]["runtimes"]["crun"] = {"runtime_type": RUNC}
    assert dumps.judge() == []


def test_each_setting_of_others_that_changes_is_named() -> None:
    dumps = Dumps()
    dumps.section["cni"]["bin_dir"] = "/opt"
    dumps.section["cni"]["more"] = {}
    dumps.after["timeouts"]["io.x"] = "3s"
    dumps.after["oom_score"] = 1
    problems = dumps.judge()
    assert [(problem.file, problem.pointer) for problem in problems] == [
        (MAIN_FILE, "oom_score"),
        (None, 'timeouts."io.x"'),
        (MAIN_FILE, f'plugins."{PLUGINS[2]}".cni.bin_dir'),
        (None, f'plugins."{PLUGINS[2]}".cni.more.x'),
        (None, f'plugins."{PLUGINS[2]}"'),
    ]
    assert problems[2].message == 'would be "/opt" instead of "/usr/lib/cni"'
    assert problems[3].message == "would be missing instead of a list"
    assert "(4 in all)" in problems[4].message


def test_dates_which_toml_has_and_json_lacks_are_named_too() -> None:
    dumps = Dumps()
    dumps.before["plugins"]["x"] = {"day": dt.date(2026, 1, 2)}
    dumps.before["plugins"][PLUGINS[2]]["containerd"]["runtimes"]["nvidia"]["options"]["day"] = dt.date(2026, 1, 2)
    lost, setting, _ = dumps.judge()
    assert 'day="2026-01-02"' in str(lost.expected)
    assert setting.message == "would be missing instead of 2026-01-02"


def test_of_many_settings_five_are_named() -> None:
    dumps = Dumps()
    dumps.before["timeouts"] = {str(number): "1s" for number in range(7)}
    problems = dumps.judge()
    assert len(problems) == 6
    assert "(7 in all)" in problems[-1].message


def set_default(dumps: Dumps) -> None:
    dumps.section["containerd"]["default_runtime_name"] = "nvidia"
    dumps.others[OTHER]["plugins"][PLUGINS[2]]["containerd"]["default_runtime_name"] = "nvidia"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda dumps: dumps.runtimes.pop("crun"), "runtimes.crun"),
        (lambda dumps: dumps.runtimes["crun"].update(pod_annotations=["a", "b"]), "runtimes.crun"),
        (lambda dumps: dumps.runtimes["crun"].update(sandboxer="shim"), "runtimes.crun"),
        (lambda dumps: dumps.runtimes["crun"]["options"].update(IoUid=7), "runtimes.crun"),
        (lambda dumps: dumps.runtimes["runc"].update(runtime_type="x"), "runtimes.runc"),
        (set_default, "default_runtime_name"),
    ],
)
def test_a_runtime_of_runtimed_that_other_files_change_is_named(change: Callable[[Dumps], object], place: str) -> None:
    dumps = Dumps(3)
    dumps.others[OTHER]["plugins"][PLUGINS[2]]["containerd"]["runtimes"] |= {"crun": {}, "runc": {}}
    change(dumps)
    (problem,) = dumps.judge()
    assert (problem.file, problem.pointer) == (OTHER, f'plugins."{PLUGINS[3]}".containerd.{place}')


def test_the_older_name_of_a_key_is_found_under_the_newer_one() -> None:
    dumps = Dumps(3)
    dumps.document["plugins"][PLUGINS[2]]["containerd"]["runtimes"]["crun"] = {**CRUN, "sandbox_mode": "shim"}
    dumps.runtimes["crun"]["sandboxer"] = "shim"
    assert dumps.judge() == []


def test_without_a_default_of_runtimed_that_of_others_stays() -> None:
    dumps = Dumps()
    del dumps.document["plugins"][PLUGINS[2]]["containerd"]["default_runtime_name"]
    set_default(dumps)
    assert dumps.judge() == []


def test_a_dump_that_is_no_toml_is_a_problem() -> None:
    dumps = Dumps()
    good = tomli_w.dumps(dumps.before).encode()
    (problem,) = judge_dumps(dumps.document, {}, [good, b"= 1"])
    assert problem.file == "the output of `containerd config dump`"


VALUES = st.recursive(
    st.text(max_size=3) | st.integers(0, 3) | st.floats() | st.booleans() | st.dates(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3),
)


@settings(deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=3), VALUES, VALUES)
def test_any_files_and_dumps_are_compared(other: dict[str, Any], section: object, after: object) -> None:
    dumps = Dumps()
    dumps.others[OTHER] = other
    dumps.before["plugins"][PLUGINS[2]] = section
    dumps.after["plugins"][PLUGINS[2]]["containerd"] = after
    assert all(str(problem) for problem in dumps.judge())
