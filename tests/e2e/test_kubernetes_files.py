"""RuntimeClass objects from a real daemon's table, applied by a real kubectl."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.harness.kubernetes import FakeCluster, fake_cluster
from harness.daemon import RunningDaemon, new_daemon
from harness.runtimectl import runtimectl

pytestmark = pytest.mark.timeout(400)
RUNTIMES: dict[str, Any] = {"crun": {"path": "/usr/bin/crun"}, "kata": {"runtimeType": "io.containerd.kata.v2"}}
PRUNING = ("--prune", "-l", "app.kubernetes.io/managed-by=runtimed")
PRUNED = "=node.k8s.io/v1/RuntimeClass"


@pytest.fixture
def daemon() -> Iterator[RunningDaemon]:
    with new_daemon() as daemon:
        daemon.write({"runtimes": RUNTIMES})
        daemon.start()
        yield daemon


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[FakeCluster]:
    with fake_cluster(tmp_path) as cluster:
        yield cluster


def export(daemon: RunningDaemon, *options: str) -> str:
    run = runtimectl("export", "kubernetes", *options, on=daemon)
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


def outcome(name: str, word: str) -> str:
    return f"runtimeclass.node.k8s.io/{name} {word}"


def test_kubectl_creates_what_was_exported_and_finds_it_unchanged_then(
    daemon: RunningDaemon, cluster: FakeCluster
) -> None:
    document = export(daemon)
    assert cluster.apply(document) == [outcome(name, "created") for name in ("crun", "kata", "runc")]
    assert cluster.applied() == json.loads(document)["items"]
    writes = list(cluster.writes)
    assert cluster.apply(export(daemon)) == [outcome(name, "unchanged") for name in ("crun", "kata", "runc")]
    assert cluster.writes == writes


def test_kubectl_removes_the_object_of_a_dropped_runtime_and_no_other(
    daemon: RunningDaemon, cluster: FakeCluster
) -> None:
    foreign = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "foreign"}, "handler": "x"}
    cluster.apply(json.dumps(foreign))
    cluster.apply(export(daemon))
    daemon.write({"runtimes": {"crun": RUNTIMES["crun"]}})
    assert daemon.reload()["outcome"] in ("applied", "unchanged")
    # kubectl 1.20 has another word for it.
    word = "--prune-allowlist" if "--prune-allowlist" in cluster.kubectl("apply", "--help") else "--prune-whitelist"
    lines = cluster.apply(export(daemon), *PRUNING, word + PRUNED)
    assert outcome("kata", "pruned") in lines
    assert sorted(cluster.objects) == ["crun", "foreign", "runc"]


def test_a_node_selector_that_is_added_and_dropped_reaches_the_objects(
    daemon: RunningDaemon, cluster: FakeCluster
) -> None:
    for selecting in (False, True, False):
        document = export(daemon, *(["--node-selector"] if selecting else []))
        cluster.apply(document)
        assert cluster.applied() == json.loads(document)["items"]
        assert [("scheduling" in each) for each in cluster.objects.values()] == [selecting] * 3


def test_the_server_of_these_tests_refuses_what_is_no_runtime_class(cluster: FakeCluster) -> None:
    wrong = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "a"}, "handler": "a.b"}
    cluster.apply(json.dumps(wrong), status=1)
    assert (cluster.objects, cluster.writes) == ({}, ["POST a"])
