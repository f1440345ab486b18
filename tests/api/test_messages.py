"""Tests parsing of targets and rendering of responses."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlencode

import pytest
from harness.search_settings import searched
from hypothesis import example, given, target
from hypothesis import strategies as st

from runtimed.api.messages import BadTarget, Response, parse_target, problem, render
from runtimed.core.problem_codes import PROBLEM_CODES


@pytest.mark.parametrize(
    ("raw", "segments", "query"),
    [
        (b"/", (), {}),
        (b"/v1/status", ("v1", "status"), {}),
        (b"/v1/status/", ("v1", "status", ""), {}),
        (b"//a", ("", "a"), {}),
        (b"/v1/runtimes/a%2Fb", ("v1", "runtimes", "a/b"), {}),
        (b"/%252F", ("%2F",), {}),  # decoded once, not twice
        (b"/../%2e%2e", ("..", ".."), {}),
        (b"/a+b", ("a+b",), {}),  # a plus is a plus in a path
        (b"/a?x=1+2&y=%2B&z&&=e", ("a",), {"x": "1 2", "y": "+", "z": "", "": "e"}),
        (b"/a?x=1=2?3", ("a",), {"x": "1=2?3"}),
        (b"/a?", ("a",), {}),
        (b"/%E2%82%AC?n=%E2%82%AC", ("€",), {"n": "€"}),
        (b"http://x/a?b=c", ("a",), {"b": "c"}),
        (b"http://x", (), {}),
        (b"http://x?b=/c", (), {"b": "/c"}),
        (b"*", ("*",), {}),
    ],
)
def test_a_target_is_split_first_and_decoded_once(raw: bytes, segments: tuple[str, ...], query: dict[str, str]) -> None:
    target = parse_target(raw)
    assert (target.segments, dict(target.query)) == (segments, query)
    assert target.path == "/" + "/".join(segments)


@pytest.mark.parametrize(
    "raw",
    [
        b"/%",
        b"/%4",
        b"/%zz",
        b"/%+1",
        b"/%ff",
        b"/?a=%ff",
        b"/?%=1",
        b"/?a=1&a=2",
        b"/?a&%61",
        b"a",
        b"/a#b",
        b"",
        b"http:///a",
        b"http://?a",
        b"*?a=b",
    ],
)
def test_a_malformed_or_ambiguous_target_is_refused(raw: bytes) -> None:
    with pytest.raises(BadTarget):
        parse_target(raw)


@searched(300)
@given(
    st.lists(st.text(max_size=10), min_size=1, max_size=5),
    st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=5),
    st.booleans(),
)
def test_quoted_text_is_the_same_after_parsing(segments: list[str], query: dict[str, str], plus: bool) -> None:
    path = "/" + "/".join(quote(segment, safe="") for segment in segments)
    found = parse_target(f"{path}?{urlencode(query, quote_via=quote_plus if plus else quote)}".encode())
    target(float(len(found.raw)), label="bytes")
    # A single empty segment is the root itself.
    assert found.segments == (() if segments == [""] else tuple(segments))
    assert dict(found.query) == query


def test_a_name_with_every_byte_encoded_is_the_same_after_parsing() -> None:
    name = "".join(map(chr, range(1, 0x250))) + "\U0001f600"
    encoded = b"".join(b"%%%02x" % byte for byte in name.encode())
    assert parse_target(b"/%b?%b=%b" % (encoded, encoded, encoded)).segments == (name,)


# Arbitrary targets, with many of the characters that have a meaning in them.
RAW = st.lists(
    st.sampled_from(
        [b"/", b"%", b"%2", b"%2F", b"%e2%82%ac", b"?", b"&", b"=", b"+", b"#", b"*", b"http://", b".", b"a"]
    )
    | st.binary(max_size=3),
    max_size=12,
).map(b"".join)


@searched(500)
@given(RAW)
@example(b"*?/")  # the query was left out without a word
@example(b"http://\x80")
def test_any_target_is_refused_or_parsed_as_by_the_standard_library(raw: bytes) -> None:
    try:
        found = parse_target(raw)
    except BadTarget:
        return
    target(float(len(found.segments) + 3 * len(found.query)), label="parts")
    head, _, tail = raw.partition(b"?")
    if head[:7].lower() == b"http://":
        head = b"/" + head[7:].partition(b"/")[2]
    path, query = head.decode(), tail.decode()
    assert found.path == (unquote(path, errors="strict") if path != "*" else "/*")
    assert list(found.query.items()) == parse_qsl(query, keep_blank_values=True, errors="strict")


def test_a_response_has_only_the_necessary_headers() -> None:
    assert render(Response(200, b"{}")) == (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert render(Response(204)) == b"HTTP/1.1 204 No Content\r\n\r\n"
    assert render(
        Response(405, b"no", "text/plain", (("Allow", "GET, HEAD"),)), b"Connection: close\r\n", body=False
    ) == (
        b"HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nAllow: GET, HEAD\r\n"
        b"Connection: close\r\n\r\n"
    )


def test_a_problem_has_its_code_its_detail_and_the_remedy() -> None:
    answer = problem("unknown-runtime", "there is no 'runk'", status=404, nearest="runc")
    assert answer.content_type == "application/problem+json"
    assert json.loads(answer.body) == {
        "type": "urn:runtimed:problem:unknown-runtime",
        "title": "Unknown runtime",
        "status": 404,
        "detail": "there is no 'runk'",
        "code": "unknown-runtime",
        "message": "there is no 'runk'",
        "nearest": "runc",
    }
    forbidden = json.loads(problem("forbidden", "user 7 may only read").body)
    row = PROBLEM_CODES["forbidden"]
    assert (forbidden["title"], forbidden["status"]) == (row.title, row.status)
    assert forbidden["detail"] == f"user 7 may only read; {row.remedy}"
    assert json.loads(problem("disk-timeout").body)["detail"] == PROBLEM_CODES["disk-timeout"].detail


@pytest.mark.parametrize("header", [("A", "b\r\nc"), ("A\n", "b"), ("", "b"), ("A b", "c"), ("A", "\0"), ("A", "€")])
def test_a_header_cannot_contain_another(header: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="not an HTTP header"):
        render(Response(200, headers=(header,)))
