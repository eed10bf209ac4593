"""Intraclass correlation: how far ratings of the same subjects agree, and the difference of two such agreements.

Definitions and F-based intervals: McGraw & Wong, Psychological Methods 1:30-46 (1996). In the letters of Shrout &
Fleiss, Psychological Bulletin 86:420-428 (1979):

    "A,1"   ICC(2,1), absolute agreement: a rater who always says 1 ml more agrees less
    "C,1"   ICC(3,1), consistency: he does not, as each rater's own mean is taken off first
    "1,1"   ICC(1,1), for raters that differ from subject to subject: no rater has a mean of its own

A network is judged as a second rater beside the reference: ratings are the columns (target, prediction). The paper on
regression from sums (Dubost et al., MICCAI 2019) does not say which ICC it reports; "A,1" is what we decide by and
"C,1" is given too: the two differ only if predictions are biased.

What an ICC is not: a property of a network alone. It grows with the spread of the subjects, so ICCs of two test sets
are not comparable, and the F-based interval takes subjects and errors as normal and subjects as independent.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

from fewscans.stats.estimate import Estimate

KINDS = ("A,1", "C,1", "1,1")

_USABLE = 0.9  # share of draws in which the targets must differ


def icc(ratings, kind: str = "A,1", level: float = 0.95) -> Estimate:
    """The ICC of single ratings with its F-based interval.

    ratings: (subjects, raters), two or more of each, every rater rating every subject.   kind: one of KINDS.
    Chance agreement is 0; a rater who says the same of all subjects agrees with another one at 0. With k raters "C,1"
    and "1,1" reach down to -1 / (k - 1), "A,1" a little further (to -n / (n - 2) with two raters of n subjects).
    Raises ValueError for another shape or kind, NaN and infinite ratings, and if no rater's ratings vary over subjects:
    there is then nothing to agree on.
    """
    _check(kind, level)
    x = _ratings(ratings)
    n, k = x.shape
    subject, rater = x.mean(axis=1, keepdims=True), x.mean(axis=0, keepdims=True)  # x is centred
    msr = k * float((subject**2).sum()) / (n - 1)
    msc = n * float((rater**2).sum()) / (k - 1)
    mse = float(((x - subject - rater) ** 2).sum()) / ((n - 1) * (k - 1))
    if kind == "A,1" and n * msr + k * msc + (n * k - n - k) * mse <= 1e-12 * mse:
        raise ValueError(
            "two raters who say the opposite of two subjects have no ICC(A,1): its variance comes out as 0"
        )
    value = float(from_mean_squares(kind, msr, msc, mse, n, k))
    low, high = _interval(kind, msr, msc, mse, n, k, value, level)
    return Estimate(value, min(low, value), max(high, value), level)


def interval_of(value: float, n_subjects: int, n_raters: int = 2, level: float = 0.95) -> Estimate:
    """A published ICC with the interval that its paper left out, from its number of subjects alone.

    Exact for "C,1", whose F ratio is a function of the ICC. For "A,1" it holds where raters do not differ in their
    means, and is too narrow where they do. Raises ValueError for a value outside [-1 / (k - 1), 1], or fewer than two
    subjects or raters.
    """
    _check("C,1", level)
    n, k = n_subjects, n_raters
    if min(n, k) < 2:
        raise ValueError(f"an ICC needs at least 2 subjects and 2 raters, got {n} and {k}")
    if not -1 / (k - 1) <= value <= 1:
        raise ValueError(f"an ICC of {k} raters lies between {-1 / (k - 1):.3g} and 1, got {value}")
    low, high = _interval("C,1", 1 + (k - 1) * value, 0.0, 1 - value, n, k, value, level)  # mean squares to a factor
    return Estimate(value, min(low, value), max(high, value), level)


def agreement(target, prediction, kind: str = "A,1") -> float:
    """The ICC of predictions with their targets, (n,) each, without an interval.   Raises as `icc`."""
    return icc(np.column_stack(paired(target, prediction)), kind).value


def resampled_icc(kind: str = "A,1") -> Callable[..., np.ndarray]:
    """A function (target, prediction, group, weights) → (B,): the ICC in B resamples, where case i counts
    weights[b, group[i]] times.   group: (n,) numbers from 0.   It needs six sums per group, whatever the number of
    cases. A resample in which neither targets nor predictions vary gives NaN: see `targets_differ`.
    """
    _check(kind, 0.95)

    def resample(target, prediction, group, weights):
        middle = np.mean(target)  # sums of squares about a distant 0 would lose digits
        x, y = target - middle, prediction - middle
        terms = (np.ones(len(x)), x, y, x * x, y * y, x * y)
        sums = np.stack([np.bincount(group, term, minlength=weights.shape[1]) for term in terms], axis=1)
        n, x, y, xx, yy, xy = (weights @ sums).T
        with np.errstate(invalid="ignore", divide="ignore"):
            both = xy - x * y / n
            squares = (xx - x * x / n + yy - y * y / n) / 2
            msr, mse = (squares + both) / (n - 1), np.maximum(squares - both, 0.0) / (n - 1)
            return from_mean_squares(kind, msr, (x - y) ** 2 / n / 2, mse, n, 2)

    return resample


def from_mean_squares(kind: str, msr, msc, mse, n, k):
    """The ICC of k raters of n subjects from the mean squares of subjects, of raters and of what is left; numbers or
    arrays.
    """
    if kind == "C,1":
        return (msr - mse) / (msr + (k - 1) * mse)
    if kind == "A,1":
        return (msr - mse) / (msr + (k - 1) * mse + k * (msc - mse) / n)
    msw = (msc + (n - 1) * mse) / n
    return (msr - msw) / (msr + (k - 1) * msw)


def targets_differ(target, group, weights) -> np.ndarray:
    """(B,) bool: which resamples hold two different targets.   target, group: (n,); weights: (B, G)."""
    target, groups = np.asarray(target, dtype=float), weights.shape[1]
    least, most = np.full(groups, np.inf), np.full(groups, -np.inf)
    np.minimum.at(least, group, target)
    np.maximum.at(most, group, target)
    drawn = weights > 0
    return np.where(drawn, least, np.inf).min(axis=1) < np.where(drawn, most, -np.inf).max(axis=1)


def paired(target, *predictions) -> tuple[np.ndarray, ...]:
    """Targets and predictions as flat float arrays.

    Raises ValueError naming what is wrong: no subjects, a length that differs, a number that is not finite.
    """
    target = np.asarray(target, dtype=float)
    if target.ndim != 1 or target.size == 0:
        raise ValueError(f"targets must be a flat, non-empty array, got shape {target.shape}")
    arrays = [np.asarray(prediction, dtype=float) for prediction in predictions]
    for array in arrays:
        if array.shape != target.shape:
            raise ValueError(f"targets have shape {target.shape}, predictions {array.shape}; each case needs both")
    for what, array in (("target", target), *(("prediction", array) for array in arrays)):
        wrong = np.flatnonzero(~np.isfinite(array))
        if wrong.size:
            raise ValueError(f"{what} of case {wrong[0]} is {array[wrong[0]]}")
    return (target, *arrays)


def _check(kind: str, level: float) -> None:
    if kind not in KINDS:
        raise ValueError(f"unknown kind of ICC {kind!r}; known: {', '.join(map(repr, KINDS))}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")


def _ratings(ratings) -> np.ndarray:
    """Centred on the grand mean and brought to a spread of 1, which no ICC can see."""
    x = np.asarray(ratings, dtype=float)
    if x.ndim != 2 or min(x.shape) < 2:
        raise ValueError(f"ratings are (subjects, raters), at least 2 of each; got shape {x.shape}")
    wrong = np.argwhere(~np.isfinite(x))
    if wrong.size:
        subject, rater = wrong[0]
        raise ValueError(f"rating of subject {subject} by rater {rater} is {x[subject, rater]}; every rating must be")
    if (x == x[0]).all():
        raise ValueError(f"the ratings have no variance: no rater tells any of the {len(x)} subjects from another")
    x = x / np.abs(x).max()
    x = x - x.mean()
    return x / np.abs(x).max()


def _interval(kind, msr, msc, mse, n, k, value, level) -> tuple[float, float]:
    """McGraw & Wong's table 7, written so that perfect agreement divides by nothing."""
    tail = (1 + level) / 2

    def of_ratio(error, df):
        low, high = stats.f.ppf(tail, n - 1, df) * error, msr * stats.f.ppf(tail, df, n - 1)
        return (msr - low) / (msr + (k - 1) * low), (high - error) / (high + (k - 1) * error)

    if kind == "C,1":
        return of_ratio(mse, (n - 1) * (k - 1))
    if kind == "1,1":
        return of_ratio((msc + (n - 1) * mse) / n, n * (k - 1))
    # Satterthwaite's degrees of freedom of the raters' and the left-over mean squares together, at the estimated ICC.
    a, b = k * value * msc, (n * (1 - value) + k * value * (n - 1)) * mse
    below = a**2 / (k - 1) + b**2 / ((n - 1) * (k - 1))
    if below == 0:
        return value, value  # raters agree to the last digit
    df = max((a + b) ** 2 / below, 1.0)  # below an ICC of 0 the sum may cancel; no mean square has fewer than 1
    low, high = stats.f.ppf(tail, n - 1, df), stats.f.ppf(tail, df, n - 1)
    rest = k * msc + (k * n - k - n) * mse
    return n * (msr - low * mse) / (low * rest + n * msr), n * (high * msr - mse) / (rest + n * high * msr)
