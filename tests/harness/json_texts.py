"""Generates JSON objects, and texts of them with random blanks, for property tests."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

_STRINGS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8) | st.sampled_from(
    ["{", "}", '"', "\\", ",", ":", "runtimes", "[]", "\\u0041"]
)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _STRINGS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_STRINGS, inner, max_size=3),
    max_leaves=8,
)
_BLANKS = st.sampled_from(["", "", " ", "\n", "\n  ", "\n    ", "\n\t", "\r\n  ", " \n\n", "\t"])


def json_objects() -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy for objects with any keys and values."""
    return st.dictionaries(_STRINGS, _VALUES, max_size=4)


@st.composite
def texts_of(draw: st.DrawFn, value: object) -> str:
    """Return a text of ``value``: as a program writes it, or with random blanks and escapes everywhere."""
    indent = draw(st.sampled_from([None, None, 2, 4, "\t", "random"]))
    if indent != "random":
        text = json.dumps(value, indent=indent, ensure_ascii=draw(st.booleans()))
        return draw(st.sampled_from([text, f"{text}\n", text.replace("\n", "\r\n")]))
    return "".join(_tokens(draw, value))


def _tokens(draw: st.DrawFn, value: object) -> Iterable[str]:
    yield draw(_BLANKS)
    if isinstance(value, dict):
        yield "{"
        for number, (key, member) in enumerate(value.items()):
            yield "," if number else ""
            yield from _tokens(draw, key)
            yield ":"
            yield from _tokens(draw, member)
        # An empty object has blanks, too.
        yield f"{draw(_BLANKS)}}}"
    elif isinstance(value, list):
        yield "["
        for number, item in enumerate(value):
            yield "," if number else ""
            yield from _tokens(draw, item)
        yield f"{draw(_BLANKS)}]"
    else:
        yield json.dumps(value, ensure_ascii=draw(st.booleans()))
    yield draw(_BLANKS)
