"""Renders requests and parses responses: the part of HTTP/1.1 that the client needs, without I/O."""

from __future__ import annotations

from runtimed.client.errors import BadAnswer

TYPE_CHECKING = False  # as typing.TYPE_CHECKING, without the milliseconds that importing typing costs
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Document = dict[str, Any]

_HEAD_MAX_BYTES = 64 * 1024
_BODY_MAX_BYTES = 64 * 1024 * 1024
_CHUNK_LINE_MAX_BYTES = 1024
_LENGTH_MAX_DIGITS = 15
# Characters of a header that an error message shows.
_SHOWN_MAX = 80
# RFC 3986's unreserved characters, which need no percent-encoding.
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class ResponseReader:
    """Parses one response that arrives in pieces. ``socket`` is for error messages."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        # Received and not parsed.
        self._bytes = bytearray()
        # 0 until the head is complete.
        self._status = 0
        # Of the body, or of the chunk that is being received; None while that chunk's length is not known.
        self._length: int | None = None
        # The content of all chunks so far, None if the body has no chunks.
        self._chunks: bytearray | None = None

    def feed(self, data: bytes) -> tuple[int, bytes] | None:
        """Return status and body once they are complete, None before.

        Raises: BadAnswer.
        """
        self._bytes += data
        if not self._status:
            if (head := take_head(self._bytes, self._socket)) is None:
                return None
            self._parse_head(head)
        if self._chunks is not None:
            return (self._status, bytes(self._chunks)) if self._take_chunks(self._chunks) else None
        length = self._length or 0
        return (self._status, bytes(self._bytes[:length])) if len(self._bytes) >= length else None

    def _parse_head(self, head: str) -> None:
        first, *lines = head.split("\r\n")
        status = first.split(" ", 2)[1:2]
        fields = [(n.lower(), v.strip()) for n, _, v in (line.partition(":") for line in lines)]
        # One of the two is required, so a response that ends early is never taken for a complete one.
        lengths = sorted({value for name, value in fields if name == "content-length"})
        codings = [value.lower() for name, value in fields if name == "transfer-encoding"]
        if not status or not _is_number(status[0]) or not int(status[0]):
            raise BadAnswer(self._socket, "it has no status")
        if codings and lengths:
            raise BadAnswer(self._socket, "it has both a Content-Length and a Transfer-Encoding")
        if codings == ["chunked"]:
            self._chunks = bytearray()
        elif codings:
            raise BadAnswer(self._socket, f"its Transfer-Encoding is {_shown(', '.join(codings))}, not chunked")
        elif not lengths:
            raise BadAnswer(self._socket, "it has neither a Content-Length nor a Transfer-Encoding")
        elif len(lengths) > 1 or not _is_number(lengths[0]):
            raise BadAnswer(self._socket, f"its Content-Length is {_shown(', '.join(lengths))}, not one number")
        else:
            self._length = self._checked(int(lengths[0]))
        self._status = int(status[0])

    def _take_chunks(self, chunks: bytearray) -> bool:
        """Move the content of the complete chunks to ``chunks``; return whether the last one is complete."""
        data, at = self._bytes, 0
        while True:
            if self._length is None:
                if (end := data.find(b"\r\n", at)) < 0:
                    break
                # A chunk's length may be followed by extensions (RFC 9112, 7.1.1).
                self._length = self._parse_length(bytes(data[at:end]).partition(b";")[0].strip())
                self._checked(len(chunks) + self._length)
                at = end + 2
            if not self._length:
                trailer, line_end, _ = data[at : at + _CHUNK_LINE_MAX_BYTES].partition(b"\r\n")
                if line_end and not trailer:
                    return True
                if line_end or len(trailer) == _CHUNK_LINE_MAX_BYTES:
                    shown = _shown(trailer.decode("latin-1"))
                    raise BadAnswer(self._socket, f"a trailer follows its last chunk: {shown}")
                break
            if len(data) < at + self._length + 2:
                break
            if data[at + self._length : at + self._length + 2] != b"\r\n":
                raise BadAnswer(self._socket, "a chunk of it has no end")
            chunks += data[at : at + self._length]
            at += self._length + 2
            self._length = None
        del data[:at]
        if self._length is None and len(data) > _CHUNK_LINE_MAX_BYTES:
            raise BadAnswer(self._socket, "a chunk of it has no length")
        return False

    def _parse_length(self, text: bytes) -> int:
        if not text or len(text) > _LENGTH_MAX_DIGITS or text.strip(b"0123456789abcdefABCDEF"):
            raise BadAnswer(self._socket, "a chunk of it has no length")
        return int(text, 16)

    def _checked(self, length: int) -> int:
        if length > _BODY_MAX_BYTES:
            raise BadAnswer(self._socket, f"it is larger than {_BODY_MAX_BYTES // 2**20} MiB")
        return length


def take_head(data: bytearray, socket: str) -> str | None:
    """Remove the head of a response from ``data`` and return it, None while it is incomplete.

    Raises: BadAnswer.
    """
    if not data.startswith(b"HTTP/1."[: len(data)]):
        raise BadAnswer(socket, "it is not HTTP/1")
    end = data.find(b"\r\n\r\n", 0, _HEAD_MAX_BYTES)
    if end < 0:
        if len(data) >= _HEAD_MAX_BYTES:
            raise BadAnswer(socket, f"its head is larger than {_HEAD_MAX_BYTES} bytes")
        return None
    head = data[:end].decode("latin-1")
    del data[: end + 4]
    return head


def _shown(text: str) -> str:
    """Return ``text`` as an error message quotes it."""
    return repr(text[:_SHOWN_MAX])


def _is_number(text: str) -> bool:
    # At most 18 digits: int() of very many takes long.
    return text.isascii() and text.isdigit() and len(text) <= 18  # noqa: PLR2004


def render_request(method: str, target: str) -> bytes:
    """Return the bytes of a request that closes its connection."""
    length = "" if method == "GET" else "Content-Length: 0\r\n"
    return f"{method} {target} HTTP/1.1\r\nHost: runtimed\r\n{length}Connection: close\r\n\r\n".encode()


def render_target(path: str, query: Mapping[str, str]) -> str:
    """Return the target of a request; ``path`` is quoted already."""
    text = "&".join(f"{key}={quote(value)}" for key, value in query.items())
    return f"{path}?{text}" if text else path


def quote(text: str) -> str:
    """Return ``text`` with every byte percent-encoded that is not unreserved."""
    # The server refuses surrogates, which argv contains for bytes that are not UTF-8.
    encoded = text.encode("utf-8", "surrogatepass")
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in encoded)


def read_document(body: bytes | bytearray, socket: str) -> Document:
    """Return the JSON object in ``body``.

    Raises: BadAnswer.
    """
    import json  # noqa: PLC0415 - needed only once there is a response

    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise BadAnswer(socket, "its body is not JSON") from exc
    if not isinstance(document, dict):
        raise BadAnswer(socket, "its body is not a JSON object")
    return document
