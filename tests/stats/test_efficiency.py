"""The data-efficiency factor finds a factor that is known, and says when the baseline's grid cannot."""

import math

import numpy as np
import pandas as pd
import pytest

from fewscans.stats.auc import auc
from fewscans.stats.efficiency import around, data_efficiency, pooling, undefined
from fewscans.stats.resample import Resampled

from .worlds import table

SIZES = (30, 100, 300, 1000, 3000)


def world(factor, method_at=(100,), rng=0, **options):
    """Separation grows with log N; the method at N is the baseline at factor · N."""
    curve = {("Z2", n): 0.35 * math.log10(n) ** 1.3 for n in SIZES}
    method = {("p4m", n): 0.35 * math.log10(factor * n) ** 1.3 for n in method_at}
    return table(curve | method, rng=rng, **({"seeds": 6, "n_groups": 60, "seed_sd": 0.08} | options))


def test_the_interval_covers_a_known_factor():
    """Factor 8 in 60 worlds; 95 % would miss 3, and 8 or more misses have probability 0.6 %."""
    estimates = [data_efficiency(world(8.0, rng=rng), "Z2", "p4m", "auc", 100, n_bootstrap=100) for rng in range(60)]
    misses = sum(not e.low <= 8 <= e.high for e in estimates)
    assert misses < 8
    assert 6 < np.exp(np.median([math.log(e.value) for e in estimates])) < 10.5
    assert sum(e.low > 1 for e in estimates) > 50  # not by being empty of content


def test_a_factor_of_another_size_is_excluded():
    estimates = [
        data_efficiency(world(8.0, rng=rng, n_groups=150), "Z2", "p4m", "auc", 100, n_bootstrap=100) for rng in (1, 2)
    ]
    assert all(not e.low <= 1 <= e.high for e in estimates)


def test_the_baseline_is_as_efficient_as_itself():
    same = world(1.0)
    copy = same[same["arm"] == "Z2"].assign(arm="copy")
    for n, e in data_efficiency(pd.concat([same, copy]), "Z2", "copy", "auc", SIZES[:-1]).items():
        assert e.value == pytest.approx(1.0), n
        assert e.low <= 1 <= e.high


def test_above_the_grid_the_factor_is_a_lower_bound():
    e = data_efficiency(world(500.0, n_groups=200), "Z2", "p4m", "auc", 100)
    assert (e.value, e.censored, e.high) == (30.0, "high", math.inf)
    assert e.low == 30.0  # surely above the baseline's largest size
    assert e.text(0) == "> 30 (30 to -)"


def test_below_the_grid_the_factor_is_an_upper_bound():
    e = data_efficiency(world(0.002, method_at=(1000,), n_groups=200), "Z2", "p4m", "auc", 1000)
    assert (e.value, e.censored, e.low) == (pytest.approx(0.03), "low", 0.0)
    assert e.high == pytest.approx(0.03)


def test_an_interval_that_leaves_the_grid_is_open():
    e = data_efficiency(world(28.0), "Z2", "p4m", "auc", 100)
    assert e.high == math.inf
    assert 1 < e.low < 28


def test_any_function_is_a_score_and_lower_can_be_better():
    small = world(8.0, seeds=3, n_groups=30)
    slow = data_efficiency(small, "Z2", "p4m", lambda y, p: auc(y, p), 100, n_bootstrap=100)
    assert slow == data_efficiency(small, "Z2", "p4m", auc, 100, n_bootstrap=100)
    assert data_efficiency(small, "Z2", "p4m", "brier", 100).value > 1


@pytest.mark.parametrize(
    ("means", "fit"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ([1, 3, 2], [1, 2.5, 2.5]),
        ([3, 2, 1], [2, 2, 2]),
        ([1, 5, 3, 4, 9, 8], [1, 4, 4, 4, 8.5, 8.5]),
    ],
)
def test_pooling_is_isotonic_regression(means, fit):
    assert pooling(np.array(means, float)) @ np.array(means, float) == pytest.approx(fit)


