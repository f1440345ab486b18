"""Tests of entries.py: the types, spellings and rules of runtimes, each with its place."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from harness.configuration import document, draft_of, problems_of

from runtimed.core.configuration.draft import Draft
from runtimed.core.configuration.entries import Entry, entry_problems, read_entry
from runtimed.core.configuration.position import Location

SPOT = Location("daemon.json", 1, 1, "")


def entry_of(fields: Mapping[str, object]) -> Entry | None:
    text = json.dumps({"runtimes": {"k": fields}})
    draft = Draft()
    entry = read_entry(document(text), "k", fields, draft)
    assert draft.problems == []
    return entry


# --- keys and types


@pytest.mark.parametrize("value", [[], {}, None, ""])
def test_an_unknown_key_of_a_runtime_with_an_empty_value_is_a_remark(value: object) -> None:
    found = draft_of(json.dumps({"runtimes": {"nvidia": {"args": value, "path": "nvidia-container-runtime"}}}))
    (remark,) = found.remarks
    assert found.problems == []
    assert remark.message == 'unknown key of a runtime "args", ignored: its value is empty'
    assert remark.pointer == "/runtimes/nvidia/args"


@pytest.mark.parametrize("key", ["args", "Args"])
def test_the_key_args_is_refused_with_the_right_key(key: str) -> None:
    (problem,) = problems_of(json.dumps({"runtimes": {"k": {key: ["--debug"], "path": "/x"}}}))
    assert f'dockerd ignores the key "{key}"' in problem.message
    assert 'write the arguments as "runtimeArgs"' in problem.message


@pytest.mark.parametrize("value", [["x"], 0, False, "x", {"a": 1}])
def test_an_unknown_key_of_a_runtime_with_a_value_is_a_problem(value: object) -> None:
    (problem,) = problems_of(json.dumps({"runtimes": {"k": {"path": "/x", "arguments": value}}}))
    assert problem.message.startswith('unknown key of a runtime "arguments"')


def test_keys_of_an_entry_match_without_regard_to_case() -> None:
    fields = {"PATH": "/bin/k", "runtimeargs": ["-x"], "RuntimeType": "", "Options": None}
    entry = entry_of(fields)
    assert entry is not None
    assert (entry.path, entry.args, entry.runtime_type, entry.options) == ("/bin/k", ("-x",), "", {})
    assert entry.spelt["runtimeArgs"] == "runtimeargs"


@pytest.mark.parametrize(
    "fields", [{}, {"path": None}, {"path": "", "runtimeArgs": [], "runtimeType": "", "options": {}}]
)
def test_null_and_empty_are_not_given(fields: Mapping[str, object]) -> None:
    entry = entry_of(fields)
    assert entry is not None
    assert (entry.path, entry.args, entry.runtime_type, entry.options) == ("", (), "", {})


@pytest.mark.parametrize(
    ("entry", "pointer", "place", "message"),
    [
        ('{"pth": "x"}', "/runtimes/k/pth", (2, 9), 'unknown key of a runtime "pth"; did you mean "path"?'),
        ('{"argz": [1]}', "/runtimes/k/argz", (2, 9), 'unknown key of a runtime "argz"'),
        ('{"path": 7}', "/runtimes/k/path", (2, 17), "found 7, expected a string"),
        ('{"path": ["x"]}', "/runtimes/k/path", (2, 17), "found a list, expected a string"),
        ('{"runtimeArgs": "--x"}', "/runtimes/k/runtimeArgs", (2, 24), 'found "--x", expected a list of strings'),
        ('{"runtimeargs": ["a", 1]}', "/runtimes/k/runtimeargs/1", (2, 30), "found 1, expected a string"),
        ('{"runtimeArgs": [null]}', "/runtimes/k/runtimeArgs/0", (2, 25), "found null, expected a string"),
        (
            '{"runtimeArgs": {}}',
            "/runtimes/k/runtimeArgs",
            (2, 24),
            "found an empty object, expected a list of strings",
        ),
        (
            '{"options": []}',
            "/runtimes/k/options",
            (2, 20),
            "found an empty list, expected an object of options by name",
        ),
        ('{"runtimeType": true}', "/runtimes/k/runtimeType", (2, 24), "found true, expected a string"),
        ('"kata"', "/runtimes/k", (2, 8), 'found "kata", expected an object with path or runtimeType'),
    ],
)
def test_a_wrong_field_is_reported_with_its_place(
    entry: str, pointer: str, place: tuple[int, int], message: str
) -> None:
    (problem,) = problems_of(f'{{"runtimes": {{\n  "k": {entry}}}}}')
    assert (problem.pointer, (problem.line, problem.column), problem.message) == (pointer, place, message)
    assert problem.found
    assert problem.expected


def test_keys_that_differ_only_in_case_are_refused_with_both_lines() -> None:
    (problem,) = problems_of('{"runtimes": {"k": {\n"path": "a",\n"Path": "b"}}}')
    assert '"path" and "Path" are the same key, on lines 2 and 3' in problem.message
    assert (problem.line, problem.column) == (3, 1)


def test_every_problem_of_an_entry_is_reported() -> None:
    found = problems_of(
        '{"runtimes": {"k": {"path": 1, "runtimeArgs": [1, "a", 2], "x": 0}, "l": 5}, "debug": 1, "hostz": 2}'
    )
    assert sorted(str(p.pointer) for p in found) == [
        "/debug",
        "/hostz",
        "/runtimes/k/path",
        "/runtimes/k/runtimeArgs/0",
        "/runtimes/k/runtimeArgs/2",
        "/runtimes/k/x",
        "/runtimes/l",
    ]


# --- carried keys


@pytest.mark.parametrize("key", ["engines", "Engines", "ENGINES"])
@pytest.mark.parametrize("form", ['"path": "/x"', '"runtimeType": "a.b.v1", "options": {"TypeUrl": "t"}'])
def test_the_keys_of_an_engine_are_carried_beside_a_path_and_beside_a_runtime_type(key: str, form: str) -> None:
    engines = '{"docker": {"n": 1.0, "b": true}, "containerd": {"snapshotter": "x", "a": [{"b": {}}]}}'
    found = draft_of(f'{{"runtimes": {{"k": {{{form}, "{key}": {engines}}}}}}}')
    assert found.problems == found.remarks == []
    text = found.definitions["k"].engines
    assert text == '{"containerd": {"a": [{"b": {}}], "snapshotter": "x"}, "docker": {"b": true, "n": 1.0}}'
    assert found.origins["k"].fields["engines"] == 1


@pytest.mark.parametrize(
    "engines",
    ["null", "{}", '{"containerd": null}', '{"containerd": {}, "docker": {}}', '{"containerd": {"a": null}}'],
)
def test_carried_keys_that_are_null_or_empty_are_not_given(engines: str) -> None:
    found = draft_of(f'{{"runtimes": {{"k": {{"path": "/x", "engines": {engines}}}}}}}')
    assert found.problems == found.remarks == []
    assert found.definitions["k"].engines == ""


def test_a_null_within_carried_keys_is_not_given_either() -> None:
    found = draft_of('{"runtimes": {"k": {"path": "/x", "engines": {"docker": {"a": [{"b": null, "c": 1}]}}}}}')
    assert found.definitions["k"].engines == '{"docker": {"a": [{"c": 1}]}}'


@pytest.mark.parametrize(
    ("engines", "pointer", "column", "message"),
    [
        ("7", "", 20, "found 7, expected an object of keys by engine"),
        ('["docker"]', "", 20, "found a list, expected an object of keys by engine"),
        ('{"contanerd": {"a": 1}}', "/contanerd", 21, 'unknown engine "contanerd"; did you mean "containerd"?'),
        ('{"Docker": null}', "/Docker", 21, 'unknown engine "Docker"; did you mean "docker"?'),
        ('{"docker": "x"}', "/docker", 31, """found "x", expected an object of docker's keys of a runtime"""),
        ('{"docker": []}', "/docker", 31, "found an empty list, expected an object of docker's keys of a runtime"),
        ('{"docker": {"a": [1, null]}}', "/docker/a/1", 41, "found null, expected a value other than null"),
    ],
)
def test_wrong_carried_keys_are_reported_with_their_place(
    engines: str, pointer: str, column: int, message: str
) -> None:
    (problem,) = problems_of(f'{{"runtimes": {{"k": {{"path": "/x",\n        "engines": {engines}}}}}}}')
    assert (problem.pointer, problem.line, problem.column) == (f"/runtimes/k/engines{pointer}", 2, column)
    assert problem.message == message


