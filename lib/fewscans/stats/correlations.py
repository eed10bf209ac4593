"""Do two predictors correlate differently with the same target? Williams' test for correlations that share a variable.

Williams, Journal of the Royal Statistical Society B 21:396-399 (1959), as equation 7 of Steiger, Psychological Bulletin
87:245-251 (1980):

    t = (r_jk - r_jh) · sqrt( (n - 1) (1 + r_kh) / ( 2 (n - 1) / (n - 3) · |R| + ((r_jk + r_jh) / 2)² (1 - r_kh)³ ) )

with n - 3 degrees of freedom and |R| = 1 + 2 r_jk r_jh r_kh - r_jk² - r_jh² - r_kh², the determinant of the three.
Several papers print it wrong: without the cube, with the difference divided by the root, or with both terms below the
line doubled (Diedenhofen & Musch, PLOS ONE 10:e0121945, 2015, list them).

This is the test of the paper on regression from sums (Dubost et al., MICCAI 2019). It compares correlations, not ICCs:
a predictor that is off by a constant or a factor passes it unseen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from fewscans.stats.cells import cells
from fewscans.stats.icc import paired
from fewscans.stats.resample import in_common

_ROUNDING = 1e-12


def williams_test(r_jk: float, r_jh: float, r_kh: float, n: int) -> tuple[float, float]:
    """Is the correlation of j with k another one than that of j with h?

    r_jk, r_jh: the two compared, with the target j.   r_kh: of the two predictors.   n: subjects, independent of each
    other. Returns (t, two-sided p); t is positive where r_jk is larger. Equal correlations give t 0 and p 1; where they
    differ and nothing is left to vary, t is infinite and p 0. Raises ValueError for a correlation outside [-1, 1],
    three that no data can have, fewer than 4 subjects, and predictors that are each other's mirror image.
    """
    for name, r in (("r_jk", r_jk), ("r_jh", r_jh), ("r_kh", r_kh)):
        if not -1 <= r <= 1:  # NaN neither
            raise ValueError(f"{name} is {r}; a correlation lies between -1 and 1")
    if isinstance(n, bool) or not 3 < n < math.inf or n != int(n):
        raise ValueError(f"n is {n}; the test has n - 3 degrees of freedom and needs 4 subjects or more")
    determinant = 1 + 2 * r_jk * r_jh * r_kh - r_jk**2 - r_jh**2 - r_kh**2
    if determinant < -_ROUNDING:
        middle, room = r_jk * r_jh, math.sqrt((1 - r_jk**2) * (1 - r_jh**2))
        raise ValueError(
            f"no data have correlations r_jk = {r_jk}, r_jh = {r_jh} and r_kh = {r_kh}: with the first two, r_kh lies "
            f"between {middle - room:.4g} and {middle + room:.4g}"
        )
    difference = r_jk - r_jh
    if difference == 0 or 1 - r_kh <= _ROUNDING:  # k and h are the same up to unit and shift
        return 0.0, 1.0
    if 1 + r_kh <= _ROUNDING:
        raise ValueError(f"r_kh is {r_kh}: k and h mirror each other, so ask whether r_jk differs from 0 instead")
    below = 2 * (n - 1) / (n - 3) * max(determinant, 0.0) + ((r_jk + r_jh) / 2) ** 2 * (1 - r_kh) ** 3
    if below == 0:
        return math.copysign(math.inf, difference), 0.0
    t = difference * math.sqrt((n - 1) * (1 + r_kh) / below)
    return t, float(2 * stats.t.sf(abs(t), n - 3))


def compare_correlations(target, prediction_a, prediction_b) -> tuple[float, float, float, float]:
    """Pearson's correlations of two predictions with the same target, and Williams' test of their difference.

    target, prediction_a, prediction_b: (n,), subjects independent. Returns (r_a, r_b, t, two-sided p). Raises
    ValueError as `williams_test`, for lengths that differ, numbers that are not finite, and values that do not vary.
    """
    values = paired(target, prediction_a, prediction_b)
    for name, x in zip(("targets", "predictions a", "predictions b"), values, strict=True):
        if x.min() == x.max():
            raise ValueError(f"all {len(x)} {name} are {x[0]}; what does not vary has no correlation")
    r = np.clip(np.corrcoef(values), -1, 1)
    t, p = williams_test(float(r[0, 1]), float(r[0, 2]), float(r[1, 2]), len(values[0]))
    return float(r[0, 1]), float(r[0, 2]), t, p


class Williams(NamedTuple):
    """t, p: Williams' test, two-sided, t positive where the first arm correlates more.   r_first, r_second: with the
    target.   r_between: of both predictions.   n: the subjects that the test took as independent.
    """

    t: float
    p: float
    r_first: float
    r_second: float
    r_between: float
    n: int


def williams_of(
    predictions: pd.DataFrame, arms: tuple[str, str], sizes: Iterable[int], split: str = "test", by_group: bool = False
) -> Williams:
    """The paper's comparison of two arms over a whole learning curve: each case's predictions averaged over the
    training sizes and, as there are several here, over the seeds; then Williams' test of both averages with the target.

    predictions: the tidy table, of regression.   arms: the two compared, each trained at all of `sizes`; the seeds are
    those that all have in common.   by_group: average targets and predictions over each group (the two sides of one
    person) before.
    The unit is the case, as in the paper: p says how far other cases might tell otherwise, of these very networks. It
    knows nothing of the seeds, whose number makes the averages better but adds nothing to n; and where cases of one
    group are alike it is too small, unless `by_group`. An average over sizes and seeds is an ensemble that nobody
    proposes to use: its correlation is higher than that of the networks in it.
    Raises ValueError as `cells`, `compare_correlations`, for one arm twice, no size, and cells that cannot be paired.
    """
    first, second = arms
    sizes = list(dict.fromkeys(int(n) for n in sizes))
    if first == second or not sizes:
        raise ValueError(f"needs two arms and a training size or more, got {first}, {second} and {sizes}")
    found = cells(predictions, split, set(arms), sizes)
    for arm in arms:
        for n in sizes:
            if (arm, n) not in found:
                held = ", ".join(str(m) for a, m in sorted(found) if a == arm)
                raise ValueError(f"no predictions of arm {arm!r} at N = {n}; of these sizes it has {held}")
    found = dict(zip(found, in_common(list(found.values())), strict=True))
    start = found[first, sizes[0]]
    mean = {key: np.nanmean(cell.prediction, axis=0) for key, cell in found.items()}  # over the seeds that test a case
    values = [start.target, *(np.mean([mean[arm, n] for n in sizes], axis=0) for arm in arms)]
    if by_group:
        groups, of = np.unique(start.group.astype(str), return_inverse=True)
        values = [np.bincount(of, x) / np.bincount(of) for x in values]
    r_first, r_second, t, p = compare_correlations(*values)
    between = float(np.clip(np.corrcoef(values[1], values[2])[0, 1], -1, 1))
    return Williams(t, p, r_first, r_second, between, len(values[0]))
