"""Scores and differences of scores with intervals over seeds and test patients; how the interval is made: `resample`.

Each function takes a prediction table or, for many intervals at once, a `Resampled` (whose score, split and draws
then count).
"""

from __future__ import annotations

from fewscans.stats.resample import Resampled


def resampled(predictions, score="auc", split="test", n_bootstrap=1000, rng=0, arms=None, n_train=None) -> Resampled:
    """The table with its score, as is if it is `Resampled` already."""
    if isinstance(predictions, Resampled):
        return predictions
    return Resampled(predictions, score, split, n_bootstrap, rng, arms, n_train)


def combination(*terms: tuple[tuple[str, int], float]) -> dict[tuple[str, int], float]:
    """Terms as `Resampled.spread` wants them, with equal cells added up."""
    total: dict[tuple[str, int], float] = {}
    for key, weight in terms:
        total[key] = total.get(key, 0.0) + weight
    return total
