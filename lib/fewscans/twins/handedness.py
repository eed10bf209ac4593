"""A control in which handedness is the label, in the layout of AdrenalMNIST3D.

Every volume shows a corner with three arms at right angles, long, middle and short, turned by one of the 24 rotations
of the cube, drawn at random. No rotation maps it onto its mirror image, and the label is which of the two it is. So
networks invariant under rotations alone (D4, O) keep what tells the label and need to learn it in fewer orientations,
or one; networks invariant under reflections as well (D4h, Oh) must be at chance: they cannot see what their symmetry
removes.

Turns and reflections are exact (voxels are moved, none interpolated) about the centre of the volume, and so are those
of its means over blocks of two voxels. Flipped voxels are independent: their distribution is the same everywhere.
"""

from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path

import numpy as np

from fewscans.data.formats.medmnist3d import SPLITS, file_name
from fewscans.errors import DataError
from fewscans.twins import npz
from fewscans.twins.base import Spec, Twin, between, seed, whole

SIDE = 28
ARMS = (13, 9, 5)  # voxels, from the corner outwards, each give or take one
HALF_WIDTH = 2  # an arm is 2 x 2 + 1 voxels wide
SHARES = (0.6, 0.1, 0.3)  # of the cases, in train, val and test


def _rotations() -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """The cube's 24 rotations as an order of the axes and the axes then flipped: signed permutations of parity +1."""
    found = []
    for order in permutations(range(3)):
        for flips in product((0, 1), repeat=3):
            matrix = np.eye(3)[list(order)] * np.where(flips, -1, 1)[:, None]
            if np.linalg.det(matrix) > 0:
                found.append((order, tuple(axis for axis in range(3) if flips[axis])))
    return tuple(found)


ROTATIONS = _rotations()


@dataclass(frozen=True)
class HandednessSpec(Spec):
    """The control's size. noise: the share of voxels that are flipped, inside to outside and outside to inside."""

    cases: int = whole(100, 100_000)
    noise: float = between(-1e-9, 0.3)
    seed: int = seed()


def corner(lengths: tuple[int, int, int], shift: tuple[int, int, int]) -> np.ndarray:
    """The right-handed corner before turning, (28, 28, 28) bool: arms along z, y and x, in this order of `lengths`."""
    volume = np.zeros((SIDE,) * 3, bool)
    start = [(SIDE - length) // 2 + s for length, s in zip(lengths, shift, strict=True)]
    for axis, length in enumerate(lengths):
        box = [slice(first - HALF_WIDTH, first + HALF_WIDTH + 1) for first in start]
        box[axis] = slice(start[axis] - HALF_WIDTH, start[axis] + length)
        volume[tuple(box)] = True
    return volume


def turned(volume: np.ndarray, rotation: int, mirrored: bool) -> np.ndarray:
    """Mirrored along z, or not, and then turned by one of `ROTATIONS`, about the centre."""
    order, flips = ROTATIONS[rotation]
    volume = np.flip(volume, 0) if mirrored else volume
    return np.flip(volume.transpose(order), flips)


def write(folder: Path, spec: HandednessSpec) -> Path:
    """Write the control's npz into `folder`, which exists; equal specs give equal bytes. Returns the file."""
    rng = np.random.default_rng(spec.seed)
    arrays, first = {}, 0
    for split, share in zip(SPLITS, np.cumsum(SHARES), strict=True):
        n = round(share * spec.cases) - first
        first += n
        labels = rng.permutation(np.arange(n) % 2)
        if set(labels) != {0, 1}:
            raise DataError(f"twin: {spec.cases} cases leave split '{split}' without one of the classes; ask for more")
        images = np.empty((n, SIDE, SIDE, SIDE), np.uint8)
        for i, label in enumerate(labels):
            lengths = tuple(int(arm + rng.integers(-1, 2)) for arm in ARMS)
            shift = tuple(int(s) for s in rng.integers(-1, 2, 3))
            shape = turned(corner(lengths, shift), int(rng.integers(len(ROTATIONS))), bool(label))
            images[i] = 255 * (shape ^ (rng.random(shape.shape) < spec.noise))
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images, labels[:, None].astype(np.uint8)
    return npz.write_arrays(Path(folder) / file_name("adrenalmnist3d"), arrays)


TWIN = Twin(write, HandednessSpec, "adrenalmnist3d")
