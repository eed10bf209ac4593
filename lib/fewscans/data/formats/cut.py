"""Patches cut from a scan around given places, along the patient's axes.

Samples are taken straight from the scan's own voxels, once: nothing is resampled twice, and no whole scan is. The axes
of a patch are the world's (z up, y to the back, x to the left), so that the same anatomy gives the same patch whichever
way its voxels were stored.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fewscans.data.formats import mhd
from fewscans.errors import DataError

AIR_HU = -1000.0
WINDOW_HU = (-1000.0, 300.0)
# A step of the target grid may span this many voxels before fine structure is averaged over the step. Below, plain
# interpolation already blurs more than it aliases.
ANTIALIAS_ABOVE = 1.5
ALIGNED = 1e-4  # an axis off by less, 0.01 voxels in a hundred, is taken as parallel to the world's


def cut(volume: mhd.Volume, centres_mm: np.ndarray, size: Sequence[int], spacing_mm: Sequence[float]) -> np.ndarray:
    """Patches around world points, by trilinear interpolation, averaged over the step where the scan is finer.

    A patch of even size has its centre between two samples, so that every flip maps it onto itself. Within half a voxel
    of the outermost centres the scan has their values; beyond is air. Voxels below -1000 HU count as air: scanners
    write -2000 or -3024 outside their circle.
    Args:    centres_mm: (n, 3) world x y z.   size: samples (D, H, W).   spacing_mm: between them (z, y, x).
    Returns: (n, D, H, W) float32, HU.
    Raises:  DataError for a centre outside the scan.
    """
    centres_mm = np.asarray(centres_mm, float).reshape(-1, 3)
    size, spacing = np.array(size, int), np.array(spacing_mm, float)
    if size.shape != (3,) or spacing.shape != (3,) or size.min() < 1 or not spacing.min() > 0:
        raise ValueError(f"size {tuple(size)} at {tuple(spacing)} mm; both are three numbers above 0, z y x")
    centres = volume.world_to_voxel(centres_mm)  # (n, 3) z y x
    outside = np.flatnonzero(((centres < -0.5) | (centres > np.array(volume.array.shape) - 0.5)).any(axis=1))
    if len(outside):
        place = " ".join(f"{v:g}" for v in centres_mm[outside[0]])
        raise DataError(f"{volume.header.path}: {place} mm (x y z) is outside the scan; a centre must be inside")
    steps = _voxels_per_mm(volume.header)  # (3, 3): voxel (z, y, x) of a world step along z, y, x
    offsets = []  # for each world axis: (samples, sub-samples) mm from the centre
    for axis in range(3):
        ratio = spacing[axis] * np.linalg.norm(steps[:, axis])
        parts = int(np.ceil(ratio)) if ratio > ANTIALIAS_ABOVE else 1
        along = (np.arange(size[axis]) - (size[axis] - 1) / 2)[:, None]
        offsets.append(spacing[axis] * (along + (np.arange(parts) + 0.5) / parts - 0.5))
    one = _aligned if _is_aligned(steps) else _oblique
    out = np.empty((len(centres), *size), np.float32)
    for patch, centre in zip(out, centres, strict=True):
        patch[:] = one(volume.array, centre, steps, offsets)
    return out


def axial(volume: mhd.Volume, centres_mm: np.ndarray, size: Sequence[int], spacing_mm: Sequence[float]) -> np.ndarray:
    """One axial cut through each point: (n, H, W) float32 HU; size (H, W) and spacing_mm (y, x). Otherwise as `cut`."""
    thin = 1 / np.linalg.norm(_voxels_per_mm(volume.header)[:, 0])  # the scan's own step along z: nothing is averaged
    return cut(volume, centres_mm, (1, *size), (thin, *spacing_mm))[:, 0]


def to_unit(hu: np.ndarray) -> np.ndarray:
    """HU in [-1000, 300], the lung window with all a nodule can hold but calcium, to [-1, 1]; beyond is clipped."""
    low, high = WINDOW_HU
    return (np.clip(hu, low, high) - low) * np.float32(2 / (high - low)) - np.float32(1)


def to_code(unit: np.ndarray) -> np.ndarray:
    """[-1, 1] to uint8, as `Cases` keeps it: 5.1 HU a step, well under the noise of a CT (20 HU and more)."""
    return np.rint((unit + 1) * 127.5).astype(np.uint8)


def _voxels_per_mm(header: mhd.Header) -> np.ndarray:
    """(3, 3): column w is the way in voxels (z, y, x) of one mm along the world's axis w (z, y, x)."""
    inverse = np.linalg.inv(header.direction) / header.spacing_mm[:, None]  # voxel (x, y, z) of world (x, y, z)
    return inverse[::-1, ::-1]


