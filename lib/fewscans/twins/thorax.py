"""Drawing a chest X-ray from the front, with or without five findings.

Everything is a density that adds up along the beam: soft tissue, less where lungs hold air, more in bones, vessels and
heart. Coordinates are the body's: y down and x to the right of the image, which is the patient's left; half the
image's height is about 1. `s` is x counted from the middle outwards on either side. Shapes and brightness were set by
hand after the look of such images; boxes have the median sizes of VinDr-CXR's, in shares of an image of 2,300 pixels.
Contrasts were about doubled once, because no network, with patches or without, had learned within 400 updates.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from fewscans.twins import histology
from fewscans.twins.histology import share

# How much each finding adds to the density where it is densest, least and most: a lung is 0.45 below soft tissue.
# These numbers alone decide how hard a finding is to see.
CONTRAST = {
    "nodule": (0.30, 0.90),
    "consolidation": (0.20, 0.60),
    "interstitial": (0.10, 0.30),
    "effusion": (0.16, 0.55),
    "pneumothorax": (0.09, 0.28),  # of the pleural line; air beyond it is half as much darker
}
FINDINGS = tuple(CONTRAST)
# Median width and height in shares of the image, and the log-sd of both
SIZES = {
    "nodule": (0.045, 0.045, 0.9),
    "consolidation": (0.20, 0.22, 0.38),
    "interstitial": (0.25, 0.42, 0.30),
    "effusion": (0.10, 0.13, 0.70),
    "pneumothorax": (0.30, 0.35, 0.40),
}
LEAST_PIXELS = 6  # of a nodule
BILATERAL = 0.65  # share of interstitial findings
AIR = 0.45


class Style(NamedTuple):
    """What a manufacturer does to an image.

    sharp: how much of the detail is added once more; below 0 it is taken away.   reach: of that detail, share of the
    side.   gamma: above 1 darkens.   level: what is added to all.
    """

    sharp: float = 0.2
    reach: float = 0.012
    gamma: float = 1.0
    level: float = 0.0


STYLES = {
    "A": Style(),
    "B": Style(1.1, 0.015),
    "C": Style(-0.75, 0.009, 0.82, 0.03),
    "D": Style(1.9, 0.02, 1.5, -0.03),
}


class Person(NamedTuple):
    """What two images of one patient share: lengths in body coordinates, densities, and the vessels' course."""

    female: bool
    size: float
    half_width: float
    height: float
    lean: float
    domes: tuple[float, float]  # right, left: how far below the middle
    heart: tuple[float, float, float]  # half axes, and how far left
    aorta: float
    rib_gap: float
    rib_slope: float
    bone: float
    fat: float
    clavicle: float
    breast: float
    vessels: tuple[np.ndarray, ...]  # by generation: (n, 2) points x, y


class Finding(NamedTuple):
    """A finding in place.   box: first and last edge in pixels, x_min, y_min, x_max, y_max.   density: (H, W), what it
    adds.   veil: (H, W), share of the vessels that it hides."""

    name: str
    box: tuple[int, int, int, int]
    density: np.ndarray
    veil: np.ndarray


def smooth(rng: np.random.Generator, shape: tuple[int, int], length: float) -> np.ndarray:
    """A random field of mean 0 and sd about 1 whose hills are about `length` pixels apart, float32."""
    return histology.smooth(rng, shape, length * histology.GRID_UM)


def draw_person(rng: np.random.Generator) -> Person:
    """A patient, from a stream of random numbers that nothing else uses."""
    n = np.clip(rng.standard_normal(14), -2.2, 2.2).tolist()
    female = bool(rng.random() < 0.5)
    return Person(
        female, 0.97 + 0.04 * n[0] - 0.02 * female, 0.335 + 0.018 * n[1], 0.86 + 0.05 * n[2], 0.13 + 0.02 * n[3],
        (0.52 + 0.05 * n[4], 0.56 + 0.05 * n[4] + 0.02 * n[5]),
        (0.30 + 0.035 * n[6], 0.27 + 0.025 * n[7], 0.12 + 0.02 * n[8]), 0.10 + 0.015 * n[9], 0.155 + 0.01 * n[10],
        0.28 + 0.05 * n[11], 0.075 * float(np.exp(0.25 * n[12])), 0.03 * n[13], rng.normal(-0.66, 0.03),
        float(rng.uniform(0.02, 0.09)) * female, tuple(_vessels(rng)),
    )  # fmt: skip