def test_carried_keys_are_bounded_in_number() -> None:
    many = {str(number): number for number in range(1000)}
    (problem,) = problems_of(json.dumps({"runtimes": {"k": {"path": "/x", "engines": {"docker": many}}}}))
    assert problem.message == "found more entries, expected at most 1,000 entries"


# --- rules


@pytest.mark.parametrize(
    ("entry", "pointer", "phrase"),
    [
        ('"k": {}', "/runtimes/k", "runtime k: either a runtimeType or a path must be configured"),
        ('"k": null', "/runtimes/k", "runtime k: either a runtimeType or a path must be configured"),
        ('"k": {"path": ""}', "/runtimes/k", "runtime k: either a runtimeType or a path must be configured"),
        (
            '"k": {"path": "p", "runtimeType": "t"}',
            "/runtimes/k/runtimeType",
            "runtime k: cannot configure both path and runtimeType for the same runtime",
        ),
        (
            '"k": {"path": "p", "options": {"Root": "/r"}}',
            "/runtimes/k/options",
            "runtime k: options cannot be used with a path runtime",
        ),
        (
            '"k": {"runtimeType": "t", "RuntimeARGS": ["a"]}',
            "/runtimes/k/RuntimeARGS",  # the place is spelt as the file has it
            "runtime k: args cannot be used with a runtimeType runtime",
        ),
        ('"runc": {"path": "/x"}', "/runtimes/runc", "runtime name 'runc' is reserved"),
        ('"": {"path": "/x"}', "/runtimes/", "a runtime needs a name"),
        (
            '"k": {"runtimeType": "io.containerd.runc.v2", "options": {"Rot": "/r"}}',
            "/runtimes/k/options/Rot",
            'unknown option "Rot"',
        ),
        (
            '"k": {"runtimeType": "io.containerd.runhcs.v1", "options": {"Debug": true}}',
            "/runtimes/k/options",
            "Windows",
        ),
        ('"k": {"path": "-p", "runtimeArgs": ["a"]}', "/runtimes/k/path", "would take it for an option"),
        ('"a\\nb": {}', "/runtimes/a\nb", 'runtime "a\\nb": either'),  # no name breaks a line
    ],
)
def test_a_broken_rule_is_reported_at_its_field(entry: str, pointer: str, phrase: str) -> None:
    (problem,) = problems_of(f'{{"runtimes": {{{entry}}}}}')
    assert problem.pointer == pointer
    assert phrase in problem.message
    assert (problem.line, problem.column) > (1, 14)


