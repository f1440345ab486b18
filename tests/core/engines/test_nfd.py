"""Tests of the feature file for Node Feature Discovery."""

from __future__ import annotations

import re
from typing import Any

import pytest
from harness.tables import row, table
from hypothesis import given
from hypothesis import strategies as st

from runtimed.core.engines import load_engine
from runtimed.core.engines.engine import ExportOptions, Found
from runtimed.core.engines.nfd import FILE, MAX_BYTES, write_nfd
from runtimed.core.engines.ownership import MARK
from runtimed.core.errors import ConfigurationRejected

ENGINE = load_engine("nfd")
CRUN = {"path": "/usr/bin/crun"}
NAMESPACE = "runtimed.feature.node.kubernetes.io"
STOCK = {f"{NAMESPACE}/runtime-runc": "true", f"{NAMESPACE}/runtime-io.containerd.runc.v2": "true"}
DEFAULT = {f"{NAMESPACE}/default": "runc"}
NOWHERE = Found({}, None, "")
IDMAP = {"idmap": {"enabled": True}}
# apimachinery's IsQualifiedName and IsValidLabelValue, by which nfd-worker ignores labels.
KEY = re.compile(rf"{re.escape(NAMESPACE)}/(?=.{{1,63}}\Z)([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]", re.ASCII)
VALUE = re.compile(r"(?=.{1,63}\Z)([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]", re.ASCII)
NAMES = st.text("abcXYZ019-._/=#é \n", min_size=1, max_size=66)


def labels_of(text: str) -> dict[str, str]:
    """Return the labels that nfd-worker makes of a feature file (parseFeatureFile of source/local/local.go)."""
    labels = {}
    for line in map(str.strip, text.split("\n")):
        if line and not line.startswith("#"):
            key, _, value = line.partition("=")
            labels[key] = value or "true"
    return labels


def planned(written: dict[str, Any], found: Found = NOWHERE) -> str:
    assert ENGINE.writing is not None
    [write] = ENGINE.writing.plan(written, ExportOptions(), found).writes
    assert write.path == FILE
    return write.data.decode()


def test_available_runtimes_and_the_default_become_labels() -> None:
    text = planned(table(row("crun", CRUN), row("Kata.vm_1", CRUN), default="crun"))
    assert text.startswith(MARK)
    assert labels_of(text) == {
        f"{NAMESPACE}/runtime-crun": "true",
        f"{NAMESPACE}/runtime-Kata.vm_1": "true",
        **STOCK,
        f"{NAMESPACE}/default": "crun",
    }


def test_an_unavailable_runtime_has_no_label_and_a_configured_one_a_remark() -> None:
    translation = write_nfd(table(row("crun", CRUN, reason="not found"), row("runc", reason="not found")))
    assert translation.document == {f"{NAMESPACE}/runtime-io.containerd.runc.v2": "true"}
    assert [(each.pointer, each.message) for each in translation.remarks] == [
        ("/runtimes/crun", "left out: not available: not found"),
        ("/default-runtime", "left out: runc is not known to be available"),
    ]


def test_the_name_of_a_shim_is_no_label_of_the_default() -> None:
    translation = write_nfd(table(default="io.containerd.kata.v2"))
    assert translation.document == STOCK
    assert [each.pointer for each in translation.remarks] == ["/default-runtime"]


def test_a_name_that_is_no_label_is_left_out_with_a_remark() -> None:
    long, longest = "a" * 56, "a" * 55
    translation = write_nfd(table(row(long, CRUN), row(longest, CRUN), row("a b", CRUN), default="a b"))
    assert translation.document == {f"{NAMESPACE}/runtime-{longest}": "true", **STOCK}
    assert [each.pointer for each in translation.remarks] == ["/runtimes/a b", f"/runtimes/{long}", "/default-runtime"]


@pytest.mark.parametrize(
    ("features", "labelled"),
    [
        ({"linux": {"namespaces": ["user", "pid"], "mountExtensions": IDMAP}}, True),
        ({"linux": {"namespaces": ["pid"], "mountExtensions": IDMAP}}, False),
        ({"linux": {"namespaces": ["user"], "mountExtensions": {"idmap": {"enabled": False}}}}, False),
        # runc 1.1 has user namespaces and no idmapped mounts.
        ({"linux": {"namespaces": ["user"]}}, False),
        # A binary may print anything.
        ({"linux": {"namespaces": "superuser", "mountExtensions": IDMAP}}, False),
        ({"linux": {"namespaces": 7, "mountExtensions": IDMAP}}, False),
        ({"linux": {"namespaces": ["user"], "mountExtensions": {"idmap": {"enabled": "no"}}}}, False),
        ({"linux": []}, False),
        (None, False),
    ],
)
def test_user_namespaces_are_a_label_where_the_binary_has_all_that_pods_need(features: object, labelled: bool) -> None:
    labels = write_nfd(table(row("crun", CRUN, features=features))).document
    assert (f"{NAMESPACE}/user-namespaces-crun" in labels) is labelled


def test_features_that_are_not_known_yet_make_no_label() -> None:
    pending = {**row("crun", CRUN), "features": {"status": "pending", "features": None, "version": None, "reason": ""}}
    assert write_nfd(table(pending)).document == {f"{NAMESPACE}/runtime-crun": "true", **STOCK, **DEFAULT}


def test_carried_keys_have_no_place_in_a_feature_file() -> None:
    translation = write_nfd(table(row("crun", {**CRUN, "engines": {"nfd": {"x": 1}}})))
    assert [each.pointer for each in translation.remarks] == ["/runtimes/crun/engines/nfd"]


def test_only_a_file_with_the_mark_is_replaced() -> None:
    text = planned(table())
    assert planned(table(), Found({FILE: text.encode()}, None, "")) == text
    with pytest.raises(ConfigurationRejected, match="was not written by runtimectl"):
        planned(table(), Found({FILE: b"x=y\n"}, None, ""))


def test_a_file_that_nfd_would_ignore_is_refused() -> None:
    rows = [row(f"{number:040}", CRUN) for number in range(MAX_BYTES // 40)]
    empty, one = len(planned(table())), len(planned(table(rows[0])))
    most = (MAX_BYTES - empty) // (one - empty)
    assert len(planned(table(*rows[:most]))) <= MAX_BYTES
    with pytest.raises(ConfigurationRejected, match="nfd-worker ignores a file of more than 65,536"):
        planned(table(*rows[: most + 1]))


@given(st.sets(NAMES), st.sampled_from(["runc", "a", "a b"]))
def test_each_line_is_a_label_that_nfd_accepts(names: set[str], default: str) -> None:
    rows = table(*(row(name, CRUN) for name in names - {"runc"}), default=default)
    translation = write_nfd(rows)
    labels = labels_of(ENGINE.render(translation.document))
    assert labels == translation.document
    assert all(KEY.fullmatch(key) and VALUE.fullmatch(value) for key, value in labels.items())
    runtimes = [key for key in labels if "/runtime-" in key]
    assert len(runtimes) + len(translation.remarks) == len(rows["runtimes"]) + (f"{NAMESPACE}/default" not in labels)
