"""Tests of reading and encoding the options of shims."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimed.core.containerd.options import (
    GENERIC,
    MESSAGES,
    RUNC,
    Options,
    encode_options,
    make_options,
    message_of,
    read_options,
)
from runtimed.core.containerd.protobuf import message_classes

RUNC_SHIM = "io.containerd.runc.v2"
KATA = "io.containerd.kata.v2"

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "string": st.text(max_size=300),
    "uint32": st.integers(0, 2**32 - 1),
    "bytes": st.binary(max_size=50),
}


def messages() -> st.SearchStrategy[Options]:
    def of(name: str) -> st.SearchStrategy[Options]:
        fields = {f.name: VALUES[f.kind] for f in MESSAGES[name]}
        return st.fixed_dictionaries({}, optional=fields).map(lambda values: make_options(name, values))

    return st.sampled_from(sorted(MESSAGES)).flatmap(of)


@pytest.mark.parametrize("name", sorted(MESSAGES))
@pytest.mark.parametrize("spelling", [lambda f: f.go_name, lambda f: f.name, lambda f: f.go_name.upper()])
def test_an_option_has_a_go_name_and_a_protobuf_name_in_any_case(name: str, spelling: Any) -> None:
    samples: dict[str, object] = {"bool": True, "string": "x", "uint32": 7, "bytes": "x"}
    given = {spelling(f): samples[f.kind] for f in MESSAGES[name]}
    shim = RUNC_SHIM if name == RUNC else KATA
    options, faults = read_options(shim, given)
    assert faults == ()
    assert options is not None
    assert [field for field, _ in options.fields] == [f.name for f in MESSAGES[name]]


@pytest.mark.parametrize(
    ("shim", "message"),
    [
        ("io.containerd.runc.v2", RUNC),
        ("io.containerd.runc.v1", RUNC),
        ("io.containerd.runsc.v1", GENERIC),
        ("io.containerd.kata.v2", GENERIC),
        # A shim given as a path has no name that says which message it takes.
        ("/usr/local/bin/containerd-shim-wasm-v1", GENERIC),
    ],
)
def test_the_runtime_type_decides_the_message(shim: str, message: str) -> None:
    assert message_of(shim) == message


@pytest.mark.parametrize("given", [{}, {"ConfigPath": None}])
def test_an_empty_object_and_null_give_no_message(given: dict[str, object]) -> None:
    assert read_options(KATA, given) == (None, ())


@pytest.mark.parametrize(
    ("shim", "given", "words"),
    [
        # a misspelt key names its nearest match
        (RUNC_SHIM, {"BinaryNam": "x"}, ['unknown option "BinaryNam"', 'did you mean "BinaryName"?']),
        (KATA, {"Root": "/x"}, ['unknown option "Root" of runtimeoptions.v1.Options']),
        # true is no number in JSON, though it is one in Python
        (RUNC_SHIM, {"IoUid": True}, ["IoUid", "found true", "an integer from 0"]),
        (RUNC_SHIM, {"IoUid": -1}, ["found -1", "an integer from 0"]),
        (RUNC_SHIM, {"IoUid": 2**32}, ["found 4294967296"]),
        (RUNC_SHIM, {"IoUid": 1.5}, ["found 1.5"]),
        (RUNC_SHIM, {"IoUid": "0"}, ['found "0"']),
        (RUNC_SHIM, {"SystemdCgroup": 1}, ["found 1, expected true or false"]),
        (RUNC_SHIM, {"BinaryName": ["x"]}, ["found a list"]),
        (KATA, {"ConfigBody": {"base64": "!"}}, ["valid base64"]),
        (KATA, {"ConfigBody": {"base64": "eA==", "more": 1}}, ["found an object"]),
        # the same option under two of its names
        (KATA, {"ConfigPath": "/a", "config_path": "/b"}, ["ConfigPath is given twice"]),
        ("io.containerd.runhcs.v1", {"Debug": True}, ["runs Windows containers"]),
    ],
)
def test_the_fault_of_an_option_has_the_found_and_the_expected_value(
    shim: str, given: dict[str, object], words: list[str]
) -> None:
    options, faults = read_options(shim, given)
    assert options is None
    assert len(faults) == 1
    for word in words:
        assert word in faults[0].message


def test_all_faults_are_reported() -> None:
    _, faults = read_options(RUNC_SHIM, {"IoUid": -1, "Nonsense": 1, "Root": 5})
    assert [fault.key for fault in faults] == ["IoUid", "Nonsense", "Root"]


@given(messages())
def test_readable_fields_give_the_same_options(options: Options) -> None:
    shim = RUNC_SHIM if options.type_url == RUNC else KATA
    again, faults = read_options(shim, options.readable())
    assert faults == ()
    assert again == (options if options.fields else None)


@given(messages())
def test_the_encoding_is_that_of_the_protobuf_library(options: Options) -> None:
    package, _, name = options.type_url.rpartition(".")
    fields = [(field.number, field.name, field.kind) for field in MESSAGES[options.type_url]]
    message = message_classes(package, {name: fields})[name]()
    for key, value in options.fields:
        setattr(message, key, value)
    assert encode_options(options) == message.SerializeToString(deterministic=True)


def test_the_encoding_is_stable() -> None:
    options = make_options(
        RUNC, {"systemd_cgroup": True, "binary_name": "runc", "root": "/run/runtimed/runtime-runc", "io_uid": 300}
    )
    encoded = base64.b64encode(encode_options(options)).decode()
    assert encoded == "IKwCMgRydW5jOhovcnVuL3J1bnRpbWVkL3J1bnRpbWUtcnVuY0gB"
