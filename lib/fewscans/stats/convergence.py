"""How soon a method reaches the best validation loss that the baseline ever had (the paper's convergence table), or
a given validation AUC.

To the baseline's loss in epochs, not seconds: an epoch of a G-CNN costs more, and the cost stands in the run records.
To an AUC in computing, counted in updates on whole images. A run that never gets there within its budget is censored
at the budget, never dropped. Validation losses and AUCs are those of the history table: a run is only seen when it is
validated, so both are whole validation intervals. Epochs are so for both arms alike; an interval on patches costs less
computing than one on whole images, so an arm that begins on patches is seen more often there.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from fewscans.stats.estimate import Estimate

COLUMNS = ("arm", "n_train", "seed")
EPOCHS, TO_AUC = "epochs_to_baseline", "compute_to_auc@"  # metrics of claims


def epochs_to_baseline(history: pd.DataFrame, arm: str, baseline: str, n_train: int) -> pd.DataFrame:
    """Per seed, when `arm` first has a validation loss at or below the best of `baseline` with that seed.

    Columns: seed, goal (the baseline's best loss), baseline (epoch of that), epochs (NaN if never), budget (last epoch
    validated). Raises ValueError naming a missing column, arm, size or seed.
    """
    rows = []
    for seed, mine, theirs in _pairs(history, arm, baseline, n_train, "epoch", "val_loss"):
        goal = float(theirs["val_loss"].min())
        reached = mine.loc[mine["val_loss"] <= goal, "epoch"]
        rows.append(
            {
                "seed": seed,
                "goal": goal,
                "baseline": float(theirs.loc[theirs["val_loss"] <= goal, "epoch"].iloc[0]),
                "epochs": float(reached.iloc[0]) if len(reached) else math.nan,
                "budget": float(mine["epoch"].iloc[-1]),
            }
        )
    return pd.DataFrame(rows)


@dataclass(frozen=True, kw_only=True)
class Reached:
    """How soon an arm reaches a goal, compared with the baseline, over seeds.

    reached, baseline_reached: share of seeds that got there within the budget.   ratio: the median over seeds of what
    the arm needed / what the baseline needed, below 1 is faster.
    """

    seeds: int
    reached: float
    baseline_reached: float = 1.0
    ratio: Estimate


@dataclass(frozen=True, kw_only=True)
class Convergence(Reached):
    """Epochs to the baseline's best validation loss.

    epochs: the median, censored "high" if half or more did not get there (it then holds the budget), as is the ratio.
    """

    baseline_epochs: Estimate
    epochs: Estimate


def convergence(history: pd.DataFrame, arm: str, baseline: str, n_train: int, level: float = 0.95) -> Convergence:
    """Summary over seeds, with intervals from order statistics: valid for any distribution, and for censored runs.

    All runs have the same budget, so the Kaplan-Meier curve is the plain share of seeds that have arrived, and its
    median is the median with those that never arrive at infinity. Below six seeds no 95 % interval exists: its ends
    are 0 and infinity.
    """
    table = epochs_to_baseline(history, arm, baseline, n_train)
    never = table["epochs"].isna().to_numpy()
    bound = table["epochs"].fillna(table["budget"]).to_numpy()
    theirs = table["baseline"].to_numpy()
    ratio = np.divide(bound, theirs, out=np.where(bound > 0, np.inf, 1.0), where=theirs > 0)
    if np.isinf(ratio).any():
        seed = table["seed"][int(np.flatnonzero(np.isinf(ratio))[0])]
        raise ValueError(
            f"baseline {baseline} at N = {n_train}, seed {seed}, is at its best at epoch 0: it never learned"
        )
    return Convergence(
        seeds=len(table),
        reached=float(1 - never.mean()),
        baseline_epochs=median_interval(theirs, np.zeros(len(table), bool), level),
        epochs=median_interval(bound, never, level),
        ratio=median_interval(ratio, never, level),
    )


def median_interval(values, censored, level: float = 0.95) -> Estimate:
    """Median of positive values, some only known to be larger (`censored`: bool each), with the sign test's interval.

    A censored value counts as infinite; where that makes the median infinite, the estimate is the median of the
    bounds, censored "high". The interval runs between the k-th smallest and k-th largest, k the largest with at
    least `level` coverage.
    """
    bounds, censored = np.asarray(values, dtype=float), np.asarray(censored, dtype=bool)
    if not bounds.size or bounds.shape != censored.shape:
        raise ValueError(
            f"values and censored must be flat, equally long and not empty; got {bounds.shape}, {censored.shape}"
        )
    known = np.where(censored, np.inf, bounds)
    low, high = _ends(known, known, level)
    median = float(np.median(known))
    if math.isinf(median):
        value = float(np.median(bounds))
        return Estimate(value, min(low, value), math.inf, level, "high")
    return Estimate(median, low, high, level)


def is_speed(metric: str) -> bool:
    """Whether a claim's metric is of this module. Raises ValueError as `auc_goal`."""
    return metric == EPOCHS or metric.startswith(TO_AUC) and auc_goal(metric) > 0


