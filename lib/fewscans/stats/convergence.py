"""How soon a method reaches the best validation loss that the baseline ever had (the paper's convergence table).

Epochs, not seconds: an epoch of a G-CNN costs more, and the cost stands in the run records. A run that never gets
there within its budget is censored at the budget, never dropped. Validation losses are those of the history table:
a run is only seen when it is validated, so epochs are whole validation intervals, for both arms alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from fewscans.stats.estimate import Estimate

COLUMNS = ("arm", "n_train", "seed", "epoch", "val_loss")


def epochs_to_baseline(history: pd.DataFrame, arm: str, baseline: str, n_train: int) -> pd.DataFrame:
    """Per seed, when `arm` first has a validation loss at or below the best of `baseline` with that seed.

    Columns: seed, goal (the baseline's best loss), baseline (epoch of that), epochs (NaN if never), budget (last epoch
    validated). Raises ValueError naming a missing column, arm, size or seed.
    """
    missing = [column for column in COLUMNS if column not in history]
    if missing:
        raise ValueError(f"the history table lacks column {missing[0]!r}; it has {', '.join(map(str, history))}")
    runs = {name: _runs(history, name, n_train) for name in (arm, baseline)}
    odd = set(runs[arm]) ^ set(runs[baseline])
    if odd:
        which = ", ".join(map(str, sorted(odd)))
        raise ValueError(f"arms {arm} and {baseline} at N = {n_train} cannot be paired: one of them lacks seed {which}")
    rows = []
    for seed, mine in runs[arm].items():
        theirs = runs[baseline][seed]
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


@dataclass(frozen=True)
class Convergence:
    """Epochs to the baseline's best validation loss, over seeds.

    reached: share of seeds that got there within the budget.   epochs: the median, censored "high" if half or more
    did not get there (it then holds the budget).   ratio: the median over seeds of epochs / the baseline's own
    epochs, below 1 is faster, censored in the same way.
    """

    seeds: int
    reached: float
    baseline_epochs: Estimate
    epochs: Estimate
    ratio: Estimate


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
    known = np.sort(np.where(censored, np.inf, bounds))
    k = int(stats.binom.ppf((1 - level) / 2, known.size, 0.5))
    if stats.binom.cdf(k, known.size, 0.5) > (1 - level) / 2:
        k -= 1  # now the largest k with P(at most k of n values lie below the median) within half of 1 - level
    low, high = (known[k], known[-1 - k]) if k >= 0 else (0.0, math.inf)
    median = float(np.median(known))
    if math.isinf(median):
        value = float(np.median(bounds))
        return Estimate(value, min(low, value), math.inf, level, "high")
    return Estimate(median, low, high, level)


def _runs(history: pd.DataFrame, arm: str, n_train: int) -> dict[int, pd.DataFrame]:
    rows = history[(history["arm"] == arm) & (history["n_train"] == n_train)]
    if not len(rows):
        held = sorted({(str(a), int(n)) for a, n in zip(history["arm"], history["n_train"], strict=True)})
        raise ValueError(
            f"no history of arm {arm!r} at N = {n_train}; there is {', '.join(f'{a} {n}' for a, n in held)}"
        )
    if rows["val_loss"].isna().any() or rows["epoch"].isna().any():
        raise ValueError(f"the history of arm {arm} at N = {n_train} holds NaN")
    return {int(seed): part.sort_values("epoch") for seed, part in rows.groupby("seed")}
