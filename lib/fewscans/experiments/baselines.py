"""Trivial baselines, which a network must beat: intensities, brightness or volume, the nearest case, the mean.

Each is fitted on the training subset alone. Images are (n, *S) uint8, on the plane or in space.
"""

from __future__ import annotations

import numpy as np

BINS = 16
RIDGE = 1.0
CENTRE_SHARE = 0.1  # semi-axes of the central ellipsoid, of the image's sides: 5 voxels of 50
# Baselines that see no image, and the columns of `Cases.about` that they know.
KNOWN = {"diameter": ("diameter_mm",), "box": ("shape_z", "shape_y", "shape_x"), "slices": ("slices",)}


def histogram(images: np.ndarray) -> np.ndarray:
    """The share of voxels in each of 16 bins of intensity, (n, 16): knows nothing of shape."""
    flat = images.reshape(len(images), -1).astype(np.int64) * BINS // 256
    return np.stack([(flat == b).mean(axis=1) for b in range(BINS)], axis=1)


def ridge(x: np.ndarray, y: np.ndarray, x_new: np.ndarray, standardise: bool = True) -> np.ndarray:
    """Linear regression with weights shrunk towards 0: features (n, f), targets (n,), new features (k, f) → (k,)."""
    centre, spread = x.mean(axis=0), x.std(axis=0) if standardise else np.ones(x.shape[1])
    spread = np.where(spread > 0, spread, 1.0)
    z, z_new = (x - centre) / spread, (x_new - centre) / spread
    weight = np.linalg.solve(z.T @ z + RIDGE * np.eye(x.shape[1]), z.T @ (y - y.mean()))
    return z_new @ weight + y.mean()


def centre(images: np.ndarray) -> np.ndarray:
    """Mean brightness of a central disc or ellipsoid, (n,) from 0 to 1."""
    axes = np.meshgrid(*(np.arange(side) - (side - 1) / 2 for side in images.shape[1:]), indexing="ij")
    semi = [CENTRE_SHARE * side for side in images.shape[1:]]
    inside = sum((x / a) ** 2 for x, a in zip(axes, semi, strict=True)) <= 1
    if not inside.any():  # a side of 10 voxels or fewer: the voxels next to the centre
        inside = np.logical_and.reduce([np.abs(x) < 1 for x in axes])
    return images[:, inside].mean(axis=1) / 255


def centre5(images: np.ndarray) -> np.ndarray:
    """Mean of the 5 voxels a side around the middle one, which has index side // 2; (n,) from 0 to 1."""
    around = (slice(max(side // 2 - 2, 0), side // 2 + 3) for side in images.shape[1:])
    return images[(slice(None), *around)].reshape(len(images), -1).mean(axis=1) / 255


def volume(images: np.ndarray) -> np.ndarray:
    """Mean of the whole image, for a shape its volume, (n,) from 0 to 1."""
    return images.reshape(len(images), -1).mean(axis=1) / 255


def likelihood(x: np.ndarray, labels: np.ndarray, x_new: np.ndarray) -> np.ndarray:
    """A ridge's value between 0 and 1, by the logistic curve that has its value and slope at one half."""
    return 1 / (1 + np.exp(-4 * (ridge(x, labels, x_new) - 0.5)))


def signed(value: np.ndarray, labels: np.ndarray, new: np.ndarray) -> np.ndarray:
    """A new case's value, or 1 minus it where the training subset's positives have the lower mean."""
    rising = value[labels == 1].mean() >= value[labels == 0].mean()
    return new if rising else 1 - new


def nearest(images: np.ndarray, labels: np.ndarray, new: np.ndarray) -> np.ndarray:
    """By correlation: half of 1 plus the best match among positives minus the best among negatives.

    Shows what memory alone can do.
    """

    def normalised(patches: np.ndarray) -> np.ndarray:
        flat = patches.reshape(len(patches), -1).astype(np.float32)
        flat -= flat.mean(axis=1, keepdims=True)
        return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)

    correlation = normalised(new) @ normalised(images).T
    best = [correlation[:, labels == label].max(axis=1) for label in (0, 1)]
    return np.clip(0.5 + (best[1] - best[0]) / 4, 0, 1).astype(np.float64)


def probability(kind: str, images: np.ndarray, labels: np.ndarray, new: np.ndarray) -> np.ndarray:
    """A baseline's score between 0 and 1 for new images.

    kind: "histogram", "centre", "centre5", "volume" or "nearest".
    """
    if kind == "histogram":
        return np.clip(ridge(histogram(images) * BINS, labels, histogram(new) * BINS, standardise=False), 0, 1)
    if kind == "nearest":
        return nearest(images, labels, new)
    value = {"centre": centre, "centre5": centre5, "volume": volume}[kind]
    return signed(value(images), labels, value(new))