def _vessels(rng: np.random.Generator) -> list[np.ndarray]:
    """Branches from both hila, dividing three times and thinner each time: points close together, by generation."""
    side = np.repeat([-1.0, 1.0], 9)
    angle = np.tile(np.linspace(-1.9, 1.9, 9), 2) + rng.normal(0, 0.14, 18)  # 0 is outwards
    at = np.stack([0.17 + rng.normal(0, 0.02, 18), rng.normal(-0.02, 0.04, 18)], axis=1)
    generations, along = [], np.linspace(0, 1, 24)
    for generation in range(4):
        length = (0.25, 0.21, 0.17, 0.13)[generation] * np.exp(rng.normal(0, 0.2, len(side)))
        bend = rng.normal(0, 0.35, len(side))
        course = angle[:, None] + bend[:, None] * along
        steps = np.stack([np.cos(course), np.sin(course)], axis=2) * (length / len(along))[:, None, None]
        points = at[:, None] + np.cumsum(steps, axis=1)
        generations.append((points * np.stack([side, np.ones_like(side)], axis=1)[:, None]).reshape(-1, 2))
        fork = rng.uniform(0.2, 0.5, len(side))
        at, side = np.repeat(points[:, -1], 2, axis=0), np.repeat(side, 2)
        angle = (course[:, -1][:, None] + np.stack([fork, -fork], axis=1)).ravel()
    return generations


class Scene(NamedTuple):
    """A patient in front of the detector.

    x, y: (H, W) body coordinates of the pixels.   unit: pixels to 1.   Of the right side and the left: `s`, x outwards;
    `outer`, how far a place is inside the rib cage; `under`, how far below the diaphragm; `depth`, how far inside the
    lung; `air`, how much the beam meets, 0 to 1, little behind the heart.   heart: 1 in it, and in the great vessels.
    """

    person: Person
    x: np.ndarray
    y: np.ndarray
    unit: float
    s: tuple[np.ndarray, np.ndarray]
    outer: tuple[np.ndarray, np.ndarray]
    under: tuple[np.ndarray, np.ndarray]
    depth: tuple[np.ndarray, np.ndarray]
    air: tuple[np.ndarray, np.ndarray]
    heart: np.ndarray
    left_dome: float


