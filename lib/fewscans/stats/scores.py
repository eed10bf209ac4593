"""The scores that the workbook reports, by name, each with a fast way to compute it in every resample of the groups.

A score is a function of (target, prediction) → float. Any such function can be given instead of a name; it is then
called once per seed and resample (about 10,000 times for an interval), so give names where there is one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fewscans.stats.auc import auc, sensitivity_at
from fewscans.stats.calibration import brier, expected_calibration_error

_CHUNK = 4_000_000  # elements of the largest intermediate array, about 32 MB


@dataclass(frozen=True)
class Score:
    """function(target, prediction) → float.   resample(target, prediction, group, weights) → (B,) in B resamples,
    where case i counts weights[b, group[i]] times.   bounds: what the score cannot leave.   both_classes: where
    targets are 0 and 1, it needs cases of each.
    """

    name: str
    function: Callable[[np.ndarray, np.ndarray], float]
    resample: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    higher_is_better: bool = True
    bounds: tuple[float, float] = (-math.inf, math.inf)
    both_classes: bool = False


def score(name: str | Callable | Score) -> Score:
    """The score of that name: "auc", "sensitivity@0.05" (at that false-positive rate), "brier", "calibration error".

    A function of (target, prediction) becomes a slow Score in which higher is taken as better.
    Raises ValueError for an unknown name.
    """
    if isinstance(name, Score):
        return name
    if callable(name):
        known = {auc: "auc", brier: "brier", expected_calibration_error: "calibration error"}.get(name)
        title = getattr(name, "__name__", "score")
        return score(known) if known else Score(title, name, _slowly(name), both_classes=True)
    if name == "auc":
        return Score(name, auc, _auc, bounds=(0.0, 1.0), both_classes=True)
    if name == "brier":
        return Score(name, brier, _brier, higher_is_better=False, bounds=(0.0, 1.0))
    if name == "calibration error":
        slow = _slowly(expected_calibration_error)
        return Score(name, expected_calibration_error, slow, False, (0.0, 1.0), both_classes=True)
    kind, _, rate = str(name).partition("@")
    if kind == "sensitivity":
        try:
            at = float(rate)
        except ValueError:
            at = math.nan
        if 0 < at < 1:
            return Score(
                name, lambda y, p: sensitivity_at(y, p, at), _sensitivity(at), bounds=(0.0, 1.0), both_classes=True
            )
    raise ValueError(
        f"unknown score {name!r}; known: auc, sensitivity@RATE with 0 < RATE < 1, brier, calibration error"
    )


def _auc(target, prediction, group, weights):
    """AUC is a sum over pairs of groups: count once how group g's positives fare against group h's negatives, then
    weigh.
    """
    positive, negative = (
        _sorted_by_group(target == 1, prediction, group),
        _sorted_by_group(target == 0, prediction, group),
    )
    wins = np.zeros((len(positive.groups), len(negative.groups)))
    step = max(1, _CHUNK // len(negative.values))
    for start in range(0, len(positive.values), step):
        some = positive.values[start : start + step, None]
        above = (some > negative.values).astype(np.float32) + np.float32(0.5) * (some == negative.values)
        by_group = np.add.reduceat(above, negative.starts, axis=1, dtype=np.float64)
        np.add.at(wins, positive.index[start : start + step], by_group)
    up, down = weights[:, positive.groups], weights[:, negative.groups]
    pairs = (up @ positive.sizes) * (down @ negative.sizes)
    return np.einsum("bh,bh->b", up @ wins, down) / pairs


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


def _brier(target, prediction, group, weights):
    groups = weights.shape[1]
    loss = np.bincount(group, (prediction - target) ** 2, minlength=groups)
    return weights @ loss / (weights @ np.bincount(group, minlength=groups))


def _sensitivity(rate: float):
    def resample(target, prediction, group, weights):
        order = np.argsort(-prediction, kind="stable")
        last = np.flatnonzero(np.diff(prediction[order], append=np.nan) != 0)  # a point of the curve per distinct score
        positive = target[order] == 1
        n_found, n_false = (np.append(0, np.cumsum(which)[last]) for which in (positive, ~positive))
        result = np.empty(len(weights))
        step = max(1, _CHUNK // len(order))
        for start in range(0, len(weights), step):
            some = weights[start : start + step].astype(np.float32)  # counts are exact
            found, false = (_ascending(some[:, group[order][which]]) for which in (positive, ~positive))
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


def _ascending(counts: np.ndarray) -> np.ndarray:
    """Running totals along each row, from 0."""
    totals = np.zeros((counts.shape[0], counts.shape[1] + 1), dtype=np.float32)
    np.cumsum(counts, axis=1, out=totals[:, 1:])
    return totals


def _slowly(function):
    def resample(target, prediction, group, weights):
        case = np.arange(len(target))
        drawn = (np.repeat(case, row[group].astype(int)) for row in weights)
        return np.array([function(target[index], prediction[index]) for index in drawn])

    return resample
