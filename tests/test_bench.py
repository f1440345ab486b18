"""The benchmark: its statistics, its end in time, its verdict, and its comparison with an earlier run."""

from __future__ import annotations

import json
import math
import random
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from bench import budget
from bench.budget import Budget
from bench.comparison import changes
from bench.intervals import Figure, median_figure
from bench.rounds import OURS, Rounds, interleave, of_ratio
from bench.rows import Row, Verdict, figure_text, from_json, render, summary
from bench.run import GROUPS, load_group
from hypothesis import given
from hypothesis import strategies as st

TESTS = Path(__file__).parent
PEER = "peer"
FIGURES = st.floats(min_value=0.001, max_value=1e6)


# The ranks that tables of the sign test give for 95 %.
@pytest.mark.parametrize(("count", "low"), [(6, 1), (8, 1), (9, 2), (10, 2), (15, 4), (20, 6), (50, 18), (100, 40)])
def test_the_interval_of_a_median_is_that_of_the_sign_test(count: int, low: int) -> None:
    figure = median_figure(range(1, count + 1))
    assert (figure.low, figure.high) == (low, count + 1 - low)


@given(st.lists(FIGURES, min_size=1, max_size=5))
def test_a_short_series_has_a_median_and_no_interval(values: list[float]) -> None:
    figure = median_figure(values)
    assert figure == Figure(statistics.median(values), None, None, len(values))
    assert not figure.narrow


@given(st.lists(FIGURES, min_size=6, max_size=60), st.randoms(use_true_random=False))
def test_an_interval_holds_the_median_in_any_order(values: list[float], chance: random.Random) -> None:
    figure = median_figure(values)
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low <= figure.value <= figure.high
    assert {figure.low, figure.high} <= set(values)
    chance.shuffle(values)
    assert median_figure(values) == figure


