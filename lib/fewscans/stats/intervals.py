"""Scores and differences of scores with intervals over seeds and test patients; how the interval is made: `resample`.

Each function takes a prediction table or, for many intervals at once, a `Resampled` (whose score, split and draws
then count).
"""

from __future__ import annotations

import pandas as pd

from fewscans.stats.estimate import Estimate
from fewscans.stats.resample import Resampled, Spread


def resampled(predictions, score="auc", split="test", n_bootstrap=1000, rng=0, arms=None, n_train=None) -> Resampled:
    """The table with its score, as is if it is `Resampled` already."""
    if isinstance(predictions, Resampled):
        return predictions
    return Resampled(predictions, score, split, n_bootstrap, rng, arms, n_train)


def score_interval(
    predictions, arm: str, n_train: int, score="auc", split="test", n_bootstrap=1000, rng=0, level=0.95
) -> Estimate:
    """An arm's mean score over seeds.   Raises ValueError naming what is missing: the arm, the size, a second seed
    or group.
    """
    table = resampled(predictions, score, split, n_bootstrap, rng, [arm], [n_train])
    return table.spread({(arm, n_train): 1.0}).estimate(level, table.score.bounds)


def difference_interval(
    predictions,
    arm: str,
    baseline: str,
    n_train: int,
    score="auc",
    split="test",
    n_train_baseline: int | None = None,
    n_bootstrap=1000,
    rng=0,
    level=0.95,
) -> Estimate:
    """Score of `arm` minus score of `baseline`, paired by seed and case.

    n_train_baseline: the baseline's training size if it is another one (a method at N against the baseline at 10 N).
    """
    baseline_size = n_train if n_train_baseline is None else n_train_baseline
    table = resampled(predictions, score, split, n_bootstrap, rng, {arm, baseline}, {n_train, baseline_size})
    return difference_spread(table, arm, baseline, n_train, baseline_size).estimate(level)


def difference_spread(table: Resampled, arm: str, baseline: str, n_train: int, n_train_baseline: int) -> Spread:
    """The difference and the parts of its variance; 0 throughout if both are the same cell."""
    return table.spread(combination(((arm, n_train), 1.0), ((baseline, n_train_baseline), -1.0)))


def combination(*terms: tuple[tuple[str, int], float]) -> dict[tuple[str, int], float]:
    """Terms as `Resampled.spread` wants them, with equal cells added up."""
    total: dict[tuple[str, int], float] = {}
    for key, weight in terms:
        total[key] = total.get(key, 0.0) + weight
    return total


def score_table(predictions, score="auc", split="test", n_bootstrap=1000, rng=0, level=0.95) -> pd.DataFrame:
    """Every arm and size with two seeds or more: arm, n_train, value, low, high, seeds, groups, seed_sd, patients.

    seed_sd: standard deviation over seeds, test patients held.   patients: the share of the interval's variance
    that the test patients account for: near 1, more seeds would not help.
    """
    table = resampled(predictions, score, split, n_bootstrap, rng)
    rows = []
    for (arm, n_train), cell in sorted(table.cells.items()):
        if len(cell.seeds) > 1:
            spread = table.spread({(arm, n_train): 1.0})
            rows.append({"arm": arm, "n_train": n_train} | _row(spread, level, table.score.bounds))
    return pd.DataFrame(rows)


def difference_table(predictions, baseline: str, score="auc", split="test", n_bootstrap=1000, rng=0, level=0.95):
    """Every other arm minus `baseline` at each size that both have with the same seeds and cases; columns of
    `score_table`.
    """
    table = resampled(predictions, score, split, n_bootstrap, rng)
    base = {n: cell for (arm, n), cell in table.cells.items() if arm == baseline}
    if not base:
        raise ValueError(f"no predictions of baseline {baseline!r}; arms are {', '.join(table.arms())}")
    rows = []
    for (arm, n_train), cell in sorted(table.cells.items()):
        other = base.get(n_train)
        if arm == baseline or other is None or len(cell.seeds) < 2:
            continue
        if cell.seeds.tolist() == other.seeds.tolist() and cell.case.tolist() == other.case.tolist():
            spread = difference_spread(table, arm, baseline, n_train, n_train)
            rows.append({"arm": arm, "n_train": n_train} | _row(spread, level))
    return pd.DataFrame(rows)


def _row(spread: Spread, level: float, *bounds) -> dict[str, float]:
    estimate, variance = spread.estimate(level, *bounds), spread.variance()
    return {
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "seeds": spread.n_seeds,
        "groups": spread.n_groups,
        "seed_sd": spread.seed_variance**0.5,
        "patients": max(spread.group_variance - spread.interaction, 0.0) / variance if variance else 0.0,
    }
