"""Tests of the message about a default runtime that is not proved."""

from __future__ import annotations

import pytest
from harness.generation import generation_of

from runtimed.core import shapes
from runtimed.core.proof.record import Proof, judge_proof
from runtimed.core.proof.requirement import unproved_default

NEVER = judge_proof(None, "", None)
FAILED = judge_proof(Proof("gvisor", "failed", "direct", "d", "i", 1, 1.0, "create hangs"), "d", "i")
OUTDATED = judge_proof(Proof("gvisor", "passed", "direct", "d", "i", 1, 1.0, ""), "d", "other")


def message(proof: shapes.Proof, name: str = "gvisor", *, is_in_use: bool = False, proved: tuple[str, ...] = ()) -> str:
    table = {"default-runtime": name, "runtimes": {name: {"path": "/r"}}, "runtimed": {"require-proof": True}}
    return str(unproved_default(generation_of(table).config, proof, is_in_use=is_in_use, proved=proved))


@pytest.mark.parametrize(
    ("proof", "reason"),
    [
        (NEVER, "it was never tested"),
        (FAILED, "its last test failed: create hangs"),
        (OUTDATED, "a binary changed after the test"),
    ],
)
def test_the_problem_is_at_the_default_runtime_and_names_the_reason_and_the_command(
    proof: shapes.Proof, reason: str
) -> None:
    assert message(proof, is_in_use=True) == (
        f"/d.json:1:21: /default-runtime: the default runtime gvisor is not proved ({reason}), and "
        "runtimed.require-proof requires it; run: runtimectl test gvisor && runtimectl reload"
    )


def test_another_proved_runtime_is_the_default_while_a_new_resolution_is_tested() -> None:
    assert message(NEVER, proved=("runc", "crun")).endswith(
        'its resolution is not in use yet: apply the change with "default-runtime": "runc", which is proved; then run: '
        'runtimectl test gvisor; then set "default-runtime": "gvisor"'
    )


def test_without_any_proved_runtime_the_requirement_is_lifted_for_the_test() -> None:
    assert message(NEVER).endswith(
        'its resolution is not in use yet: apply the change with "require-proof": false; then run: runtimectl test '
        'gvisor; then set "require-proof": true'
    )


@pytest.mark.parametrize(
    ("name", "command"), [("a b$(x)", "runtimectl test 'a b$(x)' && "), ("-x", "runtimectl test -- -x && ")]
)
def test_the_command_is_one_that_a_shell_takes_as_it_is_meant(name: str, command: str) -> None:
    assert command in message(NEVER, name, is_in_use=True)


def test_where_no_default_runtime_is_given_the_problem_is_at_the_requirement() -> None:
    config = generation_of({"runtimed": {"require-proof": True}}).config
    assert str(unproved_default(config, NEVER, is_in_use=True, proved=())).startswith(
        "/d.json:1:32: /runtimed/require-proof: the default runtime runc is not proved"
    )
