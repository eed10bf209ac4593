"""Cross-sections of lung nodules, 3-30 mm: solid, part-solid, ground-glass, calcified; smooth, lobulated, spiculated.

One in five lies on the pleura, one in three touches a vessel.
"""

from typing import NamedTuple

import numpy as np

from fewscans.twins.anatomy import Canvas, any_angle, blob, chest_wall, tube
from fewscans.twins.scanner import Scanners

SOLID, PART_SOLID, GROUND_GLASS, CALCIFIED = range(4)
SMOOTH, LOBULATED, SPICULATED = range(3)
ORDERS = np.arange(2, 10)  # waves round the outline


class Nodules(NamedTuple):
    """Where the nodules are and how large, one value each; lengths in pixels."""

    patch: np.ndarray
    y: np.ndarray
    x: np.ndarray
    radius: np.ndarray
    amplitude: np.ndarray
    edge: np.ndarray


def draw_diameters_mm(n: int, rng: np.random.Generator) -> np.ndarray:
    """Lognormal about 6.8 mm, within LUNA16's 3 to 30: most nodules are small."""
    return np.clip(rng.lognormal(np.log(6.8), 0.6, n), 3, 30)


def draw_nodules(
    canvas: Canvas, patch: np.ndarray, diameter_mm: np.ndarray, scanner: Scanners, rng: np.random.Generator
) -> None:
    """Draw one nodule of the given diameter near the centre of each of the patches named."""
    k = len(patch)
    radius = diameter_mm / 2 / scanner.spacing_mm[patch]
    y, x = rng.normal(0, 0.6 + 0.05 * radius, (2, k))
    kind = rng.choice(4, k, p=[0.72, 0.11, 0.07, 0.10])
    kind[(kind == CALCIFIED) & (diameter_mm > 12)] = SOLID  # granulomas, which calcify, are small
    surface = rng.choice(3, k, p=[0.35, 0.35, 0.30])
    surface[(surface == SPICULATED) & (diameter_mm < 6)] = LOBULATED
    # A thick slice holds lung beside a small nodule.
    filled = 1 - np.exp(-diameter_mm / (0.9 * scanner.slice_mm[patch]))
    density = np.choose(kind, [rng.uniform(0.9, 1.05, k), rng.uniform(0.35, 0.65, k), rng.uniform(0.25, 0.55, k), 1.5])
    edge = scanner.edge[patch] * np.where(kind == GROUND_GLASS, 2.5, 1)
    nodules = Nodules(patch, y, x, radius, filled * density, edge)
    canvas.roughness[patch] = np.isin(kind, (PART_SOLID, GROUND_GLASS))

    waves = np.choose(surface[:, None], [0.04 / (ORDERS - 1), 0.2 / ORDERS, 0.02 + 0.15 / ORDERS])  # (k, 8)
    lobes = waves[:, :, None] * rng.normal(0, 1, (k, len(ORDERS), 2))
    aspect = 1 + np.abs(rng.normal(0, 0.3, k))
    angle = any_angle(k, rng)
    where = dict(y=y, x=x, radius=radius, edge=edge)
    canvas.add(blob, patch, nodules.amplitude, aspect=aspect, angle=angle, lobes=lobes, **where)

    _cores(canvas, _some(nodules, kind == PART_SOLID), rng)
    for _ in range(7):
        _spicule(canvas, _some(nodules, (surface == SPICULATED) & (rng.random(k) < 0.6)), rng)
    _feeding_vessel(canvas, _some(nodules, rng.random(k) < 0.35), scanner, rng)
    _pleura(canvas, _some(nodules, rng.random(k) < 0.22), scanner, rng)


def _some(nodules: Nodules, chosen: np.ndarray) -> Nodules:
    return Nodules(*(values[chosen] for values in nodules))


def _cores(canvas: Canvas, n: Nodules, rng: np.random.Generator) -> None:
    """The solid part of a part-solid nodule."""
    k = len(n.patch)
    y, x = np.stack([n.y, n.x]) + 0.25 * n.radius * rng.normal(0, 1, (2, k))
    where = dict(y=y, x=x, radius=n.radius * rng.uniform(0.3, 0.65, k), edge=n.edge)
    canvas.add(blob, n.patch, 0.95, aspect=rng.uniform(1, 1.6, k), angle=any_angle(k, rng), **where)


def _spicule(canvas: Canvas, n: Nodules, rng: np.random.Generator) -> None:
    """A strand from the nodule into the lung."""
    k = len(n.patch)
    end = n.radius * rng.uniform(1.1, 1.8, k) + 1
    radius = 0.2 * np.sqrt(n.radius) + 0.2
    where = dict(y=n.y, x=n.x, angle=any_angle(k, rng), start=0, end=end)
    canvas.add(tube, n.patch, 0.8 * n.amplitude.clip(0, 1), radius=radius, taper=0.8, edge=n.edge, **where)


def _feeding_vessel(canvas: Canvas, n: Nodules, scanner: Scanners, rng: np.random.Generator) -> None:
    k = len(n.patch)
    radius = rng.uniform(0.5, 1.3, k) / scanner.spacing_mm[n.patch]
    where = dict(y=n.y, x=n.x, angle=any_angle(k, rng), start=0, end=rng.uniform(8, 40, k), edge=n.edge)
    bend, taper = rng.normal(0, 0.012, k), rng.uniform(0, 0.6, k)
    canvas.add(tube, n.patch, scanner.contrast[n.patch], radius=radius, bend=bend, taper=taper, **where)


def _pleura(canvas: Canvas, n: Nodules, scanner: Scanners, rng: np.random.Generator) -> None:
    """Chest wall touching the nodule or holding part of it."""
    k = len(n.patch)
    angle = any_angle(k, rng)
    centre = n.x * np.cos(angle) + n.y * np.sin(angle)
    distance = centre + n.radius * rng.uniform(0.1, 1.0, k) + rng.uniform(0, 1.5, k)
    chest_wall(canvas, n.patch, angle, distance, scanner.edge[n.patch], rng)
