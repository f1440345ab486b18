"""Compares responses with the description of the API."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from runtimed.api.openapi import describe_api

Document = dict[str, Any]


def close(document: Document) -> Document:
    """Return ``document`` with shapes that allow described keys only."""
    closed = copy.deepcopy(document)
    for shape in closed["components"]["schemas"].values():
        if "properties" in shape:
            shape["additionalProperties"] = False
    return closed


@cache
def description() -> Document:
    """Return the closed description of the API; callers must not change it."""
    return close(describe_api())


def find_path(document: Document, path: str) -> str | None:
    """Return the described path that matches ``path``, a request's."""
    asked = path.split("/")
    for template in document["paths"]:
        parts = template.split("/")
        pairs = zip(parts, asked, strict=False)
        if len(parts) == len(asked) and all(part == given or (part[:1] == "{" and given) for part, given in pairs):
            return str(template)
    return None


def check_body(schema: Mapping[str, Any], body: object, document: Document) -> None:
    """Fail unless ``body`` conforms to ``schema``, which is part of ``document``."""
    Draft202012Validator({**schema, "components": document["components"]}).validate(body)


def check_event(event: object) -> None:
    """Fail unless ``event`` is a described event."""
    check_body({"$ref": "#/components/schemas/Event"}, event, description())


def check_answer(
    method: str, path: str, status: int, content_type: str, headers: Collection[str], body: bytes
) -> tuple[str, str, int, str | None]:
    """Return the described response that this is: method, path, status, and the code of a problem.

    Fail if the description has no such response, or differs from it.
    """
    document = description()
    template = find_path(document, path)
    if template is None:
        method = template = ""
        answer = document["components"]["responses"]["NoSuchPath"]
        assert status == 404
    else:
        operations = document["paths"][template]
        wanted = "get" if method == "HEAD" else method.lower()
        # The response to another method is described with those of each known method.
        answer = operations.get(wanted, next(iter(operations.values())))["responses"][str(status)]
        assert wanted in operations or status == 405
    if "$ref" in answer:
        answer = document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    assert set(headers) == set(answer.get("headers", ()))
    content = answer["content"][content_type.partition(";")[0]]
    if not content_type.endswith("json") or content["schema"].get("type") == "string":
        return method, template, status, None
    decoded = json.loads(body)
    check_body(content["schema"], decoded, document)
    return method, template, status, decoded["code"] if content_type == "application/problem+json" else None
