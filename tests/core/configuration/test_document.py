"""Tests of document.py, scan.py and position.py: bytes -> values with places, and every way that fails."""

from __future__ import annotations

import codecs
import json
import math
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runtimed.core.configuration.document import Document, parse_document
from runtimed.core.configuration.inputs import Source
from runtimed.core.configuration.position import Pointer, render_pointer
from runtimed.core.errors import ConfigurationRejected, Problem

# What JSON can say and runtimed takes: no NUL, no half surrogate pairs, no integers beyond 100 digits.
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**98), 10**98)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5))
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=6)
LAYOUTS = st.fixed_dictionaries({"indent": st.sampled_from([None, 0, 2]), "ensure_ascii": st.booleans()})


def parse(text: str | bytes) -> Document:
    return parse_document(Source("daemon.json", text if isinstance(text, bytes) else text.encode()))


def problems_of(text: str | bytes) -> tuple[Problem, ...]:
    with pytest.raises(ConfigurationRejected) as caught:
        parse(text)
    assert all(problem.file == "daemon.json" for problem in caught.value.problems)
    return caught.value.problems


def the_problem_of(text: str | bytes) -> Problem:
    (problem,) = problems_of(text)
    return problem


# --- accepted


@given(OBJECTS, LAYOUTS)
def test_a_document_has_the_value_that_json_loads_returns(value: dict[str, Any], layout: dict[str, Any]) -> None:
    text = json.dumps(value, **layout)
    assert parse(text).value == json.loads(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{}", {}),
        (" \t\r\n{ \t\r\n} \t\r\n", {}),  # JSON's four blanks, everywhere
        ("null", {}),  # an empty configuration, as dockerd has it
        (" null\n", {}),
        ('{"a":-0,"b":1.5e3,"c":1E-2,"d":0.0}', {"a": 0, "b": 1500.0, "c": 0.01, "d": 0.0}),
        (r'{"a":"\"\\\/\b\f\n\r\t\u00e9"}', {"a": '"\\/\b\f\n\r\té'}),  # every escape
        (r'{"a":"\ud83d\ude00"}', {"a": "\U0001f600"}),  # a whole surrogate pair is a character
        (r'{"\u0061":1}', {"a": 1}),  # a key with an escape
        ('{"a":{"b":[[],{},[1,[2]]]}}', {"a": {"b": [[], {}, [1, [2]]]}}),
        ('{"a":"\x7f\u2028\ufeff"}', {"a": "\x7f\u2028\ufeff"}),  # only U+0000 to U+001F must be escaped
        ('{"":{"":0}}', {"": {"": 0}}),  # the empty key is a key
    ],
)
def test_json_syntax_is_accepted(text: str, value: object) -> None:
    assert parse(text).value == value


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [(codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")],
)
def test_a_byte_order_mark_selects_the_encoding_and_has_no_column(mark: bytes, encoding: str) -> None:
    document = parse(mark + '{"é\U0001f600": 1}'.encode(encoding))
    assert document.value == {"é\U0001f600": 1}
    assert document.key_place(("é\U0001f600",)) == (1, 2)
    assert document.place(("é\U0001f600",)) == (1, 8)


def test_a_hundred_levels_are_accepted_and_one_more_is_not() -> None:
    assert parse('{"a":' + "[" * 99 + "]" * 99 + "}").value
    problem = the_problem_of('{"a":' + "[" * 100 + "]" * 100 + "}")
    assert "at most 100 levels" in problem.message
    assert (problem.line, problem.column) == (1, 105)


@pytest.mark.parametrize("item", ['"x"', '"\\n"', "1", "[]", "{}"])
def test_each_item_of_a_list_counts_as_a_value(item: str) -> None:
    source = Source("daemon.json", f'{{"a": [{item}, {item}, {item}]}}'.encode())
    assert parse_document(source, 5).size == 5
    for most in range(5):
        with pytest.raises(ConfigurationRejected, match=f"at most {most} values"):
            parse_document(source, most)


def test_an_integer_may_have_a_hundred_digits() -> None:
    assert parse(f'{{"a": -{"9" * 100}}}').value == {"a": -int("9" * 100)}


# --- places


def pointers(value: Any, pointer: Pointer = ()) -> list[Pointer]:
    inner: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [pointer, *(deeper for part, child in inner for deeper in pointers(child, (*pointer, part)))]


def at(value: Any, pointer: Pointer) -> Any:
    for part in pointer:
        value = value[part]
    return value


@given(OBJECTS, LAYOUTS)
def test_places_are_the_first_characters_of_keys_and_values(value: dict[str, Any], layout: dict[str, Any]) -> None:
    text = json.dumps(value, **layout)
    lines = text.split("\n")
    document = parse(text)
    read = json.JSONDecoder().raw_decode
    for pointer in pointers(value):
        line, column = document.place(pointer)
        rest = "\n".join([lines[line - 1][column - 1 :], *lines[line:]])
        assert read(rest)[0] == at(value, pointer)
        if pointer and isinstance(pointer[-1], str):
            line, column = document.key_place(pointer)
            found, end = read(lines[line - 1][column - 1 :])
            assert found == pointer[-1]
            assert lines[line - 1][column - 1 + end] == ":"


@pytest.mark.parametrize(
    ("pointer", "place", "key_place"),
    [
        ((), (1, 1), (1, 1)),
        (("runtimes", "kata"), (3, 11), (3, 3)),
        (("runtimes", "kata", "runtimeArgs", 1), (5, 7), (5, 7)),  # an item is its own key
        (("runtimes", "kata", "path"), (3, 11), (3, 3)),  # what is not there stands where it would
        (("runtimes", "kata", "runtimeArgs", 7), (4, 20), (4, 5)),
        (("runtimes", "kata", "runtimeArgs", "x"), (4, 20), (4, 5)),
        (("nothing", "of", 3), (1, 1), (1, 1)),
    ],
)
def test_places_count_lines_and_columns_from_one(
    pointer: Pointer, place: tuple[int, int], key_place: tuple[int, int]
) -> None:
    text = '{\n "runtimes": {\r\n  "kata": {\n    "runtimeArgs": ["é",\n      "x"\n    ]}}}'
    document = parse(text)
    assert document.place(pointer) == place
    assert document.key_place(pointer) == key_place


@pytest.mark.parametrize(
    ("pointer", "rendered"),
    [
        ((), ""),
        (("runtimes", "a/b", "path"), "/runtimes/a~1b/path"),
        (("~", "~1", ""), "/~0/~01/"),
        (("hosts", 0), "/hosts/0"),
    ],
)
def test_pointers_are_rendered_as_in_rfc_6901(pointer: Pointer, rendered: str) -> None:
    assert render_pointer(pointer) == rendered


# --- refused


@pytest.mark.parametrize(
    ("text", "place", "pointer", "words"),
    [
        ('{"a": 1,}', (1, 8), "", "no comma after the last entry"),
        ('{"a": [1,\n]}', (1, 9), "/a", "no comma after the last entry"),
        ('{"a": 1\n "b": 2}', (2, 2), "", "comma missing"),
        ('{"a": [1 2]}', (1, 10), "/a", "comma missing"),
        ('{"a": [1}', (1, 9), "/a", 'found "}", expected "," or "]"'),
        ("{,}", (1, 2), "", "a key in double quotes"),
        ('{"a": [,]}', (1, 8), "/a/0", "expected a value"),
        ('{"a" 1}', (1, 6), "", 'expected ":"'),
        ('{"a\\n" 1}', (1, 8), "", 'expected ":"'),  # a key with an escape takes another way
        ("{a: 1}", (1, 2), "", "a key in double quotes"),
        ("{'a': 1}", (1, 2), "", "double quotes"),
        ("{“a”: 1}", (1, 2), "", "typographic"),
        ("{\"a\": 'x'}", (1, 7), "/a", "double quotes"),
        ("// what this is\n{}", (1, 1), "", "JSON has no comments"),
        ('{"a": 1, # why\n}', (1, 10), "", "JSON has no comments"),
        ('{"a": True}', (1, 7), "/a", "lower case"),
        ('{"a": None}', (1, 7), "/a", "null"),
        ('{"a": nul}', (1, 7), "/a", "found nul"),
        ('{"a": 01}', (1, 7), "/a", "found 01"),
        ('{"a": 1.}', (1, 7), "/a", "found 1."),
        ('{"a": +1}', (1, 7), "/a", "found +1"),
        ('{"a": 0x10}', (1, 7), "/a", "found 0x10"),
        ('{"a": 1٣}', (1, 7), "/a", "expected a value"),  # digits of other scripts are none
        ('{"a": "x\ty"}', (1, 9), "/a", r"found a tab inside a string, expected \t in its place"),
        ('{"a": "x\ny"}', (1, 9), "/a", "double quote missing"),
        ('{"a": "\\x"}', (1, 8), "/a", r"found \x"),
        ('{"a": "\\u12g4"}', (1, 8), "/a", "escapes"),
        ('{"a": "x\0"}', (1, 9), "/a", "found the control character U+0000 inside a string, expected no NUL (is"),
        ("{} {}", (1, 4), "", "expected the end of the file (a second document"),
        ("{}}", (1, 3), "", "expected the end of the file (a bracket too many)"),
        ("null null", (1, 6), "", "expected the end of the file (a second document"),
        ("{\0}", (1, 2), "", "UTF-16"),
        ("[]", (1, 1), "", "expected an object"),
        (" 7", (1, 2), "", "expected an object"),
        ('"x"', (1, 1), "", "expected an object"),
        ("\u00a0{}", (1, 1), "", "expected a value"),  # a blank, but not one of JSON's
    ],
)
def test_a_syntax_error_has_a_place_and_the_expected_syntax(
    text: str, place: tuple[int, int], pointer: str, words: str
) -> None:
    problem = the_problem_of(text)
    assert (problem.line, problem.column) == place
    assert problem.pointer == pointer
    assert words in problem.message
    assert not problem.incomplete
    assert problem.found
    assert problem.expected


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ('{"a": NaN}', (1, 7), "no NaN"),
        ('{"a": [0, -Infinity]}', (1, 11), "no Infinity"),
        ('{"a": "x\\u0000"}', (1, 7), "NUL"),
        ('{"a": "\\ud800"}', (1, 7), "surrogate"),
        ('{"a": "\\ude00\\ud83d"}', (1, 7), "surrogate"),  # the halves in the wrong order
        ('{"\\udc00": 1}', (1, 2), "surrogate"),
        ('{"\\u0000": 1}', (1, 2), "NUL"),
        ('{"a": ' + "1" * 101 + "}", (1, 7), "at most 100 digits"),
        ('{"a": 1e999}', (1, 7), "64-bit float"),
        ('{"a": 1,\n "a": 2}', (2, 2), "lines 1 and 2"),
        ('{"a": 1, "\\u0061": 2}', (1, 10), "both times on line 1"),
    ],
)
def test_json_values_that_no_configuration_can_use_are_refused(text: str, place: tuple[int, int], words: str) -> None:
    problem = the_problem_of(text)
    assert (problem.line, problem.column) == place
    assert words in problem.message
    json.dumps(problem.as_dict(), ensure_ascii=False).encode()


