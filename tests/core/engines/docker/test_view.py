"""Tests of dockerd's answer to ``GET /info``, with the answers of dockerd 20.10.24 and 28.5.2."""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness.engine_tables import node_generation, table_of

from runtimed.core.engines import load_engine
from runtimed.core.engines.docker.view import ASKING
from runtimed.core.engines.docker.write import write_docker
from runtimed.core.engines.engine import Get, View

KATA = "io.containerd.kata.v2"
# The table of this daemon.json, asked by each of the two versions: /info has no runtimeType and no options.
DOCUMENT = {
    "runtimes": {
        "crun": {"path": "/data/runtimes/crun"},
        "args": {"path": "/bin/x", "runtimeArgs": ["a", "b c"]},
        "kata": {"runtimeType": KATA, "options": {"ConfigPath": "/x"}},
    },
    "default-runtime": "crun",
}
OLD: dict[str, Any] = {
    "ServerVersion": "20.10.24+dfsg1",
    "Runtimes": {
        "args": {"path": "/bin/x", "runtimeArgs": ["a", "b c"]},
        "crun": {"path": "/data/runtimes/crun"},
        "io.containerd.runc.v2": {"path": "runc"},
        "io.containerd.runtime.v1.linux": {"path": "runc"},
        "kata": {"path": ""},
        "runc": {"path": "runc"},
    },
    "DefaultRuntime": "crun",
}
NEW: dict[str, Any] = {
    "ServerVersion": "28.5.2+dfsg4",
    "Runtimes": {
        "args": {"path": "/bin/x", "runtimeArgs": ["a", "b c"]},
        "crun": {"path": "/data/runtimes/crun"},
        "io.containerd.runc.v2": {"path": "runc"},
        "kata": {},
        "runc": {"path": "runc", "status": {"org.opencontainers.runtime-spec.features": "{}"}},
    },
    "DefaultRuntime": "crun",
}


def view_of(info: object) -> View:
    return ASKING.answered({"info": json.dumps(info).encode()})


def ours(view: View) -> dict[str, str]:
    """Return the entries of a view that DOCUMENT has."""
    return {name: line for name, line in view.runtimes.items() if name in DOCUMENT["runtimes"]}


def test_the_answer_of_a_dockerd_that_follows_is_the_expected_view() -> None:
    expected, answered = ASKING.expected(DOCUMENT), view_of(NEW)
    assert answered.default == expected.default == "crun"
    assert ours(answered) == expected.runtimes
    assert expected.runtimes["args"] == "/bin/x a b c"


def test_an_old_dockerd_does_not_have_the_entries_that_it_cannot_run() -> None:
    assert ours(view_of(OLD)) == {name: ASKING.expected(DOCUMENT).runtimes[name] for name in ("args", "crun")}


@pytest.mark.parametrize(
    "entry", [{"path": "/data/runtimes/x"}, {"path": "/data/runtimes/crun", "runtimeArgs": ["x"]}, {}]
)
def test_another_binary_or_other_arguments_are_a_difference(entry: dict[str, Any]) -> None:
    info = {**NEW, "Runtimes": {**NEW["Runtimes"], "crun": entry}}
    assert ours(view_of(info)) != ASKING.expected(DOCUMENT).runtimes


def test_the_view_of_a_table_has_a_line_for_each_configured_runtime_and_the_default() -> None:
    document = {"runtimes": {"crun": {"path": "/usr/bin/crun"}, "kata": {"runtimeType": KATA}}}
    view = ASKING.expected(write_docker(table_of(node_generation(document))).document)
    assert view == View("runc", {"crun": "/data/runtimes/crun", "kata": "a runtimeType"})


def test_a_default_runtime_that_was_left_out_is_not_expected() -> None:
    assert ASKING.expected({"runtimes": {}}) == View(None, {})


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b'{"message": "page not found"}',
        b'{"Runtimes": null, "ServerVersion": "28.0", "DefaultRuntime": "x"}',
        b'{"Runtimes": {"a": 1}, "ServerVersion": "28.0", "DefaultRuntime": "x"}',
        b'{"Runtimes": {"a": {"path": "x", "runtimeArgs": 1}}, "ServerVersion": "28.0", "DefaultRuntime": "x"}',
        b'{"Runtimes": {}, "ServerVersion": 28, "DefaultRuntime": "x"}',
        b'{"Runtimes": {}, "ServerVersion": "28.0"}',
    ],
)
def test_an_answer_that_is_not_dockerds_is_an_error_with_a_reason(answer: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        ASKING.answered({"info": answer})


def test_dockerd_is_asked_at_its_socket_and_told_by_a_reload() -> None:
    asking = load_engine("docker").asking
    assert asking is not None
    assert asking.questions({}) == {"info": Get("/run/docker.sock", "/info")}
    assert (asking.process, asking.takes_effect) == ("dockerd", "reload")
