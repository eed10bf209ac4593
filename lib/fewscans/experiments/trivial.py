"""Trivial baselines for patches, which a network must beat: grey values, brightness or volume, nearest neighbour.

Each is fitted on the training subset alone and scores patches, on the plane or in space, between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

BINS = 16
RIDGE = 1.0
CENTRE_SHARE = 0.1  # semi-axes of the central ellipsoid, of the patch's sides: 5 voxels of 50

Scorer = Callable[[np.ndarray], np.ndarray]


def histogram(images: np.ndarray, labels: np.ndarray) -> Scorer:
    """Ridge regression of the label on the patch's intensity histogram: knows nothing of shape.

    images: (n, *S) uint8.   labels: (n,) 0 or 1.   → a function (m, *S) → (m,)
    """

    def describe(patches: np.ndarray) -> np.ndarray:
        flat = patches.reshape(len(patches), -1).astype(np.int64) * BINS // 256
        counts = np.stack([(flat == b).mean(axis=1) for b in range(BINS)], axis=1)
        return counts * BINS

    x = describe(images)
    mean, offset = x.mean(axis=0), labels.mean()
    gram = (x - mean).T @ (x - mean) + RIDGE * np.eye(BINS)
    weight = np.linalg.solve(gram, (x - mean).T @ (labels - offset))
    return lambda patches: np.clip((describe(patches) - mean) @ weight + offset, 0, 1)


def centre(images: np.ndarray, labels: np.ndarray) -> Scorer:
    """Mean brightness of a central disc or ellipsoid, signed by the training subset."""

    def brightness(patches: np.ndarray) -> np.ndarray:
        axes = np.meshgrid(*(np.arange(side) - (side - 1) / 2 for side in patches.shape[1:]), indexing="ij")
        semi = [CENTRE_SHARE * side for side in patches.shape[1:]]
        inside = sum((x / a) ** 2 for x, a in zip(axes, semi, strict=True)) <= 1
        if not inside.any():  # a side of 10 voxels or fewer: the voxels next to the centre
            inside = np.logical_and.reduce([np.abs(x) < 1 for x in axes])
        return patches[:, inside].mean(axis=1) / 255

    return _signed(brightness, images, labels)


def volume(images: np.ndarray, labels: np.ndarray) -> Scorer:
    """Mean of the whole patch, for a shape its volume, signed by the training subset."""

    def mean(patches: np.ndarray) -> np.ndarray:
        return patches.reshape(len(patches), -1).mean(axis=1) / 255

    return _signed(mean, images, labels)


def _signed(value: Scorer, images: np.ndarray, labels: np.ndarray) -> Scorer:
    """The value, or 1 minus it where the training subset's positives have the lower one."""
    values = value(images)
    rising = values[labels == 1].mean() >= values[labels == 0].mean()
    return lambda patches: value(patches) if rising else 1 - value(patches)


def nearest(images: np.ndarray, labels: np.ndarray) -> Scorer:
    """By correlation: half of 1 plus the best match among positives minus the best among negatives.

    Shows what memory alone can do.
    """

    def normalised(patches: np.ndarray) -> np.ndarray:
        flat = patches.reshape(len(patches), -1).astype(np.float32)
        flat -= flat.mean(axis=1, keepdims=True)
        return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)

    known = normalised(images)

    def score(patches: np.ndarray) -> np.ndarray:
        correlation = normalised(patches) @ known.T
        best = [correlation[:, labels == label].max(axis=1) for label in (0, 1)]
        return np.clip(0.5 + (best[1] - best[0]) / 4, 0, 1).astype(np.float64)

    return score


SCORERS: dict[str, Callable[[np.ndarray, np.ndarray], Scorer]] = {
    "histogram": histogram, "centre": centre, "volume": volume, "nearest": nearest,
}  # fmt: skip
