"""Tests of edits of a JSON text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness.json_texts import json_objects, texts_of
from hypothesis import given
from hypothesis import strategies as st

from runtimed.core.engines.docker.members import set_members

NEW = {"crun": {"path": "/c"}, "x": True}


# Text -> text with NEW at its top.
INSERTED = {
    "{}": '{\n  "crun": {\n    "path": "/c"\n  },\n  "x": true\n}',
    "\n{}\n": '\n{\n  "crun": {\n    "path": "/c"\n  },\n  "x": true\n}\n',
    "null": '{\n  "crun": {\n    "path": "/c"\n  },\n  "x": true\n}',
    # Blanks of an empty object are kept on both sides.
    "{ }": '{ "crun": {"path": "/c"}, "x": true }',
    "{\n}": '{\n"crun": {\n  "path": "/c"\n},\n"x": true\n}',
    # On one line.
    '{"a": 1}': '{"a": 1, "crun": {"path": "/c"}, "x": true}',
    '{"a":1}\n': '{"a":1, "crun": {"path": "/c"}, "x": true}\n',
    '{"a":1,"b":[{}]}': '{"a":1,"b":[{}],"crun": {"path": "/c"},"x": true}',
    '{ "a": "}" }': '{ "a": "}", "crun": {"path": "/c"}, "x": true }',
    # Over several lines, by the indentation and the line ends of the file.
    '{\n    "a": 1\n}\n': '{\n    "a": 1,\n    "crun": {\n        "path": "/c"\n    },\n    "x": true\n}\n',
    '{\n\t"a": 1\n}': '{\n\t"a": 1,\n\t"crun": {\n\t\t"path": "/c"\n\t},\n\t"x": true\n}',
    '{\r\n  "a": 1\r\n}': '{\r\n  "a": 1,\r\n  "crun": {\r\n    "path": "/c"\r\n  },\r\n  "x": true\r\n}',
    '{\n  "a": 1\n  , "b": 2}': '{\n  "a": 1\n  , "b": 2, "crun": {"path": "/c"}, "x": true}',
    # The order and the spelling of other members stay.
    '{"x": false, "\\u0061": {"x" : 1.0}}': '{"x": true, "\\u0061": {"x" : 1.0}, "crun": {"path": "/c"}}',
}


@pytest.mark.parametrize(("text", "result"), INSERTED.items())
def test_new_members_look_like_their_neighbours(text: str, result: str) -> None:
    assert set_members(text, (), NEW) == result


# Text with the object {"a", "b", "c"} or less, at "r" -> text without b.
REMOVED = {
    '{"r": {"a": 1, "b": 2, "c": 3}}': '{"r": {"a": 1, "c": 3}}',
    '{"r": {"b": 2, "c": 3}}': '{"r": {"c": 3}}',
    '{"r": {"a": 1, "b": 2}}': '{"r": {"a": 1}}',
    '{"r": {"b": 2}}': '{"r": {}}',
    '{"r": { "b": 2 }}': '{"r": { }}',
    '{"r": {\n"a": 1,\n"b": {"}": "{"},\n"c": 3\n}}': '{"r": {\n"a": 1,\n"c": 3\n}}',
    '{"r": {\n  "b": 2,\n  "c": 3\n}}': '{"r": {\n  "c": 3\n}}',
    '{"r": {\n  "a": 1,\n  "b": 2\n}}': '{"r": {\n  "a": 1\n}}',
    '{"r": {\n  "b": 2\n}}': '{"r": {}}',
    '{"r": {}}': '{"r": {}}',
}


@pytest.mark.parametrize(("text", "result"), REMOVED.items())
def test_a_removed_member_goes_with_its_comma_and_its_line(text: str, result: str) -> None:
    assert set_members(text, ("r",), {}, {"b"}) == result


def test_an_empty_object_inside_a_file_of_several_lines_gets_lines() -> None:
    text = '{\n    "r": {},\n    "b": 1\n}'
    inserted = '{\n    "r": {\n        "x": [\n            1\n        ]\n    },\n    "b": 1\n}'
    assert set_members(text, ("r",), {"x": [1]}) == inserted
    assert set_members('{"r": {}}\n', ("r",), {"x": [1]}) == '{"r": {"x": [1]}}\n'


def test_no_change_leaves_the_text_as_it_is() -> None:
    assert set_members('{"r": null}', ("r",), {}) == '{"r": null}'


def test_names_and_values_that_are_not_ascii_are_escaped() -> None:
    assert set_members('{"ä": "ö"}', (), {"ü\n\x1b": "\u202e"}) == '{"ä": "ö", "\\u00fc\\n\\u001b": "\\u202e"}'


@given(st.data(), json_objects(), st.dictionaries(st.text("abxyz", max_size=2), st.sampled_from([1, {"p": "q"}, []])))
def test_the_value_is_the_expected_one_and_a_removal_undoes_an_insertion(
    data: st.DataObject, document: dict[str, Any], values: dict[str, Any]
) -> None:
    inner: dict[str, Any] = {key: value for key, value in document.items() if key not in values}
    for at, whole in (((), inner), (("r",), {**document, "r": inner})):
        text = data.draw(texts_of(whole))
        edited = set_members(text, at, values)
        assert json.loads(edited) == ({**whole, **values} if at == () else {**whole, "r": {**inner, **values}})
        rest = iter(edited)
        assert all(character in rest for character in text), "something is missing"
        assert set_members(edited, at, {}, values.keys()) == text
        # One at a time, in any order.
        for name in data.draw(st.permutations(sorted(values))):
            edited = set_members(edited, at, {}, {name})
        assert edited == text