class Clock:
    """A clock that each measurement turns on by a second."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now_s

    def side(self, name: str, values: random.Random | None, noise: float) -> dict[str, float]:
        self.now_s += 1.0
        self.calls.append(name)
        return {"ms": 10.0 if values is None else 10.0 * math.exp(values.gauss(0.0, noise))}


def measured(until_s: float, seed: int | None = None, noise: float = 0.0) -> tuple[Rounds, Clock]:
    clock, chance = Clock(), None if seed is None else random.Random(seed)
    sides = {name: lambda name=name: clock.side(name, chance, noise) for name in (OURS, PEER)}
    return interleave(sides, [of_ratio("ms", PEER)], until_s, clock), clock


def test_steady_figures_end_at_the_first_look() -> None:
    rounds, _ = measured(1e9)
    assert len(rounds) == 8
    assert rounds.compared("m", "ms", "ms", PEER).ratio == Figure(1.0, 1.0, 1.0, 8)


@pytest.mark.parametrize("until_s", [3.0, 20.0, 100.0, 101.0])
def test_noisy_figures_end_in_time(until_s: float) -> None:
    rounds, clock = measured(until_s, seed=1, noise=3.0)
    assert clock.now_s <= max(until_s, 4.0)
    assert clock.now_s + 2.0 > until_s
    assert len(rounds) == clock.now_s // 2 - 1


def test_the_first_round_warms_up_and_the_order_alternates() -> None:
    _, clock = measured(10.0, seed=1, noise=3.0)
    assert clock.calls == [OURS, PEER, OURS, PEER, PEER, OURS, OURS, PEER, PEER, OURS]


def test_without_time_one_round_counts_and_none_warms_up() -> None:
    rounds, clock = measured(0.0)
    assert (len(rounds), clock.now_s) == (1, 2.0)


def test_what_is_measured_until_it_is_narrow_still_holds_the_truth() -> None:
    found = []
    for seed in range(3000):
        ratio = measured(1e9, seed, noise=0.1)[0].compared("m", "ms", "ms", PEER).ratio
        assert ratio is not None
        assert ratio.low is not None
        assert ratio.high is not None
        assert ratio.narrow
        found.append(ratio.low <= 1.0 <= ratio.high)
    # With a look after each round it is 0.925.
    assert sum(found) / len(found) > 0.94


def test_a_ratio_is_of_one_round_so_a_drift_of_the_machine_does_not_widen_it() -> None:
    rounds = Rounds([OURS, PEER])
    for number in range(10):
        rounds.add(OURS, {"ms": 2.0**number})
        rounds.add(PEER, {"ms": 2.0 ** (number + 1)})
    row = rounds.compared("m", "ms", "ms", PEER)
    assert row.ratio == Figure(0.5, 0.5, 0.5, 10)
    assert not row.ours.narrow
    assert rounds.differences("ms", PEER) == [-(2.0**number) for number in range(10)]


def row(value: float, low: float | None = None, high: float | None = None, rounds: int = 20, **fields: object) -> Row:
    return Row("m", Figure(value, low, high, rounds), "ms", **({"goal": 10.0} | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("measure", "verdict"),
    [
        (row(5, 2, 9), Verdict.HOLDS),
        (row(5, 2, 10.1), Verdict.TOO_NOISY),
        (row(20, 11, 90), Verdict.FALLS_SHORT),
        # Narrow: the median decides.
        (row(9.9, 9.8, 10.2), Verdict.HOLDS),
        (row(10.1, 9.8, 10.2), Verdict.FALLS_SHORT),
        # The widest narrow one.
        (row(9.9, 9.52, 10.5), Verdict.HOLDS),
        (row(9.9, 9.5, 10.5), Verdict.TOO_NOISY),
        (row(10.1, 9.8, 10.2, most=False), Verdict.HOLDS),
        # A series without an interval, and a single value.
        (row(5, rounds=3), Verdict.TOO_NOISY),
        (row(5, rounds=0), Verdict.HOLDS),
        (row(11, rounds=0), Verdict.FALLS_SHORT),
        (row(5, 2, 9, goal=None), None),
        # The ratio is what the goal is of.
        (row(5, 2, 9, ratio=Figure(11, 10.5, 12, 20)), Verdict.FALLS_SHORT),
    ],
)
def test_verdict(measure: Row, verdict: Verdict | None) -> None:
    assert measure.verdict is verdict
    assert from_json(json.loads(json.dumps(measure.as_json()))) == measure


def test_the_summary_is_one_line_and_names_what_does_not_hold() -> None:
    rows = [row(5, 2, 9), replace(row(20, 11, 90), measure="slow"), replace(row(5, rounds=3), measure="few", peer="p")]
    assert summary(rows, ["serving: no h2load"]) == (
        "verdict: 1 of 3 goals hold; short of the goal: slow; the machine is too noisy for: few (p); "
        "incomplete: serving: no h2load"
    )
    assert summary(rows[:1], []) == "verdict: 1 of 1 goals hold"


def test_the_table_has_medians_with_intervals() -> None:
    text = render([row(1234.5, 1200, 1300, ratio=Figure(0.5, 0.45, 0.55, 20), theirs=Figure(2000.0), peer="p")])
    assert "1,234 ms (1,200 to 1,300)" in text
    assert "0.5 (0.45 to 0.55)" in text
    assert figure_text(Figure(0.123456), "/s") == "0.123 /s"


@given(st.lists(st.tuples(FIGURES, FIGURES, FIGURES), max_size=5))
def test_a_run_compared_with_itself_has_no_change(triples: list[tuple[float, float, float]]) -> None:
    rows = [
        Row(f"m{number}", Figure(sorted(values)[1], min(values), max(values), 9), "ms")
        for number, values in enumerate(triples)
    ]
    assert list(changes(rows, rows)) == []


@given(st.tuples(FIGURES, FIGURES, FIGURES), st.tuples(FIGURES, FIGURES, FIGURES), st.booleans())
def test_a_change_is_one_if_no_value_lies_in_both_intervals(
    before: tuple[float, float, float], now: tuple[float, float, float], most: bool
) -> None:
    old, new = (Row("m", Figure(sorted(v)[1], min(v), max(v), 9), "ms", most=most) for v in (before, now))
    found = list(changes([old], [new]))
    assert bool(found) == (max(min(before), min(now)) > min(max(before), max(now)))
    if found:
        higher = min(now) > max(before)
        assert found[0].endswith("worse" if higher is most else "better")


@pytest.mark.parametrize(("now", "changed"), [(36.0, False), (39.5, False), (39.7, True), (32.3, True)])
def test_a_single_value_changed_if_it_is_a_tenth_away(now: float, changed: bool) -> None:
    assert bool(list(changes([row(36.0, rounds=0)], [row(now, rounds=0)]))) is changed


def test_a_series_without_an_interval_shows_no_change() -> None:
    assert list(changes([row(5, rounds=3)], [row(50, 45, 55)])) == []
    assert list(changes([row(50, 45, 55)], [row(5, rounds=3)])) == []


def test_changes_have_figures_and_new_rows_are_named() -> None:
    before = replace(row(5, 4, 6), peer="p", ratio=Figure(1.0, 0.9, 1.1, 9))
    now = replace(before, ratio=Figure(0.5, 0.45, 0.55, 9))
    assert list(changes([before, row(1), row(2, peer="gone")], [now, replace(now, peer="q")])) == [
        "m, ratio to p: 1 (0.9 to 1.1) -> 0.5 (0.45 to 0.55) (-50%), better",
        "m, ratio to q: new, 0.5 (0.45 to 0.55)",
    ]


def test_a_budget_gives_each_case_its_share_of_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    # A clock that stands still: each case of this loop takes no time, so the later ones have more.
    monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=lambda: 7.0))
    ends = [until_s for _, until_s in Budget(100.0).split("abcd")]
    assert ends == sorted(ends)
    assert ends[-1] - ends[0] == pytest.approx(75.0)


def test_a_small_budget_leaves_out_what_is_large() -> None:
    small, large = Budget(0.0, small=True), Budget(0.0)
    assert small.sizes(10, 16, 100) == (10, 16)
    assert small.sizes(10_000) == (16,)
    assert large.sizes(10, 10_000) == (10, 10_000)
    assert (small.seconds(60.0), large.seconds(60.0)) == (1.0, 60.0)


@pytest.mark.parametrize("group", GROUPS)
def test_each_group_is_there(group: str) -> None:
    assert callable(load_group(group))


# In a process of its own, because the end of a group is a signal, which the runner of this test uses as well.
HANGING = """
import signal, sys, time
sys.path[0] = {tests!r}
from bench import run
from bench.intervals import Figure
from bench.rows import Row

