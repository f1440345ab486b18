"""Parses requests with llhttp, a small slice at a time, and enforces the rules that llhttp leaves to its user."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import NoReturn

import httptools

from runtimed.api.connections import Connections
from runtimed.api.messages import CLOSE, KEEP_ALIVE, BadTarget, Request, Response, problem
from runtimed.api.sockets import Peer

# About 150 of the smallest requests: the most that is parsed of one connection before others are processed.
_SLICE_BYTES = 4096
_END_OF_HEAD = b"\r\n\r\n"
_VERSIONS = ("1.1", "1.0")
# The headers that have an effect here.
_CHECKED = frozenset({b"host", b"connection", b"content-length", b"transfer-encoding", b"expect"})
# Bytes of an incomplete head that are neither target nor headers: method, version, line ends.
_HEAD_SLACK_BYTES = 1024


class _StopParsing(Exception):
    """Raised by a callback to stop llhttp; `RequestReader.refusal` has the reason."""


# A request, and the Connection header line of its response (empty if it has none).
Pending = tuple[Request, bytes]


class RequestReader:
    """The requests in one connection's input.

    Input waits in ``backlog`` until `read_slice` appends the complete requests of its next part to ``requests``.
    ``begun`` means that a request is incomplete. ``ended`` means that no more is read: the last request closes the
    connection, or ``refusal`` is the response to input that is not accepted, to be sent after all of ``requests``. A
    connection that is refused itself has a ``refusal`` from the beginning.
    """

    __slots__ = (
        "_bad_url", "_connections", "_fed_bytes", "_has_connection", "_header_bytes", "_headers", "_hosts", "_in_head",
        "_limits", "_parser", "_peer", "_url", "backlog", "begun", "ended", "refusal", "requests",
    )  # fmt: skip

    def __init__(self, connections: Connections, peer: Peer, refusal: Response | None = None) -> None:
        self.backlog = b""
        self.requests: deque[Pending] = deque()
        self.begun = self.ended = False
        self.refusal = refusal
        self._connections = connections
        self._limits = connections.limits
        self._peer = peer
        self._parser = httptools.HttpRequestParser(self)
        self._in_head = self._bad_url = False
        self._clear_head()

    def close(self) -> None:
        """Stop, and break the reference cycle with the parser."""
        self.stop()
        del self._parser

    def stop(self) -> None:
        """Drop all requests that are not answered, and read no more."""
        self.ended = True
        self.backlog = b""
        self.requests.clear()

    def has_unanswered(self) -> bool:
        """Return whether input waits for a response or may do so once it is read; an incomplete request does not."""
        return bool(self.backlog or self.requests or self.refusal)

    def add(self, data: bytes) -> None:
        """Append input."""
        self.backlog = self.backlog + data if self.backlog else data

    def read_slice(self) -> None:
        """Parse a slice of the input."""
        if not self.ended:
            rest = self.backlog[_SLICE_BYTES:]
            self.backlog = self._feed(self.backlog[:_SLICE_BYTES]) + rest
        if self.ended:
            self.backlog = b""

    def _feed(self, data: bytes) -> bytes:
        """Parse ``data``; return the part of it that is to be parsed next (mostly none)."""
        began_before, requests_before, rest = self.begun, len(self.requests), b""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            # A server may ignore Upgrade (RFC 9110, 7.8): the request is complete, and the next one follows.
            rest = data[exc.args[0] :]
        except httptools.HttpParserError as exc:
            # It depends on the slice whether on_url was called with a part of a bad target: see answers_head.
            self._bad_url = isinstance(exc, httptools.HttpParserInvalidURLError)
            # llhttp also fails on input after a request that closes the connection. That input is ignored.
            if not self.ended:
                self._note_refusal("malformed-request", f"this is not HTTP/1.1: {exc}")
        if self.ended:
            self.begun = False
            return b""
        complete = len(self.requests) - requests_before
        self.begun = self._in_head or not complete
        if self._in_head:
            self._count_unfinished(data, complete)
        if complete == 1 and not (began_before or self.begun or rest):
            self._remember(data)
        return rest

    def time_out(self) -> None:
        """Refuse the request that is incomplete."""
        detail = f"the headers did not end within {self._limits.head_s:g} seconds"
        self._note_refusal("request-timeout", detail)

    def connection_line(self, connection: bytes) -> bytes:
        """Return the Connection header line of a response; while draining, the last one closes the connection."""
        if self._connections.draining and not (self.backlog or self.requests or self.begun):
            self.ended = True
            return CLOSE
        return connection

    def answers_head(self) -> bool:
        """Return whether the refused request is a HEAD, whose response has no body."""
        # Until the target begins, llhttp still has the method of the previous request.
        return (bool(self._url) or self._bad_url) and self._parser.get_method() == b"HEAD"

    # Callbacks of llhttp

    def on_message_begin(self) -> None:
        """Note that a request has begun."""
        self._in_head = True

    def on_url(self, part: bytes) -> None:
        """Append a part of the target."""
        self._url += part
        if len(self._url) > self._limits.target_bytes:
            detail = f"a path with its query may have {self._limits.target_bytes} bytes"
            self._refuse("target-too-long", detail)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header, and check those that have an effect."""
        self._headers += 1
        self._header_bytes += len(name) + len(value)
        if self._headers > self._limits.headers or self._header_bytes > self._limits.header_bytes:
            self._refuse_headers()
        name = name.lower()
        if name in _CHECKED:
            self._check_header(name, value)

    def on_headers_complete(self) -> None:
        """Append a request. It has no body, so the end of its head is its end."""
        keep_alive = self._parser.should_keep_alive()
        # Without a Connection header llhttp keeps only HTTP/1.1 alive. That saves making a string of the version.
        version = "1.1" if keep_alive and not self._has_connection else self._parser.get_http_version()
        if version not in _VERSIONS:
            self._refuse("version-not-supported")
        if self._hosts != 1 and (self._hosts or version == "1.1"):
            detail = f"expected exactly one Host header (with any value), found {self._hosts}"
            self._refuse("malformed-request", detail)
        try:
            target = self._connections.target(self._url)
        except BadTarget as exc:
            self._refuse("malformed-target", str(exc))
        if not keep_alive:
            self.ended = True
            connection = CLOSE
        else:
            connection = b"" if version == "1.1" else KEEP_ALIVE
        method = self._parser.get_method().decode()
        self.requests.append((Request(method, target, self._peer, chunked=version == "1.1"), connection))
        self._in_head = False
        self._clear_head()

    def _clear_head(self) -> None:
        self._url = b""
        self._headers = self._header_bytes = self._hosts = self._fed_bytes = 0
        self._has_connection = False

    def _check_header(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._hosts += 1
        elif name == b"connection":
            self._has_connection = True
        elif name == b"expect":
            if value.lower() != b"100-continue":
                self._refuse("expectation-failed")
        elif name == b"transfer-encoding" or value.strip(b"0 \t"):
            if (refusal := self._connections.refuse_body(self._url)) is not None:
                self.refusal, self.ended = refusal, True
                raise _StopParsing
            self._refuse("body-not-accepted")

    def _note_refusal(self, code: str, detail: str) -> None:
        self.refusal = problem(code, detail)
        self.ended = True

    def _refuse(self, code: str, detail: str = "") -> NoReturn:
        self._note_refusal(code, detail)
        raise _StopParsing

    def _refuse_headers(self) -> NoReturn:
        detail = f"a request may have {self._limits.headers} headers with {self._limits.header_bytes} bytes in all"
        self._refuse("headers-too-large", detail)

    def _count_unfinished(self, data: bytes, complete: int) -> None:
        """Bound the size of an incomplete head: llhttp reports a header only when it has ended."""
        if complete:
            self._fed_bytes = len(data) - data.rfind(_END_OF_HEAD) - len(_END_OF_HEAD)
        else:
            self._fed_bytes += len(data)
        limits = self._limits
        if self._fed_bytes > limits.target_bytes + limits.header_bytes + 4 * limits.headers + _HEAD_SLACK_BYTES:
            with suppress(_StopParsing):
                self._refuse_headers()

    def _remember(self, data: bytes) -> None:
        """Remember ``data``, which begins with the last request, if it contains nothing else."""
        request, connection = self.requests[-1]
        if request.method == "GET" and not connection and data.find(_END_OF_HEAD) == len(data) - len(_END_OF_HEAD):
            self._connections.remember(data, self._connections.target(request.target))
