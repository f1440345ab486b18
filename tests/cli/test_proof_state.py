"""Tests of the lines about proofs."""

from __future__ import annotations

import time
from typing import Any

import pytest

from runtimed.cli.proof_state import render_proof, status_fields
from runtimed.cli.terminal import GREEN, RED, YELLOW, Tinted
from runtimed.core import shapes
from runtimed.core.proof.record import Proof, judge_proof

NEVER = judge_proof(None, "d", "i")
NOON = time.mktime((2026, 11, 27, 12, 0, 0, 0, 0, -1))


def proof_of(outcome: Any = "passed", identity: str = "i", detail: str = "") -> shapes.Proof:
    return judge_proof(Proof("a", outcome, "direct", "d", identity, 3, NOON, detail), "d", "i")


@pytest.mark.parametrize(
    ("proof", "text", "colour"),
    [
        (NEVER, "not proved: it was never tested", None),
        (proof_of(), "proved (test passed 2026-11-27 12:00:00, generation 3, direct)", GREEN),
        (
            proof_of(identity="old"),
            "outdated (test passed 2026-11-27 12:00:00, generation 3, direct): a binary changed after the test",
            YELLOW,
        ),
        (
            proof_of("failed", detail="create hangs"),
            "not proved (test failed 2026-11-27 12:00:00, generation 3, direct): create hangs",
            RED,
        ),
    ],
)
def test_a_proof_is_shown_with_its_reason_and_its_test(proof: shapes.Proof, text: str, colour: int | None) -> None:
    found = render_proof(proof)
    assert (found.value, found.colour) == (text, colour)


def fields(default: shapes.Proof, **more: Any) -> list[tuple[str, object]]:
    states = {"proved": 1, "not-proved": 4, "outdated": 0}
    proofs = {"required": False, "states": states, "default": default, "remark": None, **more}
    return [(name, value.value if isinstance(value, Tinted) else value) for name, value in status_fields(proofs, "a")]


def test_the_status_counts_the_proofs_where_there_are_some_or_one_is_required() -> None:
    none = {"proved": 0, "not-proved": 5, "outdated": 0}
    assert fields(NEVER, states=none) == []
    assert fields(NEVER) == [
        ("proofs", "1 proved, 4 not proved; not required for the default runtime"),
        ("  a", "not proved: it was never tested"),
    ]
    assert fields(NEVER, states=none, required=True)[0] == ("proofs", "5 not proved; required for the default runtime")
    assert fields(NEVER, states=none, remark="damaged")[-1] == ("  note", "damaged")
