"""Data efficiency: how many times fewer training cases a method needs than the baseline, for the same score.

The factor of a method at N is N' / N, where N' is the training size at which the baseline reaches the method's score.

The baseline's curve. Its mean scores over seeds are made monotone in N by isotonic regression (pool adjacent
violators, equal weights) and joined by straight lines over log N. Where the curve is flat exactly at the method's
score, the smallest N counts: there the baseline *reaches* the score, and the factor is the least that can be said.

The interval. "The baseline reaches the method's score at N'" holds where the difference D(N') = method at N -
baseline at N' is 0. D is a linear combination of mean scores, so it has the interval over seeds and patients of
`resample` (paired by seed and by case). Every N' whose interval of D covers 0 is kept, and the factor's interval
runs from the smallest to the largest of them (Fieller's construction). Resampling N' itself and taking percentiles
would need far more than ten seeds to be honest: its spread over draws is too narrow by (S - 1) / S and knows no t,
and where the baseline is flat it sits on the ends of the grid. As the pooling is part of the linear combination,
the value always lies inside.

Censoring: the data speak only where the baseline was trained, from its smallest N to its largest.
* value: if the method scores above the baseline's whole curve, the largest N over N, censored "high" ("> 17"); if below
  it, the smallest N over N, censored "low" ("< 0.3").
* high is infinite if the baseline's largest size may still be too small; low is 0 if its smallest may be too large.
* an end that lies on the edge of the grid for a censored value is a bound of the same kind: "> 17 (17 to -)" says
  that at its largest size the interval of the baseline lies below the method.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from fewscans.stats.estimate import Estimate
from fewscans.stats.intervals import combination, resampled
from fewscans.stats.resample import Joint, Resampled, half_widths

_SLACK = 1e-12  # of a score, which may be of any magnitude
_PER_SEGMENT = 200  # candidates for N' between two sizes of the baseline; the ends are exact to 1.2 % at a step of ten


def data_efficiency(
    predictions,
    baseline: str,
    method: str,
    score="auc",
    n_train: int | Iterable[int] = 100,
    split="test",
    n_bootstrap=1000,
    rng=0,
    level=0.95,
) -> Estimate | dict[int, Estimate]:
    """How many times more training cases the baseline needs for the score that `method` has at `n_train`.

    score: a name or a function of (target, prediction) (`scores.score`).   n_train: one size, or several: then a
    dict by size. predictions: a table, or a `Resampled` of one. Raises ValueError if the method lacks the size, the
    baseline has fewer than two, or seeds or test cases differ between the cells.
    """
    if not isinstance(n_train, int | np.integer):
        table = resampled(predictions, score, split, n_bootstrap, rng, {baseline, method})
        return {int(n): data_efficiency(table, baseline, method, n_train=int(n), level=level) for n in n_train}
    table = resampled(predictions, score, split, n_bootstrap, rng, {baseline, method})
    sizes = baseline_sizes(table, baseline)
    joint = table.joint([(method, int(n_train)), *((baseline, n) for n in sizes)])
    sign = 1.0 if table.score.higher_is_better else -1.0
    fit = pooling(sign * joint.means[1:])
    curve, goal = fit @ (sign * joint.means[1:]), sign * joint.means[0]
    reached, censored = _reach(np.log(sizes), curve, goal)
    low, high = _interval(joint, fit, np.log(sizes), sign, reached, level)
    value = _size(reached) / n_train
    return Estimate(value, min(low / n_train, value), max(high / n_train, value), level, censored)


def baseline_sizes(table: Resampled, baseline: str) -> list[int]:
    """The baseline's training sizes, ascending; a curve needs two."""
    sizes = table.sizes(baseline)
    if not sizes:
        raise ValueError(f"no predictions of baseline {baseline!r}; arms are {', '.join(table.arms())}")
    if len(sizes) < 2:
        raise ValueError(f"baseline {baseline!r} has N = {sizes[0]} only; its curve needs at least two training sizes")
    return sizes


def around(sizes: list[int], n_train: int) -> tuple[int, int]:
    """Of the sizes, ascending, the largest up to a third of `n_train`, or else the smallest, and the smallest
    from three times `n_train` on, or else the largest; where that is one, the two at this end.
    """
    low = max((n for n in sizes if 3 * n <= n_train), default=sizes[0])
    high = min((n for n in sizes if n >= 3 * n_train), default=sizes[-1])
    if low == high:
        low, high = sizes[:2] if low == sizes[0] else sizes[-2:]
    return low, high


