"""A chest round its lungs: what is lung, and the tissue about it in Hounsfield units.

Two lungs in a rib cage, the mediastinum with heart and aorta between them, domes of the diaphragm below, muscle, ribs,
fat and skin outside. Sizes are an adult's, by eye from CT, varied a little from patient to patient. Points are
(z, y, x) in mm from the middle of the chest: x to the patient's left, y to the back, z to the head.
"""

from dataclasses import dataclass

import numpy as np

from fewscans.twins.space import Grid, smooth_noise

AIR, FAT, MUSCLE, LIVER, CORTEX, MARROW, DISC = -1000, -100, 50, 75, 650, 190, 90  # HU
POWER = 2.3  # of the superellipsoid that the rib cage is: a little squarer than an ellipse
COARSE_MM = 3.0  # the chest is smooth: it is worked out this coarsely, and refined


@dataclass(frozen=True)
class Chest:
    """One patient's build. Lengths in mm, intensities in HU."""

    half_width: float  # of the rib cage inside, at its widest
    half_depth: float
    top: float  # apex of the lungs
    base: float  # lowest level of the diaphragm
    dome: float  # height of the diaphragm's domes
    wall: float  # thickness of muscle
    fat: float  # thickness of fat under the skin
    blood: float  # HU of blood; higher after contrast medium

    def side(self, away_from: float = 1.0) -> float:
        """Where along x the middle of a lung lies, about."""
        return away_from * (self.half_width + 28) / 2


def draw_chest(rng: np.random.Generator) -> Chest:
    """A patient; three in ten had contrast medium, about as in a hospital's mix."""
    size = rng.normal(1, 0.06)
    return Chest(
        half_width=126 * size * rng.normal(1, 0.03),
        half_depth=86 * size * rng.normal(1, 0.04),
        top=128 * size,
        base=-128 * size,
        dome=rng.uniform(35, 60),
        wall=rng.uniform(12, 18),
        fat=rng.lognormal(np.log(14), 0.5),
        blood=rng.uniform(120, 260) if rng.random() < 0.3 else rng.uniform(30, 50),
    )


def inside_cage(chest: Chest, z, y, x):
    """About how deep a point lies inside the rib cage, mm; negative in the chest's wall."""
    return (1 - _level(chest, z, y, x)) * chest.half_depth


def lung_depth(chest: Chest, grid: Grid, rng: np.random.Generator) -> np.ndarray:
    """About how deep each voxel of a coarse grid lies inside a lung, mm, negative outside. float32."""
    z, y, x = grid.axes()
    # The mediastinum: narrow in front, widest at the hilum, with the spine behind and the heart bulging to the left.
    half = 11 + 17 * np.exp(-(((y - 15) / 38) ** 2)) + 12 * _step((y - 56) / 26)
    heart = 1 - np.sqrt(((z + 55) / 62) ** 2 + ((y + 22) / 46) ** 2 + ((x - 22) / 60) ** 2)
    dome = chest.base + chest.dome * np.exp(-(((np.abs(x) - chest.side()) / 62) ** 2) - (((y + 10) / 75) ** 2))
    bound = [inside_cage(chest, z, y, x), np.abs(x) - half, -heart * 45, (z - dome) * 0.85]
    # A soft minimum rounds the corners where the boundaries meet.
    depth = -4 * np.log(sum(np.exp(np.clip(-b / 4, -40, 40)) for b in bound))
    return (depth + 0.8 * smooth_noise(grid, 22, rng)).astype(np.float32)


