"""Defines requests and responses, parses request targets and renders responses."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType

from runtimed.api.parts import PartedResponse
from runtimed.api.sockets import Peer
from runtimed.api.stream import Stream
from runtimed.core.problem_codes import PROBLEM_CODES

KEEP_ALIVE = b"Connection: keep-alive\r\n"
CLOSE = b"Connection: close\r\n"

_STATUS_LINES: Mapping[int, bytes] = MappingProxyType(
    {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
)
# Responses that have no body, and so no Content-Length (RFC 9110, 8.6).
_BODILESS = frozenset({204, 304})
_ESCAPE = re.compile(rb"%(..?)?", re.DOTALL)
_HEX_PAIR = re.compile(rb"[0-9A-Fa-f]{2}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class BadTarget(ValueError):
    """A request target that is malformed. The reader turns it into a 400."""


class Target:
    """A parsed request target; all requests with the same target share it.

    ``segments`` are the parts between the slashes, split before they are decoded, so that ``%2F`` stays inside its
    segment: ``/v1/runtimes/a%2Fb`` is ``("v1", "runtimes", "a/b")``, ``/`` is ``()``, and ``/v1/`` is ``("v1", "")``.
    They are not normalised: ``..`` is a segment like any other.
    """

    __slots__ = ("path", "query", "raw", "segments")

    def __init__(self, raw: bytes, segments: tuple[str, ...], query: Mapping[str, str]) -> None:
        self.raw = raw
        self.segments = segments
        self.path = "/" + "/".join(segments)
        self.query = query


class Request:
    """One request: a method, a parsed target (see `Target`) and the client's credentials.

    ``path`` is decoded, for messages; routes compare ``segments``. ``query`` maps each key to its one value (a key
    without ``=`` to ``""``). ``target`` is as in the request line. There are no headers and no body, because no route
    takes any. Routes answer ``HEAD`` like ``GET``; the connection omits the body. ``chunked`` says whether the client
    understands chunks: not before HTTP/1.1.
    """

    __slots__ = ("chunked", "method", "path", "peer", "query", "segments", "target")

    def __init__(self, method: str, target: Target, peer: Peer, *, chunked: bool = True) -> None:
        self.method = method
        self.segments = target.segments
        self.query = target.query
        self.path = target.path
        self.target = target.raw
        self.peer = peer
        self.chunked = chunked


@dataclass(slots=True, eq=False)
class Response:
    """One response: a status, a body and headers.

    A route must not change it after returning it: ``wire`` is rendered at its first use and kept, so a route that
    returns the same Response again costs no rendering. ``headers`` are pairs of name and value, without Content-Type,
    Content-Length and Connection, which are added when it is rendered.
    """

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    wire: bytes | None = field(default=None, init=False)


Answer = Response | Stream | Awaitable[Response | PartedResponse]
Handler = Callable[[Request], Answer]


def problem(code: str, detail: str = "", *, status: int | None = None, **members: object) -> Response:
    """Return an ``application/problem+json`` response (RFC 9457) for a ``code`` of `PROBLEM_CODES`.

    ``detail`` says what is wrong; the code's remedy is appended. ``detail`` and ``status`` default to those of the
    code. ``members`` are further members. To add a header such as Allow, set ``headers`` before the response is sent.
    """
    known = PROBLEM_CODES[code]
    text = "; ".join(filter(None, (detail or known.detail, known.remedy)))
    body = {
        "type": f"urn:runtimed:problem:{code}",
        "title": known.title,
        "status": status or known.status,
        "detail": text,
        "code": code,
        # Docker's clients show this member. All responses have it, as a malformed request has no path to tell them by.
        "message": text,
        **members,
    }
    return Response(status or known.status, json.dumps(body).encode() + b"\n", "application/problem+json")


def render(response: Response, connection: bytes = b"", *, body: bool = True) -> bytes:
    """Return the bytes of a response; ``connection`` is one whole header line or empty, ``body`` is False for HEAD.

    Raises: ValueError for a header that HTTP does not allow (one with a line break, say).
    """
    if response.status in _BODILESS:
        return b"%b%b%b\r\n" % (_STATUS_LINES[response.status], connection, _extra(response.headers))
    return b"%bContent-Type: %b\r\nContent-Length: %d\r\n%b%b\r\n%b" % (
        _STATUS_LINES[response.status],
        response.content_type.encode("ascii"),
        len(response.body),
        _extra(response.headers) if response.headers else b"",
        connection,
        response.body if body else b"",
    )


def _extra(headers: tuple[tuple[str, str], ...]) -> bytes:
    for name, value in headers:
        if not _TOKEN.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
            raise ValueError(f"not an HTTP header: {name!r}: {value!r}")
    return "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")


def parse_target(raw: bytes) -> Target:
    """Return the parsed target of a request line, percent-decoded once, as UTF-8.

    ``raw`` is a path with or without a query, or a whole ``http:`` URL, whose host is ignored (RFC 9112, 3.2.2), or
    ``*``. In the query, ``+`` is a space, as in form encoding. A repeated key is refused because it is ambiguous.

    Raises: BadTarget.
    """
    path, mark, query = raw.partition(b"?")
    if path[:7].lower() == b"http://":
        host, _, path = path[7:].partition(b"/")
        if not host:
            raise BadTarget("an http: URL must name a host (RFC 9110, 4.2.1)")
        path = b"/" + path
    if b"#" in raw:
        raise BadTarget("a request must not contain a fragment (#)")
    if raw == b"*":
        return Target(raw, ("*",), MappingProxyType({}))
    if not path.startswith(b"/"):
        raise BadTarget("the target must be a path that starts with /")
    segments = tuple(_decode(part) for part in path[1:].split(b"/")) if path != b"/" else ()
    return Target(raw, segments, MappingProxyType(_parse_query(query) if mark else {}))


def _parse_query(raw: bytes) -> dict[str, str]:
    query: dict[str, str] = {}
    for part in filter(None, raw.replace(b"+", b" ").split(b"&")):
        name, _, value = part.partition(b"=")
        key = _decode(name)
        if key in query:
            raise BadTarget(f"the query names {key!r} more than once")
        query[key] = _decode(value)
    return query


def _decode(raw: bytes) -> str:
    try:
        return (_ESCAPE.sub(_unescape, raw) if b"%" in raw else raw).decode()
    except UnicodeDecodeError:
        raise BadTarget("the percent-decoded text is not UTF-8") from None


def _unescape(match: re.Match[bytes]) -> bytes:
    pair: bytes = match[1] or b""
    if not _HEX_PAIR.fullmatch(pair):
        raise BadTarget("a % is not followed by two hexadecimal digits")
    return bytes.fromhex(pair.decode())
