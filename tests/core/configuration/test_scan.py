"""Tests of scan.py and parse.py with arbitrary text: the standard library's value, or a rejection with places."""

from __future__ import annotations

import json
import math
from typing import Any

from harness.search_settings import searched
from hypothesis import example, given, target
from hypothesis import strategies as st

from runtimed.core.config import Settings
from runtimed.core.configuration.document import parse_document
from runtimed.core.configuration.inputs import Documents, Flags, Source
from runtimed.core.configuration.parse import parse_configuration
from runtimed.core.configuration.scan import MAX_DEPTH, MAX_DIGITS
from runtimed.core.errors import ConfigurationRejected, Problem

PATH = "/etc/runtimed/daemon.json"
DEFAULTS = Settings("/var/lib/runtimed", "/run/runtimed", ("unix:///run/s",))

# Pieces of JSON, of what looks like it, and of daemon.json.
PIECES = (
    *("{", "}", "[", "]", ":", ",", '"', "\\", " ", "\n", "\r\n", "\t", "0", "-", "1.5", "e9", "E+400", ".", "9" * 101),
    *(
        "true",
        "false",
        "null",
        "nul",
        "NaN",
        "-Infinity",
        "\\u0041",
        "\\ud83d",
        "\\ude00",
        "\\u0000",
        "\\x",
        "\0",
        "\x1f",
    ),
    *("{}", "[]", '""', '"a"', '"a":', '"a":1,', '{"a":', '{"a":{}}', "[1,2]", "é", "\U0001f600", "\u2028", "\ufeff"),
    *("'", "//", "#", "[" * 101, '{"":' * 101, '"runtimes":', '"default-runtime":', '"path":', '"runtimeArgs":'),
    *('"runtimeType":', '"options":', '"runtimed":', '"exec-opts":', '"io.containerd.kata.v2"', '"/bin/x"', '"hosts":'),
)
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=20).map("".join)
# The grammar of JSON as text, so that it also says what no value could: a key twice, NaN, half a surrogate pair.
BLANKS = st.sampled_from(["", "", "", " ", "\n", "\r\n\t"])
SCALAR_TEXTS = st.sampled_from(
    [
        *(
            "0",
            "-0",
            "1",
            "-1.5",
            "1e5",
            "1E-5",
            "0.10",
            "1e400",
            "-1e999",
            "9" * 100,
            "9" * 101,
            "01",
            "1.",
            ".5",
            "-",
            "+1",
        ),
        *(
            "true",
            "false",
            "null",
            "True",
            "NaN",
            "Infinity",
            "-Infinity",
            '""',
            '"a"',
            '"\\n\\u00e9\\/"',
            '"\\ud83d\\ude00"',
        ),
        *('"\\ud83d"', '"\\u0000"', '"\\x"', '"\n"', "'a'", '"é\U0001f600"'),
    ]
)
KEY_TEXTS = st.sampled_from(['"a"', '"b"', '"a"', '"\\u0061"', '""', '"é"', '"\\ud800"', "a", '"runtimes"'])
JSON_TEXTS = st.recursive(
    SCALAR_TEXTS,
    lambda inner: (
        st.lists(st.builds("{0}{1}{0}".format, BLANKS, inner), max_size=4).map(lambda items: f"[{','.join(items)}]")
        | st.lists(st.builds("{0}{1}{0}:{0}{2}".format, BLANKS, KEY_TEXTS, inner), max_size=4).map(
            lambda members: f"{{{','.join(members)}}}"
        )
    ),
    max_leaves=8,
)
OBJECT_TEXTS = st.lists(st.builds('"{}":{}'.format, st.sampled_from("abcdef"), JSON_TEXTS), max_size=4).map(
    lambda members: f"{{{','.join(members)}}}"
)
# What stands in configurations, right and wrong, at any place of them.
SCALARS = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        10**99,
        1.5,
        "",
        "a",
        "/bin/x",
        "runc",
        "a\nb",
        "io.containerd.kata.v2",
        "native.cgroupdriver=x",
    ]
)
KEYS = st.sampled_from(
    [
        *("runtimes", "default-runtime", "exec-opts", "hosts", "data-root", "runtimed", "debug", "mtu", "no-such-key"),
        *(
            "path",
            "Path",
            "runtimeArgs",
            "runtimeType",
            "options",
            "BinaryName",
            "limits",
            "probe",
            "grace",
            "containerd",
        ),
        *("a", "a/b", "", "~", "é", "runc"),
    ]
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8
)
NAMES = st.sampled_from(["a", "a/b", "..", "runc", "io.containerd.runc.v2", "io.containerd.kata.v2", "", "x" * 300])
# Of the right shape for the most part, so that more is looked at than the first wrong type.
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "path": st.just("/bin/x") | SCALARS,
        "runtimeArgs": st.lists(st.sampled_from(["-a", "b c", ""]), max_size=2) | VALUES,
        "runtimeType": st.just("io.containerd.kata.v2") | SCALARS,
        "options": st.dictionaries(st.sampled_from(["BinaryName", "binary_name", "IoUid", "ConfigPath"]), SCALARS),
    },
)
SHAPED = st.fixed_dictionaries(
    {},
    optional={
        "runtimes": st.dictionaries(NAMES, ENTRIES | VALUES, max_size=4),
        "default-runtime": NAMES,
        "exec-opts": st.lists(st.sampled_from(["native.cgroupdriver=systemd", "native.cgroupdriver=", "a=b", "a"])),
        "runtimed": st.dictionaries(
            st.sampled_from(["retain", "grace", "gc", "limits", "probe", "containerd"]), VALUES
        ),
    },
)
GOOD = st.builds(
    lambda names, default: {"runtimes": {key: {"path": "/bin/x"} for key in names}, "default-runtime": default},
    st.sets(st.sampled_from(["a", "b", "a/b", "c d", "é"])),
    st.sampled_from(["runc", "a", "io.containerd.kata.v2"]),
)
CONFIGURATIONS = GOOD | SHAPED | st.dictionaries(KEYS, VALUES, max_size=4)