@pytest.mark.parametrize(
    "entry",
    [
        '"io.containerd.runc.v2": {"path": "/opt/runc"}',  # overrides the stock one, as in dockerd
        '"a/b": {"path": "p"}',
        '"..": {"path": "p"}',
        '"RUNC": {"path": "p"}',  # only the exact name is reserved
        '"k": {"path": "-p"}',  # without arguments no shell sees it
        '"k": {"path": "-dir/p", "runtimeArgs": ["-"]}',  # with a slash the wrapper can put "./" before it
        '"k": {"path": "p", "options": {}, "runtimeArgs": [""]}',
        '"k": {"runtimeType": "/usr/bin/containerd-shim-x-v2", "runtimeArgs": []}',
        '"k": {"runtimeType": "io.containerd.runc.v2", "options": {"binary_name": "crun"}}',
    ],
)
def test_runtimes_that_dockerd_accepts_are_accepted(entry: str) -> None:
    assert problems_of(f'{{"runtimes": {{{entry}}}}}') == []


@pytest.mark.parametrize(
    ("path", "args", "words"),
    [
        ("/p", ["x" * 131_071], []),  # with its NUL exactly what execve takes
        ("/p", ["x" * 131_072], ["131,072 bytes"]),
        ("/p", ["é" * 65_536], ["131,072 bytes"]),  # bytes count, not characters
        ("/p", ["x" * 100_000] * 19, []),
        ("/p", ["x" * 100_000] * 20, ["in all"]),
        ("/p", ["x"] * 196_000, []),
        ("/p", ["x"] * 197_000, ["in all"]),  # each argument costs a pointer as well
        ("/" + "x" * 4094, [], []),
        ("/" + "x" * 4095, [], ["4,096 bytes"]),
        ("\U0001f600" * 1024, [], ["4,096 bytes"]),
    ],
)
def test_paths_and_arguments_that_execve_refuses_are_refused(path: str, args: list[str], words: list[str]) -> None:
    problems = list(entry_problems(Entry("k", path, tuple(args)), lambda _: SPOT))
    assert len(problems) == len(words)
    assert all(word in problem.message for word, problem in zip(words, problems, strict=True))
