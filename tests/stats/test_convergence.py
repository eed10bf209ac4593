"""Epochs to the baseline's best validation loss, with the seeds that never get there counted as such."""

import math

import numpy as np
import pandas as pd
import pytest

from fewscans.stats.convergence import auc_goal, compute_to_auc, convergence, epochs_to_baseline, median_interval


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


def aucs(per_seed, budget=8, unit=10.0):
    """{arm: for each seed, the validation at which the AUC first is 0.8; above the budget: never}."""
    rows = [
        {"arm": arm, "n_train": 9, "seed": seed, "compute": unit * e, "val_auc": 0.8 if e >= at else 0.7}
        for arm, runs in per_seed.items()
        for seed, at in enumerate(runs)
        for e in range(1, (budget[arm] if isinstance(budget, dict) else budget) + 1)
    ]
    return pd.DataFrame(rows)


def speed(mine, theirs, **options):
    return compute_to_auc(aucs({"patches": mine, "whole": theirs}, **options), "patches", "whole", 9, 0.8)


def test_computing_is_compared_by_seed_where_an_auc_is_first_reached():
    made = speed([2, 4, 3, 2, 2, 2], [4, 4, 4, 4, 8, 8])
    assert (made.seeds, made.reached, made.baseline_reached) == (6, 1, 1)
    assert (made.ratio.value, made.ratio.low, made.ratio.high, made.ratio.censored) == (0.5, 0.25, 1, None)
    dips = aucs({"patches": [2] * 6, "whole": [4] * 6}).sample(frac=1, random_state=0)
    dips.loc[(dips["compute"] == 50) & (dips["arm"] == "patches"), "val_auc"] = 0.1  # the first time counts
    assert compute_to_auc(dips, "patches", "whole", 9, 0.8) == speed([2] * 6, [4] * 6)


def test_an_arm_that_never_arrives_needs_at_least_its_budget():
    some = speed([2] * 8 + [9], [4] * 9)
    assert (some.reached, some.ratio.value, some.ratio.high) == (8 / 9, 0.5, 0.5)  # of nine, the largest is left out
    none = speed([9] * 8, [4] * 8)
    assert (none.reached, none.ratio.value, none.ratio.low, none.ratio.high) == (0, 2, 2, math.inf)
    assert none.ratio.censored == "high"
    short = speed([9] * 8, [4] * 8, budget={"patches": 2, "whole": 8})  # stopped before it could have been slower
    assert (short.ratio.value, short.ratio.low, short.ratio.censored) == (0.5, 0.5, "high")


def test_a_baseline_that_never_arrives_gives_an_upper_bound():
    made = speed([2] * 8, [4, 4, 4] + [9] * 5)
    assert (made.reached, made.baseline_reached) == (1, 3 / 8)
    assert (made.ratio.value, made.ratio.low, made.ratio.high, made.ratio.censored) == (0.25, 0, 0.5, "low")
    few = speed([2] * 9, [4] * 8 + [9])
    assert (few.ratio.value, few.ratio.low, few.ratio.high, few.ratio.censored) == (0.5, 0.5, 0.5, None)


def test_seeds_in_which_neither_arrives_say_nothing():
    made = speed([2] * 8 + [9], [4] * 8 + [9])
    assert (made.ratio.value, made.ratio.low, made.ratio.high) == (0.5, 0.5, 0.5)
    two = speed([2] * 7 + [9] * 2, [4] * 7 + [9] * 2)
    assert (two.ratio.value, two.ratio.low, two.ratio.high) == (0.5, 0, math.inf)
    with pytest.raises(ValueError, match="too few seeds of patches and whole at N = 9 reach a validation AUC of 0.8"):
        speed([2] * 3 + [9] * 5, [4] * 3 + [9] * 5)


def test_the_interval_covers_whatever_the_budgets_hide():
    """The same runs, seen to the end or not: the true median lies in the interval as often as it says."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(100):
        mine, theirs = rng.exponential(size=10) * 4 + 1, rng.exponential(size=10) * 4 + 1  # the true median is 1
        e = speed(np.ceil(10 * mine), np.ceil(10 * theirs), budget={"patches": 100, "whole": 60}).ratio
        hits += e.low <= 1 <= e.high
    assert hits / 100 > 0.95


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda h: h.drop(columns="val_auc"), "lacks column 'val_auc'"),
        (lambda h: h.assign(compute=np.nan), "history of arm patches at N = 9 holds NaN"),
        (lambda h: h.assign(compute=h["compute"] - 40), "baseline whole at N = 9 has a seed without computing"),
        (lambda h: h[(h["arm"] == "whole") | (h["seed"] > 0)], "one of them lacks seed 0"),
    ],
)
def test_a_history_that_cannot_be_compared_is_one_clear_error(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        compute_to_auc(change(aucs({"patches": [2] * 3, "whole": [4] * 3})), "patches", "whole", 9, 0.8)


def test_a_goal_is_an_auc_above_chance():
    assert auc_goal("compute_to_auc@0.80") == auc_goal("compute_to_auc@0.8") == 0.8
    for wrong in ("", "0.5", "1.0", "nan", "x", "-0.7"):
        with pytest.raises(ValueError, match="the goal is an AUC between 0.5 and 1, such as compute_to_auc@0.80"):
            auc_goal(f"compute_to_auc@{wrong}")
