"""What is ill in a brain: white-matter hyperintensities about the ventricles and deep, and now and then an infarct.

Hyperintensities are the places above a level of a field: near the ventricles it falls with the distance from their
wall, caps at the horns standing out; elsewhere it is as high as the nearest of many small foci. Lowering the level
makes caps into rims, rims into bands that meet the foci, as the disease does. The level is what sets their volume.
"""

from typing import NamedTuple

import numpy as np

from fewscans.twins.brain import HORNS, Head, share
from fewscans.twins.space import Grid, smooth_noise

FOCI = 70
REACH_MM = 16.0  # a focus is looked for no further from its middle
HALVINGS = 20
LOWEST_MM = -40.0  # no level is lower; all white matter is ill there


class Infarct(NamedTuple):
    """Old tissue loss, dark with a bright rim, or a fresh one, bright throughout."""

    depth: np.ndarray  # (Z, Y, X) mm below its outline
    old: bool


def field(grid: Grid, head: Head, rng: np.random.Generator) -> np.ndarray:
    """How prone each place is to hyperintensity, in mm; those of about 8 come first, those of -8 last."""
    z, y, x = head.place
    near = -head.ventricle
    for a, b, c in HORNS:
        squared = (x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2
        near += np.float32(rng.uniform(2, 6)) * np.exp(squared * np.float32(-1 / (2 * 9**2)))
    near += np.float32(1.7) * smooth_noise(grid, 12, rng) + np.float32(rng.normal(1.5, 1.2))
    rough = np.float32(0.6) * smooth_noise(grid, 6, rng)
    return np.maximum(near, _foci(grid, head.white, rng)) + rough


def infarct(grid: Grid, head: Head, rng: np.random.Generator) -> Infarct:
    """One infarct near the brain's surface, of a few ml, seldom tens of them."""
    radius = float(np.clip(rng.lognormal(np.log(8), 0.4), 4, 22))
    at = np.flatnonzero((head.brain > 4) & (head.brain < 18) & (head.ventricle > radius))
    centre = _middles(grid, at[rng.integers(len(at), size=1)])[0]
    stretch = rng.uniform(0.75, 1.3, 3)
    along = zip(grid.axes(), centre.astype(np.float32), stretch.astype(np.float32), strict=True)
    away = np.sqrt(sum(((axis - c) * s) ** 2 for axis, c, s in along))
    depth = np.float32(radius) - away + np.float32(radius / 6) * smooth_noise(grid, 9, rng)
    return Infarct(np.minimum(depth, head.brain), bool(rng.random() < 0.6))


def level_of(field: np.ndarray, allowed: np.ndarray, places: float, width: float) -> float:
    """The level above which a field fills so many places.

    Args:    field: (Z, Y, X) mm.   allowed: (Z, Y, X) share of each place that may be filled.
             places: how many are to be filled, parts counted as parts.   width: mm over which edges are spread.
    """
    at = np.flatnonzero(allowed)
    height, share_allowed = field.ravel()[at], allowed.ravel()[at]
    low, high = LOWEST_MM, float(height.max()) + width
    for _ in range(HALVINGS):
        level = (low + high) / 2
        filled = float(share(height - np.float32(level), width) @ share_allowed)
        low, high = (low, level) if filled < places else (level, high)
    return level


def fullest(ill: np.ndarray, voxels: int) -> np.ndarray:
    """The so many voxels that are ill for the largest share, (D, H, W) bool."""
    chosen = np.zeros(ill.size, bool)
    chosen[np.argsort(-ill, axis=None, kind="stable")[:voxels]] = True
    return chosen.reshape(ill.shape)


def block_means(array: np.ndarray, blocks: tuple[int, int, int]) -> np.ndarray:
    """Means over blocks of places, (Z, Y, X) → (Z / blocks[0], ...)."""
    d, h, w = (side // block for side, block in zip(array.shape, blocks, strict=True))
    return array.reshape(d, blocks[0], h, blocks[1], w, blocks[2]).mean(axis=(1, 3, 5), dtype=np.float32)


def _foci(grid: Grid, white: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The height above the ground of the nearest focus: its radius less the distance from its middle."""
    at = np.flatnonzero(white > 1)
    middles = _middles(grid, at[rng.integers(len(at), size=FOCI)]) + rng.uniform(-1, 1, (FOCI, 3))
    radii = rng.normal(rng.normal(-1, 1.2), 2.8, FOCI)
    stretch = rng.uniform(0.7, 1.4, (FOCI, 3))
    height = np.full(grid.shape, -REACH_MM, np.float32)
    axes = grid.axes()
    for middle, radius, along in zip(middles, radii, stretch, strict=True):
        low = np.clip(np.floor(grid.index(middle - REACH_MM)).astype(int), 0, grid.shape)
        high = np.clip(np.ceil(grid.index(middle + REACH_MM)).astype(int) + 1, 0, grid.shape)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        away = sum(
            np.square((np.take(axes[k], range(low[k], high[k]), axis=k) - np.float32(middle[k])) * np.float32(along[k]))
            for k in range(3)
        )
        np.maximum(height[box], np.float32(radius) - np.sqrt(away), out=height[box])
    return height


def _middles(grid: Grid, flat: np.ndarray) -> np.ndarray:
    """Where voxels lie, given as positions in the flattened array; (n, 3) mm, z y x."""
    return np.stack(np.unravel_index(flat, grid.shape), axis=1) * grid.spacing + grid.origin
