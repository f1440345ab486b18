"""Malformed and odd requests, and how our answer to each differs from nginx's, where it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

H = b"Host: x\r\n"
END = b"\r\n"
GOOD = b"GET /good HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Difference:
    """What we make of a request (see `observe` of the test) where nginx makes something else of it, and why."""

    ours: str
    why: str


def get(*headers: bytes, target: bytes = b"/", version: bytes = b"HTTP/1.1", method: bytes = b"GET") -> bytes:
    """Return a request with a Host header and ``headers``."""
    return b"%b %b %b\r\nHost: x\r\n%b\r\n" % (method, target, version, b"".join(h + b"\r\n" for h in headers))


def post(*headers: bytes, body: bytes = b"") -> bytes:
    return get(*headers, method=b"POST") + body


CASES: Mapping[str, bytes] = {
    # What is in order
    "a plain GET": GOOD,
    "HEAD": get(method=b"HEAD"),
    "a pipeline of three": GOOD * 3,
    "HTTP/1.0": b"GET / HTTP/1.0\r\n\r\n",
    "HTTP/1.0, twice": b"GET / HTTP/1.0\r\n\r\n" * 2,
    "HTTP/1.0 kept alive": b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "HTTP/1.0 kept alive in another case": b"GET / HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\n",
    "closed on demand": get(b"Connection: close"),
    "closed on demand, in another case": get(b"CONNECTION: CLOSE"),
    "closed on demand, in a list": get(b"Connection: foo, close"),
    "closed on demand, in two headers": get(b"Connection: foo", b"Connection: close"),
    "keep-alive and close": get(b"Connection: keep-alive, close"),
    "close, then more in the pipeline": get(b"Connection: close") + GOOD,
    "an upgrade to h2c": get(
        b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP"
    ),
    "an upgrade to a WebSocket": get(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"),
    "an upgrade with more in the pipeline": get(b"Connection: Upgrade", b"Upgrade: foo") + GOOD,
    # The request line
    "a blank line before": b"\r\n" + GOOD,
    "ten blank lines before": b"\r\n" * 10 + GOOD,
    "blank lines between": GOOD + b"\r\n\r\n" + GOOD,
    "bare line feeds before": b"\n\n" + GOOD,
    "a space before": b" " + GOOD,
    "HTTP/0.9": b"GET /\r\n",
    "HTTP/0.9 with a blank line": b"GET /\r\n\r\n",
    "HTTP/1.2": get(version=b"HTTP/1.2"),
    "HTTP/1.9": get(version=b"HTTP/1.9"),
    "HTTP/2.0": get(version=b"HTTP/2.0"),
    "HTTP/3.0": get(version=b"HTTP/3.0"),
    "HTTP/0.9 by name": get(version=b"HTTP/0.9"),
    "HTTP/1": get(version=b"HTTP/1"),
    "HTTP/1.10": get(version=b"HTTP/1.10"),
    "HTTP/01.1": get(version=b"HTTP/01.1"),
    "HTTP/1,1": get(version=b"HTTP/1,1"),
    "http/1.1": get(version=b"http/1.1"),
    "HTTPS/1.1": get(version=b"HTTPS/1.1"),
    "no version's name": get(version=b"FOO"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "an SSH banner": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a method in lower case": get(method=b"get"),
    "a method in mixed case": get(method=b"Get"),
    "an unknown method": get(method=b"FOO"),
    "a method that is no token": get(method=b"G@T"),
    "a method in brackets": get(method=b"(GET)"),
    "no method": b" / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a very long method": get(method=b"A" * 300),
    "OPTIONS": get(method=b"OPTIONS"),
    "TRACE": get(method=b"TRACE"),
    "DELETE": get(method=b"DELETE"),
    "PURGE": get(method=b"PURGE"),
    "two spaces before the target": b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
    "two spaces before the version": b"GET /  HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tab before the target": b"GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tab before the version": b"GET /\tHTTP/1.1\r\nHost: x\r\n\r\n",
    "a space after the version": b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n",
    "a space in the target": get(target=b"/a b"),
    "a tab in the target": get(target=b"/a\tb"),
    "NUL in the target": get(target=b"/a\0b"),
    "a control character in the target": get(target=b"/a\x01b"),
    "DEL in the target": get(target=b"/a\x7fb"),
    "a bare CR in the target": get(target=b"/a\rb"),
    "UTF-8 in the target": get(target="/é".encode()),
    "no UTF-8 in the target": get(target=b"/\xff"),
    "no target": b"GET HTTP/1.1\r\nHost: x\r\n\r\n",
    "an empty target": b"GET  HTTP/1.1\r\nHost: x\r\n\r\n",
    # The target
    "the absolute form": get(target=b"http://example.org/a"),
    "the absolute form without a path": get(target=b"http://example.org"),
    "the absolute form with a query only": get(target=b"http://example.org?a=b"),
    "the absolute form in capitals": get(target=b"HTTP://example.org/a"),
    "the absolute form of another scheme": get(target=b"ftp://example.org/a"),
    "the absolute form without a host": get(target=b"http:///a"),
    "the absolute form and another host": get(target=b"http://other/a"),
    "the asterisk form": get(target=b"*", method=b"OPTIONS"),
    "the asterisk form of GET": get(target=b"*"),
    "the authority form": get(target=b"example.org:443"),
    "CONNECT": get(target=b"example.org:443", method=b"CONNECT"),
    "CONNECT with more in the pipeline": get(target=b"x:1", method=b"CONNECT") + GOOD,
    "a target without a slash": get(target=b"a"),
    "two slashes": get(target=b"//a"),
    "dots": get(target=b"/a/./b/../c"),
    "dots above the root": get(target=b"/../etc/passwd"),
    "encoded dots above the root": get(target=b"/%2e%2e/etc/passwd"),
    "an encoded slash": get(target=b"/a%2Fb"),
    "an encoded NUL": get(target=b"/a%00b"),
    "an encoded percent sign": get(target=b"/a%2500"),
    "a percent sign alone": get(target=b"/a%"),
    "a percent sign and one digit": get(target=b"/a%4"),
    "a percent sign and no digits": get(target=b"/a%zz"),
    "encoded bytes that are no UTF-8": get(target=b"/a%ff"),
    "a percent sign alone in the query": get(target=b"/a?b=%"),
    "a key twice in the query": get(target=b"/a?b=1&b=2"),
    "an encoded line break in the query": get(target=b"/a?b=%0d%0aX:%20y"),
    "a fragment": get(target=b"/a#b"),
    "a target of 8,000 bytes": get(target=b"/" + b"a" * 7999),
    "a target of 10,000 bytes": get(target=b"/" + b"a" * 9999),
    "a target of 100,000 bytes": get(target=b"/" + b"a" * 99_999),
    # Host
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "no Host in HTTP/1.0": b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "Host twice": get(b"Host: x"),
    "two Hosts": get(b"Host: y"),
    "two Hosts in HTTP/1.0": get(b"Host: y", version=b"HTTP/1.0"),
    "an empty Host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "a Host with a path": b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n",
    "a Host with a port": b"GET / HTTP/1.1\r\nHost: x:80\r\n\r\n",
    "a Host with a user": b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "a Host with a space": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "a Host of dots": b"GET / HTTP/1.1\r\nHost: ..\r\n\r\n",
    # Headers
    "a header without a value": get(b"A:"),
    "a header without a space": get(b"A:b"),
    "blanks around a value": get(b"A: \t b \t "),
    "a header without a colon": get(b"A"),
    "a header without a name": get(b": b"),
    "a space before the colon": get(b"A : b"),
    "a tab before the colon": get(b"A\t: b"),
    "a space before the colon of Content-Length": post(b"Content-Length : 5", body=b"abcde"),
    "a space in a name": get(b"A B: c"),
    "a slash in a name": get(b"A/B: c"),
    "an underscore in a name": get(b"A_B: c"),
    "a name in brackets": get(b"(A): b"),
    "a name that is no ASCII": get("Ä: b".encode()),
    "NUL in a name": get(b"A\0B: c"),
    "NUL in a value": get(b"A: b\0c"),
    "a control character in a value": get(b"A: b\x01c"),
    "DEL in a value": get(b"A: b\x7fc"),
    "UTF-8 in a value": get("A: é".encode()),
    "a bare CR in a value": get(b"A: b\rc"),
    "a bare LF between headers": b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
    "bare LFs only": b"GET / HTTP/1.1\nHost: x\n\n",
    "a bare LF at the end": b"GET / HTTP/1.1\r\nHost: x\r\n\n",
    "bare CRs only": b"GET / HTTP/1.1\rHost: x\r\r",
    "CR CR LF": b"GET / HTTP/1.1\r\nHost: x\r\r\n\r\n",
    "a folded value": get(b"A: b\r\n c"),
    "a folded value, by a tab": get(b"A: b\r\n\tc"),
    "a folded first header": b"GET / HTTP/1.1\r\n A: b\r\nHost: x\r\n\r\n",
    "a folded Transfer-Encoding": post(b"Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n"),
    "fifty headers": get(*(b"A: b",) * 50),
    "seventy headers": get(*(b"A: b",) * 70),
    "a header of 15,000 bytes": get(b"A: " + b"b" * 15_000),
    "a header of 20,000 bytes": get(b"A: " + b"b" * 20_000),
    "a header of 100,000 bytes": get(b"A: " + b"b" * 100_000),
    "headers that do not end": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n",
    "a header that does not end": b"GET / HTTP/1.1\r\nHost: x\r\nA: b",
    "a request line that does not end": b"GET / HT",
    # Bodies, which no route takes
    "a Content-Length of 0": post(b"Content-Length: 0"),
    "a Content-Length of 00": post(b"Content-Length: 00"),
    "a body": post(b"Content-Length: 5", body=b"abcde"),
    "a body of GET": get(b"Content-Length: 5") + b"abcde",
    "a body that is too short": post(b"Content-Length: 50", body=b"abcde"),
    "an endless body": post(b"Content-Length: 100000000000", body=b"abcde"),
    "a Content-Length beyond 64 bits": post(b"Content-Length: 99999999999999999999", body=b"abcde"),
    "a negative Content-Length": post(b"Content-Length: -1"),
    "a Content-Length with a plus": post(b"Content-Length: +5", body=b"abcde"),
    "a hexadecimal Content-Length": post(b"Content-Length: 0x5", body=b"abcde"),
    "a Content-Length with a fraction": post(b"Content-Length: 5.0", body=b"abcde"),
    "an empty Content-Length": post(b"Content-Length:"),
    "a Content-Length in a list": post(b"Content-Length: 5, 5", body=b"abcde"),
    "Content-Length twice": post(b"Content-Length: 5", b"Content-Length: 5", body=b"abcde"),
    "Content-Length 0 twice": post(b"Content-Length: 0", b"Content-Length: 0"),
    "two Content-Lengths": post(b"Content-Length: 5", b"Content-Length: 6", body=b"abcdef"),
    "Content-Length and chunks": post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "chunks and Content-Length": post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n"),
    "chunks and a Content-Length of 0": post(b"Transfer-Encoding: chunked", b"Content-Length: 0", body=b"0\r\n\r\n"),
    "chunks": post(b"Transfer-Encoding: chunked", body=b"5\r\nabcde\r\n0\r\n\r\n"),
    "chunks in another case": post(b"Transfer-Encoding: Chunked", body=b"5\r\nabcde\r\n0\r\n\r\n"),
    "chunks in HTTP/1.0": get(b"Transfer-Encoding: chunked", version=b"HTTP/1.0", method=b"POST") + b"0\r\n\r\n",
    "chunks with an extension": post(b"Transfer-Encoding: chunked", body=b"5;a=b\r\nabcde\r\n0\r\n\r\n"),
    "chunks with trailers": post(b"Transfer-Encoding: chunked", body=b"0\r\nA: b\r\n\r\n"),
    "a chunk whose size is no number": post(b"Transfer-Encoding: chunked", body=b"xyz\r\nabcde\r\n0\r\n\r\n"),
    "a chunk of 2^64": post(b"Transfer-Encoding: chunked", body=b"10000000000000000\r\nabcde"),
    "a negative chunk": post(b"Transfer-Encoding: chunked", body=b"-5\r\nabcde\r\n0\r\n\r\n"),
    "a chunk with a bare LF": post(b"Transfer-Encoding: chunked", body=b"5\nabcde\n0\n\n"),
    "a chunk that is too long": post(b"Transfer-Encoding: chunked", body=b"3\r\nabcde\r\n0\r\n\r\n"),
    "a transfer encoding that nobody knows": post(b"Transfer-Encoding: foo", body=b"0\r\n\r\n"),
    "identity": post(b"Transfer-Encoding: identity", b"Content-Length: 0"),
    "gzip and chunked": post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "chunked and identity": post(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"),
    "chunked twice": post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "chunked after a vertical tab": post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "chunked in quotes": post(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n"),
    "a misspelt Transfer-Encoding": post(b"Transfer_Encoding: chunked", body=b""),
    "a smuggled request in a body": post(
        b"Content-Length: 30", b"Transfer-Encoding: chunked", body=b"0\r\n\r\nGET /admin HTTP/1.1\r\nFoo: x"
    ),
    "Expect with a body": post(b"Expect: 100-continue", b"Content-Length: 5", body=b"abcde"),
    "Expect without a body": get(b"Expect: 100-continue"),
    "Expect of something else": get(b"Expect: the-moon"),
    # An error in the middle
    "good, malformed, good": GOOD + b"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n" + GOOD,
    "good, no HTTP, good": GOOD + b"\x00\x01\x02\r\n\r\n" + GOOD,
    "good, a body, good": GOOD + post(b"Content-Length: 5", body=b"abcde") + GOOD,
    "good, HTTP/1.0, good": GOOD + b"GET / HTTP/1.0\r\n\r\n" + GOOD,
    "good, then HTTP/0.9": GOOD + b"GET /\r\n\r\n",
    "good, HEAD, good": GOOD + get(method=b"HEAD") + GOOD,
    # No request at all
    "nothing": b"",
    "a blank line": b"\r\n",
    "NULs": b"\0" * 100,
    "text without end": b"a" * 50_000,
}

_GRAMMAR = "RFC 9112's grammar does not allow it, and leniency is what request smuggling lives on"
_VERSION = "llhttp knows 0.9, 1.0, 1.1 and 2.0; no client speaks another, and guessing is no service"
_OLD = "an answer without a head would be mistaken by whoever asked by accident; nobody speaks HTTP/0.9 to us"
_METHOD = "llhttp knows the registered methods; which of these a path takes is the routes' business (405)"
_ASCII = "a target is ASCII (RFC 3986); what is meant has a percent-encoding"
_UTF8 = "names are text: what is no UTF-8 names no runtime"
_NO_FILES = "targets are compared and lead to no file, so nothing is normalised and nothing can be climbed out of"
_HOST = "a Unix socket has one server: Host is counted, not looked at; some clients put the socket's path there"
_BODY = "no route takes a body: refused before it is read (413), which ends the connection"
_LIMIT = "beyond the limits here (8 KiB of target, 64 headers), which are enough for every route"

# What differs from nginx, as `observe` in the test has it, and why that is right.
DIFFERENCES: Mapping[str, Difference] = {
    "HTTP/0.9": Difference("!4", f"{_OLD}; taken for a request line without a version, it waits for its headers"),
    "HTTP/0.9 with a blank line": Difference("5.", _OLD),
    "HTTP/1.2": Difference("4.", _VERSION),
    "HTTP/1.9": Difference("4.", _VERSION),
    "HTTP/3.0": Difference("4.", _VERSION),
    "HTTP/0.9 by name": Difference("5.", "the very version is known and not served, which is what 505 says"),
    "HTTP/1.10": Difference("4.", f"{_GRAMMAR}: a minor version is one digit"),
    "an unknown method": Difference("4.", _METHOD),
    "a very long method": Difference("4.", _METHOD),
    "TRACE": Difference("2+", _METHOD),
    "a space after the version": Difference("4.", _GRAMMAR),
    "UTF-8 in the target": Difference("4.", _ASCII),
    "no UTF-8 in the target": Difference("4.", _ASCII),
    "the absolute form of another scheme": Difference("4.", "no other scheme than http is served here"),
    "the asterisk form": Difference(
        "2+", "RFC 9112, 3.2.4 has it for OPTIONS; the routes say that there is none (404)"
    ),
    "the asterisk form of GET": Difference("2+", "it is a path like any other, and no route has it (404)"),
    "dots above the root": Difference("2+", _NO_FILES),
    "encoded dots above the root": Difference("2+", _NO_FILES),
    "an encoded NUL": Difference("2+", f"{_NO_FILES}; no configured name has a NUL"),
    "encoded bytes that are no UTF-8": Difference("4.", _UTF8),
    "a percent sign alone in the query": Difference("4.", "nginx does not read the query, here it names runtimes"),
    "a key twice in the query": Difference("4.", "nobody can say which of the two was meant"),
    "a fragment": Difference("4.", f"{_GRAMMAR}: a fragment is the client's own"),
    "a target of 10,000 bytes": Difference("4.", _LIMIT),
    "an empty Host": Difference(
        "2+", "RFC 9112, 3.2 has it for URLs without an authority, as those of a Unix socket are"
    ),
    "a Host with a path": Difference("2+", _HOST),
    "a Host with a space": Difference("2+", _HOST),
    "a Host of dots": Difference("2+", _HOST),
    "a header without a colon": Difference("4.", f"{_GRAMMAR}; nginx leaves the line out"),
    "a slash in a name": Difference("4.", f"{_GRAMMAR}; nginx leaves the line out"),
    "a name in brackets": Difference("4.", f"{_GRAMMAR}; nginx leaves the line out"),
    "a name that is no ASCII": Difference("4.", f"{_GRAMMAR}; nginx leaves the line out"),
    "a control character in a value": Difference("4.", _GRAMMAR),
    "DEL in a value": Difference("4.", _GRAMMAR),
    "a bare LF between headers": Difference(
        "4.", f"{_GRAMMAR}: RFC 9112, 2.2 lets a server take it and asks nobody to"
    ),
    "bare LFs only": Difference("4.", f"{_GRAMMAR}: RFC 9112, 2.2 lets a server take it and asks nobody to"),
    "a bare LF at the end": Difference("4.", f"{_GRAMMAR}: RFC 9112, 2.2 lets a server take it and asks nobody to"),
    "CR CR LF": Difference("4.", _GRAMMAR),
    "seventy headers": Difference("4.", _LIMIT),
    "a body": Difference("4.", _BODY),
    "a body of GET": Difference("4.", _BODY),
    "a body that is too short": Difference("4.", _BODY),
    "chunks": Difference("4.", _BODY),
    "chunks in another case": Difference("4.", _BODY),
    "chunks with an extension": Difference("4.", _BODY),
    "chunks with trailers": Difference("4.", _BODY),
    "a chunk with a bare LF": Difference("4.", _BODY),
    "a transfer encoding that nobody knows": Difference("4.", f"{_BODY}, whatever its encoding"),
    "identity": Difference("4.", f"{_BODY}, whatever its encoding"),
    "gzip and chunked": Difference("4.", f"{_BODY}, whatever its encoding"),
    "chunked and identity": Difference("4.", f"{_BODY}, whatever its encoding"),
    "chunked after a vertical tab": Difference("4.", _GRAMMAR),
    "chunked in quotes": Difference("4.", f"{_BODY}, whatever its encoding"),
    "Expect with a body": Difference("4.", f"{_BODY}; that it is not wanted is said instead of 100"),
    "Expect without a body": Difference(
        "2+", "the answer is there at once, and 100 may be left out then (RFC 9110, 10.1.1)"
    ),
    "Expect of something else": Difference("4.", "417 is what RFC 9110, 10.1.1 has for it; nginx ignores it"),
    "good, a body, good": Difference("24.", _BODY),
    "good, then HTTP/0.9": Difference("25.", f"{_OLD}; nginx gives one"),
}
