"""Tests of reading the output of binaries."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimed.core.features import MAX_BYTES, MAX_DEPTH, Features, first_line, read_features, read_version

RUNC = {
    "ociVersionMin": "1.0.0",
    "ociVersionMax": "1.0.2-dev",
    "hooks": ["prestart"],
    "linux": {"cgroup": {"v1": True, "systemd": True}, "seccomp": {"archs": None}},
    "annotations": {"größe": "ü", "n": -1, "x": 1.5, "big": 2**63 - 1},
}


def reason(stdout: bytes) -> str:
    read = read_features(0, stdout, b"")
    assert (read.status, read.features, read.version) == ("unknown", None, None)
    assert read.reason is not None
    assert read.reason.isprintable()
    assert len(read.reason) < 400
    return read.reason


@pytest.mark.parametrize("indent", [None, 4])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_features_structure_is_read_unchanged(indent: int | None, *, ascii_only: bool) -> None:
    stdout = json.dumps(RUNC, indent=indent, ensure_ascii=ascii_only).encode() + b"\n"
    read = read_features(0, stdout, b"a warning")
    assert (read.status, read.reason) == ("known", None)
    assert read.features == RUNC
    assert read.as_dict() == {"status": "known", "features": RUNC, "version": None, "reason": None}
    with pytest.raises(TypeError):
        read.features["hooks"] = []  # type: ignore[index]


@pytest.mark.parametrize(
    ("stdout", "expected"),
    [
        # crun 1.8 with another exit status, a wrapper script that says hello
        (b"unknown command features\n", "is not JSON (Expecting value: line 1 column 1 (char 0)): unknown command"),
        (b"", "is empty, not a JSON object"),
        (b" \n\t\n", "is empty, not a JSON object"),
        # JSON, but no object
        (b"null", "is not a JSON object: null"),
        (b"[]", "is not a JSON object: []"),
        (b'"features"', "is not a JSON object"),
        (b"7", "is not a JSON object: 7"),
        # more than one value
        (b"{} {}", "is not JSON (Extra data"),
        # cut off
        (b'{"ociVersionMin": "1.0', "is not JSON"),
        # JSON in Python only
        (b'{"x": NaN}', "holds NaN, which is not JSON"),
        (b'{"x": -Infinity}', "holds -Infinity, which is not JSON"),
        # would be written out again as Infinity
        (b'{"x": 1e999}', "holds a number out of range: 1e999"),
        (b'{"x": -1e999}', "holds a number out of range"),
        # out of range for many clients
        (b'{"x": 9223372036854775808}', "holds an integer of more than 64 bits"),
        (b'{"x": [{"y": -9223372036854775809}]}', "holds an integer of more than 64 bits"),
        (b'{"x": ' + b"9" * 5000 + b"}", "is not JSON (Exceeds the limit"),
        # a string that UTF-8 cannot carry, as a value, as a key, deep inside
        (b'{"x": "\\ud800"}', "half of a surrogate pair"),
        (b'{"\\udfff": 1}', "half of a surrogate pair"),
        (b'{"x": [{"y": "a\\udc00b"}]}', "half of a surrogate pair"),
        # bytes that are no text
        (b'{"x": "\xff"}', "is not JSON ('utf-8' codec can't decode"),
        (b"\x7fELF\x02\x01\x01", "is not JSON"),
        # nested beyond reason: by a little, beyond Python's stack
        (b'{"x":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH, "nested more than 32 deep"),
        (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested more than 32 deep"),
        # larger than the output of any runtime
        (b'{"x": "' + b"a" * MAX_BYTES + b'"}', "is 262,153 bytes long, more than 262,144"),
    ],
)
def test_other_output_is_unknown_with_a_reason(stdout: bytes, expected: str) -> None:
    assert expected in reason(stdout)


def test_nesting_up_to_the_limit_is_read() -> None:
    depth = MAX_DEPTH - 1
    assert read_features(0, b'{"x":' * depth + b"1" + b"}" * depth, b"").status == "known"


@pytest.mark.parametrize(
    ("status", "stdout", "stderr", "expected"),
    [
        # crun 1.8
        (1, b"", b"unknown command features\n", "`features` ended with exit status 1: unknown command features"),
        # runsc of 2022 says it on standard output
        (128, b"unknown command features\nUsage: runsc", b"", "`features` ended with exit status 128: unknown command"),
        (2, b"", b"", "`features` ended with exit status 2"),
        (-11, b"", b"", "`features` was ended by signal 11"),
        # a whole structure from a binary that then says it failed
        (3, b"{}", b"boom", "`features` ended with exit status 3: boom"),
    ],
)
def test_a_failed_binary_is_unknown(status: int, stdout: bytes, stderr: bytes, expected: str) -> None:
    read = read_features(status, stdout, stderr)
    assert (read.status, read.features) == ("unknown", None)
    assert str(read.reason).startswith(expected)


@pytest.mark.parametrize(
    ("status", "stdout", "version"),
    [
        (0, b"crun version 1.8.1\ncommit: f8a096\n", "crun version 1.8.1"),
        (0, b"\n\n  runsc version 1 \r\nspec: 1\n", "runsc version 1"),
        (0, b"", None),  # a binary that ignores its arguments
        (0, b" \n", None),
        (1, b"crun version 1.8.1\n", None),  # it failed, so its output does not count
        (-9, b"x", None),
        (0, b"v\x1b[31m1\0", "v\\x1b[31m1\\x00"),  # escape sequences are escaped
        (0, b"\xff1", "\ufffd1"),
        (0, b"x" * 1_000_000, "x" * 200 + "…"),
    ],
)
def test_the_version_is_the_first_line_formatted_for_a_message(status: int, stdout: bytes, version: str | None) -> None:
    assert read_version(status, stdout) == version


@given(output=st.binary(max_size=300))
def test_the_features_of_any_output_are_valid_json(output: bytes) -> None:
    for read in (read_features(0, output, output), read_features(1, output, output)):
        text = json.dumps(read.as_dict(), allow_nan=False, ensure_ascii=False)
        assert json.loads(text.encode())["status"] == read.status
    assert "\n" not in first_line(output)


def test_hostile_output_is_read_fast() -> None:
    began = time.process_time()
    for stdout in (b"[" * MAX_BYTES, b'{"x":[' + b"0," * 120_000 + b"0]}", b" " * MAX_BYTES, b"\n" * MAX_BYTES):
        assert isinstance(read_features(0, stdout, b""), Features)
    assert time.process_time() - began < 5