def test_problems_before_a_syntax_error_are_reported_with_it() -> None:
    found = problems_of('{"a": NaN,\n"a": "\\u0000",\n"b": Infinity,\n}')
    assert [(p.line, p.pointer) for p in found] == [(1, "/a"), (2, "/a"), (2, "/a"), (3, "/b"), (3, "")]


def test_a_duplicate_is_found_in_every_object() -> None:
    found = problems_of('{"runtimes": {"k": {"path": "a", "path": "b"}, "k": {}}, "x": [{"y": 1, "y": 1}]}')
    assert [p.pointer for p in found] == ["/runtimes/k/path", "/runtimes/k", "/x/0/y"]


@pytest.mark.parametrize(
    ("data", "offset", "place", "incomplete"),
    [
        (b'{"\xff": 1}', 2, (1, 3), False),
        (b'{\n"\xc3\xa9\xc0": 1}', 5, (2, 3), False),  # columns count characters
        (b'{"\xe2\x82', 2, (1, 3), True),  # cut within a character
        (codecs.BOM_UTF16_LE + b"{\0}", 4, (1, 2), True),
        (codecs.BOM_UTF16_BE + b"\0{\xdc\0\0}", 4, (1, 2), False),
        (codecs.BOM_UTF8 + b"{\xff}", 4, (1, 2), False),
    ],
)
def test_bytes_that_are_not_text_are_reported_with_their_offset(
    data: bytes, offset: int, place: tuple[int, int], *, incomplete: bool
) -> None:
    problem = the_problem_of(data)
    assert f"at offset {offset}," in problem.message
    assert (problem.line, problem.column) == place
    assert problem.incomplete is incomplete


