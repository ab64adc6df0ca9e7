"""The verdict: its tests against scipy's and against every permutation by hand, and what is said in each case."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from lrtrain.errors import RequestError
from lrtrain.evidence.paired import compare_pairs, correlation, seeds_to_settle, smallest_found
from lrtrain.evidence.ranks import rank
from lrtrain.evidence.selection import Trial
from lrtrain.evidence.speed import Curve, epochs_to, value_at
from lrtrain.evidence.verdict import Comparison, Measure, compare
from lrtrain.evidence.words import describe


def values(strategies: int, seeds: int, seed: int = 0, gap: float = 0.0) -> Any:
    """Normal values with a seed correlation of a half; the last strategy is worse by `gap`."""
    random = np.random.default_rng(seed)
    found = (random.normal(size=(1, seeds)) + random.normal(size=(strategies, seeds))) * math.sqrt(0.5)
    found[-1] += gap
    return found


def test_interval_is_that_of_a_paired_t_test() -> None:
    found = values(2, 7, gap=0.5)
    [pair] = compare_pairs(found)
    expected = stats.ttest_rel(found[1], found[0])
    low, high = expected.confidence_interval(0.95)
    assert (pair.difference, pair.low, pair.high) == pytest.approx(((found[1] - found[0]).mean(), low, high))
    assert pair.sd == pytest.approx(np.std(found[1] - found[0], ddof=1))


def test_two_strategies_are_those_of_scipys_exact_sign_test() -> None:
    for seeds, seed in itertools.product((6, 8, 10), range(5)):
        found = values(2, seeds, seed, gap=0.8)
        expected = stats.permutation_test(
            (found[1] - found[0],), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=False
        )
        assert compare_pairs(found)[0].p == pytest.approx(expected.pvalue), (seeds, seed)


def test_all_pairs_step_down_as_by_hand() -> None:
    found = values(4, 7, seed=3, gap=1.0)
    pairs = list(itertools.combinations(range(4), 2))
    gaps = {pair: found[pair[1]] - found[pair[0]] for pair in pairs}
    seen = {pair: abs(gaps[pair].mean()) for pair in pairs}
    order = sorted(pairs, key=lambda pair: -seen[pair])
    expected, largest = {}, 0.0
    for number, pair in enumerate(order):
        reached = [
            max(abs(np.mean(np.array(signs) * gaps[other])) for other in order[number:]) >= seen[pair] - 1e-12
            for signs in itertools.product((-1, 1), repeat=7)
        ]
        largest = max(largest, float(np.mean(reached)))
        expected[pair] = largest
    assert {(pair.first, pair.second): pair.p for pair in compare_pairs(found)} == pytest.approx(expected)


def test_few_seeds_need_both_tests() -> None:
    found = values(3, 5, seed=1, gap=4.0)
    orders = list(itertools.permutations(range(3)))
    ranges = [
        np.ptp(np.mean([found[list(order), seed] for seed, order in enumerate(chosen)], axis=0))
        for chosen in itertools.product(orders, repeat=5)
    ]
    for pair in compare_pairs(found):
        shuffled = np.mean([spread >= abs(pair.difference) - 1e-12 for spread in ranges])
        own = stats.ttest_rel(found[pair.second], found[pair.first]).pvalue
        assert pair.p == pytest.approx(max(shuffled, own), abs=0.01)  # 10,000 of the shuffles are drawn


def test_fewer_than_three_seeds_have_no_p() -> None:
    assert all(math.isnan(pair.p) for seeds in (1, 2) for pair in compare_pairs(values(3, seeds)))


def test_power_is_that_of_the_t_test() -> None:
    """Simulated: a difference as large as `smallest_found` is found four times out of five."""
    random = np.random.default_rng(0)
    for seeds in (6, 10, 20):
        gaps = random.normal(smallest_found(1.0, seeds), 1.0, size=(20_000, seeds))
        found = np.mean(stats.ttest_1samp(gaps, 0.0, axis=1).pvalue <= 0.05)
        assert found == pytest.approx(0.8, abs=0.02)
    needed = seeds_to_settle(0.5, 1.0, 0.0)
    assert needed is not None
    assert smallest_found(1.0, needed) <= 0.5 < smallest_found(1.0, needed - 1)
    assert seeds_to_settle(-0.1, 1.0, 0.6) == seeds_to_settle(0.1, 1.0, 0.6), "tied, whichever is better by so little"
    assert seeds_to_settle(0.0, 1.0, 0.0) is None, "nothing settles what is equal, without a margin"


def test_correlation_over_the_seeds() -> None:
    shared = np.arange(5.0)
    assert correlation(np.array([shared, 2 * shared + 1, shared - 3])) == pytest.approx(1)
    assert correlation(np.array([shared, -shared])) == pytest.approx(-1)
    assert math.isnan(correlation(np.ones((3, 5))))


Losses = Mapping[str, Sequence[float | None]]


def compared(losses: Losses, metric: str = "test_loss", mode: str = "min", **settings: Any) -> Comparison:
    """A comparison of strategies by their values over seeds 0, 1, ..., each with one setting."""
    trials = [Trial(name, (), seed, value, value) for name, row in losses.items() for seed, value in enumerate(row)]
    return compare(trials, judge=Measure(metric, mode), chooser=Measure("val_loss", mode), by=["scheduler"], **settings)


def verdicts(found: Comparison) -> dict[str, str | None]:
    return {each.name: each.verdict for each in found.strategies}


TEN = np.exp(0.05 * values(4, 10, seed=2))


def test_a_leader_a_worse_one_a_tie_and_an_open_question() -> None:
    leader = TEN[0]
    noise = np.array([1, -1] * 5)
    losses = {
        "worse": leader * 1.2,
        "open": leader * np.exp(0.02 + 0.1 * noise),
        "equal": leader,
        "close": leader * np.exp(0.001 * (1 + noise)),
    }
    found = compared({"best": leader, **losses})
    assert verdicts(found) == {
        "best": "leader",
        "equal": "tied",
        "close": "tied",
        "open": "undecided",
        "worse": "worse",
    }
    assert found.scale == "log"
    worse = found.strategies[-1]
    assert worse.difference == pytest.approx(math.log(1.2))
    assert worse.p == pytest.approx(1 / 512), "2^(n - 1) patterns of signs"
    assert not worse.provisional
    text = describe(replace(found, more="more"))
    assert text.startswith("best has the best test_loss: ")
    assert "Worse: worse by 20 %, 95 % interval 20 to 20 %" in text
    assert "Tied with it, within " in text
    assert "It cannot be told whether it is better than open" in text
    assert text.endswith("Run: more")


def test_order_is_that_of_the_differences() -> None:
    """On the scale that they are compared on: here the geometric mean, in which one bad seed counts for less."""
    found = compared({"steady": [1.0] * 6, "one_bad_seed": [0.9] * 5 + [1.6]})
    assert found.strategies[0].mean > found.strategies[1].mean
    assert all(each.difference >= 0 for each in found.strategies)


def test_a_margin_takes_no_worse_away() -> None:
    losses = {"a": TEN[0], "b": TEN[0] * 1.01}
    found = compared(losses, margin=10.0)
    assert verdicts(found) == {"a": "leader", "b": "worse"}
    sds = math.log(1.01) / np.log(TEN[0]).std(ddof=1)
    assert f"{sds:.2g} sd of a seed" in describe(found), "certain, and small"


def test_larger_is_better_and_plain() -> None:
    accuracy = 0.9 + 0.01 * values(1, 8)[0]
    found = compared({"low": accuracy - 0.05, "high": accuracy}, metric="test_acc", mode="max")
    assert verdicts(found) == {"high": "leader", "low": "worse"}
    assert found.scale == "plain"
    assert found.strategies[1].difference == pytest.approx(-0.05)
    assert "low by 0.05" in describe(found)
    open_question = accuracy - 0.01 + 0.03 * np.array([1, -1] * 4)
    found = compared({"open": open_question, "high": accuracy}, metric="test_acc", mode="max", margin=0.02)
    assert found.strategies[1].low < -0.02 < found.strategies[1].high < 0.02  # type: ignore[operator]
    assert verdicts(found) == {"high": "leader", "open": "undecided"}, "both ends have to be within the margin"


def test_three_to_five_seeds_are_provisional() -> None:
    rows = {name: TEN[0][:4] * factor for name, factor in {"a": 1, "b": 1.001, "c": 1.5, "d": 1.52, "e": 1.54}.items()}
    rows = {name: row * np.exp(0.001 * values(1, 4, seed)[0]) for seed, (name, row) in enumerate(rows.items())}
    found = compared(rows)
    assert {each.name: (each.verdict, each.provisional) for each in found.strategies}["e"] == ("worse", True)
    assert all(each.provisional for each in found.strategies)
    assert "provisional" in describe(found)
    for seeds, provisional in ((2, False), (3, True), (5, True), (6, False)):
        found = compared({name: TEN[row][:seeds] for row, name in enumerate("ab")})
        assert [each.provisional for each in found.strategies] == [provisional] * 2, seeds


def test_one_or_two_seeds_bear_no_verdict() -> None:
    for seeds in (1, 2):
        found = compared({"a": TEN[0][:seeds], "b": TEN[0][:seeds] * 2})
        assert verdicts(found) == {"a": None, "b": None}
        assert f"{seeds} seed{'s bear' if seeds == 2 else ' bears'} no verdict: run 3 or more" in describe(found)
        assert found.strategies[1].p is None


def test_one_strategy() -> None:
    found = compared({"a": TEN[0]})
    assert verdicts(found) == {"a": "leader"}
    assert "no other strategy" in describe(found)


def test_missing_seeds_leave_complete_cases() -> None:
    row: list[float | None] = list(TEN[0])
    gap: list[float | None] = [None, math.nan, *row[2:]]
    found = compared({"a": row, "b": gap, "alone": [*[None] * 10, 0.1]})
    assert found.seeds == tuple(range(2, 10))
    assert any("seeds 0, 1 are left out" in warning for warning in found.warnings)
    assert any("no seed in common" in warning and "alone" in warning for warning in found.warnings)


def test_nothing_to_compare() -> None:
    with pytest.raises(RequestError, match="no run has a value of test_loss"):
        compared({"a": [None, math.nan]})


def tuned(*cells: tuple[str, float, Sequence[float | None], Sequence[float]], kind: str = "loss") -> Comparison:
    """A comparison of strategies, each with several rates: name, rate, validation losses, test losses."""
    mode = "min" if kind == "loss" else "max"
    trials = [
        Trial(name, (("lr", rate),), seed, chosen, judged if chosen is not None else None)
        for name, rate, chosen_by, judged_by in cells
        for seed, (chosen, judged) in enumerate(zip(chosen_by, judged_by, strict=True))
    ]
    judge, chooser = Measure(f"test_{kind}", mode), Measure(f"val_{kind}", mode)
    return compare(trials, judge=judge, chooser=chooser, by=["scheduler"])


def test_settings_are_chosen_by_the_validation_and_judged_by_the_test() -> None:
    found = tuned(("a", 0.1, [1.0] * 3, [2.0] * 3), ("a", 0.2, [2.0] * 3, [1.0] * 3), ("b", 0.1, [1.5] * 3, [1.5] * 3))
    assert [(each.name, dict(each.settings)) for each in found.strategies] == [("b", {"lr": 0.1}), ("a", {"lr": 0.1})]
    assert [each.mean for each in found.strategies] == pytest.approx([1.5, 2.0])
    assert found.same_rate == {"0.1": {"a": 2.0, "b": 1.5}}
    assert any("unequal numbers of settings (b 1, a 2)" in warning for warning in found.warnings)
    assert any("best rate of a, 0.1, is at the edge of its grid: add lr=0.05" in warning for warning in found.warnings)


def test_a_best_rate_at_the_upper_edge_asks_for_one_beyond_it() -> None:
    found = tuned(("a", 0.1, [2.0] * 3, [2.0] * 3), ("a", 0.3, [1.0] * 3, [1.0] * 3))
    assert any("best rate of a, 0.3, is at the edge of its grid: add lr=0.9" in warning for warning in found.warnings)


def test_a_failed_seed_bars_a_setting() -> None:
    found = tuned(("a", 0.1, [0.1, 0.1, None], [0.1] * 3), ("a", 0.2, [1.0] * 3, [1.0] * 3))
    [only] = found.strategies
    assert dict(only.settings) == {"lr": 0.2}
    assert only.failed == 1
    [only] = tuned(("a", 0.1, [0.1, 0.1, 0.1, None], [0.1] * 4), ("a", 0.2, [1.0] * 3, [1.0] * 3)).strategies
    assert dict(only.settings) == {"lr": 0.2}, "as many seeds, and none has failed"


def test_the_best_setting_has_the_largest_value_where_larger_is_better() -> None:
    [only] = tuned(("a", 0.1, [0.8] * 3, [0.7] * 3), ("a", 0.2, [0.9] * 3, [0.6] * 3), kind="acc").strategies
    assert dict(only.settings) == {"lr": 0.2}


def test_unequal_scatter_is_said() -> None:
    noise = values(3, 10, seed=5)
    found = compared({"a": np.exp(0.1 * noise[0]), "b": np.exp(0.01 * noise[1])})
    assert any("scatter" in warning for warning in found.warnings)
    assert any(
        "pairing them gains nothing" in warning for warning in compared({"a": [1, 2, 3], "b": [3, 2, 1]}).warnings
    )


def test_ranks_over_several_comparisons() -> None:
    one = compared({"a": TEN[0], "b": TEN[0], "c": TEN[0] * 2})
    other = compared({"a": TEN[0] * 2, "b": TEN[0], "only here": TEN[0] * 3})
    assert [(each.name, each.mean, each.tables, each.worse) for each in rank([one, other])] == [
        ("b", 1.25, 2, 0),
        ("a", 1.75, 2, 1),
        ("c", 3, 1, 1),
        ("only here", 3, 1, 1),
    ]


def test_epochs_to_a_target_and_values_on_the_way() -> None:
    def curve(*losses: float) -> Curve:
        return Curve(np.arange(1.0, len(losses) + 1), np.array(losses))

    falling = curve(8, 4, 2, 1, 3, 0.5, 0.5, 0.4)
    assert [value_at(falling, share) for share in (0.25, 0.5, 1)] == [4, 1, 0.4]
    assert math.isnan(value_at(falling, 0.1)), "nothing is measured before the first epoch"
    assert [epochs_to(falling, target, "min") for target in (2, 1, 0.45)] == [3, 4, 8]
    assert math.isnan(epochs_to(falling, 0.1, "min"))
    assert epochs_to(falling, 5, "max") == 1
    trials = [
        Trial(name, (), seed, loss, loss, seconds=1.5, updates=10, curve=curve(4, 2, middle, loss))
        for name, loss, middle in (("slow", 1.0, 1.5), ("fast", 1.0, 1.0), ("poor", 1.2, 1.2))
        for seed in range(3)
    ]
    measure = Measure("val_loss", "min")
    found = {
        target: compare(trials, judge=measure, chooser=measure, by=["scheduler"], target=target)
        for target in (None, 1.3, 0.5)
    }
    assert found[None].target == 1, "what the strategy in the middle comes to"
    reached = {
        target: {each.name: (each.epochs_to_target, each.reached) for each in each_found.strategies}
        for target, each_found in found.items()
    }
    assert reached[None] == {"slow": (4, 3), "fast": (3, 3), "poor": (None, 0)}
    assert reached[1.3] == {"slow": (4, 3), "fast": (3, 3), "poor": (3, 3)}
    assert {value for row in reached[0.5].values() for value in row} == {None, 0}
    assert found[None].strategies[0].during == {"25%": 4, "50%": 2, "100%": 1}
    assert [(each.runs, each.seconds, each.updates) for each in found[None].strategies] == [(3, 4.5, 30)] * 3


def test_failures_are_said() -> None:
    found = tuned(
        ("a", 0.1, [1.0, 1.0, 1.0], [1.0] * 3), ("a", 9.0, [None] * 3, [1.0] * 3), ("b", 0.1, [2.0] * 3, [2.0] * 3)
    )
    assert "3 of 9 runs failed: a 3." in describe(found)
