"""Scores in many resamples at once: case i counts weights[b, group[i]] times in resample b, and no case is copied.

target, prediction, group: (n,), groups numbered from 0; weights: (B, G). Each function gives (B,) scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_CHUNK = 4_000_000  # elements of the largest intermediate array, about 32 MB


def area(target, prediction, group, weights):
    """AUC is a sum over pairs of groups: count once how group g's positives fare against group h's negatives, then
    weigh.
    """
    positive, negative = (
        _sorted_by_group(target == 1, prediction, group),
        _sorted_by_group(target == 0, prediction, group),
    )
    if len(negative.groups) <= len(positive.groups):
        wins = _above(positive, negative)
    else:
        wins = np.outer(positive.sizes, negative.sizes) - _above(negative, positive).T
    up, down = weights[:, positive.groups], weights[:, negative.groups]
    pairs = (up @ positive.sizes) * (down @ negative.sizes)
    return np.einsum("bh,bh->b", up @ wins, down) / pairs


def _above(one: _Grouped, other: _Grouped) -> np.ndarray:
    """(groups of one, groups of other): how many pairs of their values have the first above the second, ties one half.

    Every value is placed among the sorted values of the other side, where running counts by group are read off. All
    counts are multiples of one half and exact, whatever the order.
    """
    order = np.argsort(other.values)
    ordered, group = other.values[order], other.index[order]
    sides = [np.searchsorted(ordered, one.values, side) for side in ("left", "right")]
    wins = np.empty((len(one.groups), len(other.groups)))
    step = max(1, _CHUNK // (len(ordered) + len(one.values)))
    for start in range(0, len(other.groups), step):
        columns = slice(start, min(start + step, len(other.groups)))
        some = np.flatnonzero((group >= columns.start) & (group < columns.stop))
        below = np.zeros((len(ordered) + 1, columns.stop - start), dtype=np.float32)
        below[some + 1, group[some] - start] = 1
        np.cumsum(below, axis=0, out=below)
        both = below[sides[0]] + below[sides[1]]
        wins[:, columns] = np.add.reduceat(both, one.starts, axis=0, dtype=np.float64) / 2
    return wins


@dataclass(frozen=True)
class _Grouped:
    values: np.ndarray  # sorted by group
    index: np.ndarray  # position of each value's group in `groups`
    groups: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray


def _sorted_by_group(which, prediction, group) -> _Grouped:
    order = np.argsort(group[which], kind="stable")
    groups, starts, index, sizes = np.unique(
        group[which][order], return_index=True, return_inverse=True, return_counts=True
    )
    return _Grouped(prediction[which][order], index, groups, starts, sizes.astype(float))


def mean(loss):
    """Of a loss (target, prediction) → (n,)."""

    def resample(target, prediction, group, weights):
        groups = weights.shape[1]
        total = np.bincount(group, loss(target, prediction), minlength=groups)
        return weights @ total / (weights @ np.bincount(group, minlength=groups))

    return resample


def explained(target, prediction, group, weights):
    """1 - mean squared difference / variance of the targets."""
    centred = target - target.mean()
    sums = np.stack([(prediction - target) ** 2, centred, centred**2, np.ones(len(target))])
    by_group = np.stack([np.bincount(group, x, minlength=weights.shape[1]) for x in sums])
    error, first, second, n = by_group @ weights.T
    return 1 - error / (second - first**2 / n)


def last_of_runs(ordered: np.ndarray) -> np.ndarray:
    """The last place of each run of equal scores, which may be infinite: their differences would be NaN.   (n,)"""
    return np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)])


def in_top(top: int, prediction, target, group, weights) -> np.ndarray:
    """(B,) how many of the `top` highest predictions have target 1, equal ones as on average over their orders."""
    order = np.argsort(-prediction, kind="stable")
    ends = np.append(0, last_of_runs(prediction[order]) + 1)
    drawn = weights[:, group[order]]
    n_all, n_positive = (ascending(w)[:, ends].astype(float) for w in (drawn, drawn * target[order]))
    left = np.count_nonzero(n_all <= top, axis=1) - 1
    row, right = np.arange(len(weights)), np.minimum(left + 1, len(ends) - 1)
    wide = n_all[row, right] - n_all[row, left]
    share = np.divide(top - n_all[row, left], wide, out=np.zeros(len(weights)), where=wide > 0)
    return n_positive[row, left] + share * (n_positive[row, right] - n_positive[row, left])


def sensitivity(rate: float):
    """At a false-positive rate, as `auc.sensitivity_at`."""

    def resample(target, prediction, group, weights):
        order = np.argsort(-prediction, kind="stable")
        last = last_of_runs(prediction[order])  # a point of the curve per distinct score
        positive = target[order] == 1
        n_found, n_false = (np.append(0, np.cumsum(which)[last]) for which in (positive, ~positive))
        result = np.empty(len(weights))
        step = max(1, _CHUNK // len(order))
        for start in range(0, len(weights), step):
            some = weights[start : start + step].astype(np.float32)  # counts are exact
            found, false = (ascending(some[:, group[order][which]]) for which in (positive, ~positive))
            limit = rate * false[:, -1]
            within = (false <= limit[:, None]).sum(axis=1) - 1
            left = np.minimum(np.searchsorted(n_false, within, side="right") - 1, len(last) - 1)
            row = np.arange(len(some))
            x, x_right = false[row, n_false[left]], false[row, n_false[left + 1]]
            y, y_right = found[row, n_found[left]], found[row, n_found[left + 1]]
            share = np.divide(limit - x, x_right - x, out=np.zeros(len(some)), where=x_right > x)
            result[start : start + step] = (y + share * (y_right - y)) / found[:, -1]
        return result

    return resample


def ascending(counts: np.ndarray) -> np.ndarray:
    """Running totals along each row, from 0."""
    totals = np.zeros((counts.shape[0], counts.shape[1] + 1), dtype=np.float32)
    np.cumsum(counts, axis=1, out=totals[:, 1:])
    return totals


def slowly(function):
    """Of any function (target, prediction) → float, with copies after all."""

    def resample(target, prediction, group, weights):
        case = np.arange(len(target))
        drawn = (np.repeat(case, row[group].astype(int)) for row in weights)
        return np.array([function(target[index], prediction[index]) for index in drawn])

    return resample
