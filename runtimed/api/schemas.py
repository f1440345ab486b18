"""Makes JSON Schemas (2020-12) of the shapes in ``core.shapes``: keys, types, descriptions.

pydantic can do the same, but takes ``typing.TypedDict`` only from Python 3.12 on, and needs descriptions to be objects
of pydantic, which every user of the shapes would have to import.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

Schema = dict[str, Any]

_NAMES: Mapping[object, str] = MappingProxyType(
    {str: "string", bool: "boolean", int: "integer", float: "number", NoneType: "null"}
)


class Schemas:
    """Makes schemas of types; ``found`` collects those of shapes (TypedDicts) by name."""

    def __init__(self) -> None:
        self.found: dict[str, Schema] = {}

    def of(self, kind: object) -> Schema:
        """Return the schema of ``kind``; that of a shape is a reference into ``found``.

        Raises:
            TypeError: JSON has no such type, or this module does not know how to describe it.
        """
        if kind in _NAMES:
            return {"type": _NAMES[kind]}
        if kind is object:
            return {}
        return self._reference(kind) if is_typeddict(kind) else self._composed(kind, get_origin(kind), get_args(kind))

    def _composed(self, kind: object, origin: Any, parts: tuple[Any, ...]) -> Schema:
        if origin is Annotated:
            return {**self.of(parts[0]), "description": parts[1]}
        if origin is Literal:
            value = {"const": parts[0]} if len(parts) == 1 else {"enum": list(parts)}
            return {**self.of(type(parts[0])), **value}
        if origin in (UnionType, Union):
            return _either(map(self.of, parts))
        if origin is list:
            return {"type": "array", "items": self.of(parts[0])}
        if origin is dict and parts[0] is str:
            return {"type": "object", "additionalProperties": self.of(parts[1])}
        raise TypeError(f"no JSON schema for {kind!r}")

    def _reference(self, shape: Any) -> Schema:
        name = shape.__name__
        if name not in self.found:
            self.found[name] = {}  # a shape may contain itself
            self.found[name] = self._object(shape)
        return {"$ref": f"#/components/schemas/{name}"}

    def _object(self, shape: Any) -> Schema:
        properties, required = {}, []
        for key, hint in get_type_hints(shape, include_extras=True).items():
            is_optional = get_origin(hint) is NotRequired
            properties[key] = self.of(get_args(hint)[0] if is_optional else hint)
            if not is_optional:
                required.append(key)
        description = inspect.cleandoc(shape.__doc__)
        return {"type": "object", "description": description, "properties": properties, "required": required}


def _either(schemas: Iterable[Schema]) -> Schema:
    """Return the schema that accepts what one of ``schemas`` accepts; it has one entry for all plain types."""
    plain: list[str] = []
    others: list[Schema] = []
    for schema in schemas:
        if schema.keys() == {"type"}:
            plain.append(schema["type"])
        else:
            others.append(schema)
    if not others:
        return {"type": plain}
    if plain:
        others.append({"type": plain if len(plain) > 1 else plain[0]})
    return {"anyOf": others}