def flat(levels, goal):
    """Two seeds that agree, so that the arithmetic shows: the share of correctly ordered pairs is the level."""
    y = np.repeat([0.0, 1.0], 20)
    group = [f"g{i % 10}" for i in range(40)]

    def rows(arm, n, level):
        wrong = round(20 * (1 - level))
        p = np.where(y == 1, 0.9, 0.5)
        p[20 : 20 + wrong] = 0.1
        frame = {
            "split": "test",
            "case": [f"c{i:02d}" for i in range(40)],
            "group": group,
            "target": y,
            "prediction": p,
        }
        return [pd.DataFrame({"arm": arm, "n_train": n, "seed": s} | frame) for s in (0, 1)]

    parts = [r for n, level in levels.items() for r in rows("Z2", n, level)] + rows("p4m", 10, goal)
    return pd.concat(parts, ignore_index=True)


def test_on_a_plateau_the_smallest_size_that_reaches_the_score_counts():
    assert data_efficiency(flat({10: 0.6, 100: 0.8, 1000: 0.8}, 0.8), "Z2", "p4m", "auc", 10).value == pytest.approx(10)


def test_between_sizes_the_curve_is_straight_in_log_n():
    e = data_efficiency(flat({10: 0.6, 1000: 0.8}, 0.7), "Z2", "p4m", "auc", 10)
    assert e.value == pytest.approx(10)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (
            lambda w: data_efficiency(w, "Z2", "p4m", "auc", 300),
            "no predictions of arm 'p4m' at N = 300; it has N = 100",
        ),
        (lambda w: data_efficiency(w, "p4m", "Z2", "auc", 30), "has N = 100 only; its curve needs at least two"),
        (lambda w: data_efficiency(w, "Z2", "p4", "auc", 100), "no arm 'p4'"),
        (
            lambda w: data_efficiency(w[(w["arm"] != "p4m") | (w["seed"] != 4)], "Z2", "p4m", "auc", 100),
            "arm p4m at N = 100 lacks seed 4",
        ),
    ],
)
def test_what_is_missing_is_named(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call(world(4.0))


def test_a_size_with_more_seeds_takes_part_with_those_of_the_others():
    few = world(8.0)
    few = few[(few["n_train"] != 300) | (few["seed"] < 4)]
    assert data_efficiency(few, "Z2", "p4m") == data_efficiency(few[few["seed"] < 4], "Z2", "p4m")


@pytest.mark.parametrize(
    ("n_train", "expected"),
    [(30, (30, 100)), (100, (30, 300)), (300, (100, 1000)), (299, (30, 1000)), (5, (30, 100)), (9000, (300, 1000))],
)
def test_the_sizes_around_one_are_a_third_and_three_times_of_it(n_train, expected):
    assert around([30, 100, 300, 1000], n_train) == expected


def why(baseline, method, **options):
    made = table({("Z2", n): d for n, d in baseline.items()} | {("p4m", n): d for n, d in method.items()},
                 **{"seeds": 5, "n_groups": 80, "seed_sd": 0.02} | options)  # fmt: skip
    return undefined(Resampled(made, n_bootstrap=200), "Z2", "p4m", 100)


def test_a_factor_is_defined_where_the_baseline_rises_around_it_and_curves_do_not_cross():
    rising = {30: 0.5, 100: 1.0, 300: 1.5, 1000: 2.0}
    assert why(rising, {100: 1.4}) == why(rising, {30: 0.9, 100: 1.4, 1000: 2.1}) == ""
    assert why(rising | {1000: 1.3}, {100: 1.2}) == "", "what falls is more than three times as large"
    level = why({10: 0.1, 30: 1.0, 100: 1.0, 300: 1.0, 1000: 2.0}, {100: 1.4})
    assert level.startswith("no factor where the baseline does not gain: from N = 30 to 300 Z2 gains ")
    assert level.endswith(" in auc") and "(95 % interval -" in level, "whatever it gains below and above"
    crossed = why(rising | {100: 0.2}, {100: 1.4})
    assert crossed == "not defined where curves cross: Z2 scores no better at N = 100 than at 30"
    crossed = why(rising, {100: 1.4, 1000: 1.2})
    assert crossed == "not defined where curves cross: p4m scores less than Z2 at N = 1000"
    assert why(rising, {100: 0.7, 1000: 1.2}) == "", "below everywhere"
