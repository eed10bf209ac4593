"""DeLong's test of two areas under ROC curves on the same cases, and Holm's correction for several tests.

DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988); computed by midranks as in Sun & Xu, IEEE Signal Processing
Letters 21 (2014). The test takes cases as independent and one prediction a case, so it is only for sets with one image
a patient. Images of one patient are alike: there, as for several seeds, resample patients (`resample`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from fewscans.stats.auc import checked


@dataclass(frozen=True)
class DeLong:
    """difference: auc_a - auc_b, with its 95 % interval from low to high.   z: the difference over its standard error.
    p: two-sided.
    """

    auc_a: float
    auc_b: float
    difference: float
    low: float
    high: float
    z: float
    p: float


def delong_test(target, prediction_a, prediction_b, group=None) -> DeLong:
    """Do two predictions of the same cases have the same AUC?

    Where their difference has no variance, as that of predictions that order all pairs alike, p is 1 if the areas are
    equal, else 0.
    Args:    target: (n,) of 0 and 1.   prediction_a, prediction_b: (n,), higher is more likely 1.   group: (n,) the
             patient of each case, if known.
    Raises:  ValueError for a shape that differs, NaN, a label that is not 0 or 1, a class with fewer than two cases,
             and a patient with several cases.
    """
    target, *predictions = checked(target, prediction_a, prediction_b)
    if min(target.sum(), (1 - target).sum()) < 2:
        raise ValueError(f"DeLong's variance needs two cases of each class, got {int(target.sum())} of {target.size}")
    patients, count = np.unique([] if group is None else group, return_counts=True)
    if (count > 1).any():
        raise ValueError(f"patient {patients[count > 1][0]} has several cases; DeLong needs one, so resample patients")
    positive, negative = zip(*(_components(target, prediction) for prediction in predictions), strict=True)
    auc_a, auc_b = (float(component.mean()) for component in positive)
    variance = sum(np.subtract(*pair).var(ddof=1) / pair[0].size for pair in (positive, negative))
    difference, error = auc_a - auc_b, math.sqrt(variance)
    if abs(difference) < 1e-12:  # rounding
        difference = 0.0
    if error < 1e-12:
        error, z = 0.0, math.copysign(math.inf, difference) if difference else 0.0
    else:
        z = difference / error
    half, p = stats.norm.ppf(0.975) * error, 2 * stats.norm.sf(abs(z))
    return DeLong(auc_a, auc_b, difference, float(difference - half), float(difference + half), z, float(p))


def _components(target: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Structural components: V10, each positive's share of negatives below it; V01, each negative's share of positives
    above it. Ties count one half.
    """
    positive, negative = prediction[target == 1], prediction[target == 0]
    m, n = positive.size, negative.size
    ranks = stats.rankdata(np.concatenate([positive, negative]))
    return (ranks[:m] - stats.rankdata(positive)) / n, 1 - (ranks[m:] - stats.rankdata(negative)) / m


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
