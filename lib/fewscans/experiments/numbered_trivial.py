"""Trivial baselines for a scan's number, which a network must beat: the mean, a histogram, the box it was cut from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fewscans.data.numbered import NumberedScans

BINS = 16
RIDGE = 1.0
SIDES = ["shape_z", "shape_y", "shape_x"]  # of the published crop, in `NumberedScans.about`


def mean(data: NumberedScans, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The training labels' mean for everyone: (k,)."""
    return np.full(len(test), data.number[train].mean())


def histogram(data: NumberedScans, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Ridge regression on the share of voxels in each of 16 bins of intensity: knows nothing of shape. (k,)"""

    def describe(index: np.ndarray) -> np.ndarray:
        flat = data.images[index].reshape(len(index), -1).astype(np.int64) * BINS // 256
        return np.stack([(flat == b).mean(axis=1) for b in range(BINS)], axis=1)

    return ridge(describe(train), data.number[train], describe(test))


def crop(data: NumberedScans, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Ridge regression on the published crop's three sides: what its size alone gives away. (k,)"""
    sides = data.about[SIDES].to_numpy(np.float64)
    return ridge(sides[train], data.number[train], sides[test])


def ridge(x: np.ndarray, y: np.ndarray, x_new: np.ndarray) -> np.ndarray:
    """Linear regression on standardised features, weights shrunk: (n, f), (n,), (k, f) → (k,)."""
    centre, spread = x.mean(axis=0), x.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    z, z_new = (x - centre) / spread, (x_new - centre) / spread
    weight = np.linalg.solve(z.T @ z + RIDGE * np.eye(x.shape[1]), z.T @ (y - y.mean()))
    return z_new @ weight + y.mean()


PREDICTORS: dict[str, Callable[[NumberedScans, np.ndarray, np.ndarray], np.ndarray]] = {
    "mean": mean, "histogram": histogram, "crop": crop,
}  # fmt: skip
