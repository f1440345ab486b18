"""Tests of the check of a translated drop-in."""

from __future__ import annotations

import pytest

from runtimed.core.configuration.position import Location, Pointer, render_pointer
from runtimed.core.engines.translation import accept
from runtimed.core.errors import ConfigurationRejected


def locate(pointer: Pointer) -> Location:
    return Location("original", pointer=render_pointer(pointer))


def test_carried_keys_pass_with_their_runtime_and_its_new_name() -> None:
    entry = {"path": "/k", "engines": {"containerd": {"snapshotter": "devmapper", "pod_annotations": ["a.*"]}}}
    assert accept({"runtimes": {"k": entry}}, {"k": "new"}, locate) == {"runtimes": {"new": entry}}


@pytest.mark.parametrize(
    ("carried", "pointer"),
    [
        ({"docker": {"a": {"b/c": [1, None]}}}, "/runtimes/k/a/b~1c/1"),
        ({"docker": 7}, "/runtimes/k"),
        ({"nerd": {"a": 1}}, "/runtimes/k"),
    ],
)
def test_a_problem_in_a_carried_key_is_at_the_key_of_the_engine_s_entry(carried: object, pointer: str) -> None:
    with pytest.raises(ConfigurationRejected) as caught:
        accept({"runtimes": {"k": {"path": "/k", "engines": carried}}}, {"k": "new"}, locate)
    assert [problem.pointer for problem in caught.value.problems] == [pointer]
