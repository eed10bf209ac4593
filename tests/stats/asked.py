"""What the library computes for many cells at once, asked of one, as tests like it."""

import numpy as np

from fewscans.stats.estimate import Estimate
from fewscans.stats.intervals import combination, resampled
from fewscans.stats.resample import Joint, Spread
from fewscans.stats.seed_spread import paired_scores, spread_ratio


def score_interval(
    predictions, arm: str, n_train: int, score="auc", split="test", n_bootstrap=1000, rng=0, level=0.95
) -> Estimate:
    """An arm's mean score over seeds."""
    table = resampled(predictions, score, split, n_bootstrap, rng, [arm], [n_train])
    return table.spread({(arm, n_train): 1.0}).estimate(level, table.score.bounds)


def difference_interval(
    predictions, arm: str, baseline: str, n_train: int, score="auc", split="test", n_train_baseline: int | None = None,
    n_bootstrap=1000, rng=0, level=0.95,
) -> Estimate:  # fmt: skip
    """Score of `arm` minus score of `baseline`, paired by seed and case."""
    other = n_train_baseline or n_train
    table = resampled(predictions, score, split, n_bootstrap, rng, {arm, baseline}, {n_train, other})
    return table.spread(combination(((arm, n_train), 1.0), ((baseline, other), -1.0))).estimate(level)


def two_way(values, draws, n_groups: int) -> Spread:
    """The spread of a mean over seeds: values (S,), draws (S, B)."""
    return Joint.of(np.asarray(values, float)[None], np.asarray(draws, float)[None], n_groups).spread(np.ones(1))


def seed_spread(predictions, arm: str, baseline: str, n_train: int, score="icc", split="test", level=0.95) -> Estimate:
    return spread_ratio(*paired_scores(predictions, arm, baseline, n_train, score, split), level)