def hang(budget):
    yield Row("first", Figure(1.0), "ms", goal=2.0)
    # Let the time of the group end now that the row is known.
    assert 0 < signal.alarm(1) <= 600
    time.sleep(1000)

def fail(budget):
    yield Row("second", Figure(1.0), "ms", goal=2.0)
    raise AssertionError("the peer has ended")

run.GROUP_END_S = 600
run.machine.description = lambda: {{"load": 3.25}}
run.load_group = {{"serving": hang, "servers": fail}}.__getitem__
sys.exit(run.main(["serving", "servers", "--json"]))
"""


def test_a_group_that_hangs_or_fails_is_ended_and_keeps_its_rows() -> None:
    command = [sys.executable, "-c", HANGING.format(tests=str(TESTS))]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert run.returncode == 3, run.stderr
    assert [each["measure"] for each in json.loads(run.stdout)["rows"]] == ["first", "second"]
    assert run.stderr.splitlines()[-2] == "the machine was not idle: its load was 3.25 before"
    assert run.stderr.splitlines()[-1] == (
        "verdict: 2 of 2 goals hold; incomplete: serving: not over after 600 s | servers: the peer has ended"
    )


def test_an_unknown_group_is_a_usage_error() -> None:
    command = [sys.executable, str(TESTS / "bench"), "servin"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert run.returncode == 2
    assert "no such group: servin; there are serving, servers" in run.stderr
