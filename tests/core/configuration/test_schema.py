"""Tests of schema.py, keys.py and entries.py: types, spellings and rules, each with its place."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from runtimed.core.config import Flags, Source
from runtimed.core.configuration import keys
from runtimed.core.configuration.document import Document, parse_document
from runtimed.core.configuration.draft import Draft
from runtimed.core.configuration.entries import Entry, entry_problems, read_entries, read_entry
from runtimed.core.configuration.position import Spot
from runtimed.core.configuration.schema import read_settings
from runtimed.core.errors import Problem
from runtimed.core.message_text import nearest, shown

SPOT = Spot("daemon.json", 1, 1, "")


def document(text: str) -> Document:
    return parse_document(Source("daemon.json", text.encode()))


def draft_of(text: str) -> Draft:
    draft = Draft()
    read_settings(document(text), Flags(), draft)
    read_entries(document(text), Flags(), draft)
    return draft


def problems_of(text: str) -> list[Problem]:
    return draft_of(text).problems


def entry_of(fields: Mapping[str, object]) -> Entry | None:
    text = json.dumps({"runtimes": {"k": fields}})
    draft = Draft()
    entry = read_entry(document(text), "k", fields, draft)
    assert draft.problems == []
    return entry


# --- keys


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ('{"runtime": {}}', "runtimes"),
        ('{"Runtimes": {}}', "runtimes"),  # at the top case counts
        ('{"default_runtime": "runc"}', "default-runtime"),
        ('{"exec-opt": []}', "exec-opts"),  # the flag's spelling, which dockerd accepts and ignores
        ('{"host": []}', "hosts"),
        ('{"add-runtime": []}', "runtimes"),
        ('{"rntime": {}}', "runtimes"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(text: str, near: str) -> None:
    (problem,) = problems_of(text)
    assert f'did you mean "{near}"?' in problem.message
    assert (problem.line, problem.column) == (1, 2)


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("zzz~/", ""),
        ("default-runtime-path", '; did you mean "default-runtime"?'),  # more than two letters away
        ("storage-drivr", '; did you mean "storage-driver"?'),  # a key of dockerd's, which means nothing here
        ("default-stop-timeout-ms", '; did you mean "default-stop-timeout"?'),
        ("", ""),
    ],
)
def test_an_unknown_key_that_misspells_none_of_ours_is_a_remark(key: str, hint: str) -> None:
    found = draft_of(json.dumps({key: {"anything": [1]}}))
    (remark,) = found.remarks
    assert found.problems == []
    assert remark.message == f'unknown key "{key}", ignored{hint}'
    assert (remark.line, remark.column) == (1, 2)


@pytest.mark.parametrize("value", [[], {}, None, ""])
def test_an_unknown_key_of_a_runtime_with_an_empty_value_is_a_remark(value: object) -> None:
    found = draft_of(json.dumps({"runtimes": {"nvidia": {"args": value, "path": "nvidia-container-runtime"}}}))
    (remark,) = found.remarks
    assert found.problems == []
    assert remark.message == 'unknown key of a runtime "args", ignored: its value is empty'
    assert remark.pointer == "/runtimes/nvidia/args"


@pytest.mark.parametrize("key", ["args", "Args"])
def test_args_with_words_are_refused_with_what_dockerd_does_and_what_to_write(key: str) -> None:
    (problem,) = problems_of(json.dumps({"runtimes": {"k": {key: ["--debug"], "path": "/x"}}}))
    assert f'dockerd ignores the key "{key}"' in problem.message
    assert 'write the arguments as "runtimeArgs"' in problem.message


@pytest.mark.parametrize("value", [["x"], 0, False, "x", {"a": 1}])
def test_an_unknown_key_of_a_runtime_that_says_something_is_a_problem(value: object) -> None:
    (problem,) = problems_of(json.dumps({"runtimes": {"k": {"path": "/x", "arguments": value}}}))
    assert problem.message.startswith('unknown key of a runtime "arguments"')


@pytest.mark.parametrize("key", sorted(keys.IGNORED))
def test_every_other_key_of_dockerd_is_accepted_whatever_its_value(key: str) -> None:
    assert draft_of(json.dumps({key: {"anything": [1, None]}})) == Draft(ignored={key: None})


@pytest.mark.parametrize(
    "key",
    ["graph", "cluster-store", "storage-driver", "log-opts", "builder", "features", "proxies", "oom-score-adjust"],
)
def test_keys_that_stand_in_real_files_are_among_the_ignored(key: str) -> None:
    assert key in keys.IGNORED


def test_no_key_is_both_known_and_ignored() -> None:
    assert not keys.IGNORED & keys.KNOWN
    assert not keys.MISSPELT.keys() & (keys.KNOWN | keys.IGNORED)
    assert set(keys.MISSPELT.values()) <= keys.KNOWN


# --- entries


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
def test_a_wrong_field_is_said_with_its_place(entry: str, pointer: str, place: tuple[int, int], message: str) -> None:
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


# --- types at the top


@pytest.mark.parametrize(
    ("text", "pointer", "message"),
    [
        ('{"runtimes": []}', "/runtimes", "found an empty list, expected an object of runtimes by name"),
        ('{"default-runtime": 1}', "/default-runtime", "found 1, expected a string"),
        ('{"debug": "true"}', "/debug", 'found "true", expected true or false'),
        ('{"hosts": "unix:///x"}', "/hosts", 'found "unix:///x", expected a list of strings'),
        ('{"hosts": [1]}', "/hosts/0", "found 1, expected a string"),
        ('{"exec-opts": {"a": 1}}', "/exec-opts", "found an object, expected a list of strings"),
        ('{"runtimed": 1}', "/runtimed", "found 1, expected an object"),
        ('{"runtimed": {"retain": 0}}', "/runtimed/retain", "found 0, expected an integer from 1 to 1000"),
        ('{"runtimed": {"retain": 1001}}', "/runtimed/retain", "found 1001, expected an integer from 1 to 1000"),
        ('{"runtimed": {"retain": 1.0}}', "/runtimed/retain", "found 1.0, expected an integer from 1 to 1000"),
        ('{"runtimed": {"retain": true}}', "/runtimed/retain", "found true, expected an integer from 1 to 1000"),
        ('{"runtimed": {"limits": []}}', "/runtimed/limits", "found an empty list, expected an object"),
        (
            '{"runtimed": {"limits": {"connections": 0}}}',
            "/runtimed/limits/connections",
            "found 0, expected an integer from 1 on",
        ),
        ('{"runtimed": {"grace": "1 month"}}', "/runtimed/grace", 'found "1 month", expected a duration such as "30d"'),
        ('{"runtimed": {"grace": -1}}', "/runtimed/grace", "found -1, expected a duration"),
        ('{"runtimed": {"grace": true}}', "/runtimed/grace", "found true, expected a duration"),
        ('{"runtimed": {"gc": "yes"}}', "/runtimed/gc", 'found "yes", expected true or false'),
        ('{"runtimed": {"containerd": ["/x"]}}', "/runtimed/containerd/0", "expected an object with address and state"),
        ('{"runtimed": {"containerd": {}}}', "/runtimed/containerd", "expected a list of objects with address"),
        (
            '{"runtimed": {"containerd": [{"address": "x", "state": "/s"}]}}',
            "/runtimed/containerd/0/address",
            "expected the absolute path of containerd's socket",
        ),
        (
            '{"runtimed": {"containerd": [{"adress": "/x", "address": "/x", "state": "/s"}]}}',
            "/runtimed/containerd/0/adress",
            'did you mean "address"?',
        ),
        ('{"runtimed": {"probe": {"timeout": 0}}}', "/runtimed/probe/timeout", "a duration from 0.1 to 60 seconds"),
        ('{"runtimed": {"retian": 3}}', "/runtimed/retian", 'unknown key of runtimed "retian"; did you mean "retain"?'),
        (
            '{"runtimed": {"limits": {"connections_per_user": 3}}}',  # our spelling in Python is none in JSON
            "/runtimed/limits/connections_per_user",
            'unknown key of runtimed "connections_per_user"; did you mean "connections-per-user"?',
        ),
    ],
)
def test_a_wrong_setting_is_said_with_its_pointer(text: str, pointer: str, message: str) -> None:
    (problem,) = problems_of(text)
    assert problem.pointer == pointer
    assert message in problem.message


@pytest.mark.parametrize("key", sorted(keys.KNOWN))
def test_null_is_absent_for_every_key(key: str) -> None:
    assert draft_of(json.dumps({key: None})) == Draft()


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
def test_a_rule_that_is_broken_is_said_at_its_field(entry: str, pointer: str, phrase: str) -> None:
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
def test_what_dockerd_accepts_and_means_is_accepted(entry: str) -> None:
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
    ],
)
def test_what_no_exec_could_take_is_refused(path: str, args: list[str], words: list[str]) -> None:
    problems = list(entry_problems(Entry("k", path, tuple(args)), lambda _: SPOT))
    assert len(problems) == len(words)
    assert all(word in problem.message for word, problem in zip(words, problems, strict=True))


# --- words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "null"), (True, "true"), (1.5, "1.5"), ("é", '"é"'), ("a\nb", '"a\\nb"'), ({}, "an empty object"),
        ({"a": 1}, "an object"), ([], "an empty list"), ([1], "a list"), ("x" * 99, '"' + "x" * 59 + "…"),
        ("\udcff", '"\\udcff"'),
    ],
)  # fmt: skip
def test_a_value_is_shown_in_a_few_words(value: object, words: str) -> None:
    assert shown(value) == words


def test_the_nearest_name_is_found_without_regard_to_case_and_only_for_names_of_sane_length() -> None:
    assert nearest("KATA", ["kata", "runsc"]) == "kata"
    assert nearest("type", ["path", "runtimeType"]) == "runtimeType"
    assert nearest("run", ["a-long-name-with-run"]) is None
    assert nearest("zzz", ["kata", "runsc"]) is None
    assert nearest("kata" * 100, ["kata" * 100]) is None
