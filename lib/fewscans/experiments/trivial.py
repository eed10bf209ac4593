"""Trivial baselines for patches, which a network must beat: histogram, brightness of the centre, nearest neighbour.

Each is fitted on the training subset alone and scores patches between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

BINS = 16
RIDGE = 1.0
CENTRE_RADIUS_VOXELS = 5.0

Scorer = Callable[[np.ndarray], np.ndarray]


def histogram(images: np.ndarray, labels: np.ndarray) -> Scorer:
    """Ridge regression of the label on the patch's intensity histogram: knows nothing of shape.

    images: (n, H, W) uint8.   labels: (n,) 0 or 1.   → a function (m, H, W) → (m,)
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
    """Mean brightness of a central disc, signed by the training subset."""

    def brightness(patches: np.ndarray) -> np.ndarray:
        height, width = patches.shape[1:]
        y, x = np.ogrid[:height, :width]
        disc = (y - (height - 1) / 2) ** 2 + (x - (width - 1) / 2) ** 2 <= CENTRE_RADIUS_VOXELS**2
        return patches[:, disc].mean(axis=1) / 255

    values = brightness(images)
    brighter = values[labels == 1].mean() >= values[labels == 0].mean()
    return lambda patches: brightness(patches) if brighter else 1 - brightness(patches)


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
    "histogram": histogram, "centre": centre, "nearest": nearest,
}  # fmt: skip