def auc_goal(metric: str) -> float:
    """0.8 of "compute_to_auc@0.80". Raises ValueError unless it lies between 0.5 and 1."""
    goal = metric.removeprefix(TO_AUC)
    if not re.fullmatch(r"0\.\d+", goal) or float(goal) <= 0.5:
        raise ValueError(f"{metric}: the goal is an AUC between 0.5 and 1, such as {TO_AUC}0.80")
    return float(goal)


def compute_to_auc(
    history: pd.DataFrame, arm: str, baseline: str, n_train: int, goal: float, level: float = 0.95
) -> Reached:
    """The computing after which an arm first has a validation AUC of at least `goal`, over the baseline's.

    history: has columns compute (what a run has cost so far, in any unit) and val_auc. Budgets may differ. A seed in
    which only the arm arrives gives a ratio of at most its computing over the baseline's budget; one in which only the
    baseline does, a ratio of at least the arm's budget over the baseline's computing; one in which neither does, any
    ratio. The median's interval holds for all values within these bounds; the median is censored "low" or "high" where
    they leave it open.
    Raises ValueError as `epochs_to_baseline`, if the baseline reaches the goal before it has computed anything, and if
    the bounds say nothing of the median.
    """
    needed, budget = [], []
    for _, *runs in _pairs(history, arm, baseline, n_train, "compute", "val_auc"):
        needed.append([run.loc[run["val_auc"] >= goal, "compute"].min() for run in runs])  # NaN if never
        budget.append([run["compute"].iloc[-1] for run in runs])
    never, they_never = np.isnan(needed).T
    mine, theirs = np.where(np.isnan(needed), budget, needed).T
    if not (theirs > 0).all():
        raise ValueError(f"baseline {baseline} at N = {n_train} has a seed without computing, or at the goal before it")
    least, most = np.where(they_never, 0.0, mine / theirs), np.where(never, np.inf, mine / theirs)
    low, high = _ends(least, most, level)
    below, value, censored = float(np.median(least)), float(np.median(most)), None
    if math.isinf(value) and below == 0:
        raise ValueError(f"too few seeds of {arm} and {baseline} at N = {n_train} reach a validation AUC of {goal:g}")
    if math.isinf(value):
        value, censored = below, "high"
    elif below < value:
        censored = "low"
    return Reached(
        seeds=len(never),
        reached=float(1 - never.mean()),
        baseline_reached=float(1 - they_never.mean()),
        ratio=Estimate(value, min(low, value), max(high, value), level, censored),
    )


def _ends(least: np.ndarray, most: np.ndarray, level: float) -> tuple[float, float]:
    """The sign test's interval of the median of positive values, of which value i lies between least[i] and most[i]."""
    k = int(stats.binom.ppf((1 - level) / 2, least.size, 0.5))
    if stats.binom.cdf(k, least.size, 0.5) > (1 - level) / 2:
        k -= 1  # now the largest k with P(at most k of n values lie below the median) within half of 1 - level
    return (np.sort(least)[k], np.sort(most)[-1 - k]) if k >= 0 else (0.0, math.inf)


def _pairs(history: pd.DataFrame, arm: str, baseline: str, n_train: int, *columns: str):
    """(seed, the arm's rows, the baseline's), in order of the first column.   columns: those that are read."""
    missing = [column for column in (*COLUMNS, *columns) if column not in history]
    if missing:
        raise ValueError(f"the history table lacks column {missing[0]!r}; it has {', '.join(map(str, history))}")
    mine, theirs = (_runs(history, name, n_train, columns) for name in (arm, baseline))
    odd = set(mine) ^ set(theirs)
    if odd:
        which = ", ".join(map(str, sorted(odd)))
        raise ValueError(f"arms {arm} and {baseline} at N = {n_train} cannot be paired: one of them lacks seed {which}")
    return [(seed, mine[seed], theirs[seed]) for seed in mine]


def _runs(history: pd.DataFrame, arm: str, n_train: int, columns: tuple[str, ...]) -> dict[int, pd.DataFrame]:
    rows = history[(history["arm"] == arm) & (history["n_train"] == n_train)]
    if not len(rows):
        held = sorted({(str(a), int(n)) for a, n in zip(history["arm"], history["n_train"], strict=True)})
        raise ValueError(
            f"no history of arm {arm!r} at N = {n_train}; there is {', '.join(f'{a} {n}' for a, n in held)}"
        )
    if rows[list(columns)].isna().any(axis=None):
        raise ValueError(f"the history of arm {arm} at N = {n_train} holds NaN")
    return {int(seed): part.sort_values(columns[0]) for seed, part in rows.groupby("seed")}
