"""Tests of the plan for runtimed's file: its place, its version, its checks, and its refusals."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimed.core.engines.containerd import ENGINE
from runtimed.core.engines.containerd.imports import DIRECTORY, MAIN_FILE, USUAL
from runtimed.core.engines.containerd.layout import PLUGINS
from runtimed.core.engines.containerd.plan import FILE, WRITING
from runtimed.core.engines.engine import ExportOptions, Found, Plan
from runtimed.core.engines.ownership import MARK
from runtimed.core.errors import ConfigurationRejected, Problem

RUNC = "io.containerd.runc.v2"
CRUN: dict[str, Any] = {
    "name": "crun",
    "definition": {"path": "/usr/bin/crun"},
    "shim": RUNC,
    "options": {},
    "stable_path": "/var/lib/runtimed/runtimes/crun",
}
TABLE: dict[str, Any] = {"default_runtime": "crun", "runtimes": [CRUN]}
DEBIAN = "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3\n"
NEWER = "containerd github.com/containerd/containerd/v2 2.1.9+unknown \n"
NEWEST = "containerd github.com/containerd/containerd/v2 v2.3.4 0123abc\n"
IMPORTS = f'imports = ["{USUAL}"]\n'


def plan(
    main: str | None = f"version = 2\n{IMPORTS}",
    version: str | None = DEBIAN,
    config_version: int | None = None,
    others: Mapping[str, str] = MappingProxyType({}),
    command_line: tuple[str, ...] = (),
) -> Plan:
    """Return the plan; ``others`` are the files in conf.d, by their names without .toml."""
    files = {f"{DIRECTORY}/{name}.toml": text.encode() for name, text in others.items()}
    if main is not None:
        files[MAIN_FILE] = main.encode()
    return WRITING.plan(TABLE, ExportOptions(config_version), Found(files, version, "/scratch", command_line))


def refused(*args: Any, **more: Any) -> Problem:
    with pytest.raises(ConfigurationRejected) as caught:
        plan(*args, **more)
    (problem,) = caught.value.problems
    return problem


def version_of(planned: Plan) -> int:
    (write,) = planned.writes
    return int(tomllib.loads(write.data.decode())["version"])


def test_the_file_is_marked_and_lies_where_containerd_imports_it() -> None:
    (write,) = plan().writes
    assert write.path == FILE == "/etc/containerd/conf.d/50-runtimed.toml"
    assert write.data.startswith(MARK.encode())
    section = tomllib.loads(write.data.decode())["plugins"][PLUGINS[2]]["containerd"]
    assert section == {
        "default_runtime_name": "crun",
        "runtimes": {"crun": {"runtime_type": RUNC, "options": {"BinaryName": "/var/lib/runtimed/runtimes/crun"}}},
    }
    # How to import it is no remark where it is imported.
    assert plan().remarks == ()
    assert ENGINE.writing is not None
    assert ENGINE.writing.path == FILE


@pytest.mark.parametrize("words", [("-c", "/etc/k3s.toml"), ("--config=/etc/k3s.toml",)])
def test_a_containerd_that_runs_with_another_main_file_is_a_remark(words: tuple[str, ...]) -> None:
    assert plan(command_line=("containerd", "--config", MAIN_FILE)).remarks == ()
    (remark,) = plan(command_line=("containerd", "--log-level", "warn", *words)).remarks
    assert str(remark).startswith(f"{FILE}: containerd runs with -")
    assert str(remark).endswith(" /etc/k3s.toml, and reads this file only if that one imports it")


def test_before_containerd_2_the_file_has_a_copy_of_the_main_files_section() -> None:
    more = f"""version = 2
{IMPORTS}
[plugins."{PLUGINS[2]}".cni]
bin_dir = "/usr/lib/cni"
[plugins."{PLUGINS[2]}".containerd]
snapshotter = "native"
default_runtime_name = "other"
runtimes = {{ other = {{ runtime_type = "x" }}, crun = {{ runtime_type = "y" }} }}
[plugins.other]
key = 1
"""
    planned = plan(more)
    (write,) = planned.writes
    (section,) = tomllib.loads(write.data.decode())["plugins"].values()
    assert section["cni"] == {"bin_dir": "/usr/lib/cni"}
    containerd = section["containerd"]
    assert (containerd["snapshotter"], containerd["default_runtime_name"]) == ("native", "crun")
    assert containerd["runtimes"]["other"] == {"runtime_type": "x"}
    assert containerd["runtimes"]["crun"]["runtime_type"] == RUNC
    copied, replaced = planned.remarks
    assert copied.message.startswith(f"has a copy of the rest from {MAIN_FILE}, ")
    # An administrator's entry of that name may have had more.
    assert str(replaced) == (
        f'{FILE}: plugins."{PLUGINS[2]}".containerd.runtimes.crun: replaces the entry in {MAIN_FILE}: containerd '
        f'executes {RUNC} (BinaryName="/var/lib/runtimed/runtimes/crun") instead of y'
    )
    # Later ones merge tables.
    (write,) = plan(more, NEWER).writes
    assert "cni" not in write.data.decode()


@pytest.mark.parametrize(
    ("version", "main", "expected"),
    [
        (DEBIAN, "version = 2", 2),
        (DEBIAN, "", 2),
        (NEWER, "version = 2", 2),
        (NEWER, "version = 3", 3),
        (NEWER, "", 3),
        (NEWEST, "version = 2", 2),
        (NEWEST, "version = 3", 3),
        (NEWEST, "version = 4", 4),
        (NEWEST, "", 4),
        # Not a version that this containerd could have read; its own check says so.
        (DEBIAN, "version = 3", 2),
        (NEWER, "version = 4", 3),
        (NEWEST, "version = 1", 4),
        ("containerd containerd.io 2.2.0 x", "", 3),
        ("containerd x 2.10.0", "", 4),
        ("containerd x 3.0.0", "", 4),
    ],
)
def test_the_version_is_the_main_files_or_the_newest_of_the_engine(version: str, main: str, expected: int) -> None:
    assert version_of(plan(f"{main}\n{IMPORTS}", version)) == expected


def test_the_version_that_is_wanted_is_taken() -> None:
    assert version_of(plan(version=NEWEST, config_version=3)) == 3


@pytest.mark.parametrize("version", ["", "containerd", "containerd x unknown"])
def test_an_engine_without_a_known_version_is_refused(version: str) -> None:
    assert "no version is found" in refused(version=version).message
    assert "no program containerd" in refused(version=None).message


@pytest.mark.parametrize(
    ("main", "line"),
    [
        ("version = 2\n", f'imports = ["{USUAL}"]'),
        ("imports = []\n", f'imports = ["{USUAL}"]'),
        ('imports = ["/etc/containerd/more.toml"]\n', f'imports = ["/etc/containerd/more.toml", "{USUAL}"]'),
        ('imports = ["other.d/*.toml"]\n', f'imports = ["other.d/*.toml", "{USUAL}"]'),
        # Before 1.7.20 it is relative to the directory in which containerd works.
        ('imports = ["conf.d/*.toml"]\n', f'imports = ["conf.d/*.toml", "{USUAL}"]'),
    ],
)
def test_a_file_that_would_not_be_read_is_refused_with_the_line_to_write(main: str, line: str) -> None:
    problem = refused(main)
    assert (problem.file, problem.pointer) == (MAIN_FILE, "imports")
    assert f"`{line}`" in problem.message
    assert ("change the line" in problem.message) is (line.count(",") == 1)
    # With that line, it is not.
    rest = "" if "imports" in main else main
    assert plan(f"{line}\n{rest}").writes


def test_without_a_main_file_containerd_imports_nothing_either() -> None:
    for version, number in {DEBIAN: 2, NEWER: 3, NEWEST: 4}.items():
        message = refused(None, version).message
        assert f"`version = {number}` and `imports = " in message


def test_the_refusal_names_other_files_that_the_line_would_add() -> None:
    message = refused("version = 2", others={"nvidia": "version = 2"}).message
    assert f"containerd then also reads {DIRECTORY}/nvidia.toml" in message
    assert "also reads" not in refused("version = 2").message


@pytest.mark.parametrize("entry", ["conf.d/50-runtimed.toml", USUAL])
def test_a_relative_path_or_an_absolute_pattern_is_enough_for_every_containerd(entry: str) -> None:
    assert plan(f'version = 2\nimports = ["{entry}"]').writes
    assert plan('version = 3\nimports = ["conf.d/*.toml"]', NEWER).writes


@pytest.mark.parametrize("plugin", ["cri", *PLUGINS.values()])
def test_an_engine_without_its_cri_plugin_is_refused(plugin: str) -> None:
    # As Docker's package for containerd has it; the line for imports would be of no use.
    problem = refused(f'disabled_plugins = ["{plugin}"]')
    assert (problem.file, problem.pointer) == (MAIN_FILE, "disabled_plugins")
    problem = refused(others={"x": f'disabled_plugins = ["{plugin}"]'})
    assert problem.file == f"{DIRECTORY}/x.toml"


def test_a_file_of_another_program_is_not_replaced() -> None:
    problem = refused(others={"50-runtimed": "version = 2\n"})
    assert problem.file == FILE
    assert "was not written by runtimectl" in problem.message
    assert plan(others={"50-runtimed": f"{MARK}anything"}).writes


def test_containerd_dumps_its_configuration_without_the_file_and_with_it() -> None:
    main = f'version = 2\nroot = "/r"\nimports = ["more.toml", "{USUAL}"]\n[plugins.x]\nday = 2026-01-02\n'
    planned = plan(main, others={"10-first": "", "50-runtimed": MARK, "99-last": "oom_score = 1"})
    checks = [run.words for run in planned.checks]
    assert checks == [
        ("containerd", "--config", f"/scratch/{name}.toml", "config", "dump") for name in ("without", "with")
    ]
    (write,) = planned.writes
    assert planned.scratch["50-runtimed.toml"] == write.data
    without, with_new = (tomllib.loads(planned.scratch[f"{name}.toml"].decode()) for name in ("without", "with"))
    before, after = ["/etc/containerd/more.toml", f"{DIRECTORY}/10-first.toml"], [f"{DIRECTORY}/99-last.toml"]
    assert without.pop("imports") == [*before, *after]
    assert with_new.pop("imports") == [*before, "/scratch/50-runtimed.toml", *after]
    expected = tomllib.loads(main)
    del expected["imports"]
    assert without == with_new == expected
    # A file of the directory that is not imported need not be TOML.
    assert plan('imports = ["conf.d/50-runtimed.toml"]', others={"x": "{"}).writes


def test_the_dumps_are_judged_with_the_names_of_the_files() -> None:
    other = f'[plugins."{PLUGINS[2]}".containerd.runtimes.nvidia]\nruntime_type = "x"\n'
    planned = plan(others={"nvidia": other})
    (write,) = planned.writes
    assert planned.judge([b"version = 2\n", write.data]) == []
    (problem,) = planned.judge([f"version = 2\n{other}".encode(), write.data])
    assert problem.file == f"{DIRECTORY}/nvidia.toml"


VALUES = st.recursive(
    st.sampled_from([USUAL, FILE, "cri", "\0", "[", 2])
    | st.text(max_size=3)
    | st.floats()
    | st.booleans()
    | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)
KEYS = st.sampled_from(["imports", "version", "disabled_plugins", "plugins"])


@settings(deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=4), st.dictionaries(KEYS, VALUES, max_size=2), st.text(max_size=5))
def test_any_main_file_is_planned_for_or_refused(main: dict[str, Any], other: dict[str, Any], version: str) -> None:
    with contextlib.suppress(ConfigurationRejected):
        planned = plan(tomli_w.dumps(main), f"{DEBIAN}{version}", others={"other": tomli_w.dumps(other)})
        assert all(tomllib.loads(data.decode()) for data in planned.scratch.values())
