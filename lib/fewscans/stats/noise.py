"""How much noisier the gradient of a loss on sets of images is than that of a loss on single ones, over trained runs.

The history of a probing arm has, at some updates of each run, the gradient's noise over its signal, both squared, for
three batches of equal labels: `noise_singles` (n single images), `noise_set` (one set of n) and `noise_single` (one
image). Points of one run are alike, so each run counts once, by the mean of its logarithms, and the interval is that of
a mean over runs (Student's t).
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy import stats

from fewscans.stats.estimate import Estimate

METRICS = {"noise_ratio": "noise_singles", "noise_ratio:single": "noise_single"}  # of claims: what noise_set is over
KEYS = ("arm", "n_train", "seed")
_FEWEST = 3


def noise_ratio(history: pd.DataFrame, arm: str, n_train: int, level: float = 0.95, over="noise_singles") -> Estimate:
    """The geometric mean over runs of noise_set / noise_singles (or noise_single), with its interval.

    Raises ValueError as `log_ratios`, and for fewer than three runs.
    """
    logs = log_ratios(history, arm, n_train, over)
    if len(logs) < _FEWEST:
        raise ValueError(
            f"a ratio of noise needs {_FEWEST} runs or more, and {arm} at N = {n_train} has {len(logs)} with "
            f"noise_set and {over}"
        )
    half = stats.t.ppf((1 + level) / 2, len(logs) - 1) * logs.std(ddof=1) / math.sqrt(len(logs))
    return Estimate(*(math.exp(logs.mean() + x) for x in (0, -half, half)), level)


def log_ratios(history: pd.DataFrame, arm: str, n_train: int, over: str = "noise_singles") -> np.ndarray:
    """(R,) of each run, in order of its seed: the mean over its points of log(noise_set / `over`).

    Updates where nothing was measured (NaN) count for nothing. Raises ValueError naming a missing column, an arm and
    size without points, and a value that is no positive number.
    """
    missing = [column for column in (*KEYS, "noise_set", over) if column not in history]
    if missing:
        raise ValueError(f"the history table lacks column {missing[0]!r}; it has {', '.join(map(str, history))}")
    rows = history[(history["arm"] == arm) & (history["n_train"] == n_train)].dropna(subset=["noise_set", over])
    if not len(rows):
        raise ValueError(f"the history of arm {arm!r} at N = {n_train} has no row with noise_set and {over}")
    for column in ("noise_set", over):
        wrong = rows[~((rows[column] > 0) & np.isfinite(rows[column]))]
        if len(wrong):
            row = wrong.iloc[0]
            raise ValueError(
                f"{column} of arm {arm}, N = {n_train}, seed {row['seed']} is {row[column]}; it is above 0"
            )
    logs = np.log(rows["noise_set"] / rows[over])
    return logs.groupby(rows["seed"]).mean().to_numpy(float)
