"""What is asked and what is answered: values, and the bytes they are made of."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from http import HTTPStatus
from types import MappingProxyType

from runtimed.api.sockets import Peer
from runtimed.api.stream import Stream
from runtimed.core.problem_codes import PROBLEM_CODES

KEEP_ALIVE = b"Connection: keep-alive\r\n"
CLOSE = b"Connection: close\r\n"

_STATUS_LINES: Mapping[int, bytes] = MappingProxyType(
    {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
)
# These end with their head, so a Content-Length would be wrong (RFC 9110, 8.6).
_BODILESS = frozenset({204, 304})
_ESCAPE = re.compile(rb"%(..?)?", re.DOTALL)
_HEX_PAIR = re.compile(rb"[0-9A-Fa-f]{2}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class BadTarget(ValueError):
    """A request's target that cannot be read; its text says why. Never leaves the connection: it becomes a 400."""


class Target:
    """Where a request goes, taken apart once; shared by all requests that name it.

    ``segments`` are the parts between the slashes, split first and decoded then, so that ``%2F`` stays
    inside its segment: ``/v1/runtimes/a%2Fb`` is ``("v1", "runtimes", "a/b")``, ``/`` is ``()``, and
    ``/v1/`` is ``("v1", "")``. Nothing is normalised: ``..`` is a segment like any other.
    """

    __slots__ = ("path", "query", "raw", "segments")

    def __init__(self, raw: bytes, segments: tuple[str, ...], query: Mapping[str, str]) -> None:
        self.raw = raw
        self.segments = segments
        self.path = "/" + "/".join(segments)
        self.query = query


class Request:
    """One request: a method, a target taken apart (see `Target`), and who asks.

    ``path`` is decoded and for people; routes compare ``segments``. ``query`` maps each key to its one value
    (a key without ``=`` to ``""``; a repeated key never gets here). ``target`` is what stood in the request
    line. No route takes a header or a body, so there is none here. ``HEAD`` is to be answered like ``GET``:
    the connection leaves the body out.
    """

    __slots__ = ("method", "path", "peer", "query", "segments", "target")

    def __init__(self, method: str, target: Target, peer: Peer) -> None:
        self.method = method
        self.segments = target.segments
        self.query = target.query
        self.path = target.path
        self.target = target.raw
        self.peer = peer


class Response:
    """One answer: a status, a body, and what describes the body.

    Not to be changed once it was handed over: ``wire`` is rendered at its first use and kept, so a route that
    keeps a Response and hands it out again costs no rendering at all. ``headers`` are pairs of name and value,
    beyond Content-Type, Content-Length and Connection, which are the connection's.
    """

    __slots__ = ("body", "content_type", "headers", "status", "wire")

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        content_type: str = "application/json",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = headers
        self.wire: bytes | None = None


Answer = Response | Stream | Awaitable[Response]
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
    """Return the bytes of an answer; ``connection`` is one whole header line or none, ``body`` False answers HEAD.

    Raises: ValueError for a header that cannot stand in HTTP (a line break in it, say).
    """
    if response.status in _BODILESS:
        return b"%b%b%b\r\n" % (_STATUS_LINES[response.status], connection, _extra(response.headers))
    head = _head(response.status, response.content_type)
    extra = _extra(response.headers) if response.headers else b""
    content = response.body
    return b"%b%d\r\n%b%b\r\n%b" % (head, len(content), extra, connection, content if body else b"")


@lru_cache(maxsize=64)
def _head(status: int, content_type: str) -> bytes:
    """Return the part of a head that answers share, up to the number of its Content-Length."""
    return b"%bContent-Type: %b\r\nContent-Length: " % (_STATUS_LINES[status], content_type.encode("ascii"))


def _extra(headers: tuple[tuple[str, str], ...]) -> bytes:
    for name, value in headers:
        if not _TOKEN.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
            raise ValueError(f"not an HTTP header: {name!r}: {value!r}")
    return "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")


def parse_target(raw: bytes) -> Target:
    """Return the target of a request line, taken apart and percent-decoded once, as UTF-8.

    ``raw`` is a path with or without a query, or a whole ``http:`` URL, whose host is not looked at (RFC 9112,
    3.2.2), or ``*``. In the query, ``+`` is a space, as every client's form encoding has it. A key that
    stands twice is refused: nobody can say which of the two was meant.

    Raises: BadTarget.
    """
    path, mark, query = raw.partition(b"?")
    if path[:7].lower() == b"http://":
        host, _, path = path[7:].partition(b"/")
        if not host:
            raise BadTarget("an http: URL must name a host (RFC 9110, 4.2.1)")
        path = b"/" + path
    if b"#" in raw:
        raise BadTarget("a fragment (#) has no place in a request")
    if raw == b"*":
        return Target(raw, ("*",), MappingProxyType({}))
    if not path.startswith(b"/"):
        raise BadTarget("the target must be a path that starts with /")
    segments = tuple(_decode(part) for part in path[1:].split(b"/")) if path != b"/" else ()
    return Target(raw, segments, MappingProxyType(_parse_query(query) if mark else {}))


def _parse_query(raw: bytes) -> dict[str, str]:
    query: dict[str, str] = {}
    for field in raw.replace(b"+", b" ").split(b"&"):
        if not field:
            continue
        name, _, value = field.partition(b"=")
        key = _decode(name)
        if key in query:
            raise BadTarget(f"the query names {key!r} more than once")
        query[key] = _decode(value)
    return query


def _decode(raw: bytes) -> str:
    try:
        return (_ESCAPE.sub(_unescape, raw) if b"%" in raw else raw).decode()
    except UnicodeDecodeError:
        raise BadTarget("what the percent-encoding stands for is not UTF-8") from None


def _unescape(match: re.Match[bytes]) -> bytes:
    pair: bytes = match[1] or b""
    if not _HEX_PAIR.fullmatch(pair):
        raise BadTarget("a % is not followed by two hexadecimal digits")
    return bytes.fromhex(pair.decode())
