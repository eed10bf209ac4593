"""The shape of a head with a brain in it: how deep each place lies in skull, cortex, ventricles and white matter.

All of it is distances in mm, from which scanner and lesions are drawn. Sizes by hand after an adult's: a brain of about
137 × 170 mm, a cortex of 3 mm folded to 16 mm below the surface, lateral ventricles of two horns and a body each.
Coordinates are the patient's, z to the head, y to the front, x to the right, from the middle of the cerebrum.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fewscans.twins.space import Grid, refined, smooth_noise

CORTEX_MM = 3.0
FOLDS_MM = 16.0  # sulci reach so deep below the brain's surface
PLAN_MM = 4.0  # the grid on which smooth shapes are worked out
# A lateral ventricle as a line, (x, y, z, radius) mm: frontal horn, body, atrium, occipital horn
VENTRICLE = (
    (11, 33, 4, 2.5), (8, 20, 11, 4.6), (8, -4, 17, 3.6), (13, -26, 15, 4.4), (22, -42, 7, 5.6), (21, -62, 3, 2),
)  # fmt: skip
TEMPORAL_HORN = ((24, -40, 3, 4), (33, -27, -12, 2.2), (30, -8, -18, 1.6))
HORNS = ((12, 36, 4), (22, -58, 4))  # x y z mm: where caps sit
# Deep grey matter, ellipsoids: x y z of the middle, then half axes, mm: thalamus, putamen with pallidum
DEEP_GREY = ((11, -17, 4, 8, 13, 9), (25, 4, 1, 6, 17, 11))


@dataclass(frozen=True)
class Person:
    """What one head differs by. Lengths in mm, angles in rad."""

    half: tuple[float, float, float]  # of the cerebrum: x y z
    tilt: tuple[float, float, float]  # of the head in the scanner, about x, y and z
    shift: tuple[float, float, float]  # x y z
    ventricles: float  # width, 1 being usual
    sulci: float  # half width of the gaps between folds
    skull: float  # thickness of bone
    scalp: float  # thickness


class Head(NamedTuple):
    """Distances in mm on a grid, (Z, Y, X) float32 each; positive is inside where a depth is meant."""

    place: tuple[np.ndarray, ...]  # z, y and |x| of each voxel in the head, mm
    outline: np.ndarray  # depth below the skin
    skull: np.ndarray  # depth below the inner surface of the skull; beyond it negative
    brain: np.ndarray  # depth below the brain's outline, folds not counted
    cortex: np.ndarray  # depth below its surface, folds counted
    ventricle: np.ndarray  # distance from the ventricles' wall, negative inside
    grey: np.ndarray  # depth inside deep grey matter
    white: np.ndarray  # depth inside the white matter of the cerebrum, where lesions may be


def draw_person(load: float, rng: np.random.Generator) -> Person:
    """A person. load: how ill, in standard deviations; ventricles and sulci go with it a little, as in the old."""
    wide = 0.35 * load + 0.94 * rng.standard_normal()
    shrunk = 0.35 * load + 0.94 * rng.standard_normal()
    size = rng.normal(1, 0.03)
    return Person(
        half=tuple(float(mm * size * rng.normal(1, 0.025)) for mm in (68, 85, 68)),
        tilt=tuple(rng.normal(0, (0.08, 0.04, 0.05)).tolist()),
        shift=tuple(rng.normal(0, (2, 3, 3)).tolist()),
        ventricles=float(np.clip(1.2 * np.exp(0.22 * wide), 0.7, 2.1)),
        sulci=float(np.clip(0.9 * np.exp(0.3 * shrunk), 0.4, 2.0)),
        skull=float(np.clip(rng.normal(6, 1), 4, 9)),
        scalp=float(np.clip(rng.normal(6, 1.5), 3, 10)),
    )


def head(grid: Grid, person: Person, rng: np.random.Generator) -> Head:
    """A person's head on a grid whose axes are the patient's."""
    step = np.maximum(PLAN_MM, grid.spacing)
    plan = Grid.box(grid.origin, grid.far() + step, step)  # what has no sharp edges is worked out here, then refined
    bends = smooth_noise(plan, 45, rng), smooth_noise(plan, 45, rng)
    z, y, x = _placed(plan, person, bends)
    wide, long, high = person.half
    ahead = np.clip(y / np.float32(long), -1.2, 1.2)
    narrowed = x / (1 - np.float32(0.09) * ahead - np.float32(0.09) * ahead * ahead)  # a forehead is narrower
    below = np.where(z < 0, z * np.float32(high / 42), z)  # the base is flatter than the vault
    cerebrum = _ellipsoid(narrowed, y, below, (wide, long, high), boxy=0.25) + np.float32(0.8) * bends[0]
    cerebellum = _ellipsoid(x, y + 50, z + 42, (46, 32, 24))
    stem = np.minimum(11 - np.hypot(x, y + 20 - np.float32(0.2) * (z + 30)), -5 - z)
    under = np.where(z < 0, z * np.float32(high / 100), z)
    vault = _ellipsoid(narrowed, y, under, (wide, long, high), boxy=0.15)
    neck = 50 - np.hypot(x, y + 15) + np.minimum(0, -50 - z)
    face = np.maximum(vault, neck)
    ventricle = _ventricle((z, y, x), person.ventricles)
    grey = np.maximum.reduce([_ellipsoid(x - a, y - b, z - c, half) for a, b, c, *half in DEEP_GREY])
    fields = (cerebrum, cerebellum, stem, face, ventricle, grey)
    cerebrum, cerebellum, stem, face, ventricle, grey = (refined(field, plan, grid) for field in fields)

    z, y, x = _placed(grid, person, [refined(bend, plan, grid) for bend in bends])
    hind = np.maximum(cerebellum, stem)
    brain = np.maximum(cerebrum, hind)
    skull = brain + 3
    outline = np.maximum(face, skull) + np.float32(person.skull + person.scalp)
    # Folds: sheets where a smooth field is 0. Divided by its usual slope, the field is about a distance from them.
    sheet = np.abs(smooth_noise(grid, 12, rng)) * np.float32(3.8)
    sheet += np.maximum(0, brain - np.float32(FOLDS_MM))
    sylvian = np.hypot(z + 4 - np.float32(0.5) * (y - 5), np.maximum(0, 40 - x)) + np.maximum(0, np.abs(y - 4) - 22)
    callosum = np.maximum(0, 1 - np.hypot((y + 6) / 46, (z - 6) / 24)) * 40  # here the halves are joined
    sheet = np.minimum(np.minimum(sheet, sylvian - np.float32(0.3)), x + callosum - np.float32(0.6))
    cortex = np.maximum(np.minimum(brain, sheet - np.float32(person.sulci)), stem)
    white = np.minimum(cortex - np.float32(CORTEX_MM), ventricle)
    np.minimum(white, -grey, out=white)
    np.minimum(white, np.minimum(z + 24, -hind), out=white)
    np.minimum(white, x - 5 + np.abs(y + 6) / 12, out=white)  # not in the callosum's middle
    return Head((z, y, x), outline, skull, brain, cortex, ventricle, grey, white)


def share(depth: np.ndarray, width: float) -> np.ndarray:
    """The share of a place that a shape fills, by how deep inside it lies; the edge is spread over `width` mm."""
    return np.clip(np.float32(0.5) + depth * np.float32(1 / width), 0, 1)


def _placed(grid: Grid, person: Person, bends) -> tuple[np.ndarray, ...]:
    """z, y and |x| in the head of each voxel, (Z, Y, X) each; bends keep the halves from being mirror images."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(person.tilt), np.sin(person.tilt)
    turn = (
        np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        @ np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    ).astype(np.float32)  # on x, y, z
    z, y, x = (axis - np.float32(mm) for axis, mm in zip(grid.axes(), person.shift[::-1], strict=True))
    z, y, x = (row[0] * x + row[1] * y + row[2] * z for row in turn[::-1])
    return z + 2 * bends[1], y, np.abs(x + 2 * bends[0])


