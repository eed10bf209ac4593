"""What is taken for a nodule and is none, and what surrounds both.

A vessel that pierces the slice is a disc, as a small nodule is; what tells them apart is size, elongation and
company. So the task has errors that cannot be avoided, as on real patches.
"""

import numpy as np

from fewscans.twins.anatomy import Canvas, any_angle, blob, chest_wall, tube
from fewscans.twins.scanner import Scanners

CLUTTER = 10  # small vessels a patch, at most


def draw_surroundings(canvas: Canvas, patch: np.ndarray, scanner: Scanners, rng: np.random.Generator) -> None:
    """Chest wall in some patches, and small vessels in all."""
    walled = patch[rng.random(len(patch)) < 0.64]
    k = len(walled)
    grazed = np.where(rng.random(k) < 0.15, rng.uniform(1.5, 4, k), 1)  # a slice along the wall blurs it
    chest_wall(canvas, walled, any_angle(k, rng), rng.uniform(9, 33, k), grazed * scanner.edge[walled], rng)
    count = rng.poisson(6.5, len(patch))
    for slot in range(CLUTTER):
        chosen = patch[count > slot]
        radius = rng.lognormal(np.log(0.5), 0.45, len(chosen)) / scanner.spacing_mm[chosen]
        y, x = rng.uniform(-27, 27, (2, len(chosen)))
        _vessel(canvas, chosen, scanner, rng, radius, y, x, half=_pierced(radius, rng), faint=0.45)


def _across(canvas: Canvas, patch: np.ndarray, scanner: Scanners, rng: np.random.Generator) -> None:
    """A vessel that pierces the slice, with its bronchus beside it now and then."""
    radius, y, x = _calibre(patch, scanner, rng), *_near(patch, rng)
    _vessel(canvas, patch, scanner, rng, radius, y, x, half=_pierced(radius, rng))
    paired = rng.random(len(patch)) < 0.3
    angle, r = any_angle(paired.sum(), rng), radius[paired]
    lumen = r * rng.uniform(0.7, 1.3, len(r))
    apart = r + lumen + 0.8
    y, x = y[paired] + apart * np.sin(angle), x[paired] + apart * np.cos(angle)
    _ring(canvas, patch[paired], scanner, rng, y, x, lumen)


def _along(canvas: Canvas, patch: np.ndarray, scanner: Scanners, rng: np.random.Generator) -> None:
    """A vessel that runs in the slice."""
    radius, (y, x) = _calibre(patch, scanner, rng), _near(patch, rng)
    _vessel(canvas, patch, scanner, rng, radius, y, x, half=rng.uniform(6, 30, len(patch)))


def _branching(canvas: Canvas, patch: np.ndarray, scanner: Scanners, rng: np.random.Generator) -> None:
    """A vessel that divides, a little thicker where it does."""
    k = len(patch)
    radius, (y, x), angle = _calibre(patch, scanner, rng), _near(patch, rng), any_angle(k, rng)
    for turn, thinner in ((np.pi, 1.0), (rng.uniform(0.2, 0.8, k), 0.8), (-rng.uniform(0.2, 0.8, k), 0.7)):
        end = rng.uniform(6, 28, k)
        _vessel(canvas, patch, scanner, rng, radius * thinner, y, x, start=0, end=end, angle=angle + turn)
    _vessel(canvas, patch, scanner, rng, radius * 1.25, y, x, half=0)


def _crossing(canvas: Canvas, patch: np.ndarray, scanner: Scanners, rng: np.random.Generator) -> None:
    """Two vessels, one over the other within the slice's thickness."""
    where = _near(patch, rng)
    for _ in range(2):
        _vessel(canvas, patch, scanner, rng, _calibre(patch, scanner, rng), *where, half=rng.uniform(8, 30, len(patch)))


def _bend(canvas: Canvas, patch: np.ndarray, scanner: Scanners, rng: np.random.Generator) -> None:
    """A vessel that turns at the centre, where more of it lies in the slice."""
    k = len(patch)
    bend = rng.uniform(0.03, 0.12, k)
    radius, (y, x) = _calibre(patch, scanner, rng), _near(patch, rng)
    _vessel(canvas, patch, scanner, rng, radius, y, x, half=rng.uniform(4, 14, k), bend=bend)


def _on_pleura(canvas: Canvas, patch: np.ndarray, scanner: Scanners, rng: np.random.Generator) -> None:
    """The edge of the lung itself, often with a flat thickening."""
    k = len(patch)
    angle, distance = any_angle(k, rng), rng.uniform(-2, 6, k)
    chest_wall(canvas, patch, angle, distance, scanner.edge[patch], rng)
    bumped = rng.random(k) < 0.6
    a, d = angle[bumped], distance[bumped]
    where = dict(y=d * np.sin(a), x=d * np.cos(a), edge=scanner.edge[patch[bumped]])
    radius = rng.uniform(1.5, 4.5, len(a))
    flat = dict(aspect=rng.uniform(1.5, 3.5, len(a)), angle=a + np.pi / 2 + rng.normal(0, 0.2, len(a)))
    canvas.add(blob, patch[bumped], 0.95, radius=radius, **flat, **where)


