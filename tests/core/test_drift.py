"""What has become of binaries, from two looks at them."""

from __future__ import annotations

import pytest

from runtimed.core.drift import Drift, Sight, compare_sights
from runtimed.core.shapes import DriftKind

THERE = Sight("available", "/bin/x", (1, 2, 3, 4))
TOUCHED = Sight("available", "/bin/x", (1, 2, 3, 5))
ELSEWHERE = Sight("available", "/usr/bin/x", (1, 2, 3, 4))
MISSING = Sight("missing", reason="no such file")
UNUSABLE = Sight("unusable", reason="is not executable (mode 0644)")


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
def test_what_has_become_of_a_binary(before: Sight, now: Sight, kind: DriftKind | None) -> None:
    found = compare_sights({"x": before}, {"x": now})
    assert found == ({} if kind is None else {"x": Drift("x", kind, now.path, now.reason, now.identity)})


def test_a_binary_that_was_not_there_to_be_compared_has_not_drifted() -> None:
    assert compare_sights({}, {"x": THERE}) == {}
    assert compare_sights({"x": THERE}, {}) == {}