def undefined(table: Resampled, baseline: str, method: str, n_train: int, level: float = 0.95) -> str:
    """Why a factor at `n_train` would have no meaning; empty if it has one.

    * The interval of what the baseline gains around `n_train` (`around`) covers 0. Its curve may then be flat, and a
      method on the level of a flat curve has any factor from none to all.
    * The baseline's means at sizes around `n_train` do not ascend, so that the fit has to pool them.
    * The method scores above the baseline at `n_train`, and at another size that both have the interval of its lead is
      below 0: the curves cross, and which method needs more data depends on where one asks.
    """
    sizes = baseline_sizes(table, baseline)
    low, high = around(sizes, n_train)
    sign = 1.0 if table.score.higher_is_better else -1.0

    def lead(one: tuple[str, int], other: tuple[str, int]) -> Estimate:
        return table.spread(combination((one, sign), (other, -sign))).estimate(level)

    gain = lead((baseline, high), (baseline, low))
    if not gain.low > 0:
        return (
            f"no factor where the baseline does not gain: from N = {low} to {high} {baseline} gains {gain.value:.3g} "
            f"({level * 100:g} % interval {gain.low:.3g} to {gain.high:.3g}) in {table.score.name}"
        )
    fit = pooling(sign * table.joint([(method, int(n_train)), *((baseline, n) for n in sizes)]).means[1:])
    for k, (one, other) in enumerate(zip(sizes, sizes[1:], strict=False)):
        if low <= one and other <= high and fit[k, k + 1]:
            return f"not defined where curves cross: {baseline} scores no better at N = {other} than at {one}"
    if n_train in sizes and lead((method, n_train), (baseline, n_train)).value > 0:
        for n in sorted(set(sizes) & set(table.sizes(method)) - {n_train}):
            if lead((method, n), (baseline, n)).high < 0:
                return f"not defined where curves cross: {method} scores less than {baseline} at N = {n}"
    return ""


def curve_weights(
    table: Resampled, baseline: str, method: str, n_train: int, size: float
) -> tuple[list[tuple[str, int]], np.ndarray]:
    """The combination "method at n_train - baseline's fitted curve at `size`", for
    `Resampled.joint(keys).spread(weights)`.

    Positive where the method is better, whatever the score. Raises ValueError if `size` is outside the baseline's
    sizes.
    """
    sizes = baseline_sizes(table, baseline)
    if not sizes[0] <= size <= sizes[-1]:
        raise ValueError(f"baseline {baseline!r} was trained at N = {sizes[0]} to {sizes[-1]}; {size:g} is outside")
    keys = [(method, int(n_train)), *((baseline, n) for n in sizes)]
    sign = 1.0 if table.score.higher_is_better else -1.0
    fit = pooling(sign * table.joint(keys).means[1:])
    return keys, sign * _difference(fit, np.log(sizes), np.log([size]))[0]


def _difference(fit: np.ndarray, x: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Weights (M, 1 + K) of the method's score and the baseline's K scores in their difference at M sizes (as
    logarithms).
    """
    right = np.clip(np.searchsorted(x, candidates), 1, len(x) - 1)
    share = ((candidates - x[right - 1]) / (x[right] - x[right - 1]))[:, None]
    curve = (1 - share) * fit[right - 1] + share * fit[right]
    return np.hstack([np.ones((len(candidates), 1)), -curve])


def pooling(means: np.ndarray) -> np.ndarray:
    """The averaging that makes `means` (K,) ascend: a (K, K) matrix, so that pooling @ means is the isotonic fit."""
    blocks: list[list[int]] = []
    for k in range(len(means)):
        blocks.append([k])
        while len(blocks) > 1 and means[blocks[-2]].mean() > means[blocks[-1]].mean():
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    matrix = np.zeros((len(means), len(means)))
    for block in blocks:
        matrix[np.ix_(block, block)] = 1 / len(block)
    return matrix


def _reach(x: np.ndarray, curve: np.ndarray, goal: float) -> tuple[float, str | None]:
    """Where the ascending curve first reaches the goal, and on which side that is cut off."""
    # a method that is the baseline reaches itself, whatever the order of summation
    slack = _SLACK * max(abs(goal), np.abs(curve).max())
    if goal > curve[-1] + slack:
        return float(x[-1]), "high"
    if goal < curve[0] - slack:
        return float(x[0]), "low"
    right = int(np.flatnonzero(curve >= goal - slack)[0])
    if right == 0 or curve[right] <= goal + slack:
        return float(x[right]), None
    share = (goal - curve[right - 1]) / (curve[right] - curve[right - 1])
    return float(x[right - 1] + share * (x[right] - x[right - 1])), None


def _interval(joint: Joint, fit, x, sign: float, reached: float, level: float) -> tuple[float, float]:
    """From the smallest N' to the largest whose difference to the method has an interval that covers 0."""
    steps = [np.linspace(a, b, _PER_SEGMENT, endpoint=False) for a, b in zip(x, x[1:], strict=False)]
    candidates = np.unique(np.concatenate([*steps, x[-1:], [reached]]))
    verdicts = _compare(joint, fit, x, candidates, sign, level)
    kept = np.flatnonzero(verdicts == 0)
    low = 0.0 if verdicts[0] <= 0 else _size(x[-1])  # below the grid the baseline scores less, or as much
    high = math.inf if verdicts[-1] >= 0 else _size(x[0])
    if kept.size and verdicts[0] > 0:
        low = _size(candidates[kept[0]])
    if kept.size and verdicts[-1] < 0:
        high = _size(candidates[kept[-1]])
    return low, high


def _compare(joint: Joint, fit, x, candidates: np.ndarray, sign: float, level: float) -> np.ndarray:
    """For each size, 1 if the interval of the method's lead over the curve lies above 0, -1 if below; else 0."""
    spread = joint.spread(sign * _difference(fit, x, candidates))
    half = half_widths(spread, level) + _SLACK * np.abs(joint.means).max()
    return (spread.value > half).astype(int) - (spread.value < -half).astype(int)


def _size(log_n: float) -> float:
    """Back from log N; the sizes of the grid come back as they were."""
    return round(math.exp(log_n), 9)
