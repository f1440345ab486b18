"""Tests of schema.py and keys.py: keys and types of settings, each with its place."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from harness.configuration import draft_of, problems_of
from hypothesis import given
from hypothesis import strategies as st

from runtimed.core.config import SETTINGS
from runtimed.core.configuration import keys
from runtimed.core.configuration.draft import Draft
from runtimed.core.message_text import nearest, shown

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
def test_a_misspelt_key_is_reported_with_the_nearest_key(text: str, near: str) -> None:
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
def test_another_unknown_key_is_a_remark(key: str, hint: str) -> None:
    found = draft_of(json.dumps({key: {"anything": [1]}}))
    (remark,) = found.remarks
    assert found.problems == []
    assert remark.message == f'unknown key "{key}", ignored{hint}'
    assert (remark.line, remark.column) == (1, 2)


@pytest.mark.parametrize("key", sorted(keys.IGNORED))
def test_every_other_key_of_dockerd_is_accepted_with_any_value(key: str) -> None:
    assert draft_of(json.dumps({key: {"anything": [1, None]}})) == Draft(ignored={key: None})


@pytest.mark.parametrize(
    "key",
    ["graph", "cluster-store", "storage-driver", "log-opts", "builder", "features", "proxies", "oom-score-adjust"],
)
def test_keys_of_real_files_are_ignored(key: str) -> None:
    assert key in keys.IGNORED


def test_no_key_is_both_known_and_ignored() -> None:
    assert not keys.IGNORED & keys.KNOWN
    assert not keys.MISSPELT.keys() & (keys.KNOWN | keys.IGNORED)
    assert set(keys.MISSPELT.values()) <= keys.KNOWN


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
def test_a_wrong_setting_is_reported_with_its_pointer(text: str, pointer: str, message: str) -> None:
    (problem,) = problems_of(text)
    assert problem.pointer == pointer
    assert message in problem.message


@pytest.mark.parametrize("key", sorted(keys.KNOWN))
def test_null_is_absent_for_every_key(key: str) -> None:
    assert draft_of(json.dumps({key: None})) == Draft()


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


def test_the_nearest_name_ignores_case_and_long_names() -> None:
    assert nearest("KATA", ["kata", "runsc"]) == "kata"
    assert nearest("type", ["path", "runtimeType"]) == "runtimeType"
    assert nearest("run", ["a-long-name-with-run"]) is None
    assert nearest("zzz", ["kata", "runsc"]) is None
    assert nearest("kata" * 100, ["kata" * 100]) is None


IMPORTS = """
import sys
from runtimed.core.config import Settings
from runtimed.core.configuration.inputs import Documents, Flags, Source
from runtimed.core.configuration.parse import parse_configuration
defaults = Settings(data_root="/d", exec_root="/e", hosts=())
config = parse_configuration(Documents("m", Source("m", sys.argv[1].encode())), Flags(), defaults)
print(config.default_runtime, config.runtimed.retain, "pydantic" in sys.modules)
"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"default-runtime": "crun", "debug": true, "runtimes": {"crun": {"path": "/x"}}}', "crun 16 False"),
        ('{"runtimed": {"retain": 3, "probe": {"enabled": false}}}', "runc 3 True"),
        (
            '{"data-root": "/d", "hosts": ["unix:///s", "fd://"], "log-level": "info", "log-format": "json"}',
            "runc 16 False",
        ),
        ('{"log-level": "INFO"}', "runc 16 True"),
    ],
)
def test_pydantic_is_imported_only_for_a_value_that_it_checks(text: str, found: str) -> None:
    run = subprocess.run([sys.executable, "-c", IMPORTS, text], check=True, capture_output=True, text=True)
    assert run.stdout == f"{found}\n"


@given(st.data())
def test_pydantic_accepts_each_usual_value_as_it_is(data: st.DataObject) -> None:
    setting = data.draw(st.sampled_from([setting for setting in SETTINGS.values() if setting.usual]))
    text = st.from_regex(setting.usual, fullmatch=True)
    value = data.draw(st.lists(text) if setting.repeatable else text)
    assert setting.as_usual(value) == setting.adapter.validate_python(value)
    assert setting.as_usual("fd://" if setting.repeatable else [value]) is None
