"""The API's description, OpenAPI 3.1, put together from the operations, the codes, the shapes and the examples.

Whatever is only needed for it is imported by this module alone, and this one when it is first asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from runtimed import __version__
from runtimed.api.codes import CODES, Code
from runtimed.api.examples import make_examples
from runtimed.api.messages import problem
from runtimed.api.operations import ALWAYS, JSON, NO_PATH, OPERATIONS, Answered, Operation, Parameter
from runtimed.api.schemas import Schemas
from runtimed.core import shapes

PROBLEM = "application/problem+json"

_ABOUT = """
The table of a node's OCI runtimes, and the daemon that serves it, over a Unix socket:

    curl --unix-socket /run/runtimed/runtimed.sock http://localhost/v1/resolve?runtime=gvisor

Every path that takes GET takes HEAD as well. No request takes a body. Keys of the query that are not described here are
refused. Answers may get more keys with a later version, and none of those described here is renamed or dropped.

What goes wrong is answered with `application/problem+json` (RFC 9457), whose `code` is stable and whose `detail` says
what to do next. A path that is not served is answered with 404 and the code `no-such-path`.

Docker's clients find `/_ping`, `/version`, `/info` and `/events` here too, also below a version such as `/v1.44`. They
are answered as the Docker Engine API has it, which describes them.

Whoever may connect may ask. Only root, and the user that the daemon runs as, may POST.
"""
_GROUPS = {
    "runtimes": "What a name means now",
    "generations": "What it meant before",
    "daemon": "How the daemon is, and what it can be told to do",
}
_ALLOW = "The methods that this path takes."


def render_openapi() -> bytes:
    """Return the description as JSON."""
    return json.dumps(describe_api(), separators=(",", ":")).encode() + b"\n"


def describe_api() -> dict[str, Any]:
    """Return the description as an OpenAPI document."""
    return _Composer().document()


class _Composer:
    """Puts the document together; schemas that something refers to are collected on the way."""

    def __init__(self) -> None:
        self._schemas = Schemas()
        self._examples = make_examples()

    def document(self) -> dict[str, Any]:
        paths: dict[str, dict[str, Any]] = {}
        for (method, path), operation in OPERATIONS.items():
            paths.setdefault(path, {})[method.lower()] = self._operation(operation)
        shared = {_shared_name(codes): self._problems(status, codes) for status, codes in ALWAYS.items()}
        shared[_shared_name(NO_PATH)] = self._problems(404, NO_PATH)
        events = {"description": "Something that happened.", **self._schemas.of(shapes.Event)}
        self._schemas.of(shapes.Problem)
        return {
            "openapi": "3.1.0",
            "info": {
                "title": "runtimed",
                "version": __version__,
                "description": _ABOUT.strip(),
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": "http://localhost", "description": "The Unix socket: any host name will do."}],
            "tags": [{"name": name, "description": text} for name, text in _GROUPS.items()],
            "paths": paths,
            "components": {
                "schemas": dict(sorted({**self._schemas.found, "Event": events}.items())),
                "responses": shared,
                "examples": {name: {"value": value} for name, value in _problem_examples()},
            },
        }

    def _operation(self, operation: Operation) -> dict[str, Any]:
        responses = {status: self._answer(operation, status, answer) for status, answer in operation.answers.items()}
        for status, codes in ALWAYS.items():
            own = operation.problems.get(status, ())
            shared = {"$ref": f"#/components/responses/{_shared_name(codes)}"}
            responses[status] = self._problems(status, (*own, *codes)) if own else shared
        for status in operation.problems.keys() - ALWAYS.keys():
            responses[status] = self._problems(status, operation.problems[status])
        return {
            "operationId": operation.name,
            "tags": [operation.group],
            "summary": operation.summary,
            "description": operation.text,
            "parameters": [_parameter(parameter) for parameter in operation.parameters],
            "responses": {str(status): responses[status] for status in sorted(responses)},
        }

    def _answer(self, operation: Operation, status: int, answer: Answered) -> dict[str, Any]:
        content: dict[str, Any] = {"schema": self._body(answer)}
        if (operation.name, status) in self._examples:
            content["example"] = self._examples[operation.name, status]
        found: dict[str, Any] = {"description": answer.text, "content": {answer.media_type: content}}
        if answer.headers:
            found["headers"] = {name: _header(text) for name, text in answer.headers.items()}
        return found

    def _body(self, answer: Answered) -> dict[str, Any]:
        if answer.media_type == JSON:
            return self._schemas.of(answer.shape)
        if answer.shape is None:
            return {"type": "string"}
        # OpenAPI 3.1 has no word for lines; JSON Schema's for what stands inside of a text is the nearest.
        self._schemas.of(answer.shape)
        lines = {"type": "array", "items": {"$ref": "#/components/schemas/Event"}}
        return {"type": "string", "contentMediaType": answer.media_type, "contentSchema": lines}

    def _problems(self, status: int, codes: Iterable[str]) -> dict[str, Any]:
        known = {code: CODES[code] for code in codes}
        text = "\n".join(f"- `{code}`: {each.when}" for code, each in known.items())
        examples = {code: {"$ref": f"#/components/examples/{_example_name(code, status)}"} for code in known}
        content = {PROBLEM: {"schema": self._problem_schema(known), "examples": examples}}
        found: dict[str, Any] = {"description": text, "content": content}
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            found["headers"] = {"Allow": {**_header(_ALLOW), "required": True}}
        return found

    def _problem_schema(self, known: Mapping[str, Code]) -> dict[str, Any]:
        """Return the schema of a problem with one of the codes: those with members of their own are shapes."""
        plain = [code for code, each in known.items() if each.shape is shapes.Problem]
        schemas = [self._schemas.of(each.shape) for each in known.values() if each.shape is not shapes.Problem]
        if plain:
            schemas.append({**self._schemas.of(shapes.Problem), "properties": {"code": {"enum": plain}}})
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required,
        "description": parameter.text,
        "schema": dict(parameter.schema),
    }


def _header(text: str) -> dict[str, Any]:
    return {"description": text, "schema": {"type": "string"}}


def _shared_name(codes: tuple[str, ...]) -> str:
    """Return the name of the answers with ``codes``; not the status's, whose words change with Python's version."""
    return codes[0].title().replace("-", "")


def _example_name(code: str, status: int) -> str:
    return f"{code}-{status}"


def _problem_examples() -> Iterable[tuple[str, Any]]:
    """Return an example of each problem with each status that it comes with, under its name."""
    tables = (ALWAYS, {404: NO_PATH}, *(operation.problems for operation in OPERATIONS.values()))
    pairs = sorted({(code, status) for table in tables for status, codes in table.items() for code in codes})
    for code, status in pairs:
        known = CODES[code]
        yield (
            _example_name(code, status),
            json.loads(problem(status, code, known.title, known.detail, **known.more).body),
        )