class Unreadable(Exception):
    """The standard library reads something that is refused here on purpose."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise Unreadable("a key stands twice")
    return members


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise Unreadable("too many digits")
    return int(digits)


def _number(text: str) -> float:
    if math.isinf(float(text)):
        raise Unreadable("no 64-bit float")
    return float(text)


def _constant(text: str) -> float:
    raise Unreadable(text)


def _check(value: Any, depth: int = 0) -> None:
    """Raise Unreadable for a string that is none, or for nesting beyond reason."""
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise Unreadable("NUL or half a surrogate pair")
    elif isinstance(value, (dict, list)):
        if depth == MAX_DEPTH:
            raise Unreadable("too deep")
        for inner in (*value, *value.values()) if isinstance(value, dict) else value:
            _check(inner, depth + 1)


def expected(text: str) -> dict[str, Any] | None:
    """Return the value of ``text`` as the standard library reads it; None where it is to be refused."""
    try:
        value = json.loads(
            text,
            object_pairs_hook=_members,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_constant,
        )
        _check(value)
    except (ValueError, Unreadable, RecursionError):
        return None
    if value is None:
        return {}
    return value if isinstance(value, dict) else None


def see_in_text(problem: Problem, text: str) -> None:
    """Check that a problem says what is wrong, at a place that there is."""
    assert problem.message
    str(problem).encode()
    json.dumps(problem.as_dict()).encode()
    if problem.line is None:
        assert problem.column is None
        return
    lines = text.split("\n")
    assert 1 <= problem.line <= len(lines)
    assert problem.column is not None
    assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1


def read(data: bytes) -> tuple[dict[str, Any] | None, tuple[Problem, ...]]:
    """Return the value of a document, None where it is refused, and the problems that it is refused with."""
    try:
        return parse_document(Source(PATH, data)).value, ()
    except ConfigurationRejected as rejection:
        return None, rejection.problems


def compare(text: str) -> int:
    """Compare what is read here and by the standard library; return how many problems were found."""
    value, problems = read(text.encode())
    without_mark = text.removeprefix("\ufeff")
    assert value == expected(without_mark)
    assert (value is None) == bool(problems)
    for problem in problems:
        see_in_text(problem, without_mark)
    return len(problems)


@searched(500)
@given(OBJECT_TEXTS | JSON_TEXTS | TEXTS)
@example("")
@example("\ufeff")
@example("\ufeff\ufeff{}")
@example('{"a":1,"a":NaN,"\\ud800":"\\u0000"')
def test_any_text_has_the_value_of_json_loads_or_is_refused(text: str) -> None:
    problems = compare(text)
    target(float(problems), label="problems before the first syntax error")
    target(float(len(text)) * (problems == 0), label="characters of what is accepted")


@searched(300)
@given(CONFIGURATIONS, st.lists(st.tuples(st.integers(0, 300), st.integers(0, 4), st.sampled_from(PIECES)), max_size=2))
def test_an_edited_configuration_is_read_or_refused_in_the_same_way(
    value: dict[str, Any], edits: list[tuple[int, int, str]]
) -> None:
    text = json.dumps(value, indent=1, ensure_ascii=False)
    for position, length, piece in edits:
        text = text[:position] + piece + text[position + length :]
    target(float(compare(text)), label="problems")


@searched(300)
@given(st.binary(max_size=60) | TEXTS.map(str.encode) | TEXTS.map(lambda text: b"\xff\xfe" + text.encode("utf-16-le")))
def test_any_bytes_are_a_document_or_refused(data: bytes) -> None:
    value, problems = read(data)
    assert (value is None) == bool(problems)
    for problem in problems:
        assert str(problem).encode()


@searched(100)
@given(st.lists(CONFIGURATIONS.map(lambda value: json.dumps(value, indent=1)) | TEXTS, max_size=3))
def test_any_documents_are_accepted_or_refused_with_places(texts: list[str]) -> None:
    sources = [Source(f"/etc/{number}.json", text.encode()) for number, text in enumerate(texts)]
    documents = Documents(PATH, sources[0] if sources else None, tuple(sources[1:]))
    texts = [text.removeprefix("\ufeff") for text in texts]
    try:
        config = parse_configuration(documents, Flags(), DEFAULTS)
    except ConfigurationRejected as rejection:
        problems = rejection.problems
    else:
        target(float(len(config.runtimes)), label="runtimes")
        assert tuple(config.sources) == tuple(source.path for source in sources)
        return
    target(float(len(problems)), label="problems")
    by_path = dict(zip([source.path for source in sources], texts, strict=True))
    for problem in problems:
        assert problem.file is not None
        see_in_text(problem, by_path[problem.file])
