"""Tests of values.py: what each check accepts, what it makes of it, and all faults of a value at once."""

from __future__ import annotations

from typing import Any

import pytest

from runtimed.core.config import Engine
from runtimed.core.configuration import values
from runtimed.core.configuration.settings import object_of
from runtimed.core.configuration.values import Check, Fault, InvalidValue


def faults_of(check: Check, value: object) -> list[Fault]:
    with pytest.raises(InvalidValue) as caught:
        check(value)
    return list(caught.value.faults)


@pytest.mark.parametrize(
    ("check", "value", "checked"),
    [
        (values.flag, True, True),
        (values.text, "", ""),
        (values.integer(1), 10**30, 10**30),
        (values.integer(1, 1000), 1000, 1000),
        (values.duration(), "2m", 120.0),
        (values.duration(), 0, 0.0),
        (values.duration(0.1, 60), 0.1, 0.1),
        (values.absolute_path, "/", "/"),
        (values.directory, "", ""),
        (values.optional(values.flag), None, None),
        (values.log_level, "PANIC", "fatal"),
        (values.log_format, "", ""),
        (values.exec_options, [], None),
        (values.each(values.text), ["a", "b"], ("a", "b")),
    ],
)
def test_a_value_that_passes_its_check(check: Check, value: Any, checked: object) -> None:
    found = check(value)
    assert found == checked
    assert type(found) is type(checked)


@pytest.mark.parametrize(
    ("check", "wrong"),
    [
        # A bool is an int in Python, and equals one.
        (values.flag, [0, 1, "true", None]),
        (values.integer(1, 1000), [True, 0, 1001, 1.0, "1"]),
        (values.duration(0.1, 60), [True, 0, 61, float("nan"), float("inf"), "1.5s", "5", "\u0663s", "1s\n", None]),
        (values.text, [b"x", 1, None]),
        (values.absolute_path, ["", "x", " /x", 1]),
        (values.directory, ["x", None, 0, False]),
        (values.log_level, ["verbose", "info\n", 1]),
        (values.log_format, ["TEXT", "text\n"]),
        (values.each(values.text), ["x", {"x": 1}, None, 1]),
    ],
)
def test_a_value_that_does_not(check: Check, wrong: list[object]) -> None:
    for value in wrong:
        (fault,) = faults_of(check, value)
        assert fault.value is value
        assert fault.path == ()


def test_all_faults_of_a_list_of_objects_are_told_with_the_ways_to_them() -> None:
    check = values.each(object_of(Engine, "an engine"))
    good = {"address": "/a", "state": "/s", "root": None}
    assert check([good]) == (Engine("/a", "/s"),)
    faults = faults_of(check, [good, {"address": "a", "root": 1}, "x", {**good, "b": 1, "a": 2}])
    state = "the absolute path of containerd's state directory"
    assert [(fault.path, fault.expected, fault.unknown_key) for fault in faults] == [
        ((1, "address"), "the absolute path of containerd's socket", False),
        ((1, "root"), "a string", False),
        ((1, "state"), state, False),
        ((2,), "an engine", False),
        ((3, "b"), "", True),
        ((3, "a"), "", True),
    ]
