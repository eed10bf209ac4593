"""Every score's fast resampling equals taking the drawn cases and scoring them."""

import math

import numpy as np
import pandas as pd
import pytest

from fewscans.stats.auc import auc, sensitivity_at
from fewscans.stats.calibration import brier, expected_calibration_error
from fewscans.stats.icc import agreement, icc
from fewscans.stats.resample import Resampled
from fewscans.stats.scores import score

from .asked import difference_interval, score_interval

PLAIN = {
    "auc": auc,
    "sensitivity@0.1": lambda y, p: sensitivity_at(y, p, 0.1),
    "sensitivity@0.33": lambda y, p: sensitivity_at(y, p, 0.33),
    "brier": brier,
    "calibration error": expected_calibration_error,
    "icc": agreement,
    "icc:C": lambda y, p: icc(np.column_stack([y, p]), "C,1").value,
    "mse": lambda y, p: np.mean((y - p) ** 2),
    "mae": lambda y, p: np.mean(np.abs(y - p)),
}
REGRESSION = ["icc", "icc:C", "mse", "mae"]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("name", PLAIN)
def test_resampling_by_weights_equals_resampling_by_copies(name, ties):
    rng = np.random.default_rng(3)
    group = rng.integers(0, 12, 90)
    y = (rng.random(90) < 0.4).astype(float)
    p = 1 / (1 + np.exp(-(y + rng.normal(size=90))))
    p = np.round(p, 1) if ties else p
    weights = rng.multinomial(12, np.full(12, 1 / 12), size=40).astype(float)
    got = score(name).resample(y, p, group, weights)
    for row, value in zip(weights, got, strict=True):
        drawn = np.concatenate([np.flatnonzero(group == g) for g in range(12) for _ in range(int(row[g]))])
        assert value == pytest.approx(PLAIN[name](y[drawn], p[drawn]), abs=2e-6)


def test_a_function_of_ones_own_is_a_score():
    def mean_gap(y, p):
        return p[y == 1].mean() - p[y == 0].mean()

    y, p, group = np.array([0, 1, 1, 0.0]), np.array([0.1, 0.9, 0.5, 0.3]), np.array([0, 0, 1, 1])
    made = score(mean_gap)
    assert made.name == "mean_gap"
    assert made.resample(y, p, group, np.array([[1.0, 1], [2, 0]])) == pytest.approx([0.5, 0.8])


def test_known_functions_take_the_fast_way():
    assert score(auc).name == "auc" and score(auc).bounds == (0, 1)
    assert not score(brier).higher_is_better
    assert score(agreement).name == "icc" and score(agreement).bounds == (-math.inf, 1)
    assert [score(name).higher_is_better for name in REGRESSION] == [True, True, False, False]


@pytest.mark.parametrize("name", ["AUC", "sensitivity", "sensitivity@2", "sensitivity@x", "icc:A", "ICC", "rmse", ""])
def test_unknown_names_are_refused(name):
    with pytest.raises(ValueError, match="unknown score"):
        score(name)


def volumes(error, seeds=3, n=40, bias=0.0, rng=0):
    """Two sides of n people: volumes in ml, and predictions of arms with that error, alike within a person."""
    rng = np.random.default_rng(rng)
    person = np.repeat(np.arange(n), 2)
    target = 12 + 3 * rng.normal(size=n)[person] + rng.normal(size=2 * n)
    rows = []
    for seed in range(seeds):
        hard = rng.normal(size=2 * n)
        for arm, size in error.items():
            prediction = target + bias + size * (hard + 0.3 * rng.normal(size=2 * n))
            columns = {"arm": arm, "n_train": 25, "seed": seed, "split": "test"}
            columns |= {"case": np.arange(2 * n).astype(str), "group": person.astype(str)}
            rows.append(pd.DataFrame(columns | {"target": target, "prediction": prediction}))
    return pd.concat(rows, ignore_index=True)


@pytest.mark.parametrize("name", REGRESSION)
def test_scores_of_regression_have_intervals_from_a_prediction_table(name):
    table = volumes({"base": 2.0, "sets": 1.0})
    one = score_interval(table, "sets", 25, name, n_bootstrap=200)
    first = table[(table.arm == "sets") & (table.seed == 0)]
    assert one.low < one.value < one.high
    values = Resampled(table, name, n_bootstrap=200).values("sets", 25)
    assert values[0] == pytest.approx(PLAIN[name](first.target.to_numpy(), first.prediction.to_numpy()))
    gap = difference_interval(table, "sets", "base", 25, name, n_bootstrap=200)
    assert gap.low > 0 if score(name).higher_is_better else gap.high < 0


def test_an_icc_below_chance_or_at_it_can_be_resampled():
    """A predictor of one answer scores 0 in every draw, never NaN."""
    flat = volumes({"mean": 1.0}).assign(prediction=12.0)
    found = score_interval(flat, "mean", 25, "icc", n_bootstrap=200)
    assert (found.value, found.low, found.high) == pytest.approx((0, 0, 0), abs=1e-12)
    opposite = volumes({"mirror": 0.0})
    opposite["prediction"] = 24 - opposite.target
    assert score_interval(opposite, "mirror", 25, "icc:C", n_bootstrap=200).value == pytest.approx(-1)


def test_a_constant_bias_costs_agreement_and_not_consistency():
    fair, off = (volumes({"sets": 1.0}, bias=bias) for bias in (0.0, 4.0))
    for name, same in (("icc:C", True), ("icc", False), ("mse", False)):
        values = [score_interval(table, "sets", 25, name, n_bootstrap=200).value for table in (fair, off)]
        assert (values[0] == pytest.approx(values[1])) is same


def test_draws_without_two_different_targets_are_left_out_or_refused():
    table = volumes({"sets": 1.0}, n=5)
    kept = Resampled(table, "icc", n_bootstrap=3000).draws("sets", 25)
    assert np.isfinite(kept).all()
    one_differs = table.assign(target=np.where(table.case == "0", 1.0, 0.0))
    with pytest.raises(ValueError, match="draws of 5 groups hold two different targets; too few groups differ"):
        score_interval(one_differs, "sets", 25, "icc", n_bootstrap=200)


@pytest.mark.parametrize("name", REGRESSION)
def test_predictions_that_are_no_numbers_are_refused(name):
    with pytest.raises(ValueError, match="inf"):
        score(name).function(np.arange(3.0), np.array([1, np.inf, 2]))
    with pytest.raises(ValueError, match="(2,)"):
        score(name).function(np.arange(3.0), np.arange(2.0))
