"""Tests of the translation of dockerd's daemon.json into a drop-in."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimed.core.configuration.inputs import Source
from runtimed.core.engines.docker.read import ShellSyntax, read_docker, split_by_shell
from runtimed.core.engines.engine import Original
from runtimed.core.errors import ConfigurationRejected


def translated(document: object, **renames: str) -> tuple[Any, list[str]]:
    text = document if isinstance(document, str) else json.dumps(document)
    translation = read_docker(Original(Source("f.json", text.encode()), renames))
    return translation.document, [str(remark) for remark in translation.remarks]


def refused(document: object, **renames: str) -> list[str]:
    with pytest.raises(ConfigurationRejected) as caught:
        translated(document, **renames)
    return [str(problem) for problem in caught.value.problems]


def test_settings_with_the_same_effect_stay_as_written() -> None:
    document = {
        "runtimes": {
            "crun": {"path": "/usr/bin/crun"},
            "a/b": {"Path": "gvisor", "RuntimeArgs": ["--x", "y=z"]},
            "kata": {"runtimeType": "io.containerd.kata.v2", "options": {"configpath": "/k.toml"}},
            # Carried for another engine, in a file that runtimed and dockerd share.
            "carried": {"path": "/c", "engines": {"containerd": {"snapshotter": "nydus"}}},
        },
        "default-runtime": "crun",
        "exec-opts": ["native.cgroupdriver=systemd"],
    }
    assert translated(document) == (document, [])


def test_the_output_of_nvidias_installer_can_be_imported() -> None:
    document = {"runtimes": {"nvidia": {"args": [], "path": "nvidia-container-runtime"}}, "default-runtime": "nvidia"}
    dropin, remarks = translated(document)
    assert dropin == {"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}, "default-runtime": "nvidia"}
    assert [remark.split(": ")[1] for remark in remarks] == ["/runtimes/nvidia/args"]


@pytest.mark.parametrize("text", ["{}", "null", '{"runtimes": null}', '{"default-runtime": null, "exec-opts": null}'])
def test_a_file_without_settings_is_an_empty_dropin(text: str) -> None:
    assert translated(text) == ({}, [])


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("data-root", "/srv/docker", "runtimed has its own setting of that name"),
        ("hosts", ["unix:///x"], "runtimed has its own setting of that name"),
        ("log-driver", "journald", "configures dockerd only"),
    ],
)
def test_settings_of_dockerd_itself_are_left_out_with_a_remark(key: str, value: object, text: str) -> None:
    dropin, remarks = translated(json.dumps({"default-runtime": "runc", key: value}, indent=1))
    assert dropin == {"default-runtime": "runc"}
    assert len(remarks) == 1
    assert remarks[0].startswith(f"f.json:3: /{key}: ")
    assert text in remarks[0]


def test_keys_that_dockerd_ignores_are_left_out_with_a_remark() -> None:
    runtime = {"runtimeType": "io.containerd.runc.v2", "options": {"BinaryName": "a", "binary_name": "b"}, "note": 1}
    dropin, remarks = translated({"runtimes": {"x": runtime}})
    assert dropin["runtimes"] == {"x": {"runtimeType": "io.containerd.runc.v2", "options": {"BinaryName": "a"}}}
    assert [remark.split(": ")[1] for remark in remarks] == ["/runtimes/x/options/binary_name", "/runtimes/x/note"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--a b"], ["--a", "b"]),
        (["--a", ""], ["--a"]),
        (["--a='b c'"], ["--a=b c"]),
        # A quotation mark holds across arguments, because dockerd joins them.
        (["'b", "c\"d'"], ['b c"d']),
        ([r"--a=\d"], ["--a=d"]),
        ([" --a\t"], ["--a"]),
    ],
)
def test_arguments_that_dockerds_shell_splits_are_replaced_by_the_result(args: list[str], words: list[str]) -> None:
    dropin, remarks = translated({"runtimes": {"x": {"path": "/x", "runtimeArgs": args}}})
    assert dropin["runtimes"]["x"]["runtimeArgs"] == words
    assert len(remarks) == 1
    assert remarks[0].startswith("f.json:1: /runtimes/x/runtimeArgs: ")


@pytest.mark.parametrize(
    "arg",
    ["$HOME", "`id`", "a;b", "a&", "a|b", "<f", ">f", "(", "*", "a?", "[a]", "~", "a #b", "{a,b}", "a\nb", "'", "\\"],
)
def test_arguments_that_dockerds_shell_would_interpret_are_refused(arg: str) -> None:
    problems = refused({"runtimes": {"x": {"path": "/x", "runtimeArgs": [arg]}}})
    assert len(problems) == 1
    assert "f.json:1:" in problems[0]
    assert "/runtimes/x/runtimeArgs: runtime x: dockerd has a shell read these arguments" in problems[0]


@settings(max_examples=50, deadline=None)  # a shell for each
@given(st.lists(st.text("ab \t'\"\\=#~-.:%+,@!]}\N{LATIN SMALL LETTER E WITH ACUTE}", max_size=8), max_size=4))
def test_arguments_are_split_like_a_real_shell_splits_them(args: list[str]) -> None:
    try:
        words = split_by_shell(args)
    except ShellSyntax:
        return
    shell = shutil.which("sh")
    assert shell is not None
    script = f"printf '%s\\0' x {' '.join(args)}"
    done = subprocess.run([shell, "-c", script], check=True, capture_output=True, text=True, encoding="utf-8")
    assert done.stdout.split("\0")[1:-1] == words


def test_a_path_that_dockerds_shell_would_split_causes_a_remark() -> None:
    wrapped = {name: {"path": f"/{name}", "runtimeArgs": ["-c"]} for name in ("a b", "a$b", "ab")}
    document = {"runtimes": {**wrapped, "y": {"path": "/a b"}}}
    dropin, remarks = translated(document)
    assert dropin == document
    assert [remark.split(": ")[1] for remark in remarks] == ["/runtimes/a b/path", "/runtimes/a$b/path"]


def test_every_problem_has_its_place_in_the_file() -> None:
    text = """{
  "runtimes": {
    "runc": {"path": "/x"},
    "a/b": {"path": "/x", "runtimeArgs": ["$X"]},
    "b": {},
    "c": {"path": "/x", "Path": "/y"},
    "d": null,
    "e": {"path": "/x", "runtimeArgs": [1]},
    "p": {"path": 1, "runtimeArgs": ["x"]},
    "f": {"runtimeType": "io.containerd.runc.v2", "options": {"SystemdCgroup": "yes"}}
  },
  "runtimez": "vfs",
  "default-runtime": "nosuch"
}"""
    places = [problem.split(": ")[:2] for problem in refused(text)]
    assert [(place.split(":")[1], pointer) for place, pointer in places] == [
        ("3", "/runtimes/runc"),
        ("4", "/runtimes/a~1b/runtimeArgs"),
        ("5", "/runtimes/b"),
        ("6", "/runtimes/c/Path"),
        ("7", "/runtimes/d"),
        ("8", "/runtimes/e/runtimeArgs/0"),
        ("9", "/runtimes/p/path"),
        ("10", "/runtimes/f/options/SystemdCgroup"),
        ("12", "/runtimez"),
        ("13", "/default-runtime"),
    ]


def test_an_unknown_key_is_left_out_with_a_remark() -> None:
    dropin, remarks = translated({"storage-drivr": "vfs", "default-runtime": "runc"})
    assert dropin == {"default-runtime": "runc"}
    assert [remark.split(": ", 1)[1] for remark in remarks] == ["/storage-drivr: dockerd refuses this key; left out"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1, "a": 2}', '{"runtimes": []}', '{"runtimes": {"x": 5}}'])
def test_a_file_that_is_no_daemon_json_is_refused(text: str) -> None:
    assert refused(text)


def test_a_reserved_name_is_refused_and_accepted_under_another_one() -> None:
    document = {"runtimes": {"runc": {"path": "/x"}, "y": {"path": "/y"}}, "default-runtime": "runc"}
    assert "runtime name 'runc' is reserved" in refused(document)[0]
    dropin, remarks = translated(document, runc="mine")
    assert dropin == {"runtimes": {"mine": {"path": "/x"}, "y": {"path": "/y"}}, "default-runtime": "mine"}
    assert remarks == []


def test_problems_of_a_renamed_runtime_have_the_place_of_its_old_name() -> None:
    text = '{"runtimes": {\n"a": {"path": "/x", "options": {"b": 1}}}}'
    assert [p.split(": ")[:2] for p in refused(text, a="z")] == [["f.json:2:21", "/runtimes/a/options"]]


@pytest.mark.parametrize("renames", [{"nosuch": "x"}, {"a": "b"}])
def test_an_unknown_name_and_a_name_in_use_cannot_be_renamed(renames: dict[str, str]) -> None:
    problems = refused({"runtimes": {"a": {"path": "/x"}, "b": {"path": "/x"}}}, **renames)
    assert len(problems) == 1
    assert "f.json:1:2: /runtimes: " in problems[0]


KEYS = st.sampled_from(["runc", "x", "path", "Path", "runtimeArgs", "runtimeType", "options", "BinaryName"])
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["io.containerd.runc.v2", "/x"])
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=4))
TOPS = st.sampled_from(["runtimes", "default-runtime", "exec-opts", "data-root", "log-driver", "runtimed", "nosuch"])


@settings(deadline=None)
@given(st.dictionaries(TOPS, VALUES, max_size=3), st.dictionaries(KEYS, st.text(min_size=1), max_size=1))
def test_any_content_is_translated_or_refused_with_a_place(document: dict[str, Any], renames: dict[str, str]) -> None:
    found: Sequence[object] = ()
    try:
        translation = read_docker(Original(Source("f.json", json.dumps(document).encode()), renames))
        assert translation.document.keys() <= document.keys()
        found = translation.remarks
    except ConfigurationRejected as rejection:
        found = rejection.problems
    assert all(str(one).startswith("f.json:1:") for one in found)
