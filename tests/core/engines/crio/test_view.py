"""Tests of the question to CRI-O, and of its answer."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from harness.crio_dumps import encoded_configuration
from harness.engine_tables import described_table

from runtimed.core.engines import load_engine
from runtimed.core.engines.engine import ExportOptions, Get

ENGINE = load_engine("crio")
TABLE: dict[str, Any] = {
    "runtimes": {
        "crun": {"path": "/usr/bin/crun"},
        "kata": {"runtimeType": "io.containerd.kata.v2", "options": {"ConfigPath": "/k.toml"}},
    },
    "default-runtime": "kata",
}


def test_the_view_of_a_document_and_of_crios_configuration_agree() -> None:
    asking = ENGINE.asking
    assert asking is not None
    document = ENGINE.write(described_table(TABLE), ExportOptions()).document
    assert asking.questions(document) == {"config": Get("/var/run/crio/crio.sock", "/config")}
    runtime: Any = tomllib.loads(ENGINE.render(document))["crio"]["runtime"]
    handlers = {**runtime["runtimes"], "crun-of-another-file": {"runtime_path": "/usr/libexec/crio/crun"}}
    view = asking.answered({"config": encoded_configuration(runtime["default_runtime"], handlers).encode()})
    expected = asking.expected(document)
    assert view.default == expected.default
    assert view.runtimes == {**expected.runtimes, "crun-of-another-file": "/usr/libexec/crio/crun"}
    assert view.runtimes["kata"] == "/usr/bin/containerd-shim-kata-v2 as vm with /k.toml"
    assert view.runtimes["crun"] == "/data/runtimes/crun"


def test_a_runtime_that_inherits_is_expected_to_be_the_default_one() -> None:
    asking = ENGINE.asking
    assert asking is not None
    runtimes = {
        "a": {"path": "/opt/x"},
        "b": {"path": "/opt/y", "engines": {"crio": {"inherit_default_runtime": True}}},
    }
    document = ENGINE.write(described_table({"runtimes": runtimes, "default-runtime": "a"}), ExportOptions()).document
    assert asking.expected(document).runtimes == {"a": "/data/runtimes/a", "b": "/data/runtimes/a"}


@pytest.mark.parametrize("answer", [b"not found", b"", b"[crio]", b"[crio.runtime]\nruntimes = 5", b"\xff"])
def test_an_answer_that_is_not_crios_configuration_is_an_error(answer: bytes) -> None:
    assert ENGINE.asking is not None
    with pytest.raises(ValueError, match=r"."):
        ENGINE.asking.answered({"config": answer})