def _is_aligned(steps: np.ndarray) -> bool:
    share = np.abs(steps) / np.linalg.norm(steps, axis=0)
    return bool(((share < ALIGNED) | (share > 1 - ALIGNED)).all())


def _aligned(array: np.ndarray, centre: np.ndarray, steps: np.ndarray, offsets: list[np.ndarray]) -> np.ndarray:
    """Axes parallel to the world's, in any order and sense: one axis after the other."""
    voxel_axis = np.abs(steps).argmax(axis=0)  # of each world axis
    ranges, taps = [], []
    for world, axis in enumerate(voxel_axis):
        at = centre[axis] + steps[axis, world] * offsets[world]
        low, high, weights = _linear(at, array.shape[axis])
        first = int(low.min())
        ranges.append(slice(first, int(high.max()) + 1))
        taps.append((np.concatenate([low, high], axis=1) - first, weights))
    block = array.transpose(voxel_axis)[tuple(ranges)]
    block = np.maximum(block, np.int16(AIR_HU)).astype(np.float32) - np.float32(AIR_HU)  # air is 0, as are its weights
    for axis, (index, weights) in enumerate(taps):
        shape = [-1 if i == axis else 1 for i in range(3)]
        block = sum(np.take(block, i, axis) * w.reshape(shape) for i, w in zip(index.T, weights.T, strict=True))
    return block + np.float32(AIR_HU)


def _linear(at: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neighbours and weights of positions (samples, parts) along an axis, the mean over parts; 0 beyond the scan.

    Returns: lower and upper index, each (samples, parts); weights (samples, 2 parts) float32, lower ones first.
    """
    inside = (at >= -0.5) & (at <= length - 0.5)
    at = np.clip(at, 0, length - 1)
    low = np.floor(at).astype(int)
    part = at - low
    weights = np.concatenate([(1 - part) * inside, part * inside], axis=1) / at.shape[1]
    return low, np.minimum(low + 1, length - 1), weights.astype(np.float32)


def _oblique(array: np.ndarray, centre: np.ndarray, steps: np.ndarray, offsets: list[np.ndarray]) -> np.ndarray:
    """Axes at any angle: eight neighbours of every sub-sample."""
    z, y, x = (o.ravel() for o in offsets)
    grid = np.stack(np.meshgrid(z, y, x, indexing="ij"), axis=-1)  # (Dp, Hp, Wp, 3) mm
    at = centre + grid @ steps.T
    limit = np.array(array.shape)
    inside = ((at >= -0.5) & (at <= limit - 0.5)).all(axis=-1)
    at = np.clip(at, 0, limit - 1)
    first = np.floor(at.reshape(-1, 3).min(axis=0)).astype(int)
    last = np.floor(at.reshape(-1, 3).max(axis=0)).astype(int) + 2
    block = array[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
    block = np.maximum(block, np.int16(AIR_HU)).astype(np.float32) - np.float32(AIR_HU)
    low = np.floor(at).astype(int)
    part = (at - low).astype(np.float32)
    value = np.zeros(inside.shape, np.float32)
    for corner in np.ndindex(2, 2, 2):
        index = np.minimum(low + corner, limit - 1) - first
        weight = np.prod(np.where(corner, part, 1 - part), axis=-1)
        value += weight * block[index[..., 0], index[..., 1], index[..., 2]]
    value *= inside
    parted = [n for o in offsets for n in o.shape]  # (D, p, H, p, W, p)
    return value.reshape(parted).mean(axis=(1, 3, 5)) + np.float32(AIR_HU)
