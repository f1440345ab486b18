"""Tests of the translation of the table into a daemon.json."""

from __future__ import annotations

from typing import Any

import pytest
from harness.engine_tables import node_generation, table_of

from runtimed.core.engines.docker.version import Version, parse_version
from runtimed.core.engines.docker.write import write_docker

RUNC = "io.containerd.runc.v2"
KATA = "io.containerd.kata.v2"
TABLE: dict[str, Any] = {
    "runtimes": {
        "crun": {"path": "/usr/bin/crun"},
        "gvisor": {"path": "runsc", "runtimeArgs": ["--x", "two words"]},
        "kata": {"runtimeType": KATA, "options": {"TypeUrl": "t"}},
        "Odd name": {"runtimeType": RUNC, "options": {"NoNewKeyring": False, "IoUid": 7, "TaskApiVersion": 3}},
        "body": {"runtimeType": KATA, "options": {"ConfigBody": "x"}},
        RUNC: {"path": "/usr/bin/crun"},
    },
    "default-runtime": "gvisor",
}


def remarks_of(document: dict[str, Any], version: Version | None = None) -> list[str]:
    return [str(remark) for remark in write_docker(table_of(node_generation(document)), version).remarks]


def test_dockerd_gets_configured_runtimes_and_stable_paths() -> None:
    exported = write_docker(table_of(node_generation(TABLE)))
    assert exported.document == {
        "runtimes": {
            "crun": {"path": "/data/runtimes/crun"},
            "gvisor": {"path": "/data/runtimes/gvisor"},
            "kata": {"runtimeType": KATA, "options": {"TypeUrl": "t"}},
            RUNC: {"path": f"/data/runtimes/{RUNC}"},
        },
        "default-runtime": "gvisor",
    }
    assert [str(remark) for remark in exported.remarks] == [
        "/runtimes/Odd name: left out: dockerd refuses every number in options, and IoUid is one",
        "/runtimes/body: left out: dockerd has no notation for bytes, the value of ConfigBody",
        f"/runtimes/{RUNC}: dockerd older than 25.0 keeps its own runtime of this name",
        "/runtimes/kata: dockerd older than 24.0 accepts a runtimeType and cannot run it",
    ]


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ((20, 10), ["crun", "gvisor"]),
        ((23, 0), ["crun", "gvisor"]),
        ((24, 0), ["crun", "gvisor", "kata"]),
        ((25, 0), ["crun", "gvisor", RUNC, "kata"]),
        ((28, 5), ["crun", "gvisor", RUNC, "kata"]),
    ],
)
def test_a_runtime_that_this_version_cannot_run_is_left_out(version: Version, names: list[str]) -> None:
    exported = write_docker(table_of(node_generation(TABLE)), version)
    runtimes: Any = exported.document["runtimes"]
    assert list(runtimes) == names
    left_out = [str(remark) for remark in exported.remarks]
    assert len(left_out) == len(TABLE["runtimes"]) - len(names)
    assert all(": left out: " in remark for remark in left_out)


def test_a_remark_on_an_old_version_names_both_versions() -> None:
    (remark,) = remarks_of({"runtimes": {"kata": {"runtimeType": KATA}}}, (20, 10))
    assert remark == (
        "/runtimes/kata: left out: dockerd older than 24.0 accepts a runtimeType and cannot run it, "
        "and this one is 20.10"
    )


@pytest.mark.parametrize("default", [KATA, RUNC])
def test_a_default_runtime_that_is_not_configured_is_left_out_for_an_old_version(default: str) -> None:
    document = {"default-runtime": default}
    new = {"runtimes": {}, "default-runtime": default}
    assert write_docker(table_of(node_generation(document))).document == new
    assert write_docker(table_of(node_generation(document)), (23, 0)).document == new
    assert remarks_of(document, (23, 0)) == []
    assert write_docker(table_of(node_generation(document)), (20, 10)).document == {"runtimes": {}}
    (remark,) = remarks_of(document, (20, 10))
    assert remark.startswith("/default-runtime: left out: dockerd older than 23.0 ")
    assert remarks_of(document) == [remark.replace("left out: ", "").removesuffix(", and this one is 20.10")]


def test_keys_carried_for_docker_cause_a_remark() -> None:
    engines = {"docker": {"x": 1}, "containerd": {"y": 2}}
    document = {"runtimes": {"a/b": {"path": "/c", "engines": engines}}}
    assert write_docker(table_of(node_generation(document))).document["runtimes"] == {
        "a/b": {"path": "/data/runtimes/a%2fb"}
    }
    assert remarks_of(document) == [
        "/runtimes/a~1b/engines/docker: left out, because dockerd ignores unknown keys of a runtime"
    ]


def test_runc_is_a_default_runtime_for_every_version() -> None:
    assert write_docker(table_of(node_generation({})), (20, 10)).document == {"runtimes": {}, "default-runtime": "runc"}
    assert remarks_of({}) == []


@pytest.mark.parametrize(("default", "version"), [("body", None), ("kata", (20, 10)), (RUNC, (20, 10))])
def test_a_default_runtime_is_left_out_with_its_runtime(default: str, version: Version | None) -> None:
    document = {**TABLE, "default-runtime": default}
    assert "default-runtime" not in write_docker(table_of(node_generation(document)), version).document
    assert remarks_of(document, version)[-1] == (
        f"/default-runtime: left out with the runtime that it names, {default}"
    )


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("Docker version 20.10.24+dfsg1, build 5d6db84\n", (20, 10)),
        ("Docker version 28.5.2+dfsg4, build 89c5e8f\n", (28, 5)),
        ("28.5.2+dfsg4", (28, 5)),
        ("Docker version dev, build 1.2\n", None),
        ("", None),
        (None, None),
    ],
)
def test_the_version_is_read_from_both_of_dockerds_notations(text: str | None, version: Version | None) -> None:
    assert parse_version(text) == version
