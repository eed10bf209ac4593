"""A control in which orientation is the label, in the layout of the LUNA16 patches.

Every patch shows one and the same shape, which no element of p4m but the identity maps onto itself, turned by an
element drawn at random: a reflection or none, then k quarter turns. The label is 1 for k = 1 or 3 and 0 for k = 0 or
2, with or without the reflection. Each orbit of p4, and that of p4m, holds as many elements of either label, so a
network invariant under the rotations alone, or under all of p4m, must be at chance; a plain network sees at once
whether the long stroke stands or lies.

Turns are exact (pixels are moved, none interpolated), and so are those of the central 48×48. Noise is independent
between pixels and cases: its distribution is the same in every orientation.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewscans.data.luna16_patches import FILE
from fewscans.twins import npz
from fewscans.twins.anatomy import X, Y, blob, tube
from fewscans.twins.base import Spec, Twin, between, seed, whole
from fewscans.twins.cases import draw_cases

ELEMENTS = tuple((quarter_turns, reflected) for reflected in (False, True) for quarter_turns in range(4))
LUNG, TISSUE = 30, 150  # grey levels of ground and shape


@dataclass(frozen=True)
class OrientationSpec(Spec):
    """The control's size. noise: its standard deviation, as a share of the shape's contrast."""

    cases: int = whole(100, 100_000)
    noise: float = between(0, 2)
    seed: int = seed()


def shape() -> np.ndarray:
    """The shape before turning, (50, 50) float32 densities: a long stroke, an arm at one end, a dot by the other."""
    strokes = (  # y, x, angle, start, end, radius
        (0, -5, np.pi / 2, -15, 15, 2.2),
        (-14, -5, 0.0, 0, 15, 2.2),
    )
    parts = [tube((Y, X), *stroke, edge=0.8) for stroke in strokes]
    parts.append(blob((Y, X), 8.0, 7.0, 3.5, 0.8))
    return np.max(parts, axis=0).astype(np.float32)


def turned(image: np.ndarray, quarter_turns: int, reflected: bool) -> np.ndarray:
    """The image reflected left to right, or not, then turned; the last two axes are the plane."""
    return np.rot90(np.flip(image, -1) if reflected else image, quarter_turns, axes=(-2, -1))


def write(folder: Path, spec: OrientationSpec) -> Path:
    """Write the control's npz into `folder`, which exists; equal specs give equal bytes. Returns the file."""
    rng = np.random.default_rng(spec.seed)
    n = spec.cases
    cases = draw_cases(n, min(max(60, n // 10), 888), 0.5, rng)
    quarter_turns = cases.labels + 2 * rng.integers(0, 2, n)
    reflected = rng.integers(0, 2, n)
    every = np.stack([turned(shape(), *element) for element in ELEMENTS])  # (8, 50, 50)
    density = every[quarter_turns + 4 * reflected]

    brightness, contrast = rng.normal(0, 6, n), rng.uniform(0.8, 1.1, n)
    grey = LUNG + brightness[:, None, None] + (TISSUE - LUNG) * contrast[:, None, None] * density
    grey += spec.noise * (TISSUE - LUNG) * rng.standard_normal(grey.shape, dtype=np.float32)
    return npz.write(Path(folder) / FILE, np.clip(np.rint(grey), 0, 255).astype(np.uint8), cases)


TWIN = Twin(write, OrientationSpec, "luna16-patches")
