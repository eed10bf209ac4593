"""Training subsets that grow.

Winkels & Cohen (Medical Image Analysis 55:15-26, 2019, §4.1) train on class-balanced sets, each contained in every
larger one, so that the points of a learning curve differ by added cases only. A subset is decided by its seed alone,
never by the arm: arms are compared in pairs.
"""

import numpy as np

from fewscans.errors import DataError


def nested_balanced(labels: np.ndarray, candidates: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Draw n cases, half of each class; with one seed, a smaller draw is the beginning of a larger one.

    Args:    labels: (total,) 0 or 1, of the whole data set.
             candidates: (k,) indices into it to draw from, in any order.
    Returns: (n,) indices into `labels`, classes alternating, so that the first m of them are the draw of size m.
    Raises:  DataError if n is odd or below 2, if the pool is empty, or if a class has fewer than n / 2 cases (it says
             the largest n possible).
    """
    by_class = _pool(labels, candidates)
    largest = 2 * min(len(indices) for indices in by_class)
    if n < 2 or n % 2:
        raise DataError(f"a balanced subset of {n} cases is impossible: n must be even and at least 2")
    if n > largest:
        pool = f"the pool has {len(by_class[0])} negatives and {len(by_class[1])} positives"
        raise DataError(f"a balanced subset of {n} cases is impossible: {pool}, so the largest balanced n is {largest}")
    drawn = [_shuffled(indices, seed, label) for label, indices in enumerate(by_class)]
    return np.stack([indices[: n // 2] for indices in drawn], axis=1).reshape(n)  # (n/2, 2) → (n,)


def checked_pool(candidates: np.ndarray, total: int) -> np.ndarray:
    """The candidates in ascending order. Raises DataError unless they are distinct indices into `total` cases."""
    candidates = np.asarray(candidates)
    if candidates.size == 0:
        raise DataError("the pool to draw from is empty; check the split it was taken from")
    if candidates.ndim != 1 or candidates.dtype.kind not in "iu":
        kind = f"{candidates.dtype} {candidates.shape}"
        raise DataError(f"the pool to draw from is {kind}; it must be integer indices (k,)")
    wrong = candidates[(candidates < 0) | (candidates >= total)]
    if len(wrong):
        raise DataError(f"the pool to draw from holds index {wrong[0]}; there are {total} labels")
    pool = np.unique(candidates)
    if len(pool) < len(candidates):
        repeats = len(candidates) - len(pool)
        raise DataError(f"the pool to draw from names {repeats} cases twice; each case may be drawn once")
    return pool


def _pool(labels: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ascending indices of the pool's negatives and positives."""
    labels = np.asarray(labels)
    pool = checked_pool(candidates, len(labels))
    wrong = labels[pool][~np.isin(labels[pool], (0, 1))]
    if len(wrong):
        raise DataError(f"label {wrong[0]} in the pool; a label is 0 or 1")
    return pool[labels[pool] == 0], pool[labels[pool] == 1]


def _shuffled(indices: np.ndarray, seed: int, label: int) -> np.ndarray:
    """The order in which one class is drawn, the same for every n."""
    return np.random.default_rng([seed, label]).permutation(indices)