def _outer(person: Person, s: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far a place is inside the rib cage of one side, domes left aside."""
    above = np.clip(0.15 - y, 0, None) / person.height
    middle = person.half_width + 0.085 - person.lean * above**1.5 + 0.02 * (y - 0.15)
    reach = np.abs(s - middle) / person.half_width
    return (1 - (reach**2.4 + above**2.4) ** (1 / 2.4)) * person.half_width


def _dome(person: Person, level: float, s: np.ndarray) -> np.ndarray:
    """Height of the diaphragm; it falls steeply to the costophrenic angle."""
    t = (s - 0.33) / (person.half_width + 0.06)
    return level + 0.05 * t + 0.18 * np.abs(t) ** 2.6


def pose(person: Person, shape: tuple[int, int], rng: np.random.Generator) -> Scene:
    """Place a patient in front of the detector: shifted, turned and inhaling a little differently each time."""
    turn, size = rng.normal(0, 0.025), person.size * float(np.exp(rng.normal(0, 0.02)))
    breath, right, down = rng.normal(0, 0.03), rng.normal(0, 0.03), rng.normal(0, 0.03)
    unit, cos, sin = shape[0] / 2 * size, math.cos(turn), math.sin(turn)
    v, u = np.meshgrid(*((np.arange(n, dtype=np.float32) + 0.5 - n / 2) / unit for n in shape), indexing="ij")
    x, y = u * cos + v * sin - right, v * cos - u * sin - down
    across, along, left = person.heart
    muscle = share(1 - np.hypot((x - left - 0.35 * (y - 0.28)) / across, (y - 0.28) / along), 0.07)
    knob = share(1 - np.hypot((x - 0.05) / person.aorta, (y + 0.33) / 0.14), 0.3)
    atrium = share(1 - np.hypot((x + 0.07) / 0.16, (y - 0.25) / 0.22), 0.1)
    trunk = share(0.125 - np.abs(x - 0.02), 0.03) * share(0.4 + y, 0.2)  # great vessels about the spine
    heart = np.maximum(np.maximum(muscle, atrium), np.maximum(knob, trunk))
    sides, levels = (-x, x), [level + breath for level in person.domes]
    outer = tuple(_outer(person, s, y) for s in sides)
    under = tuple(y - _dome(person, level, s) for s, level in zip(sides, levels, strict=True))
    depth = tuple(np.minimum(inside, -below) for inside, below in zip(outer, under, strict=True))
    chord = [np.clip(inside / 0.24, 0, 1) for inside in depth]
    air = tuple(np.sqrt(t * (2 - t)) * (1 - 0.78 * heart) for t in chord)
    return Scene(person, x, y, unit, sides, outer, under, depth, air, heart, levels[1])


def _vascular(scene: Scene) -> np.ndarray:
    """Density of the vessels, (H, W), before air or findings veil them."""
    from scipy.ndimage import gaussian_filter

    shape, x, y = scene.x.shape, scene.x, scene.y
    down = np.array([x[1, 0] - x[0, 0], y[1, 0] - y[0, 0]])
    right = np.array([x[0, 1] - x[0, 0], y[0, 1] - y[0, 0]])
    to_pixels = np.linalg.inv(np.stack([right, down], axis=1))
    total = np.zeros(shape, np.float32)
    for generation, points in enumerate(scene.person.vessels):
        wide, peak = ((0.016, 0.15), (0.010, 0.10), (0.0065, 0.07), (0.0045, 0.05))[generation]
        column, row = to_pixels @ (points - [x[0, 0], y[0, 0]]).T
        kept = (column > 0) & (column < shape[1] - 1.01) & (row > 0) & (row < shape[0] - 1.01)
        column, row = column[kept], row[kept]
        i, j, drawn = row.astype(int), column.astype(int), np.zeros(shape[0] * shape[1])
        for di, dj in ((0, 0), (0, 1), (1, 0), (1, 1)):
            weight = np.abs(1 - di - (row - i)) * np.abs(1 - dj - (column - j))
            drawn += np.bincount((i + di) * shape[1] + j + dj, weight, drawn.size)
        sigma = max(wide * scene.unit, 0.5)
        step = (0.25, 0.21, 0.17, 0.13)[generation] / 24 * scene.unit  # pixels between points, about
        wide_ink = peak * math.sqrt(2 * math.pi) * wide * scene.unit * step
        total += gaussian_filter(drawn.reshape(shape).astype(np.float32), sigma) * wide_ink
    return 0.22 * (1 - np.exp(-total / 0.22))  # where many cross it does not become bone


def _ribs(scene: Scene) -> np.ndarray:
    """Ribs at the back, brighter, and at the front, (H, W) density; all bands of a kind at once."""
    person, y = scene.person, scene.y
    total = np.zeros_like(y)
    for s, outer, under in zip(scene.s, scene.outer, scene.under, strict=True):
        wall = share(outer + 0.05, 0.02) * share(0.05 - under, 0.12) * (1 - 0.6 * scene.heart)
        back = (y + 0.75 + person.rib_slope * 1.3 * (s - 0.30) ** 2 * np.sign(0.30 - s)) / person.rib_gap
        front = (y + 0.55 + person.rib_slope * 1.9 * (s - 0.85) - 0.25 * (s - 0.5) ** 2) / (1.12 * person.rib_gap)
        for phase, strength, half in ((back, 1.0, 0.23), (front, 0.55, 0.25)):
            away = np.abs(phase - np.rint(phase))
            band = share(half - away, 0.06) * (0.65 + 0.6 * share(0.075 - np.abs(away - half + 0.04), 0.05))
            fade = share(s - 0.28, 0.12) if strength < 1 else share(s - 0.05, 0.04)
            total += strength * person.bone * band * wall * fade
    return total


def _bones(scene: Scene) -> np.ndarray:
    """Ribs, clavicles, shoulder blades and spine, (H, W) density."""
    person, x, y = scene.person, scene.x, scene.y
    s = np.abs(x)
    total = _ribs(scene)
    line = person.clavicle - 0.17 * (s - 0.08) - 0.05 * np.sin(6.5 * (s - 0.08))
    off = np.abs(y - line) / 0.042
    ends = share(s - 0.09, 0.025) * share(0.80 - s, 0.06)
    total += person.bone * ends * share(1 - off, 0.2) * (0.8 + 0.6 * share(0.3 - np.abs(off - 0.8), 0.15))
    blade = s - 0.66 - 0.10 * (y + 0.25)
    total += 0.5 * person.bone * share(blade, 0.015) * share(0.20 - np.abs(y + 0.35), 0.15)
    spine = share(0.085 - s, 0.02)
    return total + person.bone * spine * (0.7 + 0.35 * np.cos(2 * np.pi * y / 0.14))


def _lookalikes(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """What is no finding but may look like one, (H, W) density: vessels seen end-on, nipples, an electrode with its
    lead, a line of atelectasis, the breasts."""
    person, x, y = scene.person, scene.x, scene.y
    total = np.zeros_like(x)
    pixel = 1 / scene.unit
    for _ in range(rng.poisson(1.2)):
        side, radius = rng.choice([-1, 1]), max(rng.uniform(0.015, 0.035), 1.3 * pixel)
        away = np.hypot(x - side * rng.uniform(0.15, 0.36), y - rng.uniform(-0.3, 0.25))
        total += rng.uniform(0.06, 0.16) * share(radius - away, max(0.01, pixel))
    nipples, apart, level, strength = (
        rng.random() < 0.25,
        rng.uniform(0.36, 0.52),
        rng.uniform(0.22, 0.42),
        rng.random(),
    )
    if nipples:
        for side in (-1, 1) if rng.random() < 0.6 else (rng.choice([-1, 1]),):
            away = np.hypot(x - side * apart, y - level + rng.normal(0, 0.02))
            total += (0.05 + 0.08 * strength) * share(0.034 - away, max(0.012, pixel))
    if rng.random() < 0.12:
        at, to = rng.uniform([-0.5, -0.3], [0.5, 0.5]), rng.uniform([-0.9, 0.9], [0.9, 1.0])
        t = np.clip(((x - at[0]) * (to - at)[0] + (y - at[1]) * (to - at)[1]) / ((to - at) ** 2).sum(), 0, 1)
        away = np.hypot(x - at[0] - t * (to - at)[0], y - at[1] - t * (to - at)[1] + 0.06 * np.sin(9 * t))
        wire = np.maximum(share(0.006 + pixel / 2 - away, pixel), share(0.035 - np.hypot(x - at[0], y - at[1]), pixel))
        total += rng.uniform(0.10, 0.3) * wire
    if rng.random() < 0.2:
        middle = rng.uniform(0.2, 0.5) * rng.choice([-1, 1]), rng.uniform(0.15, 0.42)
        slope, half = rng.normal(0, 0.25), rng.uniform(0.08, 0.2)
        off = np.abs(y - middle[1] - slope * (x - middle[0]))
        total += (
            rng.uniform(0.05, 0.13) * share(0.008 + pixel / 2 - off, pixel) * share(half - np.abs(x - middle[0]), 0.04)
        )
    if person.breast:
        for side in (-1, 1):
            away = np.hypot((x - side * 0.42) / 0.34, (y - 0.30 - 0.02 * side) / 0.33)
            total += person.breast * share(1 - away, 0.12) * (0.75 + 0.4 * share(y - 0.3, 0.25))
    return total


def _box(where: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _extent(name: str, rng: np.random.Generator) -> tuple[float, float]:
    """Width and height of a finding, in body coordinates."""
    wide, high, sd = SIZES[name]
    common, own = np.clip(rng.standard_normal(2), -2, 2)
    return float(2 * wide * np.exp(sd * common)), float(2 * high * np.exp(sd * (0.8 * common + 0.6 * own)))


def _place(where: np.ndarray, scene: Scene, rng: np.random.Generator) -> tuple[float, float]:
    """A pixel's body coordinates, of all where it is true each as likely."""
    places = np.flatnonzero(where)
    one = places[int(rng.random() * len(places))]
    return float(scene.x.flat[one]), float(scene.y.flat[one])


def place(name: str, scene: Scene, taken: np.ndarray, rng: np.random.Generator) -> list[Finding]:
    """One finding, or its parts on either side, with boxes.   taken: (H, W) bool, where other findings are."""
    strength, lung = rng.uniform(*CONTRAST[name]), int(rng.random() < 0.5)
    if name == "nodule":
        return [_nodule(scene, taken, strength, rng) for _ in range(1 + (rng.random() < 0.25))]
    if name == "interstitial":
        lungs = (0, 1) if rng.random() < BILATERAL else (lung,)
        extent, level = _extent(name, rng), rng.uniform(-0.25, 0.35)
        return [_interstitial(scene, one, strength, extent, level, rng) for one in lungs]
    draw = {"consolidation": _consolidation, "effusion": _effusion, "pneumothorax": _pneumothorax}[name]
    return [draw(scene, lung, strength, _extent(name, rng), rng)]


def _nodule(scene: Scene, taken: np.ndarray, strength: float, rng: np.random.Generator) -> Finding:
    radius = np.clip(_extent("nodule", rng)[0], LEAST_PIXELS / scene.unit, 0.36) / 2
    inside = np.maximum(*scene.depth)
    free = (inside > 0.8 * radius) & (np.maximum(*scene.air) > 0.4) & ~taken
    x, y = _place(free if free.any() else inside > 0.5 * inside.max(), scene, rng)
    u, v = scene.x - x, scene.y - y
    angle, (bump, turn) = np.arctan2(v, u), rng.uniform([0.0, 0.0], [0.08, 6.3])
    away = np.hypot(u, v) / (radius * (1 + bump * np.cos(3 * angle + turn)))
    ball = np.sqrt(np.clip(1 - away**2, 0, None)) ** 0.8
    return Finding("nodule", _box(away < 1), strength * ball, 0 * ball)


def _consolidation(scene: Scene, lung: int, strength: float, extent: tuple, rng: np.random.Generator) -> Finding:
    depth, air = scene.depth[lung], scene.air[lung]
    x, y = _place((depth > 0.08) & (air > 0.45), scene, rng)
    shape, side = air.shape, air.shape[0]
    reach = np.hypot((scene.x - x) / (0.62 * extent[0]), (scene.y - y) / (0.62 * extent[1]))
    cloud = 1 - reach + 0.22 * smooth(rng, shape, 0.14 * side) + 0.08 * smooth(rng, shape, 0.05 * side)
    fluffy = share(cloud - 0.25, 0.28) * np.minimum(air * 1.3, 1) * (depth > 0)
    texture = 1 + 0.18 * smooth(rng, shape, 0.06 * side)
    where = fluffy > 0.25
    where.flat[np.argmax(fluffy)] = True
    return Finding("consolidation", _box(where), strength * fluffy * texture, 0.6 * fluffy)


def _interstitial(scene: Scene, lung: int, strength: float, extent: tuple, level: float, rng) -> Finding:
    depth, air = scene.depth[lung], scene.air[lung]
    shape, side = air.shape, air.shape[0]
    x, y = (-1, 1)[lung] * rng.uniform(0.3, 0.5), level + rng.normal(0, 0.06)
    half = [length / 2 * np.exp(rng.normal(0, 0.12)) for length in extent]
    reach = (np.abs((scene.x - x) / half[0]) ** 3 + np.abs((scene.y - y) / half[1]) ** 3) ** (1 / 3)
    zone = share(1 - reach + 0.08 * smooth(rng, shape, 0.1 * side), 0.2) * (depth > 0) * np.minimum(1.3 * air, 1)
    threads = [np.exp(-((smooth(rng, shape, length * side) / 0.35) ** 2)) for length in (0.055, 0.035)]
    net = np.maximum(*threads) - 0.35
    where = zone > 0.3
    where.flat[np.argmax(zone)] = True
    return Finding("interstitial", _box(where), strength * zone * net, 0.3 * zone)


def _effusion(scene: Scene, lung: int, strength: float, extent: tuple, rng: np.random.Generator) -> Finding:
    depth, air, s = scene.depth[lung], scene.air[lung], scene.s[lung]
    wide, high, pixel = min(extent[0], 0.60), min(extent[1], 1.1), 1 / scene.unit
    lowest, outmost = scene.y[depth > 0].max(), s[(depth > 0) & (scene.y > 0)].max()
    inmost = max(outmost - wide, 0.2)
    inner = scene.y[(depth > 0) & (np.abs(s - inmost) < 2 * pixel)].max()  # where the fluid ends on the diaphragm
    t = np.clip((s - inmost) / (outmost - inmost), 0, 1)
    surface = inner - (inner - min(lowest - high, inner - 0.05)) * t**1.6  # high at the wall: a meniscus
    fluid = share(scene.y - surface, max(0.02, pixel)) * (depth > 0) * (t > 0)
    where = (fluid > 0.5) & (air > 0.02)
    where |= (depth > 0) & (s > inmost) & (scene.y > lowest - 2.5 * pixel)
    dense = fluid * np.minimum(air * 1.6, 1) * (0.8 + 0.2 * share(scene.y - surface, 0.15))
    return Finding("effusion", _box(where), strength * dense, 0.9 * fluid)


def _pneumothorax(scene: Scene, lung: int, strength: float, extent: tuple, rng: np.random.Generator) -> Finding:
    depth, s, y = scene.depth[lung], scene.s[lung], scene.y
    top = y[depth > 0].min()
    low = top + min(extent[1], 1.2)
    shrunk = np.clip(0.10 + 0.28 * (extent[0] - 0.2), 0.07, 0.34)
    k = 1 + shrunk * np.clip((low - y) / (low - top), 0, 1) ** 0.6  # the lung falls towards its hilum, most at the top
    down = 1 + (k - 1) * rng.uniform(0.15, 1)  # some lie along the wall more than at the apex
    edge = _outer(scene.person, 0.09 + (s - 0.09) * k, 0.05 + (y - 0.05) * down)
    pixel = 1 / scene.unit
    beyond = share(-edge, pixel) * (depth > 0) * (y < low)
    line = share(0.006 + 0.7 * pixel - np.abs(edge), pixel) * share(depth - 0.01, 0.02) * share(low - y, 0.03)
    where = (beyond > 0.5) & (depth > 0)
    where.flat[np.argmax(np.where(depth > 0, -y, -9))] = True
    darker = -0.5 * strength * beyond * np.minimum(2 * depth / 0.05, 1)
    return Finding("pneumothorax", _box(where), strength * line + darker, beyond)


def draw(
    person: Person, labels: Collection[str], style: Style, shape: tuple[int, int], lesions: bool,
    image: np.random.Generator, ill: np.random.Generator,
) -> tuple[np.ndarray, list[Finding]]:  # fmt: skip
    """One X-ray, (H, W) grey values 0 to 1, bright where dense, and its findings in place.

    Args:    labels: the findings it has.   lesions: False places them but leaves them out of the image.   image, ill:
             streams of random numbers for all but the findings, and for these alone.
    """
    from scipy.ndimage import gaussian_filter

    scene = pose(person, shape, image)
    x, y, s, side = scene.x, scene.y, np.abs(scene.x), shape[0]
    findings: list[Finding] = []
    taken = np.zeros(shape, bool)
    for name in ("pneumothorax", "effusion", "consolidation", "interstitial", "nodule"):
        if name in labels:
            parts = place(name, scene, taken, ill)
            findings += parts
            for part in parts:
                taken |= (part.veil > 0.3) | (np.abs(part.density) > 0.02)
    veil, added = np.zeros((2, *shape), np.float32)
    for finding in findings if lesions else ():
        veil, added = np.maximum(veil, finding.veil), added + finding.density

    air = scene.air[0] + scene.air[1]
    shoulder = -1.02 + 0.75 * np.clip(s - 0.2, 0, None) ** 1.6 - 0.4 * share(0.22 - s, 0.08)
    body = share(0.95 + person.fat - s, 0.05) * share(y - shoulder, 0.07)
    tissue = 0.54 + person.fat + 0.06 * share(s - 0.62, 0.2) + 0.02 * smooth(image, shape, side)
    below = np.where(x < 0, *(share(under - 0.01, 0.03) for under in scene.under))
    bubble = (image.random() < 0.7) * share(1 - np.hypot((x - 0.36) / 0.16, (y - scene.left_dome - 0.14) / 0.09), 0.25)
    middle = 0.16 * np.exp(-((s / 0.17) ** 2)) + 0.08 * scene.heart * (1 - below) * share(0.25 + y, 0.2)
    trachea = 0.10 * share(0.045 - np.abs(x + 0.01), 0.02) * share(-0.28 - y, 0.05)
    hila = sum(np.exp(-(((t - 0.18) / 0.075) ** 2) - ((y + 0.03) / 0.13) ** 2) for t in scene.s)
    density = tissue + middle - trachea + (0.12 - 0.16 * bubble) * below - AIR * air
    density += _bones(scene) + (0.08 * hila + _vascular(scene) * (1 - veil)) * np.minimum(air * 1.2, 1)
    density += _lookalikes(scene, image) * np.minimum(0.3 + air, 1) + added
    density *= body
    noise = gaussian_filter(image.standard_normal(shape, np.float32), 0.6) * image.uniform(0.012, 0.035)
    density += noise * (0.5 + density)

    detail = density - gaussian_filter(density, style.reach * side)
    density = density + style.sharp * detail
    gamma, gain, level = (
        style.gamma * float(np.exp(image.normal(0, 0.12))),
        image.normal(1, 0.05),
        image.normal(0, 0.025),
    )
    grey = np.clip(gain * density * 1.05 + 0.04 + style.level + level, 0, 1) ** gamma
    return grey.astype(np.float32), findings
