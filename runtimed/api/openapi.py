"""Composes the OpenAPI 3.1 description from the operations, the problem codes, the shapes and the examples.

Imported with everything that only the description needs when a client first requests it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from runtimed import __version__
from runtimed.api.examples import make_examples
from runtimed.api.messages import problem
from runtimed.api.operations import JSON, OPERATIONS, Operation, Parameter, Success
from runtimed.api.schemas import Schemas
from runtimed.core import shapes
from runtimed.core.problem_codes import EVERY, PROBLEM_CODES

# The codes of one status.
Codes = tuple[str, ...]

_ABOUT = """
The table of a node's OCI runtimes, and the daemon that serves it, over a Unix socket:

    curl --unix-socket /run/runtimed/runtimed.sock http://localhost/v1/resolve?runtime=gvisor

Every path that takes GET takes HEAD as well. No request takes a body. Keys of the query that are not described here are
refused. Responses may get more keys with a later version, and none of those described here is renamed or dropped.

Errors are `application/problem+json` (RFC 9457), whose `code` is stable and whose `detail` says what to do next. The
response to a path that is not served is 404 with the code `no-such-path`.

For Docker's clients there are `/_ping`, `/version`, `/info` and `/events`, also below a version such as `/v1.44`. The
Docker Engine API describes them.

Every client that may connect may read. Only root, and the user that the daemon runs as, may POST.
"""
_GROUPS = {
    "runtimes": "The current generation",
    "generations": "The retained generations",
    "containers": "The containers that were started through stable paths",
    "daemon": "The daemon: its status, events, metrics, reload and collection",
}


def render_openapi() -> bytes:
    """Return the description as JSON."""
    return json.dumps(describe_api(), separators=(",", ":")).encode() + b"\n"


def describe_api() -> dict[str, Any]:
    """Return the description as an OpenAPI document."""
    return _Composer().document()


def codes_by_status(operation: str) -> dict[int, Codes]:
    """Return the codes with which ``operation``, or EVERY request, may respond, by status."""
    found: dict[int, Codes] = {}
    for code, row in PROBLEM_CODES.items():
        if operation in row.operations:
            status = row.statuses.get(operation, row.status)
            found[status] = (*found.get(status, ()), code)
    return found


class _Composer:
    """Composes the document, and collects the schemas and examples to which it refers."""

    def __init__(self) -> None:
        self._schemas = Schemas()
        self._examples = make_examples()
        self._problem_examples: dict[str, Any] = {}
        self._of_all = codes_by_status(EVERY)

    def document(self) -> dict[str, Any]:
        paths: dict[str, dict[str, Any]] = {}
        for (method, path), operation in OPERATIONS.items():
            paths.setdefault(path, {})[method.lower()] = self._operation(operation)
        shared = {**self._of_all, HTTPStatus.NOT_FOUND: ("no-such-path",)}
        responses = {_shared_name(codes): self._problems(status, codes) for status, codes in shared.items()}
        events = {"description": "One event of the stream.", **self._schemas.of(shapes.Event)}
        return {
            "openapi": "3.1.0",
            "info": {
                "title": "runtimed",
                "version": __version__,
                "description": _ABOUT.strip(),
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": "http://localhost", "description": "The Unix socket; the host name does not matter."}],
            "tags": [{"name": name, "description": text} for name, text in _GROUPS.items()],
            "paths": paths,
            "components": {
                "schemas": dict(sorted({**self._schemas.found, "Event": events}.items())),
                "responses": responses,
                "examples": dict(sorted(self._problem_examples.items())),
            },
        }

    def _operation(self, operation: Operation) -> dict[str, Any]:
        responses = {status: self._success(operation, status, each) for status, each in operation.responses.items()}
        own = codes_by_status(operation.name)
        for status, codes in self._of_all.items():
            if status not in own:
                responses[status] = {"$ref": f"#/components/responses/{_shared_name(codes)}"}
        for status, codes in own.items():
            responses[status] = self._problems(status, (*codes, *self._of_all.get(status, ())))
        return {
            "operationId": operation.name,
            "tags": [operation.group],
            "summary": operation.summary,
            "description": operation.text,
            "parameters": [_parameter(parameter) for parameter in operation.parameters],
            "responses": {str(status): responses[status] for status in sorted(responses)},
        }

    def _success(self, operation: Operation, status: int, success: Success) -> dict[str, Any]:
        content: dict[str, Any] = {"schema": self._body(success)}
        if (operation.name, status) in self._examples:
            content["example"] = self._examples[operation.name, status]
        found: dict[str, Any] = {"description": success.text, "content": {success.media_type: content}}
        if success.headers:
            found["headers"] = {name: _header(text) for name, text in success.headers.items()}
        return found

    def _body(self, success: Success) -> dict[str, Any]:
        if success.media_type == JSON:
            return self._schemas.of(success.shape)
        if success.shape is None:
            return {"type": "string"}
        # OpenAPI 3.1 cannot describe lines; JSON Schema's contentSchema, for the content of a string, is the nearest.
        self._schemas.of(success.shape)
        lines = {"type": "array", "items": {"$ref": "#/components/schemas/Event"}}
        return {"type": "string", "contentMediaType": success.media_type, "contentSchema": lines}

    def _problems(self, status: int, codes: Codes) -> dict[str, Any]:
        examples = {code: {"$ref": f"#/components/examples/{self._problem_example(code, status)}"} for code in codes}
        content = {"schema": self._problem_schema(codes), "examples": examples}
        found: dict[str, Any] = {
            "description": "\n".join(f"- `{code}`: {PROBLEM_CODES[code].when}" for code in codes),
            "content": {"application/problem+json": content},
        }
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            found["headers"] = {"Allow": {**_header("The methods that this path takes."), "required": True}}
        return found

    def _problem_schema(self, codes: Codes) -> dict[str, Any]:
        """Return the schema of a problem with one of the codes; a code with further members has its own shape."""
        own = {code: getattr(shapes, PROBLEM_CODES[code].exception, None) for code in codes}
        schemas = [self._schemas.of(shape) for shape in own.values() if shape is not None]
        if plain := [code for code, shape in own.items() if shape is None]:
            schemas.append({**self._schemas.of(shapes.Problem), "properties": {"code": {"enum": plain}}})
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}

    def _problem_example(self, code: str, status: int) -> str:
        """Return the name of an example, after collecting it."""
        name = f"{code}-{status}"
        row = PROBLEM_CODES[code]
        body = problem(code, row.detail, status=status, **row.members).body
        self._problem_examples[name] = {"value": json.loads(body)}
        return name


def _parameter(parameter: Parameter) -> Mapping[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required,
        "description": parameter.text,
        "schema": dict(parameter.schema),
    }


def _header(text: str) -> dict[str, Any]:
    return {"description": text, "schema": {"type": "string"}}


def _shared_name(codes: Codes) -> str:
    """Return the component name of the responses with ``codes``: that of the first, BadQuery."""
    return codes[0].title().replace("-", "")
