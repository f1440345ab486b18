"""The table file: every answer byte for byte, and one line for each name whatever the name is."""

from __future__ import annotations

import json

from harness.generation import SETTINGS, generation_of
from hypothesis import given
from hypothesis import strategies as st

from runtimed.core.config import Config, Definition
from runtimed.core.table.build import build_generation
from runtimed.core.table.facts import Facts
from runtimed.core.table.generation import Host
from runtimed.core.table.resolve import resolve
from runtimed.core.table.table_file import render_table_file


def test_it_holds_what_the_api_answers_and_the_generation_and_the_time() -> None:
    generation = generation_of({"runtimes": {"b": {"path": "/b"}, "a": {"path": "/a", "runtimeArgs": ["x\ny"]}}}, 7)
    data = render_table_file(generation, 12.5)
    found = json.loads(data)
    runtimes = found.pop("runtimes")
    assert list(found.items()) == [
        ("format", 1),
        ("generation", 7),
        ("digest", generation.digest),
        ("time", 12.5),
        ("default_runtime", "runc"),
    ]
    assert list(runtimes) == ["a", "b", "io.containerd.runc.v2", "runc"]
    for name in runtimes:
        assert resolve(generation, name).answer.at(7) in data


def test_a_default_runtime_that_is_the_name_of_a_shim_is_in_it() -> None:
    found = json.loads(render_table_file(generation_of({"default-runtime": "io.containerd.kata.v2"}, 1), 0))
    assert found["runtimes"][found["default_runtime"]]["source"] == "implicit"


@given(st.text(min_size=1, max_size=20))
def test_each_name_begins_one_line_and_no_other_does(name: str) -> None:
    definition = Definition(name, path="/a", args=(f'\n"{name}":',))
    config = Config("/d.json", SETTINGS, {name: definition})
    generation = build_generation(config, Host(Facts(cgroup2=False, systemd=False, ramdisk=False), "/d", "/e"), 3)
    first, *lines, last, end = render_table_file(generation, 0).split(b"\n")
    assert [json.loads(b"{%b}" % line.removesuffix(b",")) for line in lines] == [
        {each: json.loads(runtime.answer.at(3))} for each, runtime in generation.runtimes.items()
    ]
    assert all(
        line.startswith(json.dumps(each).encode() + b":{")
        for each, line in zip(generation.runtimes, lines, strict=True)
    )
    assert (first[-13:], last, end) == (b',"runtimes":{', b"}}", b"")
