"""Tests of the comparison of binaries."""

from __future__ import annotations

import pytest

from runtimed.core.drift import BinaryState, Drift, compare_states
from runtimed.core.shapes.runtimes import DriftKind

THERE = BinaryState("available", "/bin/x", (1, 2, 3, 4))
TOUCHED = BinaryState("available", "/bin/x", (1, 2, 3, 5))
ELSEWHERE = BinaryState("available", "/usr/bin/x", (1, 2, 3, 4))
MISSING = BinaryState("missing", reason="no such file")
UNUSABLE = BinaryState("unusable", reason="is not executable (mode 0644)")


@pytest.mark.parametrize(
    ("before", "now", "kind"),
    [
        (THERE, THERE, None),
        (THERE, TOUCHED, "replaced"),
        # Found earlier on PATH.
        (THERE, ELSEWHERE, "replaced"),
        (THERE, MISSING, "removed"),
        (THERE, UNUSABLE, "unusable"),
        (MISSING, THERE, "installed"),
        (UNUSABLE, THERE, "installed"),
        (MISSING, UNUSABLE, None),
        (UNUSABLE, MISSING, None),
        (MISSING, MISSING, None),
    ],
)
def test_each_kind_of_drift_is_detected(before: BinaryState, now: BinaryState, kind: DriftKind | None) -> None:
    found = compare_states({"x": before}, {"x": now})
    assert found == ({} if kind is None else {"x": Drift("x", kind, now.path, now.reason, now.identity)})


def test_a_binary_in_one_comparison_only_has_not_drifted() -> None:
    assert compare_states({}, {"x": THERE}) == {}
    assert compare_states({"x": THERE}, {}) == {}
