"""Tests of the questions to podman, and of its answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness.engine_tables import described_table

from runtimed.core.engines import load_engine
from runtimed.core.engines.engine import ExportOptions, Run

ENGINE = load_engine("podman")
TABLE: dict[str, Any] = {
    "runtimes": {"crun": {"path": "/usr/bin/crun"}, "gvisor": {"path": "/opt/runsc"}, "a b/c": {"path": "/opt/x"}},
    "default-runtime": "gvisor",
}


def asked(document: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    assert ENGINE.asking is not None
    questions = ENGINE.asking.questions(ENGINE.write(described_table(document), ExportOptions()).document)
    assert all(isinstance(question, Run) for question in questions.values())
    return {key: question.words[4:] for key, question in questions.items() if isinstance(question, Run)}


def described(name: str, path: str) -> bytes:
    return json.dumps({"name": name, "package": "Unknown", "path": path, "version": "1"}).encode() + b"\n"


def test_podman_is_asked_for_its_default_and_each_name() -> None:
    assert ENGINE.asking is not None
    questions = asked(TABLE)
    assert questions == {
        "version": (),
        "default": (),
        **{f"runtime {name}": ("--runtime", name) for name in ("a b/c", "crun", "gvisor")},
    }
    answers = {
        "version": b"podman version 4.3.1\n",
        "default": b'time="x" level=warning msg="a warning"\n' + described("gvisor", "/data/runtimes/gvisor"),
        "runtime a b/c": b'Error: default OCI runtime "a b/c" not found: invalid argument\n',
        "runtime crun": described("crun", "/usr/bin/crun"),
        # The binary behind it does not exist.
        "runtime gvisor": b'time="x" level=error msg="Getting info on OCI runtime gvisor: getting version of OCI '
        b'runtime gvisor: `/data/runtimes/gvisor --version` failed: (exit status 127)"\nnull\n',
    }
    view = ENGINE.asking.answered(answers)
    assert view.default == "gvisor"
    assert view.runtimes == {"crun": "/usr/bin/crun", "gvisor": "/data/runtimes/gvisor"}
    expected = ENGINE.asking.expected(ENGINE.write(described_table(TABLE), ExportOptions()).document)
    assert expected.default == "gvisor"
    assert expected.runtimes == {
        "crun": "/data/runtimes/crun",
        "gvisor": "/data/runtimes/gvisor",
        "a b/c": "/data/runtimes/a%20b%2fc",
    }


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b'Error: default OCI runtime "gone" not found: invalid argument\n', "does not have its default runtime"),
        (b"Error: decode configuration /etc/containers/containers.conf: toml: line 2\n", "toml: line 2"),
        (b"null\n", "without its name and path: null"),
        (b'{"name": "crun"}\n', "without its name and path"),
        (b"", "prints no output"),
    ],
)
def test_an_answer_that_is_no_description_is_an_error_with_podmans_reason(answer: bytes, reason: str) -> None:
    assert ENGINE.asking is not None
    with pytest.raises(ValueError, match=reason):
        ENGINE.asking.answered({"version": b"", "default": answer})


def test_of_a_large_table_the_first_names_are_asked_for() -> None:
    assert ENGINE.asking is not None
    document = {"runtimes": {f"r{number:03}": {"path": "/opt/x"} for number in range(100)}}
    names = [key.removeprefix("runtime ") for key in asked(document) if key.startswith("runtime ")]
    assert names == [f"r{number:03}" for number in range(32)]
    expected = ENGINE.asking.expected(ENGINE.write(described_table(document), ExportOptions()).document)
    assert list(expected.runtimes) == names
    assert expected.unasked == 68
