"""Training subsets and folds of a user's own set: patient after patient, classes balanced, folds alike.

The library's own sets draw single cases where classes are balanced (`splits`), as their papers do. Who collects scans
collects patients, and several scans of one patient say less than as many of different ones.
"""

from __future__ import annotations

import numpy as np

from fewscans.data import splits
from fewscans.data.base import Cases


def by_patient(cases: Cases) -> bool:
    """Whether training subsets of these cases take patient after patient."""
    return "by_patient" in cases.about


def nested_patients(cases: Cases, candidates: np.ndarray, n: int, seed: int) -> np.ndarray:
    """n cases, half of each class, patient after patient: with one seed, a smaller draw is part of a larger one.

    Patients come in random order, and each class is drawn in that order, so that a draw holds few patients and nearly
    all of their cases. (`splits.nested_balanced` draws single cases.)
    Returns: (n,) indices, classes alternating.   Raises:  DataError as `splits.nested_balanced`.
    """
    splits.nested_balanced(cases.target, candidates, n, seed)  # what is impossible is refused there
    names = np.unique(cases.group[candidates])
    rank = dict(zip(np.random.default_rng(seed).permutation(names), range(len(names)), strict=True))
    order = np.argsort([rank[group] for group in cases.group[candidates]], kind="stable")
    drawn = np.asarray(candidates)[order]
    halves = [drawn[cases.target[drawn] == label][: n // 2] for label in (0, 1)]
    return np.stack(halves, axis=1).reshape(n)


def stratified_fold(groups: np.ndarray, strata: np.ndarray, count: int, seed: int) -> np.ndarray:
    """A fold for each case, all of a group in one, groups of each stratum spread evenly: (n,) int64 from 0.

    strata: (n,) of each case; a group belongs to the stratum of its first case.
    """
    names, first = np.unique(groups, return_index=True)
    fold, start = np.zeros(len(names), int), 0
    for number, stratum in enumerate(np.unique(strata)):
        mine = np.flatnonzero(strata[first] == stratum)
        fold[np.random.default_rng([seed, number]).permutation(mine)] = (np.arange(len(mine)) + start) % count
        start += len(mine)
    return fold[np.searchsorted(names, groups)]
