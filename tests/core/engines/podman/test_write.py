"""Tests of the export to podman, and of the questions that podman is asked."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from harness.described_tables import described_table

from runtimed.core.engines import load_engine
from runtimed.core.engines.engine import ExportOptions, Found, Run
from runtimed.core.engines.ownership import MARK
from runtimed.core.errors import ConfigurationRejected

ENGINE = load_engine("podman")
RUNC = "io.containerd.runc.v2"
KATA = "io.containerd.kata.v2"
PATH = "/etc/containers/containers.conf.d/50-runtimed.conf"
TABLE: dict[str, Any] = {
    "runtimes": {
        "crun": {"path": "/usr/bin/crun"},
        "gvisor": {"path": "/opt/runsc-debug", "runtimeArgs": ["--debug"]},
        "a b/c": {"path": "/opt/x"},
        "/slash": {"path": "/opt/x"},
        "kata": {"runtimeType": KATA},
        RUNC: {"runtimeType": RUNC, "options": {"NoPivotRoot": True}},
    },
    "default-runtime": "gvisor",
}


def written(document: dict[str, Any]) -> tuple[Any, list[str]]:
    """Return the section of the file, and the remarks."""
    translation = ENGINE.write(described_table(document), ExportOptions())
    # Through the format itself: podman gets text.
    return tomllib.loads(ENGINE.render(translation.document))["engine"], list(map(str, translation.remarks))


def test_path_runtimes_are_exported_by_their_stable_paths_and_shims_are_left_out() -> None:
    engine, remarks = written(TABLE)
    assert engine == {
        "runtime": "gvisor",
        "runtimes": {
            "crun": ["/data/runtimes/crun"],
            "gvisor": ["/data/runtimes/gvisor"],
            "a b/c": ["/data/runtimes/a%20b%2fc"],
        },
    }
    assert remarks == [
        'engine.runtimes."/slash": left out: podman takes a name that begins with / for the path of a binary',
        f'engine.runtimes."{RUNC}": left out: podman executes OCI runtimes, and this is the shim {RUNC}',
        f"engine.runtimes.kata: left out: podman executes OCI runtimes, and this is the shim {KATA}",
    ]


@pytest.mark.parametrize("default", ["kata", "/slash", RUNC, "io.containerd.implicit.v2"])
def test_a_default_that_podman_cannot_have_is_left_out(default: str) -> None:
    engine, remarks = written({**TABLE, "default-runtime": default})
    assert "runtime" not in engine
    assert f"it names, {default}: podman chooses its own" in remarks[-1]


def test_the_stock_runtime_is_podmans_own_runc() -> None:
    assert written({"default-runtime": "runc"}) == ({"runtime": "runc", "runtimes": {}}, [])
    engine, remarks = written({"default-runtime": RUNC})
    assert engine == {"runtime": "runc", "runtimes": {}}
    assert remarks == [f"engine.runtime: podman knows the stock runtime {RUNC} as runc"]


@pytest.mark.parametrize(
    ("name", "binary", "keys"),
    [
        ("crun", "/opt/crun", []),
        ("mine", "/opt/other", []),
        ("kata", "/opt/other", []),
        ("mine", "/usr/bin/crun", ["runtime_supports_json", "runtime_supports_nocgroup"]),
        ("mine", "krun", ["runtime_supports_json", "runtime_supports_kvm", "runtime_supports_nocgroup"]),
        ("runsc", "/usr/sbin/runc", []),
        ("kata", "/usr/bin/crun", ["runtime_supports_kvm", "runtime_supports_nocgroup"]),
        ("x/crun", "/usr/bin/crun", []),
    ],
)
def test_what_podman_knows_of_the_binary_by_another_name_causes_a_remark(
    name: str, binary: str, keys: list[str]
) -> None:
    _, remarks = written({"runtimes": {name: {"path": binary}}, "default-runtime": name})
    assert [next(key for key in ("_json", "_kvm", "_nocgroup") if key in remark) for remark in remarks] == [
        key.removeprefix("runtime_supports") for key in keys
    ]


def test_keys_that_are_carried_for_podman_cause_a_remark() -> None:
    entry = {"path": "/opt/x", "engines": {"podman": {"a": 1, "b": 2}, "crio": {"c": 3}}}
    _, (remark,) = written({"runtimes": {"mine": entry}, "default-runtime": "mine"})
    assert remark.startswith("engine.runtimes.mine: a, b left out: ")


def test_the_plan_checks_exactly_the_bytes_that_it_writes_with_another_storage() -> None:
    assert ENGINE.writing is not None
    plan = ENGINE.writing.plan(described_table(TABLE), ExportOptions(), Found({}, "podman version 4.3.1", "/scratch"))
    (write,) = plan.writes
    assert write.path == PATH == ENGINE.writing.path
    assert write.data.decode().startswith(MARK)
    (name,) = plan.scratch
    assert plan.scratch[name] == write.data
    (check,) = plan.checks
    assert check.environ == {"CONTAINERS_CONF": f"/scratch/{name}"}
    assert [word for word in check.words if word.startswith("/")] == ["/scratch/root", "/scratch/run", "/scratch/state"]
    assert plan.remarks == ENGINE.write(described_table(TABLE), ExportOptions()).remarks


def test_a_file_of_somebody_else_is_not_replaced() -> None:
    assert ENGINE.writing is not None
    found = Found({PATH: b"[engine]\n"}, None, "/scratch")
    with pytest.raises(ConfigurationRejected):
        ENGINE.writing.plan(described_table(TABLE), ExportOptions(), found)


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