def _ellipsoid(x, y, z, half, boxy: float = 0.0) -> np.ndarray:
    """Depth below an ellipsoid's surface along the ray from its middle; `boxy`, 0 to 1, makes its sides flatter."""
    squares = [np.square(v * np.float32(1 / h)) for v, h in zip((x, y, z), half, strict=True)]
    level = np.sqrt(sum(squares))
    if boxy:
        level += np.float32(boxy) * (np.sqrt(np.sqrt(sum(s * s for s in squares))) - level)
    return np.sqrt(x * x + y * y + z * z) * (1 / np.maximum(level, np.float32(0.05)) - 1)


def _ventricle(place, width: float) -> np.ndarray:
    """Distance from the wall of the lateral and third ventricles, negative inside."""
    lines = [np.array(line, np.float32) for line in (VENTRICLE, TEMPORAL_HORN)]
    segments = [pair for line in lines for pair in zip(line[:-1], line[1:], strict=True)]
    nearest = _ellipsoid(place[2], place[1] + 8, place[0] - 1, (1.2 + width, 12, 8))
    np.negative(nearest, out=nearest)
    for (*start, radius), (*end, far_radius) in segments:
        way = np.array(end) - start
        length = float(way @ way)
        z, y, x = (axis - s for axis, s in zip(place, start[::-1], strict=True))
        along = np.clip((x * way[0] + y * way[1] + z * way[2]) * np.float32(1 / length), 0, 1)
        away = np.sqrt((x - along * way[0]) ** 2 + (y - along * way[1]) ** 2 + (z - along * way[2]) ** 2)
        np.minimum(nearest, away - np.float32(width) * (radius + (far_radius - radius) * along), out=nearest)
    return nearest
