"""Splits and growing training subsets of whole groups: all scans of a person, or none.

Two scans of one person are nearly the same scan (both sides of a brain, two visits). Apart, one tests what the other
trained, and 25 scans of 13 people pass for 25. A subset is decided by its seed and the grid of sizes alone, never by
the arm: arms are compared in pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fewscans.data.base import Cases
from fewscans.data.splits import checked_pool
from fewscans.errors import DataError, ParamsError

# Orders tried until whole groups add up to every size: of groups of one and two, nearly always the first.
ATTEMPTS = 100


def nested_by_group(
    groups: np.ndarray, n: int, seed: int, candidates: np.ndarray | None = None, grid: Sequence[int] = ()
) -> np.ndarray:
    """Draw n cases in whole groups; with one seed and grid, each of the grid's draws is contained in every larger one.

    Groups come in random order, and one that would exceed the next size of the grid waits until that is reached. (No
    order of whole groups can pass through all sizes, so the sizes to be nested must be known.)
    Args:    groups: (total,) str or int, of the whole data set.   n: one of the grid, if there is a grid.
             candidates: (k,) indices of whole groups to draw from; else all.   grid: all sizes that will be drawn.
    Returns: (n,) indices into `groups`, group by group; the first m of them are the draw of size m of the grid.
    Raises:  DataError for an n that is not in the grid, below 1 or above what there is, candidates that are part of a
             group, or sizes that whole groups cannot add up to.
    """
    groups = np.asarray(groups)
    pool = _pool(groups, candidates)
    sizes = sorted(set(grid) or {n})
    if n not in sizes:
        raise DataError(f"a subset of {n} cases is not among the sizes to be nested, {', '.join(map(str, sizes))}")
    if sizes[0] < 1 or sizes[-1] > len(pool):
        wrong = sizes[0] if sizes[0] < 1 else sizes[-1]
        raise DataError(f"a subset of {wrong} cases is impossible: n must be from 1 to {len(pool)}, all there are")
    members = {group: pool[groups[pool] == group] for group in np.unique(groups[pool])}
    rng = np.random.default_rng(seed)
    for _ in range(ATTEMPTS):
        order = [members[group] for group in rng.permutation(list(members))]
        drawn = _through(order, sizes)
        if drawn is not None:
            return np.concatenate(drawn)[:n]
    kinds = np.unique([len(group) for group in members.values()], return_counts=True)
    counts = ", ".join(f"{count} of {size}" for size, count in zip(*kinds, strict=True))
    wanted = ", ".join(map(str, sizes))
    raise DataError(f"subsets of {wanted} cases are impossible: whole groups ({counts}) do not add up to them")


def split_by_group(
    groups: np.ndarray, held_out: Mapping[str, float], seed: int, strata: np.ndarray | None = None
) -> np.ndarray:
    """Give each case a split, all of a group the same one.

    Args:    groups: (n,).   held_out: split → how many groups of each stratum, or below 1 the share of the stratum that
             has the fewest, at least one; what is left is "train".
             strata: (n,) such as the scanner, each split to hold as many groups of one as of another; else all are one.
    Returns: (n,) str.
    Raises:  DataError if a stratum has no group left to train on, or a group is in two strata.
    """
    groups = np.asarray(groups)
    strata = np.zeros(len(groups), int) if strata is None else np.asarray(strata)
    split = np.full(len(groups), "train", dtype=f"<U{max(map(len, [*held_out, 'train']))}")
    members = {stratum: np.unique(groups[strata == stratum]) for stratum in np.unique(strata)}
    fewest = min(map(len, members.values()), default=0)
    held_out = {what: max(1, round(n * fewest)) if 0 < n < 1 else int(n) for what, n in held_out.items()}
    seen: dict = {}
    for number, (stratum, names) in enumerate(members.items()):
        for name in names:
            if seen.setdefault(name, stratum) != stratum:
                raise DataError(f"{name} is both in {seen[name]} and in {stratum}; a group is in one stratum")
        if len(names) <= sum(held_out.values()):
            wanted = ", ".join(f"{count} for {what}" for what, count in held_out.items())
            raise DataError(f"{len(names)} groups in {stratum} are too few for {wanted}, and at least one to train on")
        order = np.random.default_rng([seed, number]).permutation(names)
        start = 0
        for what, count in held_out.items():
            split[np.isin(groups, order[start : start + count]) & (strata == stratum)] = what
            start += count
    return split


def fold_of_group(groups: np.ndarray, count: int, seed: int) -> np.ndarray:
    """A fold for each case, all of a group in one, folds of as many groups as there can be; (n,) int64 from 0.

    Raises:  DataError for fewer groups than folds.
    """
    names = np.unique(groups)
    if len(names) < count:
        raise DataError(f"{len(names)} groups are too few for {count} folds; each holds at least one")
    fold = np.random.default_rng(seed).permutation(np.arange(len(names)) % count)
    return fold[np.searchsorted(names, groups)]


def part_of_fold(fold: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """The part of each case, (n,) "train", "val" or "test": a seed tests its own fold, the next one validates.

    fold: (n,) from 0.   count: how many there are; seeds beyond begin again.
    """
    return np.array(["test", "val", *["train"] * (count - 2)])[(np.asarray(fold, int) - seed) % count]


def parts(cases: Cases, count: int = 0, seed: int = 0) -> np.ndarray:
    """The part of each case for a seed where so many folds rotate, and the data set's own split where none do (0).

    Raises ParamsError for cases that are not divided into as many folds; they say so in `about["fold"]`.
    """
    if not count:
        return cases.split
    if "fold" not in cases.about or set(cases.about["fold"]) != set(range(count)):
        raise ParamsError(f"folds: {cases.path} is not divided into {count} folds; leave the key out")
    return part_of_fold(cases.about["fold"], count, seed)


class Fold(NamedTuple):
    """Which cases a network is trained, selected and tested on: indices, the first to be drawn from."""

    name: str
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


def uniform_by_label(
    labels: np.ndarray, n: int, seed: int, candidates: np.ndarray | None = None, groups: np.ndarray | None = None
) -> np.ndarray:
    """Draw n cases whose labels are spread about evenly, where a random draw would hold mostly the common ones.

    The paper picked its training scans of perivascular spaces by hand, "pseudo-uniform" in the count, and does not say
    how. Here n evenly spaced targets, one in each n-th of the range of the labels, each get the case nearest to them
    that is not taken yet. The seed decides where in its n-th each target lies (the same place for all), in which order
    the targets choose, and between cases equally near. Draws of one seed are not nested.
    Args:    labels: (total,), of the whole data set.   candidates: (k,) indices to draw from; else all.
             groups: (total,) the persons, if a person may have several cases: then each draw is checked.
    Returns: (n,) indices into `labels`, in the order chosen.
    Raises:  DataError for labels that are not finite, an n below 1 or above what there is, a draw that has some but
             not all cases of a person.
    """
    labels = np.asarray(labels, np.float64)
    pool = _pool(np.arange(len(labels)) if groups is None else np.asarray(groups), candidates)
    if labels.ndim != 1 or not np.isfinite(labels).all():
        raise DataError(f"labels are {labels.shape}, or not all finite; there is one number a case, (n,)")
    if not 1 <= n <= len(pool):
        raise DataError(f"a subset of {n} cases is impossible: n must be from 1 to {len(pool)}, all there are")
    rng = np.random.default_rng(seed)
    low, high = labels[pool].min(), labels[pool].max()
    targets = rng.permutation(low + (high - low) * (np.arange(n) + rng.random()) / n)
    left = rng.permutation(pool)  # of cases equally near, the first here is taken
    drawn = []
    for target in targets:
        nearest = np.abs(labels[left] - target).argmin()
        drawn.append(left[nearest])
        left = np.delete(left, nearest)
    drawn = np.array(drawn)
    if groups is not None:
        parted = np.intersect1d(np.asarray(groups)[drawn], np.delete(groups, drawn))
        if parted.size:
            fault = f"has some cases of {parted[0]}, not all; draw from one case of each person"
            raise DataError(f"a draw of {n} cases {fault}")
    return drawn


def _through(order: Sequence[np.ndarray], sizes: Sequence[int]) -> list[np.ndarray] | None:
    """The groups, taken in order, such that their numbers add up to each size in turn; None if they do not."""
    taken: list[np.ndarray] = []
    waiting, total = list(order), 0
    for size in sizes:
        left = []
        for group in waiting:
            if total + len(group) <= size:
                taken.append(group)
                total += len(group)
            else:
                left.append(group)
        if total < size:
            return None
        waiting = left
    return taken


def _pool(groups: np.ndarray, candidates: np.ndarray | None) -> np.ndarray:
    """The candidates in ascending order, which are whole groups."""
    if groups.ndim != 1:
        raise DataError(f"groups are {groups.shape}; there is one a case, (n,)")
    if candidates is None:
        return np.arange(len(groups))
    pool = checked_pool(candidates, len(groups))
    outside = np.setdiff1d(np.arange(len(groups)), pool)
    parted = np.intersect1d(groups[pool], groups[outside])
    if parted.size:
        raise DataError(f"the pool to draw from has some cases of {parted[0]}, not all; a group is never parted")
    return pool