def _airway(canvas: Canvas, patch: np.ndarray, scanner: Scanners, rng: np.random.Generator) -> None:
    """A bronchus, cut across."""
    lumen = rng.uniform(0.8, 3.0, len(patch)) / scanner.spacing_mm[patch]
    _ring(canvas, patch, scanner, rng, *_near(patch, rng), lumen)


def _hilum(canvas: Canvas, patch: np.ndarray, scanner: Scanners, rng: np.random.Generator) -> None:
    """Large vessels and bronchi, close together, by the mediastinum."""
    k = len(patch)
    for slot in range(5):
        y, x = _near(patch, rng) if slot == 0 else rng.normal(0, 9, (2, k))
        radius = rng.uniform(1.8, 5.5, k) / scanner.spacing_mm[patch] * (0.75 if slot else 1)
        _vessel(canvas, patch, scanner, rng, radius, y, x, half=_pierced(radius, rng))
    _ring(canvas, patch, scanner, rng, *rng.normal(0, 10, (2, k)), lumen=rng.uniform(2, 5, k))
    patch = patch[rng.random(k) < 0.5]
    chest_wall(canvas, patch, any_angle(len(patch), rng), rng.uniform(2, 18, len(patch)), scanner.edge[patch], rng)


def _parenchyma(canvas: Canvas, patch: np.ndarray, scanner: Scanners, rng: np.random.Generator) -> None:
    """Nothing but what surrounds it."""


LOOK_ALIKES = {  # how it is drawn: share of the negatives
    _across: 0.22, _along: 0.17, _branching: 0.15, _crossing: 0.07, _bend: 0.05, _on_pleura: 0.13, _airway: 0.05,
    _hilum: 0.11, _parenchyma: 0.05,
}  # fmt: skip


def draw_look_alikes(canvas: Canvas, patch: np.ndarray, scanner: Scanners, rng: np.random.Generator) -> None:
    """Draw one look-alike near the centre of each of the patches named."""
    kind = rng.choice(len(LOOK_ALIKES), len(patch), p=list(LOOK_ALIKES.values()))
    for index, drawer in enumerate(LOOK_ALIKES):
        drawer(canvas, patch[kind == index], scanner, rng)


def _vessel(
    canvas, patch, scanner, rng, radius, y, x, half=None, start=None, end=None, angle=None, bend=None, faint=0.7
) -> None:
    """A vessel through (y, x), `half` either way or from `start` to `end`; at any angle unless one is given."""
    k = len(patch)
    start, end = (-half, half) if start is None else (start, end)
    angle = any_angle(k, rng) if angle is None else angle
    bend = rng.normal(0, 0.012, k) if bend is None else bend
    fade = 0.3 + rng.uniform(0.05, 0.3, k) * (end - start)
    where = dict(y=y, x=x, angle=angle, start=start, end=end, taper=rng.uniform(0, 0.6, k), bend=bend, fade=fade)
    amplitude = scanner.contrast[patch] * rng.uniform(faint, 1.05, k)  # less than whole where the slice only grazes it
    canvas.add(tube, patch, amplitude, radius=radius, edge=scanner.edge[patch], **where)


def _ring(canvas, patch, scanner, rng, y, x, lumen) -> None:
    """A bronchus: a wall round air, round or oval."""
    k = len(patch)
    shape = dict(y=y, x=x, aspect=rng.uniform(1, 1.8, k), angle=any_angle(k, rng), edge=scanner.edge[patch])
    thickness = rng.uniform(0.6, 1.3, k)
    canvas.add(blob, patch, rng.uniform(0.5, 0.9, k), radius=lumen + thickness, **shape)
    canvas.add(blob, patch, to="air", radius=lumen, **shape)


def _calibre(patch: np.ndarray, scanner: Scanners, rng: np.random.Generator) -> np.ndarray:
    """Radii of vessels that stand out, pixels: about 2 mm across."""
    return np.clip(rng.lognormal(np.log(1.1), 0.45, len(patch)), 0.4, 4) / scanner.spacing_mm[patch]


def _pierced(radius: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half the length, beyond its radius, of the cut through a vessel whose direction is uniform on the sphere."""
    cosine = rng.uniform(0.15, 1, len(radius))
    return radius * (1 / cosine - 1)


def _near(patch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A candidate sits near the centre, (2, k)."""
    return rng.normal(0, 0.9, (2, len(patch)))
