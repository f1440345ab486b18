"""Tests of RuntimeClass objects made from the table."""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness.runtime_class import LIST
from harness.tables import row, table
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from runtimed.core.engines import load_engine
from runtimed.core.engines.engine import ExportOptions
from runtimed.core.engines.kubernetes import write_kubernetes

CRUN = {"path": "/usr/bin/crun"}
PLAIN, SELECTING = ExportOptions(), ExportOptions(node_selector=True)
OVERHEAD = {"overhead": {"podFixed": {"memory": "120Mi", "cpu": "0.25"}}}
TOLERATIONS = [{"key": "kata", "operator": "Exists", "effect": "NoSchedule"}]
LABELS = {"app.kubernetes.io/managed-by": "runtimed"}
# At the borders of a DNS label and of a node label.
NAMES = st.text("abcXYZ019-._/é", min_size=1, max_size=66) | st.integers(50, 70).map(lambda length: "a" * length)


def validate(document: Any) -> None:
    Draft202012Validator(LIST).validate(document)


def items_of(written: dict[str, Any], options: ExportOptions = PLAIN) -> list[dict[str, Any]]:
    engine = load_engine("kubernetes")
    document = json.loads(engine.render(engine.write(written, options).document))
    validate(document)
    return list(document["items"])


def test_configured_runtimes_and_runc_become_objects() -> None:
    assert items_of(table(row("crun", CRUN))) == [
        {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": name, "labels": LABELS},
            "handler": name,
        }
        for name in ("crun", "runc")
    ]


def test_a_runtime_that_this_node_cannot_use_becomes_an_object_of_the_cluster() -> None:
    assert [each["handler"] for each in items_of(table(row("crun", CRUN, reason="not found")))] == ["crun", "runc"]


@pytest.mark.parametrize("name", ["Crun", "a.b", "a_b", "-a", "a-", "é", "a\n", "io.containerd.runc.v2", "a" * 64])
def test_a_name_that_is_no_handler_is_left_out_with_a_remark(name: str) -> None:
    translation = write_kubernetes(table(row(name, CRUN)), PLAIN)
    assert [each["handler"] for each in translation.document["items"]] == ["runc"]  # type: ignore[attr-defined]
    [remark] = translation.remarks
    assert remark.pointer == f"/runtimes/{name}"
    assert remark.message.startswith("left out: the handler of a RuntimeClass is ")


def test_the_longest_handler_and_the_longest_label_are_written() -> None:
    assert [each["handler"] for each in items_of(table(row("a" * 63, CRUN)))] == ["a" * 63, "runc"]
    longest, too_long = "a" * 55, "a" * 56
    rows = table(row(longest, CRUN), row(too_long, CRUN))
    selectors = {each["handler"]: each["scheduling"]["nodeSelector"] for each in items_of(rows, SELECTING)}
    namespace = "runtimed.feature.node.kubernetes.io"
    assert selectors == {name: {f"{namespace}/runtime-{name}": "true"} for name in (longest, "runc")}
    [remark] = write_kubernetes(rows, SELECTING).remarks
    assert remark.pointer == f"/runtimes/{too_long}"
    assert "without a label its pods could go to any node" in remark.message


def test_carried_keys_are_written_and_cannot_replace_runtimeds_own() -> None:
    carried = {
        **OVERHEAD,
        "handler": "other",
        "kind": "Secret",
        "metadata": {
            "name": "other",
            "annotations": {"team": "a"},
            "labels": {"tier": "vm", **dict.fromkeys(LABELS, "")},
        },
        "scheduling": {"tolerations": TOLERATIONS, "nodeSelector": {"zone": "a"}},
    }
    kata, runc = items_of(table(row("kata", {**CRUN, "engines": {"kubernetes": carried, "crio": {"x": 1}}})), SELECTING)
    assert kata == {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": "kata", "annotations": {"team": "a"}, "labels": {"tier": "vm", **LABELS}},
        "handler": "kata",
        **OVERHEAD,
        "scheduling": {
            "tolerations": TOLERATIONS,
            "nodeSelector": {"zone": "a", "runtimed.feature.node.kubernetes.io/runtime-kata": "true"},
        },
    }
    assert "overhead" not in runc


def test_carried_keys_of_another_type_give_way_to_runtimeds_own() -> None:
    kata, _ = items_of(table(row("kata", {**CRUN, "engines": {"kubernetes": {"metadata": 1}}})))
    assert kata["metadata"] == {"name": "kata", "labels": LABELS}


def test_a_default_of_the_node_is_left_out_with_a_remark() -> None:
    [remark] = write_kubernetes(table(row("crun", CRUN), default="crun"), PLAIN).remarks
    assert (remark.pointer, remark.message[:8]) == ("/default-runtime", "left out")
    assert write_kubernetes(table(), PLAIN).remarks == ()


@given(st.sets(NAMES), st.booleans())
def test_each_configured_name_becomes_a_valid_object_or_a_remark(names: set[str], selecting: bool) -> None:
    rows = table(*(row(name, CRUN) for name in names - {"runc"}))
    translation = write_kubernetes(rows, ExportOptions(node_selector=selecting))
    validate(translation.document)
    items: Any = translation.document["items"]
    assert all(("scheduling" in each) is selecting for each in items)
    assert len(items) + len(translation.remarks) == len(names | {"runc"})
    assert all(each["handler"] == each["metadata"]["name"] for each in items)
