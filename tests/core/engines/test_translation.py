"""Tests of the check of a translated drop-in."""

from __future__ import annotations

import pytest

from runtimed.core.configuration.inputs import Source
from runtimed.core.configuration.position import Location, Pointer, render_pointer
from runtimed.core.engines import load_engine
from runtimed.core.engines.engine import Original
from runtimed.core.engines.syntax import parse_toml
from runtimed.core.engines.translation import accept
from runtimed.core.errors import ConfigurationRejected

RUNTIMES = 'plugins."io.containerd.grpc.v1.cri".containerd.runtimes'


def locate(pointer: Pointer) -> Location:
    return Location("original", pointer=render_pointer(pointer))


def test_carried_keys_pass_with_their_runtime_and_its_new_name() -> None:
    entry = {"path": "/k", "engines": {"containerd": {"snapshotter": "devmapper", "pod_annotations": ["a.*"]}}}
    assert accept({"runtimes": {"k": entry}}, {"k": "new"}, locate) == {"runtimes": {"new": entry}}


@pytest.mark.parametrize(
    ("carried", "pointer"),
    [
        ({"docker": {"a": {"b/c": [1, None]}}}, "/runtimes/k/engines/docker/a/b~1c/1"),
        ({"docker": 7}, "/runtimes/k/engines/docker"),
        ({"nerd": {"a": 1}}, "/runtimes/k/engines/nerd"),
    ],
)
def test_a_problem_in_a_carried_key_has_its_place(carried: object, pointer: str) -> None:
    with pytest.raises(ConfigurationRejected) as caught:
        accept({"runtimes": {"k": {"path": "/k", "engines": carried}}}, {"k": "new"}, locate)
    assert [problem.pointer for problem in caught.value.problems] == [pointer]


@pytest.mark.parametrize(
    ("engine", "text", "place"),
    [
        # A file that runtimed reads as well: the place is in it as it is.
        (
            "docker",
            '{"runtimes": {"k": {"path": "/k", "engines": {"crio": {"a": [null]}}}}}',
            "/runtimes/k/engines/crio/a/0",
        ),
        # NUL is text in TOML only.
        ("crio", '[crio.runtime.runtimes.k]\nruntime_path = "/k"\na = ["\\u0000"]', "crio.runtime.runtimes.k.a.0"),
        (
            "containerd",
            f'version = 2\n[{RUNTIMES}.k]\nruntime_type = "k"\na = ["\\u0000"]',
            f"{RUNTIMES}.k.a.0",
        ),
    ],
)
def test_a_problem_in_a_key_that_an_import_carries_is_at_its_place_in_the_engine_s_file(
    engine: str, text: str, place: str
) -> None:
    read = load_engine(engine).read
    assert read is not None
    with pytest.raises(ConfigurationRejected) as caught:
        read(Original(Source("f", text.encode())))
    assert [problem.pointer for problem in caught.value.problems] == [place]


def test_a_number_of_too_many_digits_is_a_problem_of_the_file() -> None:
    with pytest.raises(ConfigurationRejected) as caught:
        parse_toml(Source("/etc/x.toml", b"a = " + b"9" * 5000))
    assert str(caught.value.problems[0]).startswith("/etc/x.toml: not valid TOML: Exceeds the limit")
