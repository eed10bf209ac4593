"""Areas under ROC curves: the area, DeLong's paired test and Holm's correction of several, sensitivity at a rate.

DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988); computed by midranks as in Sun & Xu, IEEE Signal Processing
Letters 21 (2014). A positive and a negative case with the same score count one half everywhere.
The test takes cases as independent and one fixed score per case: it is for sets with one image a patient. For several,
and for seeds, see `intervals`.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from fewscans.stats.weighted import last_of_runs


def checked(y, *scores) -> tuple[np.ndarray, ...]:
    """Labels and scores as flat float arrays.

    Raises ValueError naming what is wrong: a length that differs, NaN, a label that is not 0 or 1, one class only.
    """
    y = np.asarray(y, dtype=float)
    if y.ndim != 1 or y.size == 0:
        raise ValueError(f"labels must be a flat, non-empty array, got shape {y.shape}")
    wrong = y[(y != 0) & (y != 1)]  # NaN differs from both
    if wrong.size:
        raise ValueError(f"labels must be 0 or 1, got {wrong[0]}")
    if y.min() == y.max():
        raise ValueError(f"all {y.size} labels are {int(y[0])}; both classes are needed")
    arrays = [np.asarray(score, dtype=float) for score in scores]
    for score in arrays:
        if score.shape != y.shape:
            raise ValueError(f"labels have shape {y.shape}, scores {score.shape}; each case needs one of each")
        if np.isnan(score).any():
            raise ValueError(f"score of case {int(np.flatnonzero(np.isnan(score))[0])} is NaN")
    return (y, *arrays)


def auc(y, score) -> float:
    """Probability that a positive case outscores a negative one, ties one half.   y: (n,) of 0 and 1; score: (n,)."""
    y, score = checked(y, score)
    positive = int(y.sum())
    ranks = stats.rankdata(score)[y == 1].sum()
    return float((ranks - positive * (positive + 1) / 2) / (positive * (y.size - positive)))


def delong_test(y, score_a, score_b) -> tuple[float, float, float, float]:
    """Do two scores of the same cases have the same AUC?

    Returns (auc_a, auc_b, z, two-sided p). Scores that order all pairs alike give z 0 and p 1; if the areas differ
    and the variance of their difference is 0, z is infinite and p 0. Raises ValueError as `checked`, and if a class
    has one case.
    """
    y, score_a, score_b = checked(y, score_a, score_b)
    if min(y.sum(), (1 - y).sum()) < 2:
        raise ValueError(f"DeLong's variance needs two cases of each class, got {int(y.sum())} positive of {y.size}")
    positive, negative = zip(*(_placements(y, score) for score in (score_a, score_b)), strict=True)
    auc_a, auc_b = (float(placement.mean()) for placement in positive)
    difference = [np.subtract(*positive), np.subtract(*negative)]
    variance = sum(float(d.var(ddof=1)) / d.size for d in difference)
    if math.isclose(auc_a, auc_b, rel_tol=0, abs_tol=1e-12):
        return auc_a, auc_b, 0.0, 1.0
    if variance < 1e-24:
        return auc_a, auc_b, math.copysign(math.inf, auc_a - auc_b), 0.0
    z = (auc_a - auc_b) / math.sqrt(variance)
    return auc_a, auc_b, z, float(2 * stats.norm.sf(abs(z)))


def holm(p_values) -> np.ndarray:
    """p-values of several tests, adjusted so that the chance of any false rejection stays below the level.

    Holm, Scand. J. Statist. 6 (1979): the k-th smallest of m is multiplied by m - k + 1, is never below a smaller one's
    and never above 1.   p_values: (m,).   Raises ValueError for one that does not lie between 0 and 1.
    """
    p = np.asarray(p_values, dtype=float)
    wrong = p[~((p >= 0) & (p <= 1))]
    if wrong.size:
        raise ValueError(f"a p-value lies between 0 and 1, got {wrong[0]}")
    order, adjusted = np.argsort(p), np.empty(p.size)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)))
    return adjusted


def _placements(y: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Structural components: each positive's share of negatives below it, each negative's share of positives above
    it.
    """
    positive, negative = score[y == 1], score[y == 0]
    ranks = stats.rankdata(np.concatenate([positive, negative]))
    m, n = positive.size, negative.size
    below = (ranks[:m] - stats.rankdata(positive)) / n
    above = 1 - (ranks[m:] - stats.rankdata(negative)) / m
    return below, above


def roc_curve(y, score) -> tuple[np.ndarray, np.ndarray]:
    """False-positive rate and sensitivity, both ascending from 0 to 1, one point per distinct score."""
    y, score = checked(y, score)
    order = np.argsort(-score, kind="stable")
    last = last_of_runs(score[order])
    found = np.cumsum(y[order])[last]
    false = last + 1 - found
    return np.append(0.0, false / false[-1]), np.append(0.0, found / found[-1])


def sensitivity_at(y, score, false_positive_rate: float) -> float:
    """Sensitivity at a false-positive rate between 0 and 1, linear between ROC points; the highest where the curve
    is upright.
    """
    if not 0 <= false_positive_rate <= 1:
        raise ValueError(f"a false-positive rate lies between 0 and 1, got {false_positive_rate}")
    x, sensitivity = roc_curve(y, score)
    left = int(np.searchsorted(x, false_positive_rate, side="right")) - 1
    if left == x.size - 1:
        return float(sensitivity[-1])
    share = (false_positive_rate - x[left]) / (x[left + 1] - x[left])
    return float(sensitivity[left] + share * (sensitivity[left + 1] - sensitivity[left]))
