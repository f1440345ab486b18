"""Bytes to requests: llhttp, and the limits and rules that llhttp leaves to its user; a small slice at a time."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import NoReturn

import httptools

from runtimed.api.connections import Connections
from runtimed.api.docker import refuse_body
from runtimed.api.messages import CLOSE, KEEP_ALIVE, BadTarget, Request, Response, problem
from runtimed.api.sockets import Peer

# About 150 of the smallest requests: what one connection may do before the others have their turn.
_SLICE_BYTES = 4096
_END_OF_HEAD = b"\r\n\r\n"
_VERSIONS = ("1.1", "1.0")
# The headers that mean anything here.
_WATCHED = frozenset({b"host", b"connection", b"content-length", b"transfer-encoding", b"expect"})
# What an unfinished head may have beyond its target and headers: method, version, line ends.
_HEAD_SLACK_BYTES = 1024


class _StopParsing(Exception):
    """How a callback stops llhttp; `RequestReader.refusal` says why."""


# A request that wants an answer, and the Connection header line that the answer carries (none: b"").
Asked = tuple[Request, bytes]


class RequestReader:
    """The requests in one connection's bytes.

    What has arrived waits in ``backlog`` until `read_slice` appends to ``asked`` what is complete in the next part of
    it. ``begun`` says that a request has begun and is not complete. When ``ended``, no more is read: the last request
    closes the connection, or ``refusal`` is the answer to what could not be read, to be given after those to all of
    ``asked``.
    """

    __slots__ = (
        "_bad_url", "_connections", "_fed_bytes", "_has_connection", "_header_bytes", "_headers", "_hosts", "_in_head",
        "_limits", "_parser", "_peer", "_url", "asked", "backlog", "begun", "ended", "refusal",
    )  # fmt: skip

    def __init__(self, connections: Connections, peer: Peer) -> None:
        self.backlog = b""
        self.asked: deque[Asked] = deque()
        self.begun = self.ended = False
        self.refusal: Response | None = None
        self._connections = connections
        self._limits = connections.limits
        self._peer = peer
        self._parser = httptools.HttpRequestParser(self)
        self._in_head = self._bad_url = False
        self._clear_head()

    def close(self) -> None:
        """Let go of the parser, which refers back to this object."""
        self.stop()
        del self._parser

    def stop(self) -> None:
        """Forget what is not answered yet, and read no more."""
        self.ended = True
        self.backlog = b""
        self.asked.clear()

    def has_unanswered(self) -> bool:
        """Return whether something is to be answered, or may be once it is read; not a request that has only begun."""
        return bool(self.backlog or self.asked or self.refusal)

    def add(self, data: bytes) -> None:
        """Take what has arrived."""
        self.backlog = self.backlog + data if self.backlog else data

    def read_slice(self) -> None:
        """Read a slice of what has arrived."""
        if not self.ended:
            rest = self.backlog[_SLICE_BYTES:]
            self.backlog = self.feed(self.backlog[:_SLICE_BYTES]) + rest
        if self.ended:
            self.backlog = b""

    def feed(self, data: bytes) -> bytes:
        """Read a part of the input; return what is to be fed next, before anything else (mostly nothing)."""
        began_before, asked_before, rest = self.begun, len(self.asked), b""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            # Upgrade may be ignored (RFC 9110, 7.8): this was a request, and what follows is the next one.
            rest = data[exc.args[0] :]
        except httptools.HttpParserError as exc:
            # After a request that closes the connection llhttp takes nothing more; neither do we.
            # Only then the target was read in vain: it may not have come to on_url, depending on the slice.
            self._bad_url = isinstance(exc, httptools.HttpParserInvalidURLError)
            if not self.ended:
                self._note_refusal("malformed-request", f"this is not HTTP/1.1: {exc}")
        if self.ended:
            self.begun = False
            return b""
        complete = len(self.asked) - asked_before
        self.begun = self._in_head or not complete
        if self._in_head:
            self._count_unfinished(data, complete)
        if complete == 1 and not (began_before or self.begun or rest):
            self._offer_to_memory(data)
        return rest

    def time_out(self) -> None:
        """Refuse the request that has begun and does not get on."""
        detail = f"the headers did not end within {self._limits.head_s:g} seconds"
        self._note_refusal("request-timeout", detail)

    def answers_head(self) -> bool:
        """Return whether the refused request is a HEAD, whose answer has no body."""
        # Before its target has begun llhttp still knows the method of the request before it.
        return (bool(self._url) or self._bad_url) and self._parser.get_method() == b"HEAD"

    # What llhttp calls

    def on_message_begin(self) -> None:
        """Note that a request has begun."""
        self._in_head = True

    def on_url(self, part: bytes) -> None:
        """Take a part of the target."""
        self._url += part
        if len(self._url) > self._limits.target_bytes:
            detail = f"a path with its query may have {self._limits.target_bytes} bytes"
            self._refuse("target-too-long", detail)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header: count it, and look at the few that matter to the connection."""
        self._headers += 1
        self._header_bytes += len(name) + len(value)
        if self._headers > self._limits.headers or self._header_bytes > self._limits.header_bytes:
            self._refuse_headers()
        name = name.lower()
        if name in _WATCHED:
            self._watch(name, value)

    def on_headers_complete(self) -> None:
        """Make a request: without a body, its head is all of it."""
        keep_alive = self._parser.should_keep_alive()
        # Without being asked to, llhttp keeps alive nothing but HTTP/1.1: no need to make that a string each time.
        version = "1.1" if keep_alive and not self._has_connection else self._parser.get_http_version()
        if version not in _VERSIONS:
            self._refuse("version-not-supported")
        if self._hosts != 1 and (self._hosts or version == "1.1"):
            detail = f"HTTP/1.1 wants exactly one Host header (any value will do), found {self._hosts}"
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
        self.asked.append((Request(self._parser.get_method().decode(), target, self._peer), connection))
        self._in_head = False
        self._clear_head()

    # Below

    def _clear_head(self) -> None:
        self._url = b""
        self._headers = self._header_bytes = self._hosts = self._fed_bytes = 0
        self._has_connection = False

    def _watch(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._hosts += 1
        elif name == b"connection":
            self._has_connection = True
        elif name == b"expect":
            if value.lower() != b"100-continue":
                self._refuse("expectation-failed")
        elif name == b"transfer-encoding" or value.strip(b"0 \t"):
            if (refusal := refuse_body(self._url)) is not None:
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
        """Bound what was fed of a head that is not complete: llhttp shows a header only when it has ended."""
        if complete:
            self._fed_bytes = len(data) - data.rfind(_END_OF_HEAD) - len(_END_OF_HEAD)
        else:
            self._fed_bytes += len(data)
        limits = self._limits
        if self._fed_bytes > limits.target_bytes + limits.header_bytes + 4 * limits.headers + _HEAD_SLACK_BYTES:
            with suppress(_StopParsing):
                self._refuse_headers()

    def _offer_to_memory(self, data: bytes) -> None:
        """Remember ``data``, which is one request from its first byte, if it is that to its last as well."""
        request, connection = self.asked[-1]
        if request.method == "GET" and not connection and data.find(_END_OF_HEAD) == len(data) - len(_END_OF_HEAD):
            self._connections.remember(data, self._connections.target(request.target))