@pytest.mark.parametrize("data", [b"", b" \n\t\r\n", codecs.BOM_UTF8, codecs.BOM_UTF16_LE + b"\n\0"])
def test_a_blank_file_is_refused_as_incomplete(data: bytes) -> None:
    problem = the_problem_of(data)
    assert "write {} if you mean no settings" in problem.message
    assert problem.incomplete


# --- for every input


@pytest.mark.timeout(300)
@given(OBJECTS, LAYOUTS, st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]), st.data())
@settings(max_examples=300)
def test_every_prefix_of_a_document_is_incomplete(
    value: dict[str, Any], layout: dict[str, Any], encoding: str, data: st.DataObject
) -> None:
    whole = json.dumps(value, **layout).encode(encoding)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ConfigurationRejected) as caught:
        parse(whole[:cut])
    assert caught.value.incomplete, str(caught.value)


@pytest.mark.parametrize("text", ['{"a": [true, false, null, -1.5e+3, "\\u0041\\ud83d\\ude00\\n"]}', "null"])
def test_a_cut_at_any_byte_of_any_token_is_incomplete(text: str) -> None:
    for cut in range(len(text)):
        assert the_problem_of(text[:cut]).incomplete, text[:cut]


@given(st.binary(max_size=40) | st.text("{}[]\",:\\ \n\0019.-+eEtrufalsn'/u0d8NaIy\ud83dé", max_size=40))
@example("[" * 5000)
@example('{"a":' * 5000)
@example(codecs.BOM_UTF16_LE + b"\xff")
def test_arbitrary_input_is_a_document_or_a_rejection(noise: bytes | str) -> None:
    data = noise if isinstance(noise, bytes) else noise.encode(errors="surrogatepass")
    try:
        document = parse(data)
    except ConfigurationRejected as exc:
        for problem in exc.problems:  # a report can always be sent
            json.dumps(problem.as_dict(), ensure_ascii=False).encode()
    else:
        assert isinstance(document.value, dict)


