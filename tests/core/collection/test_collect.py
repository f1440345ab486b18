"""Tests of the decision which wrappers may be collected."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimed.core.collection.collect import LEAST_GRACE_S, Collection, Judgement, Verdict, judge_wrappers
from runtimed.core.collection.references import Reference, ReferenceScan

A = "gvisor-" + "a" * 32
B = "gvisor-" + "b" * 32
C = "a-b-" + "c" * 32
NOTHING = ReferenceScan((), ())


def judge(
    files: list[str],
    held: dict[str, int] | None = None,
    scan: ReferenceScan = NOTHING,
    since: dict[str, float] | None = None,
    now_s: float = 1000.0,
    scan_s: float = 0.0,
    grace_s: float = 100.0,
    handed_out: frozenset[str] = frozenset(),
) -> Judgement:
    """Judge at the end of a reference scan that took ``scan_s``."""
    return judge_wrappers(
        files,
        held or {},
        scan,
        since or {},
        handed_out=handed_out,
        begun_s=now_s - scan_s,
        now_s=now_s,
        grace_s=grace_s,
    )


def refer(path: str) -> ReferenceScan:
    return ReferenceScan((Reference(path, "container k8s.io/x (task)"),), ())


def test_the_wrapper_of_a_retained_generation_is_kept() -> None:
    (verdict,) = judge([A], held={A: 7}, since={A: 0.0}).verdicts
    assert verdict == Verdict(A, collect=False, reason="generation 7 names it")


@pytest.mark.parametrize(
    "path",
    [
        f"/var/lib/runtimed/wrappers/{A}",
        # the same data root by another way: a bind mount, a link
        f"/mnt/{A}",
        # the stable path leads to whatever wrapper it led to when the container was started
        "/var/lib/runtimed/runtimes/gvisor",
        "/var/lib/runtimed/generations/00000001/runtimes/gvisor",
    ],
)
def test_a_wrapper_with_a_reference_by_any_path_is_kept(path: str) -> None:
    (verdict,) = judge([A], scan=refer(path), since={A: 0.0}).verdicts
    assert verdict == Verdict(A, collect=False, reason="container k8s.io/x (task) refers to it")


def test_a_reference_to_a_stable_path_keeps_all_wrappers_of_that_runtime() -> None:
    verdicts = judge([A, B, C], scan=refer("/d/runtimes/gvisor"), since={A: 0.0, B: 0.0, C: 0.0}).verdicts
    assert {verdict.file: verdict.collect for verdict in verdicts} == {A: False, B: False, C: True}


def test_an_unknown_source_keeps_all_wrappers() -> None:
    scan = ReferenceScan((), ("/run/containerd cannot be read: Permission denied",))
    judgement = judge([A, B], scan=scan, since={A: 0.0, B: 0.0})
    assert not any(verdict.collect for verdict in judgement.verdicts)
    assert "cannot be known" in judgement.verdicts[0].reason
    assert "Permission denied" in judgement.verdicts[0].reason
    assert judgement.unreferenced_since_s == {}, "the grace time begins anew"


def test_an_unreferenced_wrapper_is_kept_for_the_grace_time() -> None:
    first = judge([A], now_s=1000.0)
    assert first.verdicts[0].reason == "nothing refers to it, but only for 0 of 100 s"
    later = judge([A], since=dict(first.unreferenced_since_s), now_s=1099.0)
    assert not later.verdicts[0].collect
    last = judge([A], since=dict(later.unreferenced_since_s), now_s=1100.0)
    assert last.verdicts[0] == Verdict(A, collect=True, reason="nothing has referred to it for 100 s")


@pytest.mark.parametrize(
    "again", [{"held": {A: 9}}, {"scan": refer(f"/d/wrappers/{A}")}, {"scan": ReferenceScan((), ("?",))}]
)
def test_the_grace_time_starts_again_after_a_reference_or_a_doubt(again: dict[str, object]) -> None:
    since = dict(judge([A], now_s=1000.0).unreferenced_since_s)
    since = dict(judge([A], since=since, now_s=1050.0, **again).unreferenced_since_s)  # type: ignore[arg-type]
    judgement = judge([A], since=since, now_s=1101.0)
    assert not judgement.verdicts[0].collect


def test_without_a_grace_time_two_reference_scans_must_find_no_reference() -> None:
    first = judge([A], grace_s=0.0)
    assert not first.verdicts[0].collect
    assert judge([A], grace_s=0.0, since=dict(first.unreferenced_since_s)).verdicts[0].collect


def test_the_grace_time_lies_between_two_scans() -> None:
    since = dict(judge([A], now_s=1000.0, scan_s=50.0).unreferenced_since_s)
    assert since == {A: 1000.0}
    assert not judge([A], since=since, now_s=1149.0, scan_s=50.0).verdicts[0].collect
    assert judge([A], since=since, now_s=1150.0, scan_s=50.0).verdicts[0].collect


def test_a_wrapper_that_a_client_may_have_received_has_a_least_grace_time() -> None:
    handed_out = frozenset({A})
    early, late = (
        judge([A, B], grace_s=0.0, since={A: 1000.0, B: 1000.0}, now_s=1000.0 + passed_s, handed_out=handed_out)
        for passed_s in (LEAST_GRACE_S - 1, LEAST_GRACE_S)
    )
    assert [verdict.collect for verdict in early.verdicts] == [False, True]
    assert early.verdicts[0].reason == "nothing refers to it, but only for 9 of 10 s"
    assert [verdict.collect for verdict in late.verdicts] == [True, True]


FILES = st.sampled_from([A, B, C])


@given(
    st.sets(FILES),
    st.dictionaries(FILES, st.integers(1, 9)),
    st.sets(FILES),
    st.booleans(),
    st.dictionaries(FILES, st.floats(0, 2000)),
)
def test_held_referenced_doubtful_and_new_wrappers_are_kept(
    files: set[str], held: dict[str, int], referred: set[str], unknown: bool, since: dict[str, float]
) -> None:
    scan = ReferenceScan(tuple(Reference(f"/x/{f}", "process 1") for f in referred), ("?",) if unknown else ())
    judgement = judge(sorted(files), held, scan, since)
    assert [verdict.file for verdict in judgement.verdicts] == sorted(files)
    for verdict in judgement.verdicts:
        free = verdict.file not in held and verdict.file not in referred and not unknown
        assert verdict.collect == (free and 1000.0 - since.get(verdict.file, 1000.0) >= 100.0)


def test_a_collection_lists_each_wrapper_with_its_verdict() -> None:
    verdicts = (Verdict(A, collect=True, reason="r"), Verdict(B, collect=True, reason="it cannot be removed: x"))
    shown = Collection(verdicts, (A,), (), dry_run=False).as_dict()
    assert (shown["collected"], shown["kept"]) == (1, 1)
    assert shown["wrappers"] == [
        {"file": A, "verdict": "collected", "reason": "r"},
        {"file": B, "verdict": "collect", "reason": "it cannot be removed: x"},
    ]