def tissue(chest: Chest, grid: Grid, rng: np.random.Generator) -> np.ndarray:
    """HU of all that is no lung, on a coarse grid; ribs are drawn later, on the fine one. float32."""
    z, y, x = grid.axes()
    out = -inside_cage(chest, z, y, x)  # beyond the rib cage's inner face
    lumps = smooth_noise(grid, 16, rng)
    # Between the lungs: muscle and vessels in fat. The heart is mostly blood, the liver fills the domes.
    hu = FAT + (MUSCLE - FAT) * _step((lumps + 0.7) / 0.25)
    heart = 1 - np.sqrt(((z + 55) / 58) ** 2 + ((y + 22) / 42) ** 2 + ((x - 22) / 55) ** 2)
    hu = _blend(hu, (MUSCLE + chest.blood) / 2, _step(heart * 45 / 2))
    dome = chest.base + chest.dome * 0.9
    hu = _blend(hu, LIVER, _step((dome - 4 - z) / 3) * _step(-out / 3) * _step((np.abs(x) - 22) / 3))
    aorta = 12 - np.hypot(y - 48, x - 21)
    hu = _blend(hu, chest.blood, _step(aorta / 1.5) * (out < 0))
    # The spine: bodies with discs between them.
    body = 21 - np.hypot((y - 74) * 1.15, x * 0.9)
    disc = _step((np.cos(2 * np.pi * z / 27) - 0.8) / 0.1)
    bone = MARROW + 260 * np.exp(-((body / 2.5) ** 2)) + (DISC - MARROW) * disc
    hu = _blend(hu, bone, _step(body / 1.5))
    # The wall: muscle in two sheets with a little fat between, fat, skin, air. Behind, the wall is thicker.
    thick = chest.wall * (1 + 0.9 * _step((y - 40) / 15))
    sheet = _blend(MUSCLE, FAT, 0.8 * _step((lumps - 0.8) / 0.3))
    outside = _blend(sheet, FAT, _step((out - thick + 3 * lumps) / 1.5))
    outside = _blend(outside, 20, _step((out - thick - chest.fat - 1) / 1))
    outside = _blend(outside, AIR, _step((out - thick - chest.fat - 4) / 1))
    return _blend(hu, outside, _step(out / 1.5) * (1 - _step(body / 1.5))).astype(np.float32)


def draw_ribs(chest: Chest, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ribs of both sides as straight pieces: start and end, (n, 3) mm, and outer radius, (n,)."""
    angle = np.linspace(-0.42, 0.5, 26) * np.pi  # from the front to the back, from the side's middle
    start, end, radius = [], [], []
    phase = rng.uniform(0, 26)
    for side in (-1, 1):
        for level in np.arange(chest.base - 40, chest.top + 20, 26) + phase:
            # A rib climbs towards the back.
            z = level + 24 * np.sin(angle) + 3 * np.cos(3 * angle)
            beyond = 1 + rng.normal(7, 0.5) / chest.half_depth
            rise = np.clip((z - _shoulder(chest)) / (chest.top - _shoulder(chest)), 0, None)
            ring = np.clip(beyond**POWER - rise**POWER, 0, None) ** (1 / POWER)
            y = ring * chest.half_depth * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** (2 / POWER)
            x = side * ring * chest.half_width * np.cos(angle).clip(0) ** (2 / POWER)
            line = np.stack([z, y, x], -1)[ring > 0.3]
            start.append(line[:-1])
            end.append(line[1:])
            radius.append(np.full(max(len(line) - 1, 0), rng.uniform(4.2, 5.4)))
    return np.concatenate(start), np.concatenate(end), np.concatenate(radius)


def _level(chest: Chest, z, y, x):
    """1 on the rib cage's inner face, less inside. It narrows towards its top, not towards its base."""
    rise = np.clip((z - _shoulder(chest)) / (chest.top - _shoulder(chest)), 0, None)
    flat = np.abs(x / chest.half_width) ** POWER + np.abs(y / chest.half_depth) ** POWER
    return (flat + rise**POWER + 1e-9) ** (1 / POWER)


def _shoulder(chest: Chest) -> float:
    """Above this height the rib cage narrows."""
    return -0.15 * chest.top


def _step(inside):
    """0 far outside, 1 far inside, a straight slope of width 1 between."""
    return np.clip(0.5 + inside, 0, 1)


def _blend(under, over, share):
    return under + (over - under) * share