@given(st.text('{}[]",: 01.-+eEtrufalsn\\u', max_size=30))
@settings(max_examples=500)
def test_accepted_text_has_the_value_that_json_loads_returns(text: str) -> None:
    try:
        document = parse(text)
    except ConfigurationRejected:
        return
    assert document.value == (json.loads(text) or {})


@pytest.mark.parametrize(
    "unit", ['"x\\u0041', '"', "1", "[", "[{},", '{"a":1,', '{"a":1 ,"b" : ', " ", "\n", "\\", '"\\', "-", "1e1"]
)
def test_time_is_linear_in_the_size(unit: str) -> None:
    # A quadratic step in any expression would take minutes here; the time-out of the test is the measure.
    with pytest.raises(ConfigurationRejected):
        parse('{"k":' + unit * (400_000 // len(unit)) + "!")


def test_floats_are_the_nearest_ones() -> None:
    value = parse('{"a": 0.1, "b": 1e308, "c": 5e-324, "d": -0.0}').value
    assert [value[k] for k in "abc"] == [0.1, 1e308, 5e-324]
    assert math.copysign(1, value["d"]) == -1  # type: ignore[arg-type]


@pytest.mark.parametrize("number", ["0e", "1e", "1E", "1.", "-", "-1.", "1.5e", "1.5e+", "1e-", "-0.", "0.e1"])
def test_a_number_with_missing_digits_is_refused(number: str) -> None:
    for text in (f'{{"runtimed":{{"retain":{number}}}}}', f'{{"runtimed":{{"retain":{number} , "gc":true}}}}'):
        with pytest.raises(ConfigurationRejected, match=f"found {re.escape(number)}, expected a value"):
            parse(text)


def test_a_string_of_many_escapes_is_read_whole() -> None:
    text = r"\n\u00e9x\"" * 5_000
    assert parse(f'{{"a":"{text}"}}').value == {"a": '\néx"' * 5_000}
