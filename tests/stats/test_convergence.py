"""Epochs to the baseline's best validation loss, with the seeds that never get there counted as such."""

import math

import numpy as np
import pandas as pd
import pytest

from fewscans.stats.convergence import convergence, epochs_to_baseline, median_interval


def history(losses):
    """{arm: one list of validation losses per seed}, validated after every epoch."""
    rows = [
        {
            "arm": arm,
            "n_train": 1000,
            "seed": seed,
            "step": 33 * e,
            "epoch": float(e),
            "train_loss": 0.5,
            "val_loss": loss,
        }
        for arm, runs in losses.items()
        for seed, curve in enumerate(runs)
        for e, loss in enumerate(curve, start=1)
    ]
    return pd.DataFrame(rows)


Z2 = [0.6, 0.5, 0.4, 0.45]


def test_the_first_epoch_at_or_below_the_goal_counts():
    table = epochs_to_baseline(history({"Z2": [Z2], "p4m": [[0.55, 0.4, 0.5, 0.3]]}), "p4m", "Z2", 1000)
    row = table.iloc[0]
    assert (row["goal"], row["baseline"], row["epochs"], row["budget"]) == (0.4, 3.0, 2.0, 4.0)


def test_each_seed_has_its_own_goal():
    table = epochs_to_baseline(history({"Z2": [Z2, [0.3] * 4], "p4m": [[0.4] * 4, [0.4] * 4]}), "p4m", "Z2", 1000)
    assert table["epochs"].iloc[0] == 1 and math.isnan(table["epochs"].iloc[1])


def test_a_faster_arm_has_a_ratio_below_one():
    fast = history({"Z2": [Z2] * 8, "p4m": [[0.39] * 4] * 8})
    made = convergence(fast, "p4m", "Z2", 1000)
    assert (made.reached, made.epochs.value, made.baseline_epochs.value) == (1.0, 1.0, 3.0)
    assert made.ratio.value == made.ratio.high == pytest.approx(1 / 3)


def test_the_baseline_has_ratio_one_to_itself():
    made = convergence(history({"Z2": [Z2] * 6}), "Z2", "Z2", 1000)
    assert (made.ratio.value, made.ratio.low, made.ratio.high) == (1, 1, 1)


def test_runs_that_never_arrive_are_neither_dropped_nor_given_the_budget():
    mixed = history({"Z2": [Z2] * 8, "p4m": [[0.39] * 4] * 5 + [[0.9] * 4] * 3})
    made = convergence(mixed, "p4m", "Z2", 1000)
    assert made.reached == pytest.approx(5 / 8)
    assert made.epochs.value == 1.0 and made.epochs.high == math.inf


def test_if_most_never_arrive_the_median_is_a_lower_bound():
    made = convergence(history({"Z2": [Z2] * 8, "p4m": [[0.39] * 4] * 2 + [[0.9] * 4] * 6}), "p4m", "Z2", 1000)
    assert (made.epochs.censored, made.epochs.value, made.epochs.high) == ("high", 4.0, math.inf)
    assert made.ratio.censored == "high" and made.ratio.value == pytest.approx(4 / 3)


def test_few_seeds_have_no_interval():
    e = median_interval([1.0, 2, 3, 4, 5], np.zeros(5, bool))
    assert (e.low, e.high) == (0, math.inf)
    e = median_interval(range(1, 11), np.zeros(10, bool))
    assert (e.low, e.value, e.high) == (2, 5.5, 9)  # the textbook's order statistics for ten: 97.9 %


def test_the_median_interval_covers():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(500):
        x = rng.exponential(size=10)
        e = median_interval(np.minimum(x, 1.5), x > 1.5)
        hits += e.low <= math.log(2) <= e.high
    assert hits / 500 > 0.95


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda h: convergence(h, "p4", "Z2", 1000), "no history of arm 'p4' at N = 1000; there is Z2 1000, p4m 1000"),
        (lambda h: convergence(h[(h["arm"] == "Z2") | (h["seed"] != 2)], "p4m", "Z2", 1000), "lacks seed 2"),
        (lambda h: convergence(h.drop(columns="epoch"), "p4m", "Z2", 1000), "lacks column 'epoch'"),
        (lambda h: convergence(h.assign(val_loss=np.nan), "p4m", "Z2", 1000), "holds NaN"),
        (
            lambda h: convergence(h.assign(epoch=h["epoch"] - (h["arm"] == "Z2") * 3), "p4m", "Z2", 1000),
            "never learned",
        ),
    ],
)
def test_bad_input_is_one_clear_error(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call(history({"Z2": [Z2] * 3, "p4m": [[0.5, 0.39, 0.3, 0.2]] * 3}))
