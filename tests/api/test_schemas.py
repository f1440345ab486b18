"""Tests the JSON Schemas of types."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict

import pytest

from runtimed.api.schemas import Schemas


class _Inner(TypedDict):
    """Inner."""

    inner: list[_Inner]
    more: NotRequired[Annotated[int, "how many"]]


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        (bool, {"type": "boolean"}),
        (int | None, {"type": ["integer", "null"]}),
        (Literal["a"], {"type": "string", "const": "a"}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (list[float], {"type": "array", "items": {"type": "number"}}),
        (dict[str, object], {"type": "object", "additionalProperties": {}}),
        (Literal["a"] | int | None, {"anyOf": [{"type": "string", "const": "a"}, {"type": ["integer", "null"]}]}),
        (Annotated[str, "a word"], {"type": "string", "description": "a word"}),
        (_Inner, {"$ref": "#/components/schemas/_Inner"}),
    ],
)
def test_a_type_has_the_schema_of_its_json(kind: object, schema: object) -> None:
    assert Schemas().of(kind) == schema


@pytest.mark.parametrize("kind", [bytes, dict[int, str], tuple[int, int], set])
def test_a_type_unknown_to_json_is_refused(kind: object) -> None:
    with pytest.raises(TypeError, match="no JSON schema for"):
        Schemas().of(kind)


def test_a_shape_is_an_object_with_its_keys_and_may_contain_itself() -> None:
    schemas = Schemas()
    schemas.of(_Inner)
    assert schemas.found == {
        "_Inner": {
            "type": "object",
            "description": "Inner.",
            "properties": {
                "inner": {"type": "array", "items": {"$ref": "#/components/schemas/_Inner"}},
                "more": {"type": "integer", "description": "how many"},
            },
            "required": ["inner"],
        }
    }
